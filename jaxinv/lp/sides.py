"""One array for each kind of side of an interval linear program, with arithmetic side by side."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["lower", "upper", "box_lower", "box_upper", "slack"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Sides:
    """lower, upper: (B, n), the rows. box_lower, box_upper: (B, k). slack: (B, 1), (B, n), (B, 0).

    slack has one column if shared, one a row if separate, none if there is none. Operators work on
    each kind of side by itself; the other operand is Sides, or a (B, 1) array for all of them.
    """

    lower: Array
    upper: Array
    box_lower: Array
    box_upper: Array
    slack: Array

    def _with(self, other: "Sides | Array | float", do: Callable[..., Array]) -> "Sides":
        if isinstance(other, Sides):
            return jax.tree.map(do, self, other)
        return jax.tree.map(lambda mine: do(mine, other), self)

    def __add__(self, other: "Sides | Array | float") -> "Sides":
        return self._with(other, operator.add)

    def __sub__(self, other: "Sides | Array | float") -> "Sides":
        return self._with(other, operator.sub)

    def __mul__(self, other: "Sides | Array | float") -> "Sides":
        return self._with(other, operator.mul)

    def __truediv__(self, other: "Sides | Array | float") -> "Sides":
        return self._with(other, operator.truediv)

    def __neg__(self) -> "Sides":
        return jax.tree.map(operator.neg, self)

    def clipped(self, low: Array | float, high: Array | float) -> "Sides":
        """Every entry brought into [low, high]."""
        return jax.tree.map(lambda mine: jnp.clip(mine, low, high), self)

    def where(self, present: "Sides", elsewhere: float) -> "Sides":
        """These values where a side exists, `elsewhere` where it does not."""
        return jax.tree.map(lambda mine, here: jnp.where(here, mine, elsewhere), self, present)

    def total(self) -> Float[Array, " B"]:
        """The sum over all sides of an instance."""
        return jnp.stack([part.sum(-1) for part in jax.tree.leaves(self)]).sum(0)

    def least(self) -> Float[Array, " B"]:
        """The smallest entry of an instance."""
        parts = [part.min(-1, initial=jnp.inf) for part in jax.tree.leaves(self)]
        return jnp.stack(parts).min(0)

    def largest(self) -> Float[Array, " B"]:
        """The largest magnitude of an instance."""
        parts = [jnp.abs(part).max(-1, initial=0.0) for part in jax.tree.leaves(self)]
        return jnp.stack(parts).max(0)
