"""Interval linear programs written in CVXPY, for any solver that CVXPY has installed.

Slow and readable: it is the oracle of the tests, and a backend for those who own a solver.
"""

import warnings

import cvxpy as cp
import numpy as np

from jaxinv.lp.problem import IntervalLP, LPSolution, Slack
from jaxinv.settings import CvxpySolver


def solve(problem: IntervalLP, settings: CvxpySolver) -> LPSolution:
    """Solve every instance in turn; one that the solver does not call optimal comes back as NaN.

    Raises ValueError where CVXPY has no solver of that name.
    """
    if settings.name not in cp.installed_solvers():
        raise ValueError(
            f"CVXPY has no solver {settings.name!r} installed; "
            f"it offers {', '.join(cp.installed_solvers())}"
        )
    latent = np.full((problem.batch_size, problem.columns), np.nan)
    duals = np.zeros((2, problem.batch_size, problem.rows))
    finished = np.zeros(problem.batch_size, bool)
    for i in range(problem.batch_size):
        finished[i] = _solve_one(problem, i, settings.name, latent[i], duals[0, i], duals[1, i])
    steps = finished.astype(np.int64)
    return LPSolution(latent, duals[0], duals[1], finished, steps)


def _solve_one(
    problem: IntervalLP,
    i: int,
    name: str,
    latent: np.ndarray,
    lower_dual: np.ndarray,
    upper_dual: np.ndarray,
) -> bool:
    w = problem.matrix_of(i)
    z = cp.Variable(problem.columns)
    n = problem.rows
    s: cp.Expression = cp.Constant(np.zeros(n))
    objective: cp.Expression = problem.cost[i] @ z
    constraints = []
    if problem.slack is not Slack.NONE:
        slack = cp.Variable(1 if problem.slack is Slack.SHARED else n, nonneg=True)
        s = np.ones((n, 1)) @ slack if problem.slack is Slack.SHARED else slack
        objective = cp.sum(slack)
    u = w @ z
    low, up = (np.flatnonzero(np.isfinite(side[i])) for side in (problem.lower, problem.upper))
    a, b = problem.lower_slack[i], problem.upper_slack[i]
    sides = []
    if low.size:
        sides.append((u[low] >= problem.lower[i][low] - cp.multiply(a[low], s[low]), low, 0))
    if up.size:
        sides.append((u[up] <= problem.upper[i][up] + cp.multiply(b[up], s[up]), up, 1))
    constraints += [side for side, _, _ in sides]
    for bound, sign in ((problem.box_lower[i], 1.0), (problem.box_upper[i], -1.0)):
        finite = np.flatnonzero(np.isfinite(bound))
        if finite.size:
            constraints.append(sign * z[finite] >= sign * bound[finite])
    program = cp.Problem(cp.Minimize(objective), constraints)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a solver's word on accuracy: our certificate decides
            program.solve(solver=name)
    except cp.SolverError:
        return False
    if program.status != cp.OPTIMAL or z.value is None:
        return False
    latent[:] = z.value
    for side, rows, which in sides:
        (lower_dual, upper_dual)[which][rows] = np.abs(side.dual_value)
    return True
