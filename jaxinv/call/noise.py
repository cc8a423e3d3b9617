"""What a caller says of the noise: a deviation of every entry, or a model."""

from numbers import Real
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxinv.model.given import real_array
from jaxinv.model.likelihood.base import NoiseModel
from jaxinv.settings import Auto, LevenbergMarquardt, Method


def is_level(noise: Any) -> bool:
    """Whether one deviation holds for all entries: then weights= says how they compare."""
    return not isinstance(noise, list | tuple) and getattr(noise, "ndim", 0) == 0


def check_noise(noise: Any) -> None:
    """Raise ValueError where a deviation is none: of 0 or more, or positive where each has its own.

    An entry of deviation 0 beside others would weigh infinitely more than they do.
    """
    sentence = (
        f"noise={noise!r} must be a standard deviation, a finite number of 0 or more; leave it "
        "out where it is not known"
    )
    if is_level(noise):
        known = isinstance(noise, Real) and not isinstance(noise, bool)
        if not (known and 0 <= float(noise) < np.inf):
            raise ValueError(sentence)
        return
    given = real_array("noise", noise)
    if not (np.isfinite(given).all() and (given > 0).all()):
        raise ValueError(
            "noise holds deviations that are not positive and finite; use mask= to leave entries "
            "out"
        )


def requested_model(noise: Any, method: Method, refine: str | None) -> NoiseModel | None:
    """The noise model that is asked for, checked beside the other arguments; None without one."""
    if not isinstance(noise, NoiseModel):
        return None
    name = type(noise).__name__
    if not isinstance(method, Auto | LevenbergMarquardt):
        raise ValueError(
            f"noise={name} is for 'auto' and 'lm', whose latents it is fitted from; "
            f"{type(method).__name__} knows a deviation only"
        )
    if refine is not None:
        raise ValueError(f"refine={refine!r} would leave noise={name} again; leave out one of them")
    return noise


def deviations(noise: Any, rows: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B n"] | None:
    """The deviation of every entry of these observations; None where none is stated."""
    if noise is None:
        return None
    shape = rows.shape
    if isinstance(noise, NoiseModel):
        return noise.deviation(np.where(np.isfinite(rows), rows, 0.0))
    given = real_array("noise", noise)
    if given.shape not in (shape, shape[-1:], ()):
        raise ValueError(f"noise has shape {given.shape}; expected {shape[-1:]} or {shape}")
    return np.broadcast_to(given, shape)
