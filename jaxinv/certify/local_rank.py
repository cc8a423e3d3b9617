r"""What an observation determines of the latent near one point: the rank of J, and its least gain.

J = D_d W_d ... D_1 W_1 of the observed entries. Where the errors e_j of the entries have deviations
s_j, the least-squares latent is off by about C^(1/2) of them, C = (J' S^-2 J)^-1, and the
pre-activation u_i = a_i z + ... of a ReLU unit by

    std(u_i) = || C^(1/2)' a_i ||,    a_i = (W_i D_(i-1) ... D_1 W_1)_i.

A unit within SURE of these of its kink may be on its other side in truth. J_sure is J with all such
units on the flatter one, off for a ReLU: k - rank J_sure latent directions hang on them, and are
not determined at this noise. Without errors J_sure is J with the units off that are at their kink.

An error of size r in the observed entries moves the latent by up to r / sigma_min(J_sure) nearby,
no more than r times the gain ||J_sure^+||_F.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxinv.certify.noise_level import SURE
from jaxinv.linalg import cholesky
from jaxinv.linalg.blocks import blocks
from jaxinv.linalg.on_device import on_device
from jaxinv.model import walk
from jaxinv.model.decoder import Decoder

RANK_TOLERANCE = 1e-13  # of the largest singular value
CLEAR_EIGENVALUE = 1e-8  # of the Gram matrix with unit diagonal: above it the rank is beyond doubt
LEAST_COLUMN = 1e-6  # norm, of the largest column's
LEAST_RATIO = 1e-8  # of deviations in one row
BLOCK = 64  # Jacobians in memory together
BLOCK_BYTES = 1 << 29


class Surroundings(NamedTuple):
    """What is known around each latent.

    columns, sure: (B, k, n), J' and J_sure'. open: (B,) share of units with a kink whose side is
    open. clear: (B,) whether the Gram matrix of J_sure shows full column rank beyond doubt. gain:
    (B,) ||J_sure^+||_F, where it does. well: (B,) whether that of J does.
    """

    columns: Float[Array, "B k n"]
    sure: Float[Array, "B k n"]
    open: Float[Array, " B"]
    clear: Bool[Array, " B"]
    gain: Float[Array, " B"]
    well: Bool[Array, " B"]


class LocalRank(NamedTuple):
    """rank: (B,) of J_sure. gain: (B,) ||J_sure^+||_F, infinite where rank < k.

    well: (B,) whether J is well enough conditioned for normal equations.
    """

    rank: Int[np.ndarray, " B"]
    gain: Float[np.ndarray, " B"]
    well: Bool[np.ndarray, " B"]


def local_rank(
    decoder: Decoder,
    latent: Float[np.ndarray, "B k"],
    observed: Bool[np.ndarray, "B n"],
    deviation: Float[np.ndarray, "B n"] | None = None,
    wanted: Bool[np.ndarray, " B"] | None = None,
) -> LocalRank:
    """Rank and gain at each latent. deviation: of each observed entry's error; None is exact.

    wanted: False where a row only holds its place, which the last bits of the others depend on.
    """
    batch, k = latent.shape
    rank, gain, well = np.full(batch, k), np.zeros(batch), np.ones(batch, bool)
    block = block_size(decoder, batch, deviation is not None)
    for rows, padded in blocks(np.arange(batch), block):
        idle = np.zeros(len(rows), bool) if wanted is None else ~wanted[rows]
        if idle.all():
            continue
        with jax.enable_x64(True):
            error = None if deviation is None else on_device(deviation[padded])
            data = on_device(latent[padded]), on_device(observed[padded]), error
            around = surroundings(decoder, *data)
        told = around.clear, around.gain, around.well
        clear, gain[rows], well[rows] = (np.asarray(part)[: len(rows)] for part in told)
        clear = clear | idle
        if clear.all():
            continue
        columns = np.asarray(around.sure)
        for place in np.flatnonzero(~clear):
            row = rows[place]
            sure = columns[place][:, observed[row]].T
            rank[row] = matrix_rank(sure)
            gain[row] = pseudo_inverse_norm(sure) if rank[row] == k else np.inf
    return LocalRank(rank, gain, well)


def block_size(decoder: Decoder, batch: int, gradients: bool) -> int:
    """Latents whose Jacobians, with every layer's gradients or without, are held together."""
    carried = decoder.scratch
    if gradients:
        carried = max(carried, sum(layer.width for layer in decoder.layers))
    fit = BLOCK_BYTES // (8 * decoder.latent_size * carried)
    return int(np.clip(fit, 1, min(BLOCK, max(batch, 1))))


