"""Some entries of a vector, by number."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxinv.model.linear.map import LinearMap


@partial(jax.tree_util.register_dataclass, data_fields=["index"], meta_fields=["input_shape"])
@dataclass(frozen=True)
class Selection(LinearMap):
    """z -> z_I. index: (m,), I, each entry at least 0 and below the width of what comes in."""

    index: Int[Array, " m"]
    input_shape: tuple[int, ...]

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (int(self.index.shape[0]),)

    def __call__(self, z: Float[Array, "*batch k"]) -> Float[Array, "*batch n"]:
        return z[..., self.index]

    def columns(self) -> Float[Array, "k n"]:
        return self(jnp.eye(self.width_in, dtype=jnp.float64))

    def astype(self, precision: DTypeLike) -> "Selection":
        return self
