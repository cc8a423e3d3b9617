r"""Algorithm 2 without a tolerance: the signs of u say what a row costs, until they settle.

From a point z, the l_1 program of `signed_rows` is solved; its answer has other signs, and so on.
Under ReLU each program's objective lies above the true loss up to a constant and touches it at the
z it comes from: the loss falls with every program. Under LeakyReLU rows of negative x_j that
change sides lie below, and a program that does not lower the loss ends the iteration.
"""

import numpy as np
from jaxtyping import Bool, Float

from jaxinv.layerwise.constraints import FLOOR, Rows, signed_rows
from jaxinv.layerwise.layer_program import LayerProgram
from jaxinv.layerwise.optimum import breakpoints
from jaxinv.layerwise.tolerance import Accepted
from jaxinv.layerwise.true_residual import L1, Best, l1_residual, try_tolerances

# Where, from all rows decided to just enough for a point, tolerances are tried first.
PLACES = tuple(eighth / 8 for eighth in range(8))
MOST = 20  # programs of one iteration; it ends by itself after two or three


def best_of_sets(
    program: LayerProgram, live: Bool[np.ndarray, " B"], by_programs: bool
) -> Accepted:
    """The least true l_1 loss over tolerances all over the observation, then over signs.

    by_programs: whether the tolerances are tried by Algorithm 2's programs (schedule "best") or
    by their least-squares points (schedule "iterate"). Sigmoid and tanh know no signs: they end
    with the programs.
    """
    best = Best.none(program)
    which = np.repeat(np.flatnonzero(live), len(PLACES))
    tolerance = _spread(program.rows)[live].ravel()
    squashing = program.rows.activation.squashing
    if by_programs or squashing:
        try_tolerances(L1, program, best, which, tolerance, len(PLACES))
    elif which.size:
        z = program.centre(which, tolerance).latent
        best.offer(which, tolerance, l1_residual(program.rows.take(which), z), z)
    if not squashing:
        _descend(program, best, live & np.isfinite(best.residual), not by_programs)
    return best.finish(np.zeros(len(live), bool))


def _spread(rows: Rows) -> Float[np.ndarray, "B places"]:
    """Set-changing tolerances at even steps of rank: none undecided, ..., all but k decided."""
    v = breakpoints(rows)
    k = rows.matrix.shape[1]
    zeros = (v <= 0).sum(-1) - 1
    most = np.maximum(v.shape[1] - 1 - k, zeros)
    index = zeros[:, None] + np.outer(most - zeros, PLACES).astype(np.int64)
    found = np.take_along_axis(v, index, axis=-1)
    # A tolerance of zero would make a row's interval empty where x has lost its digits.
    return np.maximum(found, FLOOR * np.maximum(rows.size, 1e-300)[:, None])


def _descend(program: LayerProgram, best: Best, open_: np.ndarray, must: bool) -> None:
    """Programs by signs from the best point; `must`: the first answer stands in any case."""
    for number in range(MOST):
        which = np.flatnonzero(open_)
        if not which.size:
            return
        rows = program.rows.take(which)
        positive = _positive(rows, best.latent[which])
        problem = signed_rows(rows, positive)
        centre = program.centre(which, best.tolerance[which])
        solution = program.solve_from(problem, which, centre, best.tolerance[which])
        best.asked[which] += 1
        residual = l1_residual(rows, np.nan_to_num(solution.latent))
        residual = np.where(solution.certified, residual, np.inf)
        if must and number == 0:
            # A least-squares point is where the iteration starts, not an answer of it.
            best.residual[which] = np.inf
        better = best.offer(which, best.tolerance[which], residual, solution.latent)
        signs = _positive(rows, np.nan_to_num(solution.latent))
        settled = ((signs == positive) | ~_matters(rows)).all(-1)
        open_[which] = better & ~settled


def _matters(rows: Rows) -> Bool[np.ndarray, "B n"]:
    """The rows whose cost depends on the sign of u."""
    return rows.observed & ((rows.x > 0) | (not rows.like_relu))


def _positive(rows: Rows, z: Float[np.ndarray, "B k"]) -> Bool[np.ndarray, "B n"]:
    """Whether u_j > 0, by more than rounding."""
    return rows.preactivation(z) > FLOOR * rows.size[:, None]
