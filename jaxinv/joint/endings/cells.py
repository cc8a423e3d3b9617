"""Quantised observations: from a least-squares answer into the cells that the entries name.

Least squares takes the middle of a cell for what was observed; any point of the cell explains it as
well. The misfit that counts is the distance from the cells, lowered as under a noise model.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from jaxinv.joint.endings.most_likely import most_likely
from jaxinv.joint.finish import Provisional
from jaxinv.joint.map_estimate import Penalty
from jaxinv.joint.problem import Problem
from jaxinv.linalg.norms import row_norms
from jaxinv.model.likelihood.base import Cell
from jaxinv.outcome.status import Status

INSIDE = 1e-3  # of half a cell: a descent that aims at its edge comes ever nearer, and never in


def in_cells(
    problem: Problem,
    penalty: Penalty | None,
    found: Provisional,
    step: float,
    credible: Float[np.ndarray, " B"],
) -> tuple[Problem, Provisional]:
    """The problem whose misfit is the distance from cells, and its latents; SOLVED inside them.

    credible: (B,) distance that is rounding, or the stated noise.
    """
    scaled = problem
    if penalty is not None:
        unit = np.where(penalty.unit > 0, penalty.unit, 1.0)
        scaled = replace(problem, weight=problem.weight / unit[:, None])
    found = most_likely(scaled, found, Cell((1.0 - INSIDE) * step / 2.0), penalty)
    cells = replace(problem, cell=step / 2.0)
    there = problem.live & np.isfinite(found.latent).all(-1)
    image = np.asarray(problem.generator(np.where(there[:, None], found.latent, 0.0)))
    inside = there & (row_norms(cells.misfit(image)) <= credible)
    return cells, replace(found, status=np.where(inside, int(Status.SOLVED), found.status))
