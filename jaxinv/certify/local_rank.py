r"""What an observation determines of the latent near one point: the rank of J, and its least gain.

J = D_d W_d ... D_1 W_1 of the observed entries. Where the errors e_j of the entries have deviations
s_j, the least-squares latent is off by about C^(1/2) of them, C = (J' S^-2 J)^-1, and the
pre-activation u_i = a_i z + ... of a ReLU unit by

    std(u_i) = || C^(1/2)' a_i ||,    a_i = (W_i D_(i-1) ... D_1 W_1)_i.

A unit within SURE of these of its kink may be on its other side in truth. J_sure is J with all such
units on the flatter one, off for a ReLU: k - rank J_sure latent directions hang on them, and are
not determined at this noise. Without errors J_sure is J with the units off that are at their kink.

An error of size r in the observed entries moves the latent by up to r / sigma_min(J) nearby, no
more than r times the gain ||J^+||_F.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from jaxinv.linalg import cholesky
from jaxinv.model import walk
from jaxinv.model.decoder import Decoder
from jaxinv.model.layer import Layer

SURE = 3.0  # standard deviations
RANK_TOLERANCE = 1e-13  # of the largest singular value
CLEAR_EIGENVALUE = 1e-8  # of the Gram matrix with unit diagonal: above it the rank is beyond doubt
CLEAR_IN_SINGLE = 1e-3  # the same from single precision
LEAST_COLUMN = 1e-6  # norm, of the largest column's
MOST_IN_SINGLE = 1e9  # entries of the weights and of J, and their inverse
BLOCK = 64  # Jacobians in memory together
BLOCK_BYTES = 1 << 29


class Surroundings(NamedTuple):
    """columns, sure: (B, k, n), J' and J_sure'. open: (B,) share of units whose side is open."""

    columns: Float[Array, "B k n"]
    sure: Float[Array, "B k n"]
    open: Float[Array, " B"]


class LocalRank(NamedTuple):
    """rank: (B,) of J_sure. gain: (B,) ||J^+||_F, infinite where rank < k."""

    rank: Int[np.ndarray, " B"]
    gain: Float[np.ndarray, " B"]


def local_rank(
    decoder: Decoder,
    latent: Float[np.ndarray, "B k"],
    observed: Bool[np.ndarray, "B n"],
    deviation: Float[np.ndarray, "B n"] | None = None,
) -> LocalRank:
    """Rank and gain at each latent. deviation: of each observed entry's error; None is exact."""
    batch, k = latent.shape
    rank, gain = np.full(batch, k), np.zeros(batch)
    block = block_size(decoder, batch, deviation is not None)
    for start in range(0, batch, block):
        # One shape for every block: the last one is padded, not compiled anew.
        rows = np.arange(start, min(start + block, batch))
        padded = np.resize(rows, block)
        with jax.enable_x64(True):
            error = None if deviation is None else jnp.asarray(deviation[padded])
            data = jnp.asarray(latent[padded]), jnp.asarray(observed[padded]), error
            clear, estimate = (np.asarray(part)[: len(rows)] for part in _screened(decoder, *data))
            gain[rows] = estimate
            if clear.all():
                continue
            columns, sure_columns, _ = (np.asarray(p) for p in surroundings(decoder, *data))
        for place in np.flatnonzero(~clear):
            row = rows[place]
            whole, sure = (p[place][:, observed[row]].T for p in (columns, sure_columns))
            rank[row] = matrix_rank(sure)
            gain[row] = pseudo_inverse_norm(whole) if rank[row] == k else np.inf
    return LocalRank(rank, gain)


def block_size(decoder: Decoder, batch: int, gradients: bool) -> int:
    """Latents whose Jacobians, with every layer's gradients or without, are held together."""
    carried = decoder.scratch
    if gradients:
        carried = max(carried, sum(layer.width for layer in decoder.layers))
    fit = BLOCK_BYTES // (8 * decoder.latent_size * carried)
    return int(np.clip(fit, 1, min(BLOCK, max(batch, 1))))


