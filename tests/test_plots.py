"""Pictures of intervals, errors and searches against the numbers that they are drawn from."""

import re
import subprocess
import sys

import numpy as np
import pytest
from drawn import drawn_well, made

from jaxinv import Confidence, Generator, SearchReport

pytest.importorskip("matplotlib")
from jaxinv import plots

WIDE = Generator.random((3, 20, 80), seed=0)  # of images 8 x 10
RNG = np.random.default_rng(0)
Z = RNG.standard_normal((4, 3))
X = np.asarray(WIDE(Z)) + 0.1 * RNG.standard_normal((4, 80))


def bars(axes):
    return [segment for lines in axes.collections for segment in lines.get_segments()]


def test_intervals_are_bars_from_end_to_end():
    low, high = Z - 0.5, Z + np.array([0.1, 0.2, 0.3])
    figure = plots.latent_intervals(made(Z), (low, high), row=2, truth=Z + 0.05)
    axes = drawn_well(figure).axes[0]
    for entry, segment in enumerate(bars(axes)):
        np.testing.assert_allclose(segment, [[entry, low[2, entry]], [entry, high[2, entry]]])
    points = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_array_equal(points["latent"], Z[2])
    np.testing.assert_array_equal(points["truth"], Z[2] + 0.05)
    assert axes.get_title() == "row 2: SOLVED, residual 0.5"


def test_infinite_ends_and_rows_without_a_latent_are_drawn():
    low, high = Z - 1.0, Z + 1.0
    low[0, 1], high[0, 2] = -np.inf, np.inf
    axes = drawn_well(plots.latent_intervals(made(Z), (low, high))).axes[0]
    least, most = axes.get_ylim()
    assert all(least < end < most for segment in bars(axes) for end in segment[:, 1])
    arrows = [line for line in axes.lines if line.get_marker() in "v^"]
    assert [line.get_xdata().tolist() for line in arrows] == [[1], [2]]
    bad = np.full((1, 3), np.nan)
    axes = drawn_well(plots.latent_intervals(made(bad), (bad, bad))).axes[0]
    assert [text.get_text() for text in axes.texts] == ["no latent"]


def test_a_confidence_that_is_not_reliable_says_so():
    reliable = np.array([True, False, True, True])
    told = Confidence(np.ones(4), np.zeros((4, 3, 3)), Z - 1, Z + 1, np.zeros(4), reliable)
    title = plots.latent_intervals(made(Z), told, row=1).axes[0].get_title()
    assert title.endswith("intervals not reliable")
    assert "reliable" not in plots.latent_intervals(made(Z), told, row=0).axes[0].get_title()


