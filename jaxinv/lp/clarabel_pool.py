"""A pool of CPU threads that solve interval linear programs one by one with Clarabel.

Clarabel's solve releases the interpreter lock, so threads are enough, and each keeps to one core.
Per instance the variables are (z, s) and every finite side is one row of A v <= b.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import clarabel
import numpy as np
from scipy import sparse

from jaxinv.lp.problem import IntervalLP, LPSolution, Slack
from jaxinv.settings import ClarabelPool


def solve(problem: IntervalLP, settings: ClarabelPool) -> LPSolution:
    """Solve every instance; one that Clarabel does not call Solved comes back as NaN."""
    executor = _executor(settings.threads or os.cpu_count() or 1)
    answers = list(
        executor.map(lambda i: _solve_one(problem, i, settings), range(problem.batch_size))
    )
    latent = np.full((problem.batch_size, problem.columns), np.nan)
    lower_dual = np.zeros((problem.batch_size, problem.rows))
    upper_dual = np.zeros_like(lower_dual)
    finished = np.zeros(problem.batch_size, bool)
    steps = np.zeros(problem.batch_size, np.int64)
    for i, (solved, x, y_lower, y_upper, count) in enumerate(answers):
        finished[i], steps[i] = solved, count
        if solved:
            latent[i], lower_dual[i], upper_dual[i] = x, y_lower, y_upper
    return LPSolution(latent, lower_dual, upper_dual, finished, steps)


@cache
def _executor(threads: int) -> ThreadPoolExecutor:
    # One pool for all chunks in flight: two pools would only fight over the same cores.
    return ThreadPoolExecutor(threads, thread_name_prefix="clarabel")


def _solve_one(
    problem: IntervalLP, i: int, settings: ClarabelPool
) -> tuple[bool, np.ndarray, np.ndarray, np.ndarray, int]:
    n, k = problem.rows, problem.columns
    has_lower, has_upper = np.isfinite(problem.lower[i]), np.isfinite(problem.upper[i])
    matrix, rhs, cost = _inequalities(problem, i, has_lower, has_upper)
    unknown = (False, np.empty(0), np.empty(0), np.empty(0), 0)
    if not (np.isfinite(rhs).all() and np.isfinite(cost).all()):
        return unknown
    options = clarabel.DefaultSettings()
    options.verbose = False
    options.max_threads = 1
    options.time_limit = settings.time_limit
    options.tol_gap_abs = options.tol_gap_rel = options.tol_feas = settings.tolerance
    cones = [clarabel.NonnegativeConeT(len(rhs))]
    quadratic = sparse.csc_matrix((len(cost), len(cost)))
    answer = clarabel.DefaultSolver(quadratic, cost, matrix, rhs, cones, options).solve()
    if answer.status != clarabel.SolverStatus.Solved:
        return (*unknown[:-1], answer.iterations)
    duals = np.asarray(answer.z)
    y_lower, y_upper = np.zeros(n), np.zeros(n)
    split = int(has_lower.sum())
    y_lower[has_lower] = duals[:split]
    y_upper[has_upper] = duals[split : split + int(has_upper.sum())]
    return True, np.asarray(answer.x)[:k], y_lower, y_upper, answer.iterations


def _inequalities(
    problem: IntervalLP, i: int, has_lower: np.ndarray, has_upper: np.ndarray
) -> tuple[sparse.csc_matrix, np.ndarray, np.ndarray]:
    """A, b and q of min q.v s.t. A v <= b, v = (z, s), in the order lower, upper, box, s >= 0."""
    w, k = problem.matrix_of(i), problem.columns
    in_low, in_up = np.isfinite(problem.box_lower[i]), np.isfinite(problem.box_upper[i])
    identity = sparse.identity(k, format="csr")
    a, b = problem.lower_slack[i], problem.upper_slack[i]
    blocks = [
        [sparse.csr_matrix(-w[has_lower]), _slack_columns(problem.slack, -a, has_lower)],
        [sparse.csr_matrix(w[has_upper]), _slack_columns(problem.slack, -b, has_upper)],
        [-identity[in_low], None],
        [identity[in_up], None],
    ]
    rhs = [
        -problem.lower[i][has_lower],
        problem.upper[i][has_upper],
        -problem.box_lower[i][in_low],
        problem.box_upper[i][in_up],
    ]
    count = {Slack.SHARED: 1, Slack.SEPARATE: problem.rows, Slack.NONE: 0}[problem.slack]
    if count:
        blocks.append([None, -sparse.identity(count, format="csr")])
        rhs.append(np.zeros(count))
    else:
        blocks = [[block] for block, _ in blocks]
    cost = np.concatenate([problem.cost[i], np.ones(count)])
    kept = [block for block, values in zip(blocks, rhs, strict=True) if len(values)]
    matrix = sparse.bmat(kept, format="csc") if kept else sparse.csc_matrix((0, k + count))
    return sparse.csc_matrix(matrix), np.concatenate(rhs), cost


def _slack_columns(slack: Slack, coefficient: np.ndarray, rows: np.ndarray) -> sparse.csr_matrix:
    if slack is Slack.SHARED:
        return sparse.csr_matrix(coefficient[rows, None])
    if slack is Slack.SEPARATE:
        return sparse.diags(coefficient, format="csr")[rows]
    return sparse.csr_matrix((int(rows.sum()), 0))
