"""The matrix of a batch of linear programs on the device: its products and normal matrices."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxinv.normal_matrix import PairProducts, normal_matrices


class DeviceMatrix(NamedTuple):
    """W, shared (n, k) or one an instance (B, n, k), with the pair products of its columns."""

    rows: Float[Array, "*shared n k"]
    pairs: PairProducts

    @property
    def columns(self) -> int:
        return int(self.rows.shape[-1])

    def apply(self, z: Float[Array, "B k"]) -> Float[Array, "B n"]:
        """W z."""
        if self.rows.ndim == 2:
            return jnp.matmul(z, self.rows.T, precision="highest")
        return jnp.einsum("bnk,bk->bn", self.rows, z, precision="highest")

    def adjoint(self, y: Float[Array, "B n"]) -> Float[Array, "B k"]:
        """W' y."""
        if self.rows.ndim == 2:
            return jnp.matmul(y, self.rows, precision="highest")
        return jnp.einsum("bnk,bn->bk", self.rows, y, precision="highest")

    def normal(self, weights: Float[Array, "B n"]) -> Float[Array, "B k k"]:
        """W' diag(d) W, its lower triangle."""
        return normal_matrices(self.pairs, weights)
