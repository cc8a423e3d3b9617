"""A latent's entries with their intervals."""

from typing import Any

import numpy as np
from jaxtyping import Float

from jaxinv.certify.uncertainty import Confidence
from jaxinv.model.given import real_array
from jaxinv.outcome.inversion import Inversion
from jaxinv.plots.canvas import (
    BLUE,
    GREY,
    VERMILION,
    checked_inversion,
    chosen_rows,
    panel,
    quiet,
    words,
)


def latent_intervals(
    inversion: Inversion,
    intervals: Any,
    *,
    row: int = 0,
    truth: Any = None,
    ax: Any = None,
) -> Any:
    """A figure of one row's latent, entry by entry, each with its interval.

    intervals: what `confidence` returned, grey where it is not reliable; or a pair (low, high) of
    (B, k) or (k,), as `Posterior.interval` gives it. row: by number. truth: codes (B, k) or (k,)
    known otherwise, marked with crosses. An end that is infinite is drawn as an arrow. ax: axes of
    matplotlib to draw into. Raises ValueError where shapes do not fit, and ImportError without
    matplotlib (extra `plots`).

    >>> g = jaxinv.Generator.from_layers([(np.ones((50, 1)), None, "identity")])
    >>> x = 3.0 + 0.1 * np.random.default_rng(0).standard_normal(50)
    >>> r = jaxinv.invert(g, x)
    >>> figure = jaxinv.plots.latent_intervals(r, jaxinv.confidence(g, x, r), truth=[3.0])
    >>> figure.axes[0].get_xlabel()
    'entry of the latent'
    """
    latent = np.atleast_2d(np.asarray(checked_inversion(inversion).latent))
    (number,) = _one(chosen_rows(row, len(latent), 1), row)
    low, high, reliable = _ends(intervals, latent.shape)
    code = latent[number]
    known = None if truth is None else _codes("truth", truth, latent.shape)[number]
    axes = panel(ax, 0.25 * latent.shape[1] + 2.5, 2.8)
    colour = BLUE if reliable[number] else GREY
    entries = np.arange(len(code))
    ends = low[number], high[number]
    least, most = _range(code, *ends, known)
    # Beyond the picture's edge by a little, so that no bar seems to end there.
    axes.vlines(
        entries,
        np.where(np.isneginf(ends[0]), least, ends[0]),
        np.where(np.isposinf(ends[1]), most, ends[1]),
        color=colour,
        linewidth=3,
        alpha=0.5,
    )
    for infinite, edge, arrow in (
        (np.isneginf(ends[0]), least, "v"),
        (np.isposinf(ends[1]), most, "^"),
    ):
        axes.plot(entries[infinite], np.full(infinite.sum(), edge), arrow, color=colour, ms=6)
    axes.plot(entries, code, "o", color=colour, ms=4, label="latent")
    if known is not None:
        axes.plot(entries, known, "x", color=VERMILION, ms=6, label="truth")
    margin = 0.08 * (most - least)
    axes.set(
        xlabel="entry of the latent",
        ylim=(least - margin, most + margin),
        xlim=(-0.6, len(code) - 0.4),
    )
    axes.xaxis.get_major_locator().set_params(integer=True)
    status, residual = (
        np.atleast_1d(np.asarray(part))[number] for part in (inversion.status, inversion.residual)
    )
    doubt = "" if reliable[number] else ", intervals not reliable"
    told = words(status, residual).replace("\n", ", residual ")
    axes.set_title(f"row {number}: {told}{doubt}", fontsize=9)
    if np.isfinite(code).all():
        axes.legend(fontsize=8)
    else:
        axes.text(0.5, 0.5, "no latent", transform=axes.transAxes, ha="center")
    quiet(axes)
    return axes.figure


def _one(rows: list[int], given: Any) -> list[int]:
    if len(rows) != 1:
        raise ValueError(f"row={given!r}; expected the number of one row")
    return rows


def _ends(
    intervals: Any, shape: tuple[int, int]
) -> tuple[Float[np.ndarray, "B k"], Float[np.ndarray, "B k"], np.ndarray]:
    reliable: np.ndarray = np.ones(shape[0], bool)
    if isinstance(intervals, Confidence):
        pair = intervals.low, intervals.high
        reliable = np.atleast_1d(intervals.reliable)
    elif isinstance(intervals, tuple | list) and len(intervals) == 2:
        pair = intervals[0], intervals[1]
    else:
        raise ValueError(
            f"intervals are a {type(intervals).__name__}; expected what jaxinv.confidence "
            "returned, or a pair (low, high)"
        )
    low, high = (
        _codes(f"{name} ends", part, shape)
        for name, part in zip(("low", "high"), pair, strict=True)
    )
    if (low > high).any():
        raise ValueError("a low end lies above its high end; give the pair as (low, high)")
    return low, high, reliable


def _codes(what: str, values: Any, shape: tuple[int, int]) -> Float[np.ndarray, "B k"]:
    codes = np.atleast_2d(real_array(what, values))
    if codes.shape != shape:
        raise ValueError(f"{what} have shape {codes.shape}; the latents have {shape}")
    return codes


def _range(*drawn: np.ndarray | None) -> tuple[float, float]:
    values = np.concatenate([np.atleast_1d(part) for part in drawn if part is not None])
    finite = values[np.isfinite(values)]
    if not finite.size:
        return -1.0, 1.0
    least, most = float(finite.min()), float(finite.max())
    spread = (most - least) or max(abs(most), 1.0)
    return least - 0.05 * spread, most + 0.05 * spread
