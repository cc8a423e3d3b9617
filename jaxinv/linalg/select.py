"""One choice for every array of a state: new where chosen, else old bit for bit."""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

State = TypeVar("State")


def select(chosen: Bool[Array, "*B"], new: State, old: State) -> State:
    """The new state of the instances that are chosen, and the old one of all others.

    chosen: the leading axes of every array in the two pytrees. An old value passes unchanged
    whatever the new one is, NaN and infinity included.
    """

    def pick(a: Array, b: Array) -> Array:
        return jnp.where(chosen.reshape(chosen.shape + (1,) * (b.ndim - chosen.ndim)), a, b)

    picked: State = jax.tree.map(pick, new, old)
    return picked
