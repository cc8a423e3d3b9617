"""Other solvers on the same interval programs: from a batch to its latents, or NaN.

Each takes a recentred `IntervalLP` with shared or separate slack and returns latents (B, k); how
good they are is judged elsewhere, by this project's own certificate.
"""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context

import numpy as np
from scipy.optimize import linprog

from jaxinv.lp.problem import IntervalLP, Slack
from jaxinv.lp.solve import run_backend
from jaxinv.settings import ClarabelPool, CvxpySolver, InteriorPoint

Rival = Callable[[IntervalLP], np.ndarray]
ACCURACY = 1e-8
FIRST_ORDER_ACCURACY = 1e-6
FAR = 1e3  # stands for an infinite side where a solver needs one shape for all


def rivals() -> dict[str, Rival]:
    """Those whose packages are installed, by name."""
    table: dict[str, Rival] = {
        "InteriorPoint": partial(_backend, solver=InteriorPoint()),
        "ClarabelPool": partial(_backend, solver=ClarabelPool()),
        "CVXPY + Clarabel": partial(_backend, solver=CvxpySolver("CLARABEL")),
        "HiGHS (scipy)": highs,
    }
    for name, module, solve in (
        ("PIQP dense", "piqp", piqp_processes),
        ("MPAX 1e-6 (vmap)", "mpax", mpax_vmap),
        ("qpax (vmap)", "qpax", qpax_vmap),
        ("Moreau", "moreau", moreau_one_by_one),
    ):
        try:
            __import__(module)
        except ImportError:
            continue
        table[name] = solve
    return table


def _backend(problem: IntervalLP, solver: InteriorPoint | ClarabelPool | CvxpySolver) -> np.ndarray:
    return run_backend(problem, solver).latent


def highs(problem: IntervalLP) -> np.ndarray:
    def one(i: int) -> np.ndarray:
        cost, rows, right = inequalities(problem, i)
        bounds = np.stack(_bounds(problem, i, len(cost)), -1)
        answer = linprog(cost, A_ub=rows, b_ub=right, bounds=bounds, method="highs")
        return answer.x[: problem.columns] if answer.status == 0 else _nothing(problem)

    return np.array([one(i) for i in range(problem.batch_size)])


def piqp_processes(problem: IntervalLP) -> np.ndarray:
    """PIQP's dense solver, one process a core, each with one thread."""
    pool = _processes()
    parts = np.array_split(np.arange(problem.batch_size), os.cpu_count() or 1)
    jobs = [pool.submit(piqp_serial, problem.take(part)) for part in parts if len(part)]
    return np.concatenate([job.result() for job in jobs])


def piqp_serial(problem: IntervalLP) -> np.ndarray:
    import piqp

    latent = np.full((problem.batch_size, problem.columns), np.nan)
    for i in range(problem.batch_size):
        cost, rows, right = inequalities(problem, i)
        low = np.concatenate([problem.box_lower[i], np.zeros(len(cost) - problem.columns)])
        high = np.concatenate([problem.box_upper[i], np.full(len(low) - problem.columns, np.inf)])
        solver = piqp.DenseSolver()
        solver.settings.eps_abs = solver.settings.eps_rel = ACCURACY
        solver.settings.check_duality_gap = True
        solver.settings.eps_duality_gap_abs = solver.settings.eps_duality_gap_rel = ACCURACY
        none = np.zeros((len(cost), len(cost)), order="F")
        solver.setup(
            none, cost, None, None, np.asfortranarray(rows), None, right, x_l=low, x_u=high
        )
        if solver.solve() == piqp.PIQP_SOLVED:
            latent[i] = solver.result.x[: problem.columns]
    return latent


@cache
def _processes() -> ProcessPoolExecutor:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    return ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"))


def mpax_vmap(problem: IntervalLP) -> np.ndarray:
    import jax
    import jax.numpy as jnp
    import mpax

    with jax.enable_x64(True):
        cost, rows, right, low, high = (jnp.asarray(a) for a in _stacked(problem))
        solver = mpax.r2HPDHG(eps_abs=FIRST_ORDER_ACCURACY, eps_rel=FIRST_ORDER_ACCURACY)
        none = jnp.zeros((0, cost.shape[-1]))

        def one(rows, right, low, high):  # type: ignore[no-untyped-def]
            lp = mpax.create_lp(
                cost[0], none, jnp.zeros(0), -rows, -right, low, high, use_sparse_matrix=False
            )
            return solver.optimize(lp).primal_solution

        return np.asarray(jax.vmap(one)(rows, right, low, high))[:, : problem.columns]


