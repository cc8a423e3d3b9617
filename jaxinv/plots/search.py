"""What a search over starting points did, as far as its report tells."""

from enum import IntEnum
from typing import Any

import numpy as np

from jaxinv.outcome.inversion import Inversion
from jaxinv.outcome.search_report import Ending, Start
from jaxinv.plots.canvas import BLUE, GREY, checked_inversion, new_figure, quiet


def search_course(inversion: Inversion) -> Any:
    """A figure of how rows were searched: runs made, where the best began, why the search ended.

    The first panel counts rows by the runs made on them, those on the first layers included, and in
    grey by the runs that ended in the minimum kept. Of single runs the report keeps no residuals.
    Raises ValueError where the inversion has no `SearchReport`, which methods that go layer by
    layer and "gd" do not make, and ImportError without matplotlib (extra `plots`).

    >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
    >>> x = np.random.default_rng(0).standard_normal((6, 20))
    >>> figure = jaxinv.plots.search_course(jaxinv.invert(g, x))
    >>> [axes.get_title() for axes in figure.axes]
    ['runs a row', 'where the best began', 'why no further run was made']
    """
    search = checked_inversion(inversion).search
    if search is None:
        raise ValueError(
            'this inversion has no search report; "auto" and "lm" make one, other methods do not'
        )
    made = np.atleast_1d(np.asarray(search.runs) + np.asarray(search.prefix_runs))
    agreeing = np.atleast_1d(np.asarray(search.agreeing))
    figure = new_figure(9.5, 2.8)
    axes = figure.subplots(1, 3)
    # Searches of few runs and of thousands have as many bars.
    most = max(int(made.max(initial=0)), int(agreeing.max(initial=0)))
    step = max(1, -(-(most + 1) // 24))
    bins = np.arange(0, most + step + 1, step) - 0.5
    axes[0].hist(made, bins, color=BLUE, label="made")
    axes[0].hist(agreeing, bins, histtype="step", color=GREY, label="in the minimum kept")
    edge = max(bins[-1], 1.5)
    axes[0].set(title="runs a row", xlabel="runs", ylabel="rows", xlim=(-0.5, edge))
    axes[0].xaxis.get_major_locator().set_params(integer=True)
    axes[0].legend(fontsize=7)
    _counted(axes[1], "where the best began", Start, search.start)
    _counted(axes[2], "why no further run was made", Ending, search.ending)
    for panel in axes:
        panel.title.set_fontsize(9)
        quiet(panel)
    return figure


def _counted(axes: Any, title: str, kind: type[IntEnum], values: Any) -> None:
    counts = np.bincount(np.atleast_1d(np.asarray(values)), minlength=len(kind))
    told = [word for word in kind if counts[word]]
    lengths = [counts[word] for word in told]
    drawn = axes.barh([word.name for word in told], lengths, color=BLUE, height=0.6)
    axes.bar_label(drawn, [f"{counts[word]:,}" for word in told], padding=3, fontsize=8)
    axes.set(title=title, xlabel="rows")
    axes.margins(x=0.2)
    axes.set_ylim(max(len(told), 3) - 0.5, -0.5)
    if not told:
        axes.text(0.5, 0.5, "no rows", transform=axes.transAxes, ha="center")
