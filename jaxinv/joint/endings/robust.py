r"""Robust endings: minimise max_j w_j |r_j| or sum_j w_j |r_j|, r = G(z) - x, over all layers.

Sequential linear programs: at z the net is its cell's affine map, and a step solves

    min_delta ||W (r + J delta)||,   |delta_i| <= radius,

as one interval program with a matrix of its own; the radius grows where the true norm falls as the
program says and shrinks where it does not (Fletcher's trust region). For sum_j the way there is
iterated least squares with weights w_j / |r_j|, so that gross outliers lose their pull before the
first program.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxinv.joint.descent.levenberg_marquardt import Starts
from jaxinv.joint.finish import Provisional, moved
from jaxinv.joint.problem import Problem, engine_of
from jaxinv.linalg.on_device import on_device
from jaxinv.lp.problem import IntervalLP, Slack
from jaxinv.lp.solve import solve_certified
from jaxinv.model.decoder import Decoder
from jaxinv.settings import ClarabelPool, LevenbergMarquardt

PROGRAMS = 12
BLOCK = 32  # Jacobians in memory together
SETTLED = 1e-7  # relative decrease that a program must promise
REWEIGHTINGS = 10
SHARPER = 0.5  # of the scale below which a residual counts as small, a reweighting
SOLVER = ClarabelPool()


def robust_ending(problem: Problem, found: Provisional, norm: str) -> Provisional:
    """Move every latent to a minimum of the residual's l_inf or l_1 norm; never to a higher one."""
    latent = found.latent
    rows = np.flatnonzero(problem.live & np.isfinite(latent).all(-1))
    best = np.where(np.isfinite(latent), latent, 0.0)
    if norm == "l1":
        best = _reweighted(problem, best, rows)
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK]
        best[some] = _programs(problem, best, some, norm)
    reached = np.zeros(len(latent), bool)
    reached[rows] = True
    return moved(found, best, reached)


def _residual(problem: Problem, latent: np.ndarray) -> Float[np.ndarray, "B n"]:
    """w (G(z) - x), at the whole batch's shape so that no row's bits depend on the others."""
    image = np.asarray(problem.generator(latent))
    return problem.weight * problem.misfit(image)


def _norm(residual: np.ndarray, norm: str) -> Float[np.ndarray, " B"]:
    size = np.abs(residual)
    return size.max(-1) if norm == "linf" else size.sum(-1)


def _reweighted(problem: Problem, latent: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Iterated least squares towards the least l_1 norm, the lowest point of it kept."""
    best, point = latent.copy(), latent.copy()
    lowest = _norm(_residual(problem, latent), "l1")
    scale: np.ndarray | None = None
    for _ in range(REWEIGHTINGS):
        size = np.abs(_residual(problem, point))
        typical = np.array(
            [
                np.median(r[w > 0]) if (w > 0).any() else 1.0
                for r, w in zip(size, problem.weight, strict=True)
            ]
        )
        typical = np.maximum(typical, 1e-12 * np.abs(problem.observation).max(-1) + 1e-300)
        scale = typical if scale is None else np.minimum(typical, SHARPER * scale)
        pull = problem.weight / np.sqrt(np.maximum(size, scale[:, None]) / scale[:, None])
        engine = engine_of(replace(problem, weight=pull), LevenbergMarquardt())
        runs = engine.run(Starts(rows, point[rows], np.zeros(len(rows))))
        point[rows] = runs.latent
        now = _norm(_residual(problem, point), "l1")
        lower = now < lowest
        best[lower], lowest[lower] = point[lower], now[lower]
    return best


def _programs(problem: Problem, latent: np.ndarray, some: np.ndarray, norm: str) -> np.ndarray:
    """Sequential programs for one block of rows."""

    def value(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        padded = np.zeros((BLOCK, z.shape[1]))
        padded[: len(z)] = z
        image = np.asarray(problem.generator(padded))[: len(z)]
        residual = np.where(weight > 0, image - x, 0.0)
        return residual, _norm(weight * residual, norm)

    x, weight = problem.observation[some], problem.weight[some]
    z = latent[some].copy()
    residual, lowest = value(z)
    radius = 0.1 * np.maximum(np.abs(z).max(-1), 1e-3)
    going = lowest > 0
    for _ in range(PROGRAMS):
        if not going.any():
            break
        which = np.flatnonzero(going)
        program = _program(problem, some, z, residual, radius, norm, which)
        size = np.maximum(np.abs(residual[which]).max(-1), 1e-300)
        solved = solve_certified(program, SOLVER, np.zeros_like(z[which]), size)
        trial = z.copy()
        trial[which] += np.where(solved.certified[:, None], solved.latent, 0.0)
        after, norms = value(trial)
        promised = np.zeros(len(z))
        promised[which] = lowest[which] - solved.objective
        certified = np.zeros(len(z), bool)
        certified[which] = solved.certified
        lower = going & certified & (norms < lowest)
        kept_promise = lower & (lowest - norms >= 0.5 * promised)
        going &= certified & (promised > SETTLED * lowest)
        radius = np.where(kept_promise, 2.0 * radius, np.where(lower, radius, 0.25 * radius))
        z[lower], residual[lower], lowest[lower] = trial[lower], after[lower], norms[lower]
    return z


@jax.jit
def _jacobian(decoder: Decoder, z: Float[Array, "B k"]) -> Float[Array, "B n k"]:
    return decoder.linearized(z, jnp.float64).jacobian


def _program(
    problem: Problem,
    some: np.ndarray,
    z: np.ndarray,
    residual: np.ndarray,
    radius: np.ndarray,
    norm: str,
    which: np.ndarray,
) -> IntervalLP:
    """The step's program for the rows still going: -r_j - s <= (J delta)_j <= -r_j + s."""
    padded = np.zeros((BLOCK, z.shape[1]))
    padded[: len(z)] = z
    jacobian = np.asarray(_jacobian(problem.generator, on_device(padded)))[which]
    weight = problem.weight[some][which]
    seen = weight > 0
    per_slack = 1.0 / np.where(seen, weight, 1.0)
    reach = np.broadcast_to(radius[which][:, None], z[which].shape)
    scale = np.abs(problem.observation[some][which]).max(-1)
    return IntervalLP(
        matrix=jacobian,
        lower=np.where(seen, -residual[which], -np.inf),
        upper=np.where(seen, -residual[which], np.inf),
        lower_slack=per_slack,
        upper_slack=per_slack,
        box_lower=np.maximum(-reach, np.asarray(problem.box.low) - z[which]),
        box_upper=np.minimum(reach, np.asarray(problem.box.high) - z[which]),
        cost=np.zeros_like(reach),
        slack=Slack.SHARED if norm == "linf" else Slack.SEPARATE,
        floor=np.maximum(1e-12 * scale, np.finfo(float).tiny),
    )