def qpax_vmap(problem: IntervalLP) -> np.ndarray:
    import jax
    import jax.numpy as jnp
    import qpax

    with jax.enable_x64(True):
        cost, rows, right, low, high = (jnp.asarray(a) for a in _stacked(problem))
        size = cost.shape[-1]
        identity = jnp.eye(size)

        def one(rows, right, low, high):  # type: ignore[no-untyped-def]
            g = jnp.concatenate([rows, -identity, identity])
            h = jnp.concatenate([right, -jnp.maximum(low, -FAR), jnp.minimum(high, FAR)])
            none = jnp.zeros((0, size))
            answer = qpax.solve_qp(
                jnp.zeros((size, size)), cost[0], none, jnp.zeros(0), g, h, solver_tol=ACCURACY
            )
            return answer[0]

        return np.asarray(jax.jit(jax.vmap(one))(rows, right, low, high))[:, : problem.columns]


def moreau_one_by_one(problem: IntervalLP) -> np.ndarray:
    import moreau
    from scipy import sparse

    latent = np.full((problem.batch_size, problem.columns), np.nan)
    for i in range(problem.batch_size):
        cost, rows, right = inequalities(problem, i)
        low, high = _bounds(problem, i, len(cost))
        identity = np.eye(len(cost))
        whole = np.concatenate([rows, -identity[np.isfinite(low)], identity[np.isfinite(high)]])
        right = np.concatenate([right, -low[np.isfinite(low)], high[np.isfinite(high)]])
        solver = moreau.Solver(
            sparse.csr_matrix((len(cost), len(cost))),
            cost,
            sparse.csr_matrix(whole),
            right,
            moreau.Cones(num_nonneg_cones=len(right)),
            moreau.Settings(device="cpu"),
        )
        answer = solver.solve()
        latent[i] = np.asarray(answer.x)[: problem.columns]
    return latent


def inequalities(problem: IntervalLP, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """q, A and b of min q.v s.t. A v <= b over finite sides, v = (z, s)."""
    w, n = problem.matrix_of(i), problem.rows
    here = np.isfinite(problem.lower[i]), np.isfinite(problem.upper[i])
    slack = [problem.lower_slack[i], problem.upper_slack[i]]
    if problem.slack is Slack.SHARED:
        columns = [-a[:, None] for a in slack]
    else:
        columns = [-np.diag(a) for a in slack]
    rows = np.concatenate(
        [
            np.concatenate([-w, columns[0]], 1)[here[0]],
            np.concatenate([w, columns[1]], 1)[here[1]],
        ]
    )
    right = np.concatenate([-problem.lower[i][here[0]], problem.upper[i][here[1]]])
    count = 1 if problem.slack is Slack.SHARED else n
    return np.concatenate([np.zeros(problem.columns), np.ones(count)]), rows, right


def _stacked(problem: IntervalLP) -> tuple[np.ndarray, ...]:
    """All instances in one shape: sides that are infinite stand at FAR."""
    near = IntervalLP(
        **{
            **{name: getattr(problem, name) for name in problem.__dataclass_fields__},
            "lower": np.maximum(problem.lower, -FAR),
            "upper": np.minimum(problem.upper, FAR),
        }
    )
    parts = [inequalities(near, i) for i in range(near.batch_size)]
    bounds = [_bounds(near, i, len(parts[0][0])) for i in range(near.batch_size)]
    stacked = [np.array([part[j] for part in parts]) for j in range(3)]
    return (*stacked, *(np.array([pair[j] for pair in bounds]) for j in range(2)))


def _bounds(problem: IntervalLP, i: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    slacks = size - problem.columns
    low = np.concatenate([problem.box_lower[i], np.zeros(slacks)])
    return low, np.concatenate([problem.box_upper[i], np.full(slacks, np.inf)])


def _nothing(problem: IntervalLP) -> np.ndarray:
    return np.full(problem.columns, np.nan)
