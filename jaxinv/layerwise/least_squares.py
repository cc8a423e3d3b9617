"""Batched masked least squares min_z ||D (W z - t)||_2 over each observation's active rows.

On the device: the normal matrix M = W' D^2 W, scaled to a unit diagonal, its factor, and steps of
iterative refinement on the residual of the least-squares problem itself,

    z <- z + M^-1 W' D^2 (t - W z),

which recovers what squaring the condition number loses as long as cond(D W)^2 eps < 1. Inverse
iteration with it estimates the smallest eigenvalue. Observations whose estimate is
small, or which have fewer active rows than unknowns, are decided on the host by the singular
values of their own rows: exact rank, minimum-norm solution.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from jaxinv.layerwise.active_rows import LinearRows
from jaxinv.linalg import cholesky
from jaxinv.linalg.normal_matrix import normal_matrices

REFINEMENTS = 3
# Below this the squared condition number leaves too few digits: the singular values decide.
SUSPECT_EIGENVALUE = 1e-9
RIDGE = 1e-10
# From factors in single precision: more steps, and what is no rounding of theirs.
REFINEMENTS_IN_SINGLE, CLEAR_IN_SINGLE = 4, 1e-4


class LeastSquares(NamedTuple):
    """latent (B, k), rank of the active rows (B,), residual ||W_I z - t_I||_2 (B,), gain (B,).

    active: (B,) rows. gain: how far an error of norm one in D t, the weighted targets, moves z at
    most; infinite where the rank is not full.
    """

    latent: Float[Array, "B k"]
    rank: Int[np.ndarray, " B"]
    residual: Float[np.ndarray, " B"]
    gain: Float[np.ndarray, " B"]
    active: Int[np.ndarray, " B"]


class Said(NamedTuple):
    """What a solution says of itself: active rows, least eigenvalue, and ||W_I z - t_I||_2."""

    active: Int[Any, " B"]
    least: "Least"
    residual: Float[Any, " B"]


class Attempt(NamedTuple):
    """A solution that singular values have yet to decide on where it leaves the rank in doubt."""

    latent: Float[Array, "B k"]
    said: Said


def attempt(matrix: Float[Array, "n k"], rows: LinearRows) -> Attempt:
    """The refined solution of every observation, for use inside a traced computation.

    The residual is that of all rows, before any is known to be decided otherwise: few ever are.
    """
    latent, least = _refined(matrix, rows.target, rows.weight, 0.0)
    active = rows.active.sum(-1)
    return Attempt(latent, Said(active, least, _residual(matrix, rows, latent)))


def decided(
    matrix: Float[Array, "n k"],
    rows: LinearRows,
    latent: Float[Array, "B k"],
    said: Said,
    live: Bool[np.ndarray, " B"],
    rank_tolerance: float,
) -> LeastSquares:
    """The solution, by singular values where what it said of itself leaves the rank in doubt.

    said: on the host. Rows that are not live (failed before) are not looked at twice.
    """
    k = matrix.shape[1]
    count, (eigenvalue, column), residual = said
    trusted = eigenvalue > SUSPECT_EIGENVALUE
    suspect = np.flatnonzero(live & ~(trusted & (count >= k)))
    rank = np.full(len(count), k)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = 1.0 / (np.sqrt(eigenvalue) * column)
    if suspect.size:
        replacement, rank[suspect], gain[suspect] = _by_singular_values(
            matrix, rows, suspect, rank_tolerance
        )
        latent = latent.at[jnp.asarray(suspect)].set(jnp.asarray(replacement))
        residual = np.asarray(_residual(matrix, rows, latent))
    return LeastSquares(latent, rank, residual, gain, count)


class Least(NamedTuple):
    """Of each scaled normal matrix: its least eigenvalue (B,), and the shortest column of D W."""

    eigenvalue: Float[Array, " B"]
    column: Float[Array, " B"]


class Centre(NamedTuple):
    """latent (B, k); full_rank (B,), False also where rounding leaves the rank in doubt."""

    latent: Float[Array, "B k"]
    full_rank: Bool[Array, " B"]


@jax.jit
def centre(matrix: Float[Array, "n k"], rows: LinearRows) -> Centre:
    """A finite least-squares point for any rows: a ridge stands in where they do not suffice."""
    latent, least = _refined(matrix, rows.target, rows.weight, RIDGE)
    enough = rows.active.sum(-1) >= matrix.shape[1]
    return Centre(latent, enough & (least.eigenvalue > SUSPECT_EIGENVALUE))


@jax.jit
def quick_centre(matrix: Float[Array, "n k"], rows: LinearRows) -> Centre:
    """The same from factors in single precision, for half the price: NaN where they break down.

    Refinement in double recovers the digits as long as cond(W_I)^2 is well below 1e7, and shows by
    its residual where it did not.
    """
    latent, least = _refined(matrix, rows.target, rows.weight, 0.0, jnp.float32)
    enough = rows.active.sum(-1) >= matrix.shape[1]
    return Centre(latent, enough & (least.eigenvalue > CLEAR_IN_SINGLE))


@partial(jax.jit, static_argnames="precision")
def _refined(
    matrix: Float[Array, "n k"],
    target: Float[Array, "B n"],
    weight: Float[Array, "B n"],
    ridge: float | Array,
    precision: DTypeLike = jnp.float64,
) -> tuple[Float[Array, "B k"], Least]:
    """Refined solution, and an estimate of the scaled normal matrix's smallest eigenvalue.

    precision: of the normal matrix and its factor, which the refinement makes up for.
    """
    square = weight**2
    normal = normal_matrices(matrix.astype(precision), square.astype(precision))
    diagonal = jnp.diagonal(normal, axis1=-2, axis2=-1)
    unit = jnp.where(diagonal > 0, 1.0 / jnp.sqrt(diagonal), 1.0)
    scaled = unit[:, :, None] * normal * unit[:, None, :]
    scaled += ridge * jnp.eye(matrix.shape[1], dtype=precision)
    factor = cholesky.factor(scaled)

    def refine(_: int, latent: Array) -> Array:
        misfit = square * (target - jnp.matmul(latent, matrix.T, precision="highest"))
        gradient = jnp.matmul(misfit, matrix, precision="highest")
        step = unit * cholesky.solve(factor, unit * gradient.astype(precision))
        return latent + step.astype(latent.dtype)

    latent = jnp.zeros((len(target), matrix.shape[1]), matrix.dtype)
    refinements = REFINEMENTS if precision is jnp.float64 else REFINEMENTS_IN_SINGLE
    latent = jax.lax.fori_loop(0, 1 + refinements, refine, latent)
    shortest = jnp.sqrt(diagonal.min(-1))
    return latent, Least(cholesky.least_eigenvalue(factor, matrix.shape[1]), shortest)


@jax.jit
def _residual(
    matrix: Float[Array, "n k"], rows: LinearRows, latent: Float[Array, "B k"]
) -> Float[Array, " B"]:
    misfit = jnp.matmul(latent, matrix.T, precision="highest") - rows.target
    return jnp.linalg.norm(jnp.where(rows.active, misfit, 0.0), axis=-1)


def _by_singular_values(
    matrix: Array, rows: LinearRows, which: np.ndarray, rank_tolerance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    w = np.asarray(matrix)
    index = jnp.asarray(which)
    weight, target = np.asarray(rows.weight[index]), np.asarray(rows.target[index])
    latent = np.zeros((len(which), w.shape[1]))
    rank, gain = np.zeros(len(which), np.int64), np.full(len(which), np.inf)
    for i in range(len(which)):
        kept = weight[i] > 0
        if not kept.any():
            continue
        scale = weight[i][kept]
        left, singular, right = np.linalg.svd(scale[:, None] * w[kept], full_matrices=False)
        rank[i] = int((singular > rank_tolerance * singular[0]).sum())
        r = rank[i]
        if r == w.shape[1]:
            with np.errstate(over="ignore"):  # a subnormal singular value
                gain[i] = 1.0 / singular[-1]
        latent[i] = ((left[:, :r].T @ (scale * target[i][kept])) / singular[:r]) @ right[:r]
    return latent, rank, gain
