"""Up to which misfit an observation counts as reproduced: by rounding, by noise, by a tolerance."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxinv.joint.problem import ROUNDED
from jaxinv.joint.sizes import Entries, Known, Sizes, sizes
from jaxinv.linalg.on_device import on_device, on_host
from jaxinv.linalg.shared import shared
from jaxinv.model.decoder import Decoder
from jaxinv.model.precision import ACCUMULATED, SURELY, Rounding, entry_rounding


class Limits(NamedTuple):
    """Weighted losses, (B,), as `Problem` has them; and what else was computed with them."""

    limit: Float[np.ndarray, " B"]
    certain: Float[np.ndarray, " B"]
    known: Known


class Observed(NamedTuple):
    """A chunk: x with its weights, x on the device, G(0), and the rounding of its numbers."""

    x: Float[np.ndarray, "B n"]
    weight: Float[np.ndarray, "B n"]
    sent: Float[Array, "B n"]
    blank: Float[np.ndarray, " n"]
    rounding: Rounding


def limits(
    decoder: Decoder,
    observed: Observed,
    tolerance: float,
    noise: Float[np.ndarray, "B n"] | None,
) -> Limits:
    """Compute on the device what rounding leaves of the observations.

    tolerance: of a misfit, relative to what a code explains. noise: the stated deviation of every
    entry, None where none is.
    """
    x, weight, sent_x, blank, rounding = observed
    sent = sent_x, on_device(shared(weight))
    step = None if rounding.step is None else on_device(np.asarray(rounding.step, np.float64))
    rounded, *told = _rounded(decoder, *sent, step, on_device(blank), rounding.unit)
    found: Sizes
    found, likely, surely = on_host(told)
    with np.errstate(over="ignore"):
        certain = np.maximum(surely, ROUNDED * found.moved) ** 2
        if noise is not None:
            certain = np.maximum(certain, noise_limit(noise * weight) ** 2)
        limit = np.maximum(np.maximum(tolerance * found.moved, likely) ** 2, certain)
    source = x, weight, rounded, blank
    return Limits(limit, certain, Known(Entries(*sent, rounded), found, source))


@partial(jax.jit, static_argnames="unit")
def _rounded(
    decoder: Decoder,
    x: Float[Array, "B n"],
    weight: Float[Array, "#B n"],
    step: Float[Array, "*B"] | None,
    blank: Float[Array, " n"],
    unit: float,
) -> tuple[Float[Array, "B n"], Sizes, Float[Array, " B"], Float[Array, " B"]]:
    """The rounding of every entry, sizes, and the norms that it leaves, likely and surely."""
    # Once for both: bytes are looked for in every entry.
    known = Rounding(unit, Rounding(unit, step).steps(x, weight > 0, jnp))

    def rounded(accumulated: Array) -> tuple[Array, Array]:
        error = entry_rounding(known, x, weight, decoder, accumulated, jnp)
        return error, noise_limit(weight * error, jnp)

    # One after the other: it is compiled once.
    (error, _), (likely, surely) = jax.lax.map(rounded, jnp.array([ACCUMULATED, SURELY]))
    return error, sizes(x, weight, error, blank), likely, surely


def noise_limit(deviation: Float[Any, "B n"], xp: Any = np) -> Any:
    """Largest credible ||e||_2 of entries of deviations s_j: three deviations of ||e||_2^2 above.

    sqrt(sum_j s_j^2 + 3 sqrt(2 sum_j s_j^4)). xp: `numpy`, or `jax.numpy` in a traced computation.
    """
    largest = deviation.max(-1, initial=0.0)
    scale = xp.where((largest > 0) & xp.isfinite(largest), largest, 1.0)
    square = (deviation / scale[:, None]) ** 2
    return scale * xp.sqrt(square.sum(-1) + 3.0 * xp.sqrt(2.0 * (square**2).sum(-1)))
