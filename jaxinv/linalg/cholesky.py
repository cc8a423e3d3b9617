r"""Cholesky factors of a batch of symmetric positive definite matrices, by halving.

    A = L L',   L = [ L11      ]     L11 = factor(A11),   L21' = L11^-1 A21',
                    [ L21  L22 ]     L22 = factor(A22 - L21 L21'),

down to at most LEAVES blocks, none smaller than BLOCK, of which the inverse L^-1 is kept, so that
factoring and solving are batched matrix products over the whole batch, on any device. Each leaf is
compiled by itself, and twice as large ones cost few operations beside the products. XLA's own
Cholesky and triangular solve are no alternative on a CPU: they call LAPACK one matrix at a time,
and two such calls in flight on two cores wait for each other for ever.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

BLOCK, LEAVES = 32, 8
STEP = 8
INVERSE_ITERATIONS = 3


class Split(NamedTuple):
    """L by halves: the factor of A11, L21' (B, h, k - h), and the factor of A22 - L21 L21'."""

    first: "Factor"
    coupling: Float[Array, "B h m"]
    second: "Factor"


Factor = Float[Array, "B k k"] | Split
Pivot = Float[Array, ""] | float


def factor(matrices: Float[Array, "B k k"], least_pivot: Pivot | None = None) -> Factor:
    """The factor of each matrix, reading the lower triangle only; NaN where not definite.

    least_pivot: where given, a pivot at most this counts as infinite, which leaves its unknown at
    zero: the way of interior-point methods with a matrix that is singular up to rounding.
    """
    block = BLOCK
    while LEAVES * block < matrices.shape[-1]:
        block *= 2
    return _factor(matrices, least_pivot, block)


def _factor(matrices: Float[Array, "B k k"], least_pivot: Pivot | None, block: int) -> Factor:
    """The same, with leaves of at most `block` rows."""
    if matrices.shape[-1] <= block:
        return _inverse_factor(matrices, least_pivot)
    half = _half(matrices.shape[-1], block)
    first = _factor(matrices[:, :half, :half], least_pivot, block)
    coupling = forward(first, matrices[:, half:, :half].mT)
    rest = matrices[:, half:, half:] - _product(coupling.mT, coupling)
    return Split(first, coupling, _factor(rest, least_pivot, block))


def bordered(
    first: Factor,
    border: Float[Array, "B k"],
    corner: Float[Array, "B 1"],
    least_pivot: Pivot | None = None,
) -> Split:
    """The factor of A with one row and column more, from that of A.

    [ A        border ]
    [ border'  corner ]
    """
    coupling = forward(first, border[..., None])
    rest = corner[..., None] - (coupling**2).sum(1, keepdims=True)
    return Split(first, coupling, factor(rest, least_pivot))


def solve(factor: Factor, v: Float[Array, "B k"]) -> Float[Array, "B k"]:
    """A^-1 v, accurate to about eps cond(A) relative; refine what is solved with it."""
    return _backward(factor, forward(factor, v[..., None]))[..., 0]


def least_eigenvalue(factor: Factor, k: int) -> Float[Array, " B"]:
    """The least eigenvalue of each A (k x k), from above: 1 / |A^-1 v| for inverse iterates v."""
    leaf = factor
    while isinstance(leaf, Split):
        leaf = leaf.first

    def iterate(_: int, v: Array) -> Array:
        return solve(factor, v / jnp.linalg.norm(v, axis=-1, keepdims=True))

    # A fixed start with irregular signs: an eigenvector orthogonal to it would be a coincidence.
    v = jnp.sin(1.0 + jnp.arange(k) ** 2).astype(leaf.dtype)
    v = jax.lax.fori_loop(0, INVERSE_ITERATIONS, iterate, jnp.broadcast_to(v, (len(leaf), k)))
    return 1.0 / jnp.linalg.norm(v, axis=-1)


def forward(factor: Factor, v: Float[Array, "B k m"]) -> Float[Array, "B k m"]:
    """L^-1 V."""
    if not isinstance(factor, Split):
        return _product(factor, v)
    half = factor.coupling.shape[1]
    top = forward(factor.first, v[:, :half])
    bottom = forward(factor.second, v[:, half:] - _product(factor.coupling.mT, top))
    return jnp.concatenate([top, bottom], 1)


def _backward(factor: Factor, v: Float[Array, "B k m"]) -> Float[Array, "B k m"]:
    """L'^-1 V."""
    if not isinstance(factor, Split):
        return _product(factor.mT, v)
    half = factor.coupling.shape[1]
    bottom = _backward(factor.second, v[:, half:])
    top = _backward(factor.first, v[:, :half] - _product(factor.coupling, bottom))
    return jnp.concatenate([top, bottom], 1)


def _inverse_factor(a: Float[Array, "B k k"], least_pivot: Pivot | None) -> Float[Array, "B k k"]:
    """L^-1, dense, by forward elimination on [A | I] in steps of a few rows, compiled once."""
    k = a.shape[-1]
    if k <= STEP:
        return _by_elimination(a, least_pivot)
    size = -(-k // STEP) * STEP
    # A unit diagonal on the padding is eliminated without touching anything else.
    a = jnp.pad(a, ((0, 0), (0, size - k), (0, size - k)))
    a += jnp.diag((jnp.arange(size) >= k).astype(a.dtype))
    # Elimination reads the upper triangle, which is the lower one of the transpose.
    identity = jnp.broadcast_to(jnp.eye(size, dtype=a.dtype), a.shape)
    column = jnp.arange(size)

    def eliminate(step: Array, left: Array) -> Array:
        start = step * STEP
        rows = jax.lax.dynamic_slice_in_dim(left, start, STEP, axis=1)
        pivot = jax.lax.dynamic_slice_in_dim(rows, start, STEP, axis=2)
        rows = _product(_by_elimination(pivot.mT, least_pivot), rows)
        below = jnp.where(column >= start + STEP, rows[:, :, :size], 0.0)
        left = left - _product(below.mT, rows)
        return jax.lax.dynamic_update_slice_in_dim(left, rows, start, axis=1)

    left = jnp.concatenate([a.mT, identity], -1)
    left = jax.lax.fori_loop(0, size // STEP, eliminate, left)
    return left[:, :k, size : size + k]


def _by_elimination(a: Float[Array, "B m m"], least_pivot: Pivot | None) -> Float[Array, "B m m"]:
    """L^-1 of a few rows, one row after the other: a loop, which compiles in a third of the time
    that the same rows take one by one.
    """
    m = a.shape[-1]
    column = jnp.arange(m)

    def eliminate(j: Array, left: Array) -> Array:
        row = jax.lax.dynamic_index_in_dim(left, j, axis=1, keepdims=False)
        pivot = jax.lax.dynamic_slice_in_dim(row, j, 1, axis=1)
        if least_pivot is not None:
            pivot = jnp.where(pivot > least_pivot, pivot, jnp.inf)
        row = row / jnp.sqrt(pivot)
        below = jnp.where(column > j, row[:, :m], 0.0)
        left = left - below[:, :, None] * row[:, None, :]
        return jax.lax.dynamic_update_index_in_dim(left, row, j, axis=1)

    identity = jnp.broadcast_to(jnp.eye(m, dtype=a.dtype), a.shape)
    left = jnp.concatenate([a.mT, identity], -1)
    left = jax.lax.fori_loop(0, m, eliminate, left)
    return left[:, :, m:]


def _half(k: int, block: int) -> int:
    """The largest block * 2^p below k."""
    half = block
    while 2 * half < k:
        half *= 2
    return half


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision="highest")
