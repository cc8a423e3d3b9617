"""What a caller says of the noise, as a deviation of every entry."""

from numbers import Real
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxinv.model.given import real_array


def is_level(noise: Any) -> bool:
    """Whether one deviation holds for all entries: then weights= says how they compare."""
    return (isinstance(noise, Real) and not isinstance(noise, bool)) or np.ndim(noise) == 0


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


def deviations(noise: Any, shape: tuple[int, ...]) -> Float[np.ndarray, "B n"] | None:
    """The deviation of every entry of observations of this shape; None where none is stated."""
    if noise is None:
        return None
    given = real_array("noise", noise)
    if given.shape not in (shape, shape[-1:], ()):
        raise ValueError(f"noise has shape {given.shape}; expected {shape[-1:]} or {shape}")
    return np.broadcast_to(given, shape)
