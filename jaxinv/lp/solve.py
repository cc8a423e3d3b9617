"""One door to every backend: recentre, solve, recompute the certificate, undo the recentring."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinv.lp import clarabel_pool
from jaxinv.lp.optimal_face import face_dimension
from jaxinv.lp.problem import Certificate, IntervalLP, LPSolution, Slack, certify
from jaxinv.lp.vertex import to_vertex
from jaxinv.methods import ClarabelPool, CvxpySolver, Solver

FAR = 1e3  # in units of the recentred program
TIGHTER = 1e-10
CERTIFIED = 1e-7  # relative to max(optimum, floor), on the recentred program


@dataclass(frozen=True)
class CertifiedSolution:
    """What a backend found and the certificate confirms, one entry an instance.

    latent: (B, k). objective: (B,) in original units. certified: (B,). free: (B,) dimension of the
    set of optimal points (0 where not certified, and for programs without slack). steps: (B,).
    """

    latent: Float[np.ndarray, "B k"]
    objective: Float[np.ndarray, " B"]
    certified: Bool[np.ndarray, " B"]
    free: Int[np.ndarray, " B"]
    steps: Int[np.ndarray, " B"]


def run_backend(problem: IntervalLP, solver: Solver) -> LPSolution:
    """Hand the batch to the backend that the settings name; nothing is checked here."""
    if isinstance(solver, CvxpySolver):
        # CVXPY takes a second to import and few runs need it.
        from jaxinv.lp import cvxpy_backend

        return cvxpy_backend.solve(problem, solver)
    assert isinstance(solver, ClarabelPool)
    return clarabel_pool.solve(problem, solver)


def _near_sides(recentred: IntervalLP) -> IntervalLP:
    """Leave out the sides that lie far from the centre: they cannot bind at an answer nearby.

    Under little noise most inactive rows are a million units away; without them programs are
    smaller and a solver's feasibility tolerance, relative to the largest bound, means more. The
    certificate is taken on the whole program, so a side left out wrongly shows there.
    """
    return replace(
        recentred,
        lower=np.where(recentred.lower < -FAR, -np.inf, recentred.lower),
        upper=np.where(recentred.upper > FAR, np.inf, recentred.upper),
    )


def _judged(problem: IntervalLP, solution: LPSolution) -> tuple[LPSolution, Certificate]:
    """The answer or, where its own digits do not suffice, the vertex it points to."""
    certificate = certify(problem, solution)
    short = np.flatnonzero(solution.finished & ~certificate.holds(CERTIFIED))
    if problem.slack is Slack.SHARED and short.size:
        some = problem.take(short)
        vertex = to_vertex(some, solution.take(short), certificate.objective[short])
        better = certify(some, vertex).holds(CERTIFIED)
        solution = solution.replaced(short[better], vertex.take(better))
        certificate = certify(problem, solution)
    return solution, certificate


def solve_certified(
    problem: IntervalLP,
    solver: Solver,
    centre: Float[np.ndarray, "B k"],
    scale: Float[np.ndarray, " B"],
) -> CertifiedSolution:
    """Solve in w, z = centre + scale w, and keep an answer only with its recomputed certificate."""
    recentred = problem.recentred(centre, scale)
    solution, certificate = _judged(recentred, run_backend(_near_sides(recentred), solver))
    certified = certificate.holds(CERTIFIED)
    if not certified.all():
        open_ = np.flatnonzero(~certified)
        again = recentred.take(open_)
        retried, _ = _judged(again, run_backend(again, ClarabelPool(tolerance=TIGHTER)))
        better = certify(again, retried).holds(CERTIFIED)
        solution = solution.replaced(open_[better], retried.take(better))
        certificate = certify(recentred, solution)
        certified = certificate.holds(CERTIFIED)
    free = np.zeros(problem.batch_size, np.int64)
    if problem.slack is Slack.SHARED and certified.any():
        slack = np.broadcast_to(certificate.objective[:, None], problem.lower.shape)
        free[certified] = face_dimension(
            recentred.take(certified), solution.take(certified), slack[certified]
        )
    latent = np.clip(solution.uncentred(centre, scale).latent, problem.box_lower, problem.box_upper)
    offset = (problem.cost * centre).sum(-1)
    return CertifiedSolution(
        latent,
        scale * certificate.objective + offset,
        certified,
        free,
        solution.steps,
    )
