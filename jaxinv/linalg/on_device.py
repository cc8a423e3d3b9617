"""Arrays of the host on the device, without a program, and several of the device at once.

JAX's own `asarray` and `array` may compile one for every shape and precision, some thirty
milliseconds each, which is most of what a first call on a small net takes.
"""

from typing import Any

import jax
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from numpy.typing import ArrayLike


def on_device(part: ArrayLike, dtype: DTypeLike | None = None) -> Array:
    """A copy of the host's array on JAX's default device, rounded to `dtype` before it goes there.

    On a CPU the device may keep the memory that it is handed: hence a copy that nobody changes.
    What is on the device already stays as it is where no dtype is asked for.
    """
    if isinstance(part, Array) and dtype is None:
        return part
    return jax.device_put(np.array(part, dtype))


def handed_over(part: np.ndarray) -> Array:
    """The host's array on the device, which may keep its memory: one that nobody changes any more.

    For what is as large as the observations, of which each copy counts.
    """
    return jax.device_put(part)


def on_host(parts: Any) -> Any:
    """All arrays of a pytree as NumPy's, read-only, in one round trip: the host waits once."""
    return jax.device_get(parts)
