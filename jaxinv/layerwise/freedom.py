r"""Does a layer's answer determine its input? The width of all inputs that explain as much.

With s the answer's largest slack, the inputs that explain the observation as well are

    P = { z in the box : lower - a s <= W z <= upper + b s },

the optimal set of the l_inf program. Where the decided rows have full column rank, P is as small as
the noise. Where they have not, one-sided rows and bounds may still pin z: P is a point exactly when
a direction drawn at random has width zero on it, which takes two linear programs.
"""

import numpy as np
from jaxtyping import Float, Int

from jaxinv.layerwise.constraints import linf_rows
from jaxinv.layerwise.layer_program import LayerProgram

FREE = 1e3  # slacks: a set wider than this is more than the noise explains
FAR = 1e6  # slacks: as far as a direction is followed
SEED = 0x6A6178696E76  # of the direction: one that no weights were drawn with


def undetermined(
    program: LayerProgram,
    latent: Float[np.ndarray, "B k"],
    tolerance: Float[np.ndarray, " B"],
) -> Int[np.ndarray, " B"]:
    """Dimension that the decided rows leave free, 0 where the answer is pinned all the same.

    Rows without an answer (NaN) count as 0.
    """
    free = np.zeros(len(latent), np.int64)
    found = np.flatnonzero(np.isfinite(latent).all(-1) & np.isfinite(tolerance))
    if not found.size:
        return free
    loose = found[~program.centre(found, tolerance[found]).full_rank]
    for row in loose:
        if not _pinned(program, int(row), latent[row], tolerance[row]):
            free[row] = program.layer.width_in - _decided_rank(program, int(row), tolerance[row])
    return free


def _pinned(program: LayerProgram, row: int, z: np.ndarray, tolerance: float) -> bool:
    from scipy.optimize import linprog  # slow to import, and few answers come here

    which = np.array([row])
    problem = linf_rows(program.rows.take(which), np.array([tolerance]))
    slack = problem.least_slack(z[None]).max(-1)
    unit = np.maximum(slack, problem.floor)
    if not np.isfinite(unit).all():
        return False
    around = problem.recentred(z[None], unit)
    high = around.upper[0] + around.upper_slack[0]
    low = around.lower[0] - around.lower_slack[0]
    rows = np.concatenate([around.matrix[np.isfinite(high)], -around.matrix[np.isfinite(low)]])
    right = np.concatenate([high[np.isfinite(high)], -low[np.isfinite(low)]])
    box = np.clip(np.stack([around.box_lower[0], around.box_upper[0]], -1), -FAR, FAR)
    direction = np.random.default_rng(SEED).standard_normal(problem.columns)
    direction /= np.linalg.norm(direction)
    ends = []
    for sign in (1.0, -1.0):
        # w = 0 fulfils every row, so that only a wide set can fail here.
        answer = linprog(-sign * direction, A_ub=rows, b_ub=right, bounds=box, method="highs")
        if answer.status != 0 or answer.fun is None:
            return False
        ends.append(-float(answer.fun))
    return sum(ends) <= FREE


def _decided_rank(program: LayerProgram, row: int, tolerance: float) -> int:
    rows = program.rows
    decided = rows.observed[row]
    if rows.like_relu:
        decided = decided & (rows.row_weight[row] * rows.x[row] > tolerance)
    return int(np.linalg.matrix_rank(rows.matrix[decided])) if decided.any() else 0
