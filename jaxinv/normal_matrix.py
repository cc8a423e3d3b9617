r"""Weighted normal matrices W' diag(d) W for a batch of weights d.

Where W is shared, entry (i, j) of every matrix of the batch is the product of its d with the vector
W_i * W_j of pair products. All matrices together are then one product (B, n) @ (n, k(k+1)/2), half
the operations of a batched product and no (B, n, k) between. The pair products cost n k^2 / 2
numbers: worth it where they are used again (an iteration), or by many rows at once.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

PAIR_BYTES = 1 << 30  # more than this is not kept
ONCE_BYTES = 1 << 27  # nor formed for a single use
FORMED_PAYS = 128  # rows of a single use that pay for forming them (measured, 500x100 and 600x250)
BLOCK = 64  # rows of the matrices that are formed together, up to their diagonal block

PairProducts = tuple[Float[Array, "n _"], ...]


def pair_products(matrix: Float[Array, "*shared n k"]) -> PairProducts:
    """W_i * W_j for all j <= i in blocks of BLOCK rows i; none where they would not pay."""
    n, k = matrix.shape[-2:]
    if matrix.ndim == 3 or _pair_bytes(matrix) > PAIR_BYTES:
        return ()
    return tuple(
        (matrix[:, start : start + BLOCK, None] * matrix[:, None, : start + BLOCK]).reshape(n, -1)
        for start in range(0, k, BLOCK)
    )


def normal_matrices(
    matrix: Float[Array, "*shared n k"],
    weights: Float[Array, "B n"],
    pairs: PairProducts | None = None,
) -> Float[Array, "B k k"]:
    """W' diag(d_b) W, its lower triangle at least, for every row d_b of the weights.

    pairs: of `pair_products(matrix)`, where the caller keeps them; None decides for a single use.
    What stands above the diagonal blocks is not defined.
    """
    if pairs is None:
        often = len(weights) >= FORMED_PAYS and _pair_bytes(matrix) <= ONCE_BYTES
        pairs = pair_products(matrix) if often else ()
    if not pairs:
        return jnp.matmul(matrix.mT, weights[..., None] * matrix, precision="highest")
    k, rows = matrix.shape[-1], []
    for start, products in zip(range(0, k, BLOCK), pairs, strict=True):
        stop = min(start + BLOCK, k)
        block = jnp.matmul(weights, products, precision="highest")
        filled = block.reshape(len(weights), stop - start, stop)
        rows.append(jnp.pad(filled, ((0, 0), (0, 0), (0, k - stop))))
    return jnp.concatenate(rows, axis=1)


def _pair_bytes(matrix: Array) -> int:
    n, k = matrix.shape[-2:]
    return int(n * k * (k + 1) // 2 * matrix.dtype.itemsize)