@jax.jit
def surroundings(
    decoder: Decoder,
    z: Float[Array, "B k"],
    observed: Bool[Array, "B n"],
    deviation: Float[Array, "B n"] | None,
) -> Surroundings:
    """J and J_sure at latents; nothing is open where no error is known, or no layer."""
    layers, nothing = decoder.layers, jnp.zeros(len(z))
    if not layers:
        columns = decoder.linearized(z, jnp.float64).columns
        clear, gain = _clear(columns, observed)
        return Surroundings(columns, columns, nothing, clear, gain, clear)
    walked = walk.walk(layers, z, walk.off_kinks)
    columns = walk.columns(layers, walked.slopes)
    clear, gain = _clear(columns, observed)
    if deviation is None or not any(layer.activation.has_kink for layer in layers):
        return Surroundings(columns, columns, nothing, clear, gain, clear)
    # An entry that is exact beside others that are not weighs as much as rounding lets it.
    largest = deviation.max(-1, keepdims=True)
    ratio = deviation / jnp.where(largest > 0, largest, 1.0)
    weight = jnp.where(observed, 1.0 / jnp.maximum(ratio, LEAST_RATIO), 0.0)
    scaled = weight[:, None, :] * columns
    unit = 1.0 / jnp.maximum(jnp.linalg.norm(scaled, axis=2, keepdims=True), 1e-300)
    scaled *= unit
    factor = cholesky.factor(jnp.matmul(scaled, scaled.mT, precision="highest"))
    slopes, unsure = [], []
    gradients = walk.gradients(layers, walked.slopes)
    for layer, u, slope, gradient in zip(
        layers, walked.preactivations, walked.slopes, gradients, strict=True
    ):
        if layer.activation.has_kink:
            spread = jnp.linalg.norm(cholesky.forward(factor, unit * gradient), axis=1)
            # Where the factor broke down nothing is sure.
            known = jnp.abs(u) > SURE * largest * spread
            slope = jnp.where(known, slope, jnp.minimum(slope, layer.activation.slope))
            unsure.append(~known)
        slopes.append(slope)
    share = jnp.concatenate(unsure, axis=1).mean(1)
    # Where nothing is open as well: what is open in another row must not change this one's bits.
    sure = walk.columns(layers, slopes)
    surely, gain = _clear(sure, observed)
    return Surroundings(columns, sure, share, clear & surely, gain, clear)


def _clear(
    columns: Float[Array, "B k n"], observed: Bool[Array, "B n"]
) -> tuple[Bool[Array, " B"], Float[Array, " B"]]:
    """Whether the unit Gram matrix's least eigenvalue leaves no doubt of the rank, and ||J^+||_F.

    Where the columns' norms differ by more than LEAST_COLUMN says, it does leave doubt.
    """
    columns = jnp.where(observed[:, None, :], columns, 0.0)
    norms = jnp.linalg.norm(columns, axis=2, keepdims=True)
    held = norms.min(axis=(1, 2)) > LEAST_COLUMN * norms.max(axis=(1, 2))
    scale = jnp.where(norms > 0, 1.0 / jnp.where(norms > 0, norms, 1.0), 0.0)
    unit = scale * columns
    factor = cholesky.factor(jnp.matmul(unit, unit.mT, precision="highest"))
    clear = cholesky.least_eigenvalue(factor, unit.shape[1]) > CLEAR_EIGENVALUE
    # J'J = N U N of the norms N: ||J^+||_F^2 = tr N^-1 U^-1 N^-1.
    inverse = cholesky.forward(factor, scale * jnp.eye(unit.shape[1]))
    return held & clear, jnp.linalg.norm(inverse, axis=(1, 2))


def matrix_rank(matrix: Float[np.ndarray, "n k"]) -> int:
    """Column rank: by the Gram matrix where that is beyond doubt, else by singular values."""
    if _gram(matrix) is not None:
        return int(matrix.shape[1])
    if not matrix.size:
        return 0
    singular = np.linalg.svd(matrix, compute_uv=False)
    return int((singular > RANK_TOLERANCE * singular[0]).sum()) if singular[0] > 0 else 0


def pseudo_inverse_norm(matrix: Float[np.ndarray, "n k"]) -> float:
    """||M^+||_F of a matrix of full column rank, infinite for any other."""
    known = _gram(matrix)
    if known is not None:
        norms, gram = known
        return float(np.sqrt((np.diag(np.linalg.inv(gram)) / norms**2).sum()))
    if len(matrix) < matrix.shape[1]:
        return np.inf
    singular = np.linalg.svd(matrix, compute_uv=False)
    if not singular[-1] > RANK_TOLERANCE * singular[0]:
        return np.inf
    with np.errstate(over="ignore"):
        return float(np.linalg.norm(1.0 / singular))


def _gram(matrix: Float[np.ndarray, "n k"]) -> tuple[np.ndarray, np.ndarray] | None:
    """Norms of the columns and their Gram matrix scaled by them; None where it leaves doubt."""
    norms = np.linalg.norm(matrix, axis=0)
    shortest = norms.min(initial=np.inf)
    if len(matrix) < matrix.shape[1] or not shortest > LEAST_COLUMN * norms.max(initial=0.0):
        return None
    unit = matrix / norms
    gram = unit.T @ unit
    return (norms, gram) if np.linalg.eigvalsh(gram)[0] > CLEAR_EIGENVALUE else None
