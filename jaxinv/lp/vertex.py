r"""From an interior point's last digits to the vertex: k + 1 tight sides, solved as equations.

For programs with shared slack, v = (z, s) and every side is a row e . v >= r. The k + 1 sides with
the largest ratio of multiplier to margin are taken as equations, E v = r for the point and
E' y = (0, ..., 0, 1) for the multipliers. Nothing is assumed of the guess: where it is wrong, the
point is infeasible or a multiplier negative, and the certificate says so.
"""

import numpy as np

from jaxinv.lp.problem import IntervalLP, LPSolution


def to_vertex(problem: IntervalLP, solution: LPSolution, slack: np.ndarray) -> LPSolution:
    """Replace each finished answer by the vertex nearest to it; slack is the answer's, (B,)."""
    latent = solution.latent.copy()
    lower_dual = np.zeros_like(solution.lower_dual)
    upper_dual = np.zeros_like(solution.upper_dual)
    for i in np.flatnonzero(solution.finished):
        found = _vertex(problem, solution, int(i), float(slack[i]))
        if found is not None:
            latent[i], lower_dual[i], upper_dual[i] = found
        else:
            lower_dual[i], upper_dual[i] = solution.lower_dual[i], solution.upper_dual[i]
    return LPSolution(latent, lower_dual, upper_dual, solution.finished, solution.steps)


def _vertex(
    problem: IntervalLP, solution: LPSolution, i: int, slack: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    k, n = problem.columns, problem.rows
    w, z = problem.matrix_of(i), solution.latent[i]
    wz = w @ z
    margin = np.concatenate(
        [
            wz + problem.lower_slack[i] * slack - problem.lower[i],
            problem.upper[i] + problem.upper_slack[i] * slack - wz,
            z - problem.box_lower[i],
            problem.box_upper[i] - z,
        ]
    )
    reduced = problem.cost[i] - w.T @ (solution.lower_dual[i] - solution.upper_dual[i])
    multiplier = np.concatenate(
        [
            solution.lower_dual[i],
            solution.upper_dual[i],
            np.maximum(reduced, 0.0),
            np.maximum(-reduced, 0.0),
        ]
    )
    usable = np.isfinite(margin)
    if usable.sum() <= k:
        return None
    score = np.where(usable, multiplier / np.maximum(margin, 1e-300), -1.0)
    tight = np.argpartition(-score, k)[: k + 1]
    kind, index = _split(tight, n, k)
    rows = np.zeros((k + 1, k + 1))
    right = np.empty(k + 1)
    for row, (which, j) in enumerate(zip(kind, index, strict=True)):
        sign = 1.0 if which in (0, 2) else -1.0
        if which < 2:
            rows[row, :k] = sign * w[j]
            rows[row, k] = (problem.lower_slack, problem.upper_slack)[which][i, j]
            right[row] = sign * (problem.lower, problem.upper)[which][i, j]
        else:
            rows[row, j] = sign
            right[row] = sign * (problem.box_lower, problem.box_upper)[which - 2][i, j]
    try:
        point = np.linalg.solve(rows, right)
        y = np.linalg.solve(rows.T, np.eye(k + 1)[k])
    except np.linalg.LinAlgError:
        return None
    duals = np.zeros((2, n))
    on_rows = kind < 2
    duals[kind[on_rows], index[on_rows]] = y[on_rows]
    return point[:k], duals[0], duals[1]


def _split(position: np.ndarray, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of the four kinds of side a position in (n, n, k, k) belongs to, and its row there."""
    kind = np.searchsorted(np.cumsum([n, n, k, k]), position, side="right")
    return kind, position - np.array([0, n, 2 * n, 2 * n + k])[kind]
