"""From minima to an honest word: ranks, statuses, recomputed residuals."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from jaxinv.certify.identifiability import jacobian_rank
from jaxinv.joint.portfolio import from_latents
from jaxinv.joint.problem import Problem
from jaxinv.joint.state import Search
from jaxinv.linalg.norms import row_norms
from jaxinv.outcome.inversion import Inversion
from jaxinv.outcome.search_report import Ending, SearchReport
from jaxinv.outcome.status import Status
from jaxinv.settings import LevenbergMarquardt


def answer(problem: Problem, search: Search) -> Inversion:
    """Name each row by what its lowest minimum is.

    A row is explained where its residual is within the tolerance or the stated noise, or, no noise
    being stated, where it is what the last layer alone shows of noise, or where independent runs
    agree on the minimum and its residual is taken for noise.
    Explained rows are SOLVED where rank J = k (locally unique) and UNDERDETERMINED by k - rank J
    dimensions otherwise; others are INEXACT, or STEP_LIMIT where the best run was cut off.
    """
    minima = search.minima
    found = problem.live & np.isfinite(minima.loss)
    undetermined = free_dimensions(problem, minima.latent, found)
    explained = search.reproduced | search.explained | search.confirmed
    status = np.select(
        [~problem.live, ~found, explained & (undetermined > 0), explained, minima.converged],
        [
            int(Status.BAD_INPUT),
            int(Status.SOLVER_FAILED),
            int(Status.UNDERDETERMINED),
            int(Status.SOLVED),
            int(Status.INEXACT),
        ],
        int(Status.STEP_LIMIT),
    )
    latent = np.where(found[:, None], minima.latent, np.nan)
    return replace(inversion(problem, latent, status, undetermined), search=report(search))


def report(search: Search) -> SearchReport:
    """What was done for each row."""
    ending = np.select(
        [~search.facts.live, search.reproduced, search.explained, search.confirmed],
        [int(Ending.NONE), int(Ending.REPRODUCED), int(Ending.EXPLAINED), int(Ending.AGREED)],
        int(Ending.BUDGET_SPENT),
    )
    tally, start = search.tally, search.minima.start
    runs = tally.made + tally.carried_on
    parts = (runs, tally.prefix_made, tally.peeled, start, tally.hits, ending)
    return SearchReport(*(jnp.asarray(part) for part in parts))


def refined(problem: Problem, layerwise: Inversion, method: LevenbergMarquardt) -> Inversion:
    """A layer-wise answer carried to the nearest minimum over all layers (`refine="lm"`)."""
    latent = np.asarray(layerwise.latent)
    minima = from_latents(problem, latent, method).minima
    return relabelled(problem, layerwise, minima.latent, problem.live & np.isfinite(minima.loss))


def relabelled(
    problem: Problem, before: Inversion, latent: np.ndarray, moved: Bool[np.ndarray, " B"]
) -> Inversion:
    """The same answer with some latents moved: the Jacobian there says what is determined."""
    latent = np.where(moved[:, None], latent, np.asarray(before.latent))
    undetermined = free_dimensions(problem, latent, moved)
    was = np.asarray(before.status)
    named = moved & np.isin(was, [int(Status.SOLVED), int(Status.UNDERDETERMINED)])
    now = np.where(undetermined > 0, int(Status.UNDERDETERMINED), int(Status.SOLVED))
    undetermined = np.where(moved, undetermined, np.asarray(before.undetermined))
    after = inversion(problem, latent, np.where(named, now, was), undetermined)
    return replace(after, layers=before.layers, search=before.search)


def free_dimensions(
    problem: Problem, latent: np.ndarray, found: Bool[np.ndarray, " B"]
) -> Int[np.ndarray, " B"]:
    """k - rank J of the observed rows, 0 for rows without a latent."""
    free = np.zeros(len(latent), np.int64)
    if found.any():
        at = np.where(found[:, None], latent, 0.0)[found]
        rank = jacobian_rank(problem.generator, at, problem.weight[found] > 0)
        free[found] = problem.generator.latent_size - rank
    return free


def inversion(
    problem: Problem, latent: np.ndarray, status: np.ndarray, undetermined: np.ndarray
) -> Inversion:
    """Put together, with the residual recomputed from the latent."""
    finite = np.isfinite(latent).all(-1)
    image = np.asarray(problem.generator(np.where(finite[:, None], latent, 0.0)))
    seen = finite[:, None] & (problem.weight > 0)
    misfit = np.where(seen, image - problem.observation, 0.0)
    residual = np.where(finite, row_norms(misfit), np.nan)
    return Inversion(
        jnp.asarray(latent),
        jnp.asarray(status),
        jnp.asarray(undetermined),
        jnp.asarray(residual),
    )