def _surroundings(
    decoder: Decoder,
    z: Float[Array, "B k"],
    observed: Bool[Array, "B n"],
    deviation: Float[Array, "B n"] | None,
    precision: DTypeLike,
) -> Surroundings:
    """J' and J_sure' at latents, of which nothing is open where no error is known."""
    nothing = jnp.zeros(len(z), precision)
    if not decoder.layers:
        columns = decoder.linearized(z, precision).columns
        return Surroundings(columns, columns, nothing)
    layers = decoder.layers
    walked = walk.walk(layers, z, walk.off_kinks)
    columns = walk.columns(layers, walked.slopes, precision)
    if deviation is None or not any(layer.activation.has_kink for layer in layers):
        return Surroundings(columns, columns, nothing)
    # Only ratios of the deviations may meet single precision.
    largest = deviation.max(-1, keepdims=True)
    ratio = deviation / jnp.where(largest > 0, largest, 1.0)
    weight = jnp.where(observed, 1.0 / jnp.maximum(ratio, 1e-12), 0.0).astype(precision)
    scaled = weight[:, None, :] * columns
    unit = 1.0 / jnp.maximum(jnp.linalg.norm(scaled, axis=2, keepdims=True), 1e-30)
    scaled *= unit
    factor = cholesky.factor(jnp.matmul(scaled, scaled.mT, precision="highest"))
    slopes, unsure = [], []
    gradients = walk.gradients(layers, walked.slopes, precision)
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
    return Surroundings(columns, walk.columns(layers, slopes, precision), share)


surroundings = jax.jit(partial(_surroundings, precision=jnp.float64))


@jax.jit
def _screened(
    decoder: Decoder,
    z: Float[Array, "B k"],
    observed: Bool[Array, "B n"],
    deviation: Float[Array, "B n"] | None,
) -> tuple[Bool[Array, " B"], Float[Array, " B"]]:
    """Rows at which even single precision shows J_sure to have full column rank, and their gain.

    By the least eigenvalue of the Gram matrix with unit diagonal; the columns' norms may differ by
    1e6 at most, as for `matrix_rank`.
    """
    whole, sure, _ = _surroundings(decoder, z, observed, deviation, jnp.float32)
    sizes = [jnp.abs(leaf).max() for layer in decoder.layers for leaf in _leaves(layer)]
    held = jnp.array(True)
    for size in sizes:
        held &= _in_single(size)
    clear, gain = _clear(whole, observed)
    if sure is not whole:
        clear &= _clear(sure, observed)[0]
    return held & clear, gain


def _clear(
    columns: Float[Array, "B k n"], observed: Bool[Array, "B n"]
) -> tuple[Bool[Array, " B"], Float[Array, " B"]]:
    """Whether the unit Gram matrix's least eigenvalue leaves no doubt, and ||J^+||_F."""
    columns = jnp.where(observed[:, None, :], columns, 0.0)
    norms = jnp.linalg.norm(columns, axis=2, keepdims=True)
    shortest = norms.min(axis=(1, 2))
    fits = _in_single(jnp.abs(columns).max(axis=(1, 2)))
    fits &= shortest > LEAST_COLUMN * norms.max(axis=(1, 2))
    unit = columns / jnp.where(norms > 0, norms, 1.0)
    factor = cholesky.factor(jnp.matmul(unit, unit.mT, precision="highest"))
    fits &= cholesky.least_eigenvalue(factor, unit.shape[1]) > CLEAR_IN_SINGLE
    # J'J = N U N of the norms N: ||J^+||_F^2 = tr N^-1 U^-1 N^-1.
    scale = jnp.where(norms > 0, 1.0 / norms, 0.0) * jnp.eye(unit.shape[1], dtype=unit.dtype)
    return fits, jnp.linalg.norm(cholesky.forward(factor, scale), axis=(1, 2))


def _in_single(size: Array) -> Array:
    """Far from there single precision underflows or overflows."""
    return (size > 1.0 / MOST_IN_SINGLE) & (size < MOST_IN_SINGLE)


def _leaves(layer: Layer) -> list[Array]:
    leaves: list[Array] = jax.tree.leaves(layer.linear)
    return leaves


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
