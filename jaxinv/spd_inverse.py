r"""Inverses of a batch of symmetric positive definite matrices, by block sweeps.

Sweeping the block P of a symmetric A replaces

    A_PP by -A_PP^-1,   A_PQ by A_PP^-1 A_PQ,   A_QQ by A_QQ - A_QP A_PP^-1 A_PQ,

and after every block has been swept A holds -A^-1 (Goodnight 1979). All of it is batched matrix
products over the whole batch, on any device. XLA's own Cholesky and triangular solve are no
alternative on a CPU: they call LAPACK one matrix at a time, cost more for one right-hand side than
this whole inverse, and two such calls in flight on two cores wait for each other for ever.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

BLOCK = 32


def spd_inverse(matrices: Float[Array, "B k k"]) -> Float[Array, "B k k"]:
    """A^-1 for each A, reading the lower triangle only; not finite or huge where A is singular.

    Accurate to about eps cond(A) relative; refine what is solved with it.
    """
    k = matrices.shape[-1]
    lower = jnp.tril(matrices)
    full = lower + jnp.tril(matrices, -1).mT
    block = min(BLOCK, k)
    padding = -k % block
    # A unit diagonal on the padding sweeps to itself and touches nothing else.
    padded = jnp.pad(full, ((0, 0), (0, padding), (0, padding)))
    size = k + padding
    padded += jnp.diag((jnp.arange(size) >= k).astype(matrices.dtype))

    def sweep_block(p: Array, a: Array) -> Array:
        start = p * block
        rows = jax.lax.dynamic_slice_in_dim(a, start, block, axis=1)
        pivot = jax.lax.dynamic_slice_in_dim(rows, start, block, axis=2)
        inverse = _small_inverse(pivot)
        solved = jnp.matmul(inverse, rows, precision="highest")
        a = a - jnp.matmul(rows.mT, solved, precision="highest")
        a = jax.lax.dynamic_update_slice_in_dim(a, solved, start, axis=1)
        a = jax.lax.dynamic_update_slice_in_dim(a, solved.mT, start, axis=2)
        return jax.lax.dynamic_update_slice(a, -inverse, (0, start, start))

    swept = jax.lax.fori_loop(0, size // block, sweep_block, padded)
    return -swept[:, :k, :k]


def _small_inverse(a: Float[Array, "B m m"]) -> Float[Array, "B m m"]:
    """The same sweep with blocks of one."""

    def sweep_one(j: Array, a: Array) -> Array:
        row = jax.lax.dynamic_index_in_dim(a, j, axis=1, keepdims=False)
        pivot = jax.lax.dynamic_index_in_dim(row, j, axis=1, keepdims=True)
        solved = row / pivot
        a = a - solved[:, :, None] * row[:, None, :]
        here = jnp.arange(a.shape[-1]) == j
        a = jnp.where(here[:, None], solved[:, None, :], jnp.where(here, solved[:, :, None], a))
        return jnp.where(here[:, None] & here, -1.0 / pivot[..., None], a)

    return -jax.lax.fori_loop(0, a.shape[-1], sweep_one, a)
