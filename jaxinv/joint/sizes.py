"""What the observations of a batch are by themselves: norms of their entries and roundings.

Computed where the entries lie, in one pass and in double precision; the host is told one number an
observation.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxinv.linalg.norms import row_norms
from jaxinv.linalg.on_device import on_device, on_host
from jaxinv.linalg.shared import shared


class Sizes(NamedTuple):
    """One entry an observation x, with weights W, mask m (1 where W > 0) and roundings e.

    whole: ||W x||. moved: what a code explains of it, min(||W x||, ||W (x - G(0))||). seen, told:
    the same two of the mask in place of the weights. rounding: ||e||, weighted: ||W e||. negative:
    whether an observed entry is, positive: how many are.
    """

    whole: Float[Any, " B"]
    moved: Float[Any, " B"]
    seen: Float[Any, " B"]
    told: Float[Any, " B"]
    rounding: Float[Any, " B"]
    weighted: Float[Any, " B"]
    negative: Bool[Any, " B"]
    positive: Int[Any, " B"]


def sizes(
    observation: Float[Array, "B n"],
    weight: Float[Array, "#B n"],
    rounding: Float[Array, "B n"],
    blank: Float[Array, " n"],
) -> Sizes:
    """The sizes of a batch, for use inside a traced computation. blank: G(0)."""
    observed = weight > 0
    mask = observed.astype(weight.dtype)
    x = jnp.where(observed, observation, 0.0)
    moved = jnp.where(observed, observation - blank, 0.0)

    def norms(part: Float[Array, "B n"]) -> tuple[Array, Array]:
        return row_norms(weight * part, jnp), row_norms(mask * part, jnp)

    # One after the other: each norm is compiled once, not three times.
    weighted, plain = jax.lax.map(norms, jnp.stack([x, moved, rounding]))
    # A misfit beside a large bias says nothing of the code.
    return Sizes(
        whole=weighted[0],
        moved=jnp.fmin(weighted[0], weighted[1]),
        seen=plain[0],
        told=jnp.fmin(plain[0], plain[1]),
        rounding=plain[2],
        weighted=weighted[2],
        negative=(x < 0).any(-1),
        positive=(x > 0).sum(-1, dtype=np.int32),
    )


_sizes = jax.jit(sizes)


class Entries(NamedTuple):
    """A batch on the device. weight: (1, n) where it is the same for all observations."""

    observation: Float[Array, "B n"]
    weight: Float[Array, "#B n"]
    rounding: Float[Array, "B n"]


class Known(NamedTuple):
    """What has been computed of a batch, and the arrays that it was computed of."""

    entries: Entries
    sizes: Sizes
    source: tuple[Any, ...]

    def holds_for(self, *source: Any) -> bool:
        """Whether it was computed of these very arrays."""
        return all(mine is yours for mine, yours in zip(self.source, source, strict=True))


def known_of(
    observation: Float[np.ndarray, "B n"],
    weight: Float[np.ndarray, "B n"],
    rounding: Float[Any, "B n"],
    blank: Float[np.ndarray, " n"],
) -> Known:
    """Send a batch to the device, and compute its sizes there."""
    entries = Entries(*map(on_device, (observation, shared(weight), rounding)))
    found = on_host(_sizes(*entries, on_device(blank)))
    return Known(entries, found, (observation, weight, rounding, blank))
