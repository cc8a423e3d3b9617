"""TEMP: replaced on merge."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

BLOCK = 64


class PairProducts(NamedTuple):
    matrix: Array
    blocks: tuple[Array, ...]


def pair_products(matrix: Array) -> PairProducts:
    if matrix.ndim == 3:
        return PairProducts(matrix, ())
    n, k = matrix.shape
    blocks = []
    for start in range(0, k, BLOCK):
        stop = min(start + BLOCK, k)
        blocks.append((matrix[:, start:stop, None] * matrix[:, None, :stop]).reshape(n, -1))
    return PairProducts(matrix, tuple(blocks))


def normal_matrices(pairs, weights: Float[Array, "B n"]) -> Float[Array, "B k k"]:
    if not isinstance(pairs, PairProducts):
        pairs = pair_products(pairs)
    matrix = pairs.matrix
    if matrix.ndim == 3:
        return jnp.matmul(matrix.mT, weights[..., None] * matrix, precision="highest")
    k = matrix.shape[1]
    rows = []
    for i, block in enumerate(pairs.blocks):
        start = i * BLOCK
        stop = min(start + BLOCK, k)
        product = jnp.matmul(weights, block, precision="highest")
        filled = product.reshape(len(weights), stop - start, stop)
        rows.append(jnp.pad(filled, ((0, 0), (0, 0), (0, k - stop))))
    return jnp.concatenate(rows, axis=1)
