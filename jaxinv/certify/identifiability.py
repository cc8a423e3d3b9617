"""Is a latent the only one that gives its image? Ranks of the active rows, and of the Jacobian.

For x = G(z) exactly:

- every layer's active rows W_I of full column rank: z is the only preimage of x;
- rank J = k: no other preimage in a neighbourhood of z;
- rank J < k: the preimage holds a (k - rank J) dimensional polytope around z, and no method can do
  better than to name it.

Active are rows with positive output (ReLU), strictly inside the range (sigmoid, tanh), else all.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from jaxinv.linalg import cholesky
from jaxinv.model import walk
from jaxinv.model.activation import Activation
from jaxinv.model.decoder import Decoder, Linearization
from jaxinv.model.layer import Layer

RANK_TOLERANCE = 1e-10  # of the largest singular value
CLEAR_EIGENVALUE = 1e-8  # of the Gram matrix with unit diagonal: above it the rank is beyond doubt
CLEAR_IN_SINGLE = 1e-3  # the same from single precision
LEAST_COLUMN = 1e-6  # norm, of the largest column's
MOST_IN_SINGLE = 1e9  # entries of the weights and of J, and their inverse
BLOCK = 64  # Jacobians in memory together
BLOCK_BYTES = 1 << 29
LARGEST_MATRIX = 1 << 20  # entries of a layer that is no matrix, whose rank is taken all the same


@dataclass(frozen=True)
class Identifiability:
    """What an image says about its latent, one entry a row (no batch axis for one latent).

    layer_ranks: (B, d) rank of each layer's active rows, full where it is the layer's width_in, -1
    where it is not known: the layer is a convolution whose matrix is too large to write out, or
    its activation is none that a value alone undoes.
    rank: (B,) of the Jacobian. undetermined: (B,) k - rank, the dimension of the preimage around
    z. unique: (B,) z is the only preimage of G(z), anywhere. locally_unique: (B,) the only one in
    a neighbourhood. Of a decoder without layers, and of a layer of unknown rank, no image is known
    to have one preimage alone.

    >>> g = jaxinv.Generator.from_layers([(np.eye(2), None, "relu")])
    >>> found = jaxinv.identifiability(g, [[1.0, 2.0], [1.0, -2.0]])
    >>> found.unique.tolist(), found.undetermined.tolist()
    ([True, False], [0, 1])
    """

    layer_ranks: Int[np.ndarray, "*batch d"]
    rank: Int[np.ndarray, "*batch"]
    undetermined: Int[np.ndarray, "*batch"]
    unique: Bool[np.ndarray, "*batch"]
    locally_unique: Bool[np.ndarray, "*batch"]


def identifiability(generator: Decoder, latent: Any, mask: Any = None) -> Identifiability:
    """Ranks at z, (k,) or (B, k), and what follows from them for the observation x = G(z).

    mask: (n,) or (B, n) bool, True where observed. A latent that is not finite counts as wholly
    undetermined. Raises ValueError where a shape does not fit.

    >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
    >>> known = jaxinv.identifiability(g, np.ones(2))
    >>> known.unique.item(), known.layer_ranks.tolist()
    (True, [2, 8])
    """
    z = np.asarray(latent, dtype=np.float64)
    rows = np.atleast_2d(z)
    finite = np.asarray(np.isfinite(rows).all(axis=1))
    rows = np.where(finite[:, None], rows, 0.0)
    observed = observed_rows(mask, (len(rows), generator.observation_size))
    layers = generator.layers
    with jax.enable_x64(True):
        outputs = _outputs(layers, jnp.asarray(rows))
    ranks = np.full((len(rows), len(layers)), -1)
    for i, (layer, output) in enumerate(zip(layers, outputs, strict=True)):
        large = not layer.is_dense and layer.width * layer.width_in > LARGEST_MATRIX
        if large or not layer.activation.layerwise:
            continue
        active = active_rows(layer.activation, np.asarray(output))
        if i == len(layers) - 1:
            active = active & observed
        ranks[:, i] = _ranks_of_rows(np.asarray(layer.weight), active)
    rank = jacobian_rank(generator, rows, observed)
    ranks[~finite], rank[~finite] = 0, 0
    full = ranks == np.array([layer.width_in for layer in layers])
    k = generator.latent_size
    unique, locally = np.asarray(full.all(axis=1) & bool(layers)), np.asarray(rank == k)
    parts = (ranks, rank, k - rank, unique, locally)
    return Identifiability(*(part[0] for part in parts) if z.ndim == 1 else parts)


def jacobian_rank(
    generator: Decoder, latent: Float[np.ndarray, "B k"], observed: Bool[np.ndarray, "B n"]
) -> Int[np.ndarray, " B"]:
    """rank of the observed rows of J = D_d W_d ... D_1 W_1 at each latent."""
    rank = np.zeros(len(latent), np.int64)
    fit = BLOCK_BYTES // (8 * generator.latent_size * generator.scratch)
    block = int(np.clip(fit, 1, BLOCK))
    for start in range(0, len(latent), block):
        some = slice(start, start + block)
        # One shape for every block: the last one is padded, not compiled anew.
        padded = np.zeros((min(block, len(latent)), latent.shape[1]))
        padded[: len(latent[some])] = latent[some]
        seen = np.zeros((len(padded), observed.shape[1]), bool)
        seen[: len(latent[some])] = observed[some]
        with jax.enable_x64(True):
            z = jnp.asarray(padded)
            clear = np.asarray(_clearly_full(generator, z, jnp.asarray(seen)))[: len(latent[some])]
            rank[some] = latent.shape[1]
            if not clear.all():
                jacobians = np.asarray(_jacobian_off_kinks(generator, z))
        for offset in np.flatnonzero(~clear):
            rank[start + offset] = matrix_rank(jacobians[offset][observed[start + offset]])
    return rank


def _off_kinks(generator: Decoder, z: Float[Array, "B k"], precision: DTypeLike) -> Linearization:
    """G and J, with every ReLU unit that is at its kink switched off."""
    if not generator.layers:
        return generator.linearized(z, precision)
    walked = walk.walk(generator.layers, z, walk.off_kinks)
    return Linearization(walked.value, walk.columns(generator.layers, walked.slopes, precision))


@jax.jit
def _outputs(layers: tuple[Layer, ...], z: Float[Array, "B k"]) -> tuple[Array, ...]:
    return walk.outputs(layers, z)


@jax.jit
def _jacobian_off_kinks(generator: Decoder, z: Float[Array, "B k"]) -> Float[Array, "B n k"]:
    return _off_kinks(generator, z, jnp.float64).jacobian


@jax.jit
def _clearly_full(
    generator: Decoder, z: Float[Array, "B k"], observed: Bool[Array, "B n"]
) -> Bool[Array, " B"]:
    """Rows at which even single precision shows J to have full column rank, beyond doubt.

    By the least eigenvalue of the Gram matrix with unit diagonal; the columns' norms may differ by
    1e6 at most, as for `matrix_rank`.
    """
    columns = _off_kinks(generator, z, jnp.float32).columns
    columns = jnp.where(observed[:, None, :], columns, 0.0)
    sizes = [jnp.abs(leaf).max() for layer in generator.layers for leaf in _leaves(layer)]
    sizes.append(jnp.abs(columns).max(axis=(1, 2)))
    # Far from there single precision underflows or overflows.
    held = jnp.array(True)
    for size in sizes:
        held &= (size > 1.0 / MOST_IN_SINGLE) & (size < MOST_IN_SINGLE)
    norms = jnp.linalg.norm(columns, axis=2, keepdims=True)
    held &= norms.min(axis=(1, 2)) > LEAST_COLUMN * norms.max(axis=(1, 2))
    unit = columns / jnp.where(norms > 0, norms, 1.0)
    factor = cholesky.factor(jnp.matmul(unit, unit.mT, precision="highest"))
    return held & (cholesky.least_eigenvalue(factor, unit.shape[1]) > CLEAR_IN_SINGLE)


def _leaves(layer: Layer) -> list[Array]:
    leaves: list[Array] = jax.tree.leaves(layer.linear)
    return leaves


def matrix_rank(matrix: Float[np.ndarray, "n k"]) -> int:
    """Column rank: by the Gram matrix where that is beyond doubt, else by singular values."""
    k = matrix.shape[1]
    norms = np.linalg.norm(matrix, axis=0)
    if len(matrix) >= k and norms.min(initial=np.inf) > LEAST_COLUMN * norms.max(initial=0.0):
        unit = matrix / norms
        if np.linalg.eigvalsh(unit.T @ unit)[0] > CLEAR_EIGENVALUE:
            return int(k)
    if not matrix.size:
        return 0
    singular = np.linalg.svd(matrix, compute_uv=False)
    return int((singular > RANK_TOLERANCE * singular[0]).sum()) if singular[0] > 0 else 0


def active_rows(activation: Activation, output: np.ndarray) -> np.ndarray:
    """Rows whose output fixes their pre-activation."""
    if activation.kind == "relu":
        return output > walk.AT_KINK * output.max(axis=-1, keepdims=True)
    if activation.squashing:
        low, high = activation.range
        return (output > low) & (output < high)
    return np.ones(output.shape, bool)


def observed_rows(mask: Any, shape: tuple[int, int]) -> Bool[np.ndarray, "B n"]:
    """The mask (n,) or (B, n) for every row, all True where there is none."""
    given = np.ones(shape, bool) if mask is None else np.asarray(mask)
    if given.dtype != bool or given.shape not in (shape, shape[1:]):
        raise ValueError(
            f"mask has dtype {given.dtype} and shape {given.shape}; expected bool, {shape[1:]} "
            f"or {shape}"
        )
    return np.broadcast_to(given, shape)


def _ranks_of_rows(weight: np.ndarray, active: np.ndarray) -> Int[np.ndarray, " B"]:
    if active.all():
        return np.full(len(active), matrix_rank(weight))
    return np.array([matrix_rank(weight[rows]) for rows in active], np.int64)
