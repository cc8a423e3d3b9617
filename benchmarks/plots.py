"""The look that the figures share: sizes, and each method's name, colour and marker.

matplotlib (extra `bench`) is imported when something is drawn: measuring does without it.
"""

from typing import TYPE_CHECKING, Any

from benchmarks.conditions import Data

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind tell apart.
LOOKS = {
    "exact": ("exact", "#000000", "s"),
    "linf": ("linf", "#D55E00", "^"),
    "l1": ("l1", "#CC79A7", "v"),
    "relaxed": ("relaxed", "#E69F00", "D"),
    "auto": ("auto", "#0072B2", "o"),
    "gd": ("GD, paper's settings", "#009E73", "x"),
    "gd tuned": ("GD, tuned", "#56B4E9", "+"),
}


def canvas(rows: int, columns: int, height: float, **options: Any) -> "tuple[Figure, Any]":
    """Axes for a picture that a README shows 800 pixels wide."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update(
        {
            "font.size": 8,
            "axes.titlesize": 8,
            "axes.grid": True,
            "grid.alpha": 0.3,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "savefig.dpi": 100,
        }
    )
    figure = Figure(figsize=(8, height), layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def legend_below(figure: "Figure", axes: "Axes") -> None:
    """One legend for all panels, under them."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4))


def save(figure: "Figure", data: Data) -> None:
    # Without a date or a version the same data give the same bytes.
    figure.savefig(data.picture, metadata={"Software": None})
    print(f"data: {data.path}, picture: {data.picture}")
