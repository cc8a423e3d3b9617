r"""What an observation determines of the latent near one point: the rank of J, and its least gain.

k - rank J_sure latent directions (`surroundings`) hang on units whose side the errors leave open,
and are not determined. An error of size r in the observed entries moves the latent by up to
r / sigma_min(J_sure) nearby, no more than r times the gain ||J_sure^+||_F.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from jaxinv.certify.surroundings import (
    CLEAR_EIGENVALUE,
    LEAST_COLUMN,
    Surroundings,
    block_size,
    surroundings,
)
from jaxinv.linalg.blocks import blocks
from jaxinv.linalg.on_device import on_device, on_host
from jaxinv.linalg.shared import shared
from jaxinv.model.decoder import Decoder

RANK_TOLERANCE = 1e-13  # of the largest singular value


class LocalRank(NamedTuple):
    """rank: (B,) of J_sure. gain: (B,) ||J_sure^+||_F, infinite where rank < k.

    well: (B,) whether J is well enough conditioned for normal equations.
    """

    rank: Int[np.ndarray, " B"]
    gain: Float[np.ndarray, " B"]
    well: Bool[np.ndarray, " B"]


class Errors(NamedTuple):
    """What entries may be off by, on the device: noise, and rounding beside it.

    level: (B,) of the noise at weight one. weight: (1, n) where all rows have the same.
    """

    level: Float[Array, " B"]
    weight: Float[Array, "#B n"]
    rounding: Float[Array, "B n"]

    @property
    def deviation(self) -> Float[Array, "B n"]:
        """hypot(s / w_j, rounding_j) of each entry, in a traced computation."""
        weight = jnp.where(self.weight > 0, self.weight, jnp.inf)
        return jnp.hypot(self.level[:, None] / weight, self.rounding)


def local_rank(
    decoder: Decoder,
    latent: Float[Any, "B k"],
    observed: Bool[np.ndarray, "B n"],
    deviation: Float[Any, "B n"] | Errors | None = None,
    wanted: Bool[np.ndarray, " B"] | None = None,
) -> LocalRank:
    """Rank and gain at each latent. deviation: of each observed entry's error; None is exact.

    wanted: False where a row only holds its place, which the last bits of the others depend on.
    Latents and deviations may lie on the device or on the host.
    """
    batch, k = latent.shape
    rank, gain, well = np.full(batch, k), np.zeros(batch), np.ones(batch, bool)
    doubt = np.ones(batch, bool) if wanted is None else wanted.copy()
    if not doubt.any():
        return LocalRank(rank, gain, well)
    block = block_size(decoder, batch, deviation is not None)
    # Single precision first, at half the price: it leaves few rows in doubt.
    with jax.enable_x64(True):
        error = deviation
        if error is not None and not isinstance(error, Errors):
            error = on_device(error)
        data = _Data(on_device(latent), on_device(shared(observed)), error)
        looked = on_host(_in_single(decoder, data, block))
    clear, gain_there, well_there = (part.reshape(-1)[:batch] for part in looked)
    gain, well = np.where(doubt, gain_there, gain), np.where(doubt, well_there, well)
    doubt &= ~clear
    for rows, padded in blocks(np.arange(batch), block) if doubt.any() else ():
        asked = doubt[rows]
        if not asked.any():
            continue
        with jax.enable_x64(True):
            around = _in_double(decoder, data, on_device(padded))
        parts = on_host((around.clear, around.gain, around.well, around.sure))
        clear, gain_there, well_there, sure = (part[: len(rows)] for part in parts)
        gain[rows] = np.where(asked, gain_there, gain[rows])
        well[rows] = np.where(asked, well_there, well[rows])
        left = asked & ~clear
        for row, columns in zip(rows[left], sure[left], strict=True):
            matrix = columns[:, observed[row]].T
            rank[row] = matrix_rank(matrix)
            gain[row] = pseudo_inverse_norm(matrix) if rank[row] == k else np.inf
    return LocalRank(rank, gain, well)


class _Data(NamedTuple):
    """Of each row. observed: (1, n) where it is the same for all of them."""

    latent: Float[Array, "B k"]
    observed: Bool[Array, "#B n"]
    deviation: Float[Array, "B n"] | Errors | None


def _around(
    decoder: Decoder, data: _Data, rows: Int[Array, " b"], precision: DTypeLike
) -> Surroundings:
    """The surroundings of some of the rows, in a traced computation."""
    shape = len(data.latent), data.observed.shape[1]
    observed = jnp.broadcast_to(data.observed, shape)[rows]
    error = data.deviation
    if isinstance(error, Errors):
        error = error.deviation
    if error is not None:
        error = error[rows]
    return surroundings(decoder, data.latent[rows], observed, error, precision)


@jax.jit
def _in_double(decoder: Decoder, data: _Data, rows: Int[Array, " b"]) -> Surroundings:
    return _around(decoder, data, rows, jnp.float64)


@partial(jax.jit, static_argnames="block")
def _in_single(
    decoder: Decoder, data: _Data, block: int
) -> tuple[Bool[Array, "blocks b"], Float[Array, "blocks b"], Bool[Array, "blocks b"]]:
    """What `surroundings` says in single precision, block after block, without the Jacobians.

    One program: the host waits once, however many blocks there are.
    """

    def look(rows: Int[Array, " b"]) -> tuple[Array, Array, Array]:
        around = _around(decoder, data, rows, jnp.float32)
        return around.clear, around.gain, around.well

    cut = [padded for _, padded in blocks(np.arange(len(data.latent)), block)]
    return jax.lax.map(look, jnp.asarray(np.stack(cut)))


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
