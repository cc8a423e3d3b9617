"""What the pictures share: matplotlib when something is drawn, colours, rows that are asked for."""

from collections.abc import Iterable
from importlib import import_module
from typing import Any

import numpy as np

from jaxinv.outcome.inversion import Inversion
from jaxinv.outcome.status import Status

# Okabe and Ito's colours, which the colour-blind tell apart.
BLUE, VERMILION, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#E69F00", "#009E73", "#777777"
OF_STATUS = {
    Status.SOLVED: BLUE,
    Status.CLOSEST: GREEN,
    Status.UNDERDETERMINED: ORANGE,
    Status.INEXACT: VERMILION,
    Status.STEP_LIMIT: GREY,
}


def new_figure(width: float, height: float) -> Any:
    """An empty figure, of a size in inches."""
    try:
        figure = import_module("jaxinv.plots.figure")
    except ImportError as error:
        raise ImportError("jaxinv.plots needs matplotlib: pip install 'jaxinv[plots]'") from error
    return figure.ShownFigure(figsize=(width, height), layout="constrained")


def panel(ax: Any, width: float, height: float) -> Any:
    """The caller's axes, or those of a new figure."""
    if ax is None:
        return new_figure(width, height).subplots()
    if not hasattr(ax, "plot"):
        raise ValueError(f"ax is a {type(ax).__name__}; expected Axes of matplotlib, or None")
    return ax


def quiet(axes: Any) -> None:
    """No frame where there is no scale."""
    axes.spines[["top", "right"]].set_visible(False)


def checked_inversion(inversion: Any) -> Inversion:
    """The inversion with a batch axis; a ValueError where it is none."""
    if not isinstance(inversion, Inversion):
        raise ValueError(
            f"inversion is a {type(inversion).__name__}; expected what jaxinv.invert returned"
        )
    return inversion


def chosen_rows(rows: int | Iterable[int] | None, batch: int, most: int) -> list[int]:
    """Rows by number, the first `most` where none are named; ValueError where there is no such."""
    if rows is None:
        return list(range(min(batch, most)))
    try:
        chosen = [_whole(row) for row in np.atleast_1d(np.asarray(rows)).tolist()]
    except (TypeError, ValueError):
        raise ValueError(f"rows={rows!r} are no row numbers; expected integers") from None
    outside = [row for row in chosen if not -batch <= row < batch]
    if outside:
        raise ValueError(f"rows={outside} are not there; the inversion has {batch} rows")
    return [row % batch for row in chosen]


def words(status: Any, residual: Any) -> str:
    """A row's status and residual, for above its picture."""
    told = Status(int(status)).name
    return told if np.isnan(residual) else f"{told}\n{residual:.2g}"


def _whole(row: Any) -> int:
    if isinstance(row, bool) or not isinstance(row, int):
        raise ValueError
    return row
