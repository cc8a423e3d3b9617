"""One door to every backend: recentre, solve, recompute the certificate, undo the recentring."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinv.lp import clarabel_pool
from jaxinv.lp.optimal_face import face_dimension
from jaxinv.lp.problem import IntervalLP, LPSolution, Slack, certify
from jaxinv.methods import ClarabelPool, CvxpySolver, Solver

CERTIFIED = 1e-8  # relative to max(optimum, floor), on the recentred program


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


def solve_certified(
    problem: IntervalLP,
    solver: Solver,
    centre: Float[np.ndarray, "B k"],
    scale: Float[np.ndarray, " B"],
) -> CertifiedSolution:
    """Solve in w, z = centre + scale w, and keep an answer only with its recomputed certificate."""
    recentred = problem.recentred(centre, scale)
    solution = run_backend(recentred, solver)
    certificate = certify(recentred, solution)
    certified = certificate.holds(CERTIFIED)
    free = np.zeros(problem.batch_size, np.int64)
    if problem.slack is Slack.SHARED and certified.any():
        slack = np.broadcast_to(certificate.objective[:, None], problem.lower.shape)
        free[certified] = face_dimension(
            recentred.take(certified), solution.take(certified), slack[certified]
        )
    latent = np.clip(
        solution.uncentred(centre, scale).latent, problem.box_lower, problem.box_upper
    )
    offset = (problem.cost * centre).sum(-1)
    return CertifiedSolution(
        latent,
        scale * certificate.objective + offset,
        certified,
        free,
        solution.steps,
    )
