"""Is the optimum a single point? The dimension of a linear program's set of optimal points."""

import numpy as np
from jaxtyping import Float, Int

from jaxinv.lp.problem import IntervalLP, LPSolution

RANK_TOLERANCE = 1e-9


def face_dimension(
    problem: IntervalLP,
    solution: LPSolution,
    slack: Float[np.ndarray, "B n"],
) -> Int[np.ndarray, " B"]:
    """k minus the rank of the rows and bounds that hold with equality on the whole optimal face.

    An interior-point solver ends inside the face, where every side has either a positive
    multiplier (tight on the whole face) or a positive margin, never both: the larger of the two
    decides. Expects the recentred program, whose multipliers and margins are of order one; slack
    is the optimum's, row by row.
    """
    wz = problem.apply(solution.latent)
    below = wz - problem.lower + problem.lower_slack * slack
    above = problem.upper + problem.upper_slack * slack - wz
    tight = (solution.lower_dual > below) | (solution.upper_dual > above)
    reduced = problem.cost - problem.apply_adjoint(solution.lower_dual - solution.upper_dual)
    at_bound = (reduced > solution.latent - problem.box_lower) | (
        -reduced > problem.box_upper - solution.latent
    )
    free = np.empty(problem.batch_size, np.int64)
    for i in range(problem.batch_size):
        # Coordinates at a bound are fixed: only the others need rows.
        columns = ~at_bound[i]
        held = problem.matrix_of(i)[tight[i]][:, columns]
        singular = np.linalg.svd(held, compute_uv=False) if held.size else np.zeros(0)
        rank = (singular > RANK_TOLERANCE * singular[0]).sum() if singular.size else 0
        free[i] = columns.sum() - rank
    return free
