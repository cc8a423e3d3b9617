"""A matrix."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxinv.model.linear.map import LinearMap


@partial(jax.tree_util.register_dataclass, data_fields=["weight"], meta_fields=[])
@dataclass(frozen=True)
class Dense(LinearMap):
    """z -> W z, W of shape (n, k)."""

    weight: Float[Array, "n k"]

    @property
    def input_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (int(self.weight.shape[1]),)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (int(self.weight.shape[0]),)

    @property
    def operations(self) -> float:
        return 2.0 * self.width * self.width_in

    def __call__(self, z: Float[Array, "*batch k"]) -> Float[Array, "*batch n"]:
        return jnp.matmul(z, self.weight.T, precision="highest")

    def columns(self) -> Float[Array, "k n"]:
        return self.weight.T

    def matrix(self) -> Float[np.ndarray, "n k"]:
        return np.asarray(self.weight)

    def scaled(self, factor: Float[np.ndarray, " n"]) -> "Dense":
        with jax.enable_x64(True):
            return Dense(jnp.asarray(factor[:, None] * np.asarray(self.weight)))
