"""Weighted normal matrices W' diag(d) W for a batch of weights d, as large matrix products."""

import jax.numpy as jnp
from jaxtyping import Array, Float

BLOCK_BYTES = 1 << 26


def normal_matrices(
    matrix: Float[Array, "*shared n k"], weights: Float[Array, "B n"]
) -> Float[Array, "B k k"]:
    """W' diag(d_b) W, its lower triangle, for every row d_b of the weights.

    Where W is shared, entry (i, j) is the product of d_b with the vector W_i * W_j, so that a block
    of rows i of all B matrices is one product (B, n) @ (n, block k). Only blocks on or below the
    diagonal are formed, which is all that a Cholesky factorisation reads; each block's right-hand
    side stays below BLOCK_BYTES. Entries above the diagonal blocks are zero.
    """
    if matrix.ndim == 3:
        weighted = weights[..., None] * matrix
        return jnp.matmul(matrix.mT, weighted, precision="highest")
    n, k = matrix.shape
    block = max(1, min(k, BLOCK_BYTES // (n * k * matrix.dtype.itemsize)))
    rows = []
    for start in range(0, k, block):
        stop = min(start + block, k)
        pairs = (matrix[:, start:stop, None] * matrix[:, None, :stop]).reshape(n, -1)
        product = jnp.matmul(weights, pairs, precision="highest")
        filled = product.reshape(len(weights), stop - start, stop)
        rows.append(jnp.pad(filled, ((0, 0), (0, 0), (0, k - stop))))
    return jnp.concatenate(rows, axis=1)
