"""A batch of interval linear programs on the device, and where its solver stands."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxinv.linalg.normal_matrix import PairProducts, normal_matrices
from jaxinv.lp.sides import Sides


class DeviceMatrix(NamedTuple):
    """W, shared (n, k) or one an instance (B, n, k), with the pair products of its columns."""

    rows: Float[Array, "*shared n k"]
    pairs: PairProducts

    @property
    def largest(self) -> Float[Array, "*batch k"]:
        """The largest magnitude of each column."""
        return jnp.abs(self.rows).max(-2)

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
        return normal_matrices(self.rows, weights, self.pairs)


class Program(NamedTuple):
    """A batch on the device. ends: the sides' constants, 0 where infinite. present: which exist.

    lower_slack, upper_slack: a and b, (B, n). cost: (B, k), of unit length for NONE. floor: (B,),
    an optimum below it needs no digits.
    """

    ends: Sides
    present: Sides
    lower_slack: Float[Array, "B n"]
    upper_slack: Float[Array, "B n"]
    cost: Float[Array, "B k"]
    floor: Float[Array, " B"]


class State(NamedTuple):
    """latent (B, k), margins, multipliers, steps taken, and whether an instance is done: (B,)."""

    latent: Float[Array, "B k"]
    margin: Sides
    multiplier: Sides
    steps: Int[Array, " B"]
    finished: Bool[Array, " B"]
    stuck: Bool[Array, " B"]

    @property
    def running(self) -> Bool[Array, " B"]:
        return ~(self.finished | self.stuck)
