r"""Minima of neighbouring cells, where noise is all that a search has left to explain.

Noise of deviation s puts a latent anywhere within z + C^(1/2) e, C = s^2 (J' W^2 J)^-1, e of
N(0, I), across kinks and bends beyond which there may be another minimum, a little lower. With
hundreds of degrees of freedom it is hardly ever lower by 1%; with few (`Facts.powerful`) it is
looked for, by steps from some such points. Where they end here and there, none is known to be the
lowest.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

from jaxinv.certify.local_rank import RANK_TOLERANCE
from jaxinv.joint.descent.levenberg_marquardt import Runs
from jaxinv.joint.descent.orthogonal_step import linearized, orthogonal_steps
from jaxinv.joint.problem import Problem
from jaxinv.joint.search.state import Search, with_ends
from jaxinv.joint.search.stopping import LOWER

SPREADS = (1.0, 1.0, 2.0, 2.0, 4.0, 4.0)  # of e, one a point: 4 is where noise itself hardly goes
STEPS, HALVINGS = 8, 3
ROUNDS = 3  # of looks around a minimum that the last one found
BACK = 3  # points of SPREADS from which the lowest minimum must be met, up to 1% of the residual


def with_neighbours(problem: Problem, search: Search) -> Search:
    """The search, its rows that noise explains in the lowest minimum of the cells around."""
    seen = problem.count - problem.generator.latent_size
    noisy = (search.explained | search.believed) & ~search.reproduced
    asked = noisy & search.facts.live & ~search.facts.powerful & (seen > 0)
    rugged = np.zeros_like(asked)
    for number in range(ROUNDS):
        if not asked.any():
            break
        latent, loss = search.minima.latent, search.minima.loss
        best, least = latent.copy(), loss.copy()
        ends = np.full((len(SPREADS), len(loss)), np.inf)
        root = _roots(problem, latent, loss, asked, seen)
        for place, spread in enumerate(SPREADS):
            e = _drawn(problem, number * len(SPREADS) + place)
            point = np.where(asked[:, None], latent, 0.0)
            point = np.clip(
                point + spread * (root * e[:, None]).sum(-1), problem.box.low, problem.box.high
            )
            end = orthogonal_steps(problem, point, asked, STEPS, HALVINGS)
            ends[place] = after = problem.fit(end).loss
            lower = asked & (after < least)
            best, least = np.where(lower[:, None], end, best), np.where(lower, after, least)
        rows = np.flatnonzero(asked & (least < loss))
        nothing = np.zeros(len(rows), np.int64)
        search = with_ends(search, rows, Runs(best[rows], least[rows], nothing, nothing == 0))
        met = (ends <= (1.0 + LOWER) ** 2 * least).sum(0)
        rugged = np.where(asked, met < BACK, rugged)
        asked = asked & (least * (1.0 + LOWER) ** 2 < loss)
    # What the last look still found a lower minimum by is as little settled.
    return replace(search, rugged=rugged | asked)


def _drawn(problem: Problem, number: int) -> Float[np.ndarray, "B k"]:
    """e, by the names of the rows: no row's depends on the others."""
    k = problem.generator.latent_size
    names = [[problem.seed % 2**63, int(name), number] for name in problem.row_ids]
    return np.stack([np.random.default_rng(name).standard_normal(k) for name in names])


def _roots(
    problem: Problem,
    latent: Float[np.ndarray, "B k"],
    loss: Float[np.ndarray, " B"],
    asked: Bool[np.ndarray, " B"],
    freedom: np.ndarray,
) -> Float[np.ndarray, "B k k"]:
    """C^(1/2) of the rows asked for, of the directions that J determines."""
    root = np.zeros((*latent.shape, latent.shape[1]))
    points = np.where(asked[:, None], latent, 0.0)
    for row, _, columns in linearized(problem.generator, points, np.flatnonzero(asked)):
        jacobian = (problem.weight[row] * columns).T
        if not np.isfinite(jacobian).all():
            continue
        _, singular, right = np.linalg.svd(jacobian, full_matrices=False)
        told = singular > RANK_TOLERANCE * singular[0]
        noise = np.sqrt(loss[row] / freedom[row])
        root[row][:, told] = noise * right[told].T / singular[told]
    return root
