r"""From an interior point's last digits to the vertex: its tight sides, solved as equations.

For programs with shared slack, v = (z, s) and every side is a row e . v >= r. The k + 1 sides with
the largest ratio of multiplier to margin are taken as equations, E v = r for the point and
E' y = (0, ..., 0, 1) for the multipliers.

With separate slack a row off its ends has its multiplier at an end as well, 0 inside and 1 / a or
1 / b outside. So v = z, and k rows or bounds are tight: those with the largest ratios, each row's
as Newton's step sees it without the slack (`interior_point`), that are independent, by a QR
factorisation with pivoting of the sides so weighted. Then E z = r, and E' y = -N' y_N takes what
the multipliers of the other rows leave.

Nothing is assumed of the guess: where it is wrong, the point is infeasible or a multiplier
negative, and the certificate says so.
"""

import numpy as np
from scipy.linalg import qr

from jaxinv.lp.problem import IntervalLP, LPSolution, Slack

SMALLEST = 1e-14  # margins of a recentred program below it are rounding


def to_vertex(problem: IntervalLP, solution: LPSolution, slack: np.ndarray) -> LPSolution:
    """Replace each finished answer by the vertex nearest to it; slack is the answer's if shared."""
    latent = solution.latent.copy()
    lower_dual = np.zeros_like(solution.lower_dual)
    upper_dual = np.zeros_like(solution.upper_dual)
    for i in np.flatnonzero(solution.finished):
        if problem.slack is Slack.SEPARATE:
            found = _of_separate(problem, solution, int(i))
        else:
            found = _of_shared(problem, solution, int(i), float(slack[i]))
        if found is not None:
            latent[i], lower_dual[i], upper_dual[i] = found
        else:
            lower_dual[i], upper_dual[i] = solution.lower_dual[i], solution.upper_dual[i]
    return LPSolution(latent, lower_dual, upper_dual, solution.finished, solution.steps)


def _of_shared(
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


def _of_separate(
    problem: IntervalLP, solution: LPSolution, i: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The vertex of k tight rows or bounds; every other row's multiplier at one of its ends."""
    k, n = problem.columns, problem.rows
    w = problem.matrix_of(i)
    a, b = problem.lower_slack[i], problem.upper_slack[i]
    lower, upper = problem.lower[i], problem.upper[i]
    box_lower, box_upper = problem.box_lower[i], problem.box_upper[i]
    y_lower, y_upper = solution.lower_dual[i], solution.upper_dual[i]
    z = np.clip(solution.latent[i], box_lower, box_upper)
    wz = w @ z
    s = np.maximum(_per(lower - wz, a), _per(wz - upper, b)).clip(min=0.0)
    at_lower, at_upper = _per(y_lower, wz + a * s - lower), _per(y_upper, upper + b * s - wz)
    at_none = _per(np.maximum(1.0 - a * y_lower - b * y_upper, 0.0), s)
    row = (a + b) ** 2 * at_lower * at_upper + (at_lower + at_upper) * at_none
    row /= np.maximum(a**2 * at_lower + b**2 * at_upper + at_none, SMALLEST)
    reduced = -w.T @ (y_lower - y_upper)
    low = _per(np.maximum(reduced, 0.0), z - box_lower)
    high = _per(np.maximum(-reduced, 0.0), box_upper - z)
    sides = np.concatenate([w, np.eye(k)])
    weight = np.sqrt(np.concatenate([row, np.maximum(low, high)]))
    order = qr((weight[:, None] * sides).T, mode="r", pivoting=True)[1]
    tight = order[:k]
    right = np.concatenate(
        [np.where(at_lower >= at_upper, lower, upper), np.where(low >= high, box_lower, box_upper)]
    )
    net = np.where(a * y_lower > 0.5, _per(1.0, a), 0.0)
    net -= np.where(b * y_upper > 0.5, _per(1.0, b), 0.0)
    on_rows = tight[tight < n]
    net[on_rows] = 0.0
    try:
        point = np.linalg.solve(sides[tight], right[tight])
        y = np.linalg.solve(sides[tight].T, -w.T @ net)
    except np.linalg.LinAlgError:
        return None
    net[on_rows] = y[tight < n]
    return point, np.maximum(net, 0.0), np.maximum(-net, 0.0)


def _per(value: np.ndarray | float, divisor: np.ndarray) -> np.ndarray:
    """value / divisor, large where the divisor is nothing or less."""
    return value / np.maximum(divisor, SMALLEST)