def test_axes_of_the_caller_are_drawn_into():
    from matplotlib.figure import Figure

    own = Figure()
    axes = own.subplots(1, 2)
    assert plots.latent_intervals(made(Z), (Z - 1, Z + 1), ax=axes[1]) is own
    assert plots.error_against_noise(made(Z), Z + 0.1, 0.1, ax=axes[0]) is own
    assert axes[0].lines and axes[1].lines


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"intervals": 3.0}, "intervals are a float; expected what jaxinv.confidence returned, or"),
        ({"intervals": (Z[:2], Z[:2])}, "low ends have shape (2, 3); the latents have (4, 3)"),
        ({"intervals": (Z + 1, Z)}, "a low end lies above its high end; give the pair as (low, hi"),
        ({"truth": Z[0]}, "truth have shape (1, 3); the latents have (4, 3)"),
        ({"row": 9}, "rows=[9] are not there; the inversion has 4 rows"),
        ({"row": [0, 1]}, "row=[0, 1]; expected the number of one row"),
        ({"ax": "here"}, "ax is a str; expected Axes of matplotlib, or None"),
        ({"inversion": None}, "inversion is a NoneType; expected what jaxinv.invert returned"),
    ],
)
def test_intervals_say_what_does_not_fit(change, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        plots.latent_intervals(**{"inversion": made(Z), "intervals": (Z - 1, Z + 1)} | change)


def test_errors_are_the_distances_to_the_truth():
    latent = np.concatenate([Z, Z])
    truth = latent + np.repeat([0.1, 1.0], 4)[:, None]
    latent[1] = np.nan
    noise = np.repeat([0.01, 0.1], 4)
    status = [0, 5, 2, 0, 0, 0, 7, 0]
    axes = drawn_well(plots.error_against_noise(made(latent, status), truth, noise)).axes[0]
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    np.testing.assert_allclose(lines["INEXACT (1)"], [[0.01, 0.1 * np.sqrt(3)]])
    np.testing.assert_allclose(lines["CLOSEST (1)"], [[0.1, np.sqrt(3)]])
    np.testing.assert_allclose(lines["median"], [[0.01, 0.1 * np.sqrt(3)], [0.1, np.sqrt(3)]])
    assert len(lines["BAD_INPUT (1)"]) == 0
    assert len(lines["SOLVED (5)"]) == 5
    assert len(lines["may be off by"]) == 7


def test_no_error_lies_below_the_rounding_of_its_code():
    axes = plots.error_against_noise(made(Z), Z, 1.0).axes[0]
    points = next(line for line in axes.lines if line.get_label().startswith("SOLVED"))
    want = np.finfo(float).eps * np.linalg.norm(Z, axis=1)
    np.testing.assert_allclose(points.get_ydata(), want)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"truth": Z[:2]}, "truth has shape (2, 3); the latents have (4, 3)"),
        ({"noise": np.ones(3)}, "noise has shape (3,); expected one number or (4,)"),
        ({"noise": [0.0, 1.0, 1.0, 1.0]}, "as the axis is logarithmic; leave rows without noise"),
        ({"noise": np.inf}, "noise must be positive and finite"),
        ({"inversion": 3}, "inversion is a int; expected what jaxinv.invert returned"),
        ({"ax": 3}, "ax is a int; expected Axes of matplotlib, or None"),
    ],
)
def test_errors_say_what_does_not_fit(change, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        plots.error_against_noise(**{"inversion": made(Z), "truth": Z, "noise": 1.0} | change)


def searched(runs, agreeing, start, ending):
    none = np.zeros(len(runs), int)
    counts = (np.asarray(part, int) for part in (runs, none, none, start, agreeing, ending))
    return made(np.zeros((len(runs), 3)), search=SearchReport(*counts, none > 0))


def test_a_search_is_counted():
    r = searched([0, 4, 4, 8], [1, 2, 3, 1], [1, 3, 3, 5], [1, 6, 6, 3])
    runs, start, ending = drawn_well(plots.search_course(r)).axes
    heights = [bar.get_height() for bar in runs.containers[0]]
    assert heights == [1, 0, 0, 0, 2, 0, 0, 0, 1]
    named = [label.get_text() for label in start.get_yticklabels()]
    assert named == ["LAYERWISE", "RANDOM", "NEARBY"]
    assert [bar.get_width() for bar in start.containers[0]] == [1, 2, 1]
    assert [label.get_text() for label in ending.get_yticklabels()] == [
        "REPRODUCED",
        "BUDGET_SPENT",
        "SEARCHED",
    ]


@pytest.mark.parametrize("most", [0, 1, 23, 24, 1000])
def test_every_row_is_in_a_bar_of_its_runs(most):
    r = searched([0, most], [0, most], [3, 3], [3, 3])
    runs = drawn_well(plots.search_course(r)).axes[0]
    assert sum(bar.get_height() for bar in runs.containers[0]) == 2


def test_a_search_of_no_rows_is_drawn():
    assert len(drawn_well(plots.search_course(searched([], [], [], []))).axes) == 3


def test_methods_without_a_search_are_told():
    with pytest.raises(ValueError, match='this inversion has no search report; "auto" and "lm"'):
        plots.search_course(made(Z))
    with pytest.raises(ValueError, match="inversion is a dict; expected"):
        plots.search_course({})


def test_no_state_of_matplotlib_is_touched():
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.search_course(searched([1], [1], [3], [3]))
    assert dict(matplotlib.rcParams) == before
    code = (
        "import sys, jaxinv.plots; assert 'matplotlib' not in sys.modules\n"
        "from jaxinv.plots.canvas import new_figure\n"
        "new_figure(2, 2); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "jaxinv.plots.figure", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"jaxinv.plots needs matplotlib: .*'jaxinv\[plots\]'"):
        plots.search_course(searched([1], [1], [3], [3]))
