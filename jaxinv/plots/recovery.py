"""How far codes are off, against the noise of their observations."""

from typing import Any

import numpy as np

from jaxinv.model.given import real_array
from jaxinv.outcome.inversion import Inversion
from jaxinv.outcome.status import Status
from jaxinv.plots.canvas import GREY, OF_STATUS, checked_inversion, panel, quiet

EPS = float(np.finfo(float).eps)


def error_against_noise(
    inversion: Inversion,
    truth: Any,
    noise: Any,
    *,
    ax: Any = None,
) -> Any:
    """A figure of recovery errors ||z - z*|| against noise, both axes logarithmic.

    Points are rows, in a colour for each status; a line joins the medians of rows of the same
    noise, where there are several levels; ticks are `allowed_error`, how far a latent may be off.
    Rows without a latent are counted in the legend. An error below the rounding of its code is
    drawn there.

    truth: planted codes z*, (B, k). noise: (B,) size of each row's noise, or one number, positive:
    its standard deviation, or its norm. ax: axes of matplotlib to draw into. Raises ValueError
    where shapes do not fit or a noise is not positive, and ImportError without matplotlib (extra
    `plots`).

    >>> g, rng = jaxinv.Generator.random((2, 8, 20), seed=0), np.random.default_rng(0)
    >>> z, noise = rng.standard_normal((6, 2)), np.repeat([1e-3, 1e-2, 1e-1], 2)
    >>> x = np.asarray(g(z)) + noise[:, None] * rng.standard_normal((6, 20))
    >>> figure = jaxinv.plots.error_against_noise(jaxinv.invert(g, x), z, noise)
    >>> figure.axes[0].get_xscale(), figure.axes[0].get_ylabel()
    ('log', '||z - z*||')
    """
    latent = np.atleast_2d(np.asarray(checked_inversion(inversion).latent))
    codes = np.atleast_2d(real_array("truth", truth))
    if codes.shape != latent.shape:
        raise ValueError(f"truth has shape {codes.shape}; the latents have {latent.shape}")
    given = real_array("noise", noise)
    if given.shape not in ((), (len(latent),)):
        raise ValueError(f"noise has shape {given.shape}; expected one number or ({len(latent)},)")
    if not (np.isfinite(given) & (given > 0)).all():
        raise ValueError(
            "noise must be positive and finite, as the axis is logarithmic; leave rows without "
            "noise out"
        )
    level = np.broadcast_to(given, (len(latent),))
    status, allowed = (
        np.atleast_1d(np.asarray(part)) for part in (inversion.status, inversion.allowed_error)
    )
    size = np.linalg.norm(codes, axis=1)
    error = np.maximum(np.linalg.norm(latent - codes, axis=1), EPS * np.maximum(size, EPS))
    axes = panel(ax, 5.0, 3.6)
    axes.set(xscale="log", yscale="log", xlabel="noise", ylabel="||z - z*||")
    there = np.isfinite(error)
    bounded = there & np.isfinite(allowed) & (allowed > 0)
    if bounded.any():
        axes.plot(
            level[bounded],
            allowed[bounded],
            "_",
            color=GREY,
            ms=8,
            alpha=0.6,
            label="may be off by",
        )
    for value in Status:
        rows = status == int(value)
        drawn = rows & there
        if not rows.any():
            continue
        label = f"{value.name} ({rows.sum():,})"
        colour = OF_STATUS.get(value, GREY)
        axes.plot(level[drawn], error[drawn], ".", color=colour, label=label)
    levels = np.unique(level[there])
    if 1 < len(levels) < there.sum():
        medians = [np.median(error[there & (level == noise)]) for noise in levels]
        axes.plot(levels, medians, "-", color="black", linewidth=1, label="median")
    if len(latent):
        axes.legend(fontsize=7)
    else:
        axes.set_title("no rows", fontsize=9)
    quiet(axes)
    return axes.figure
