"""What a search says of each observation, in the words of a `Status` and of a `SearchReport`."""

import numpy as np

from jaxinv.joint.finish import BY_RANK, Provisional, moved
from jaxinv.joint.problem import Problem
from jaxinv.joint.search.portfolio import from_latents
from jaxinv.joint.search.state import Search
from jaxinv.linalg.on_device import on_device
from jaxinv.outcome.search_report import Ending, SearchReport
from jaxinv.outcome.status import Status
from jaxinv.settings import LevenbergMarquardt


def answer(problem: Problem, search: Search) -> Provisional:
    """Name each row by what its lowest minimum is.

    A row is explained where its residual is within the tolerance, what rounding leaves or the
    stated noise, or, no noise being stated, where no test speaks against noise (`structure`) and
    it is what the last layer alone shows of noise, or independent runs agree on the minimum.
    Explained rows are SOLVED where rank J = k (locally unique) and UNDERDETERMINED by
    k - rank J dimensions otherwise; others are CLOSEST where independent runs agree on the minimum,
    else INEXACT, or STEP_LIMIT where the best run was cut off.
    """
    minima = search.minima
    found = problem.live & np.isfinite(minima.loss)
    explained = search.reproduced | search.explained | search.believed
    status = np.select(
        [~problem.live, ~found, explained, minima.converged & search.agreed, minima.converged],
        [
            int(Status.BAD_INPUT),
            int(Status.SOLVER_FAILED),
            int(Status.SOLVED),
            int(Status.CLOSEST),
            int(Status.INEXACT),
        ],
        int(Status.STEP_LIMIT),
    )
    latent = np.where(found[:, None], minima.latent, np.nan)
    undetermined = np.where(found, BY_RANK, 0)
    return Provisional(latent, status, undetermined, search=report(problem, search), minima=True)


def report(problem: Problem, search: Search) -> SearchReport:
    """What was done for each row."""
    ending = np.select(
        [
            ~search.facts.live,
            search.reproduced,
            search.explained,
            search.believed,
            search.confirmed,
            search.searched,
        ],
        [
            int(Ending.NONE),
            int(Ending.REPRODUCED),
            int(Ending.EXPLAINED),
            int(Ending.AGREED),
            int(Ending.CONFIRMED),
            int(Ending.SEARCHED),
        ],
        int(Ending.BUDGET_SPENT),
    )
    tally, start = search.tally, search.minima.start
    runs = tally.made + tally.carried_on
    clipped = problem.clipped & search.facts.live
    parts = (runs, tally.prefix_made, tally.peeled, start, tally.hits, ending, clipped)
    return SearchReport(*(on_device(part) for part in parts))


def refined(problem: Problem, layerwise: Provisional, method: LevenbergMarquardt) -> Provisional:
    """A layer-wise answer carried to the nearest minimum over all layers (`refine="lm"`)."""
    minima = from_latents(problem, layerwise.latent, method).minima
    return moved(layerwise, minima.latent, problem.live & np.isfinite(minima.loss))
