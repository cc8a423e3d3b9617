"""Weighted normal matrices W' diag(d) W for a batch of weights d, as large matrix products.

Where W is shared, entry (i, j) of the b-th matrix is the product of d_b with the vector W_i * W_j
of one pair of columns, so that the matrices of a whole batch are products (B, n) @ (n, pairs) over
the pairs on or below the diagonal: half the operations of one product an observation, and no
temporary of size B n k. With few observations forming the pairs costs more than it saves.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Below this many observations one product each is faster (measured at 500 x 100 to 784 x 500:
# twice as fast at 1, equal between 8 and 32, half as fast at 256).
FEWEST_OBSERVATIONS = 16
# Pairs of two blocks of columns: formed in cache, used once, so that nothing large is compiled.
LARGEST_BLOCK = 32
# Pairs that are formed once and kept, as rows of blocks that are unrolled. Larger ones would be
# read from memory at every use, which takes as long as forming them again.
KEPT_BYTES = 1 << 25
KEPT_COLUMNS = 256
KEPT_BLOCK = 64


class PairProducts(NamedTuple):
    """W, and W_i * W_j for i in a block of columns and all j up to its end, where worth keeping."""

    matrix: Float[Array, "*shared n k"]
    kept: tuple[Float[Array, "n pairs"], ...]


def pair_products(matrix: Float[Array, "*shared n k"]) -> PairProducts:
    """What `normal_matrices` can reuse between weights: call it once, outside the loop."""
    n, k = matrix.shape[-2:]
    size = n * k * k * matrix.dtype.itemsize // 2
    if matrix.ndim == 3 or size > KEPT_BYTES or k > KEPT_COLUMNS:
        return PairProducts(matrix, ())
    starts = range(0, k, KEPT_BLOCK)
    kept = (_pairs(matrix[:, i : i + KEPT_BLOCK], matrix[:, : i + KEPT_BLOCK]) for i in starts)
    return PairProducts(matrix, tuple(kept))


def normal_matrices(
    matrix: Float[Array, "*shared n k"] | PairProducts, weights: Float[Array, "B n"]
) -> Float[Array, "B k k"]:
    """W' diag(d_b) W for every row d_b of the weights: its lower triangle, and above it anything.

    W is (n, k), (B, n, k), or its `pair_products` where it is used again and again.
    """
    pairs = matrix if isinstance(matrix, PairProducts) else PairProducts(matrix, ())
    w = pairs.matrix
    if w.ndim == 3:
        return jnp.matmul(w.mT, weights[..., None] * w, precision="highest")
    if len(weights) < FEWEST_OBSERVATIONS:
        return jax.lax.map(lambda d: jnp.matmul(w.T, d[:, None] * w, precision="highest"), weights)
    if pairs.kept:
        return _by_kept_pairs(pairs, weights)
    return _by_blocks(w, weights)


def _by_kept_pairs(pairs: PairProducts, weights: Float[Array, "B n"]) -> Float[Array, "B k k"]:
    k = pairs.matrix.shape[1]
    rows = []
    for block in pairs.kept:
        stop = min(KEPT_BLOCK * (len(rows) + 1), k)
        product = jnp.matmul(weights, block, precision="highest")
        filled = product.reshape(len(weights), -1, stop)
        rows.append(jnp.pad(filled, ((0, 0), (0, 0), (0, k - stop))))
    return jnp.concatenate(rows, axis=1)


def _by_blocks(w: Float[Array, "n k"], weights: Float[Array, "B n"]) -> Float[Array, "B k k"]:
    """One pair of blocks of columns after the other, in a loop whose body is compiled once."""
    k = w.shape[1]
    blocks = -(-k // LARGEST_BLOCK)
    block = -(-k // blocks)
    size = blocks * block
    padded = jnp.pad(w, ((0, 0), (0, size - k)))
    row, column = (jnp.asarray(block * index) for index in np.tril_indices(blocks))

    def fill(t: Array, normal: Array) -> Array:
        left = jax.lax.dynamic_slice_in_dim(padded, row[t], block, axis=1)
        right = jax.lax.dynamic_slice_in_dim(padded, column[t], block, axis=1)
        product = jnp.matmul(weights, _pairs(left, right), precision="highest")
        filled = product.reshape(len(weights), block, block)
        return jax.lax.dynamic_update_slice(normal, filled, (0, row[t], column[t]))

    normal = jnp.zeros((len(weights), size, size), w.dtype)
    return jax.lax.fori_loop(0, len(row), fill, normal)[:, :k, :k]


def _pairs(left: Float[Array, "n p"], right: Float[Array, "n q"]) -> Float[Array, "n pairs"]:
    return (left[:, :, None] * right[:, None, :]).reshape(len(left), -1)
