"""Weighted normal matrices W' diag(d) W for a batch of weights d, as large matrix products.

Where W is shared, entry (i, j) of the b-th matrix is the product of d_b with the vector W_i * W_j
of one pair of columns, so that the matrices of a whole batch are products (B, n) @ (n, pairs) over
the pairs on or below the diagonal: half the operations of one product an observation, and no
temporary of size B n k. With few observations forming the pairs costs more than it saves.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Below this many observations one product each is faster (measured at 500 x 100 to 784 x 500:
# twice as fast at 1, equal between 8 and 32, half as fast at 256).
FEWEST_OBSERVATIONS = 16
# Of one product an observation, bands of rows up to the diagonal: five eighths of the operations.
# Narrower ones leave the products too small to be fast.
BANDS = 4
NARROWEST_BAND = 32
# Pairs of two blocks of columns: formed in cache, used once, so that nothing large is compiled.
LARGEST_BLOCK = 32
# Pairs that are formed once and kept, as rows of blocks that are unrolled: a fifth faster at
# 600 x 250, half as fast at 784 x 500, where reading them takes longer than forming them again.
KEPT_BYTES = 1 << 28
KEPT_COLUMNS = 256
KEPT_BLOCK = 32


PairProducts = tuple[Float[Array, "n _"], ...]


def pair_products(matrix: Float[Array, "*shared n k"]) -> PairProducts:
    """W_i * W_j for i in a block of columns and all j up to its end; none where too large."""
    n, k = matrix.shape[-2:]
    size = n * k * k * matrix.dtype.itemsize // 2
    if matrix.ndim == 3 or size > KEPT_BYTES or k > KEPT_COLUMNS:
        return ()
    ends = [(i, min(i + KEPT_BLOCK, k)) for i in range(0, k, KEPT_BLOCK)]
    return tuple(_pairs(matrix[:, start:end], matrix[:, :end]) for start, end in ends)


def normal_matrices(
    matrix: Float[Array, "*shared n k"], weights: Float[Array, "B n"], pairs: PairProducts = ()
) -> Float[Array, "B k k"]:
    """W' diag(d_b) W for every row d_b of the weights: its lower triangle, and above it anything.

    pairs: of `pair_products(matrix)`, called once, where the matrix is used again and again.
    """
    if matrix.ndim == 3:
        return jnp.matmul(matrix.mT, weights[..., None] * matrix, precision="highest")
    if len(weights) < FEWEST_OBSERVATIONS:
        return jax.lax.map(lambda d: _by_bands(matrix, d), weights)
    if pairs:
        return _by_kept_pairs(matrix.shape[1], pairs, weights)
    return _by_blocks(matrix, weights)


def _by_bands(w: Float[Array, "n k"], weights: Float[Array, " n"]) -> Float[Array, "k k"]:
    """The matrix of one observation, every band of rows as wide as its last diagonal entry."""
    k = w.shape[1]
    band = max(-(-k // BANDS), NARROWEST_BAND)
    weighted = weights[:, None] * w
    rows = []
    for start in range(0, k, band):
        stop = min(start + band, k)
        product = jnp.matmul(weighted[:, start:stop].T, w[:, :stop], precision="highest")
        rows.append(jnp.pad(product, ((0, 0), (0, k - stop))))
    return jnp.concatenate(rows)


def _by_kept_pairs(
    k: int, pairs: PairProducts, weights: Float[Array, "B n"]
) -> Float[Array, "B k k"]:
    rows = []
    for start, products in zip(range(0, k, KEPT_BLOCK), pairs, strict=True):
        stop = min(start + KEPT_BLOCK, k)
        product = jnp.matmul(weights, products, precision="highest")
        filled = product.reshape(len(weights), stop - start, stop)
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
