"""One door to every backend: recentre, solve, recompute the certificate, undo the recentring."""

from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinv.lp import clarabel_pool, slots
from jaxinv.lp.problem import Certificate, IntervalLP, LPSolution, Slack, certify
from jaxinv.lp.vertex import to_vertex
from jaxinv.settings import ClarabelPool, CvxpySolver, InteriorPoint, Solver

FAR = 1e3  # in units of the recentred program
CLOSER = 0.1  # of the scale: an answer whose violation is smaller is a better centre
CERTIFIED = 1e-8  # relative to max(optimum, floor), on the recentred program
# Of the solver's tolerance, what is asked where an answer missed its certificate: its own measure
# of the gap and the recomputed one differ by a few times at the last digits.
FINER = 0.02
FALLBACKS = (ClarabelPool(), ClarabelPool(tolerance=1e-10))
# SciPy's HiGHS, a simplex method: one program after the other, but it ends at a vertex.
LAST = CvxpySolver("SCIPY")


@dataclass(frozen=True)
class CertifiedSolution:
    """What a backend found and the certificate confirms, one entry an instance.

    latent: (B, k). objective: (B,) in original units. certified: (B,). steps: (B,). fallback: (B,)
    where the chosen solver's answer was not certified and the Clarabel pool tried.
    """

    latent: Float[np.ndarray, "B k"]
    objective: Float[np.ndarray, " B"]
    certified: Bool[np.ndarray, " B"]
    steps: Int[np.ndarray, " B"]
    fallback: Bool[np.ndarray, " B"]


def run_backend(
    problem: IntervalLP,
    solver: Solver,
    largest_batch: int | None = None,
    fine: bool = False,
) -> LPSolution:
    """Hand the batch to the backend that the settings name; nothing is checked here.

    largest_batch and fine: see `slots.solve`; the other backends have no use for them.
    """
    if isinstance(solver, InteriorPoint):
        return slots.solve(problem, solver, largest_batch, fine)
    if isinstance(solver, CvxpySolver):
        # CVXPY takes a second to import and few runs need it.
        from jaxinv.lp import cvxpy_backend

        return cvxpy_backend.solve(problem, solver)
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
    short = solution.finished & ~certificate.holds(CERTIFIED)
    return _purified(problem, solution, certificate, short)


def _purified(
    problem: IntervalLP,
    solution: LPSolution,
    certificate: Certificate,
    which: Bool[np.ndarray, " B"],
) -> tuple[LPSolution, Certificate]:
    """Exchange answers for the vertices they point to, where those are certified."""
    index = np.flatnonzero(which)
    if problem.slack is Slack.NONE or not index.size:
        return solution, certificate
    some = problem.take(index)
    vertex = to_vertex(some, solution.take(index), certificate.objective[index])
    better = certify(some, vertex).holds(CERTIFIED)
    solution = solution.replaced(index[better], vertex.take(better))
    return solution, certify(problem, solution)


def solve_certified(
    problem: IntervalLP,
    solver: Solver,
    centre: Float[np.ndarray, "B k"],
    scale: Float[np.ndarray, " B"],
    largest_batch: int | None = None,
) -> CertifiedSolution:
    """Solve in w, z = centre + scale w, and keep an answer only with its recomputed certificate.

    What the solver does not certify, from the centre or from where it came to, the device solver
    tries again with fine pivots and more digits, and what is still open goes to the pool. A program
    with slack has an optimum, so that one that the pool misses as well is given to a simplex
    method.
    largest_batch: see `slots.solve`.
    """
    found = _around_twice(problem, solver, centre, scale, largest_batch)
    open_ = np.flatnonzero(~found.certified)
    if open_.size and isinstance(solver, InteriorPoint):
        finer = replace(solver, tolerance=FINER * solver.tolerance)
        some = problem.take(open_), finer, centre[open_], scale[open_], largest_batch
        _adopt(found, open_, _around_twice(*some, fine=True))
    fallback = ~found.certified
    has_optimum = problem.slack is not Slack.NONE
    for other in (*FALLBACKS, LAST) if has_optimum else FALLBACKS:
        open_ = np.flatnonzero(~found.certified)
        if open_.size and other != solver:
            left = problem.take(open_), other, centre[open_], scale[open_]
            _adopt(found, open_, _around_twice(*left, whole=True))
    return replace(found, fallback=fallback)


def _around_twice(
    problem: IntervalLP,
    solver: Solver,
    centre: Float[np.ndarray, "B k"],
    scale: Float[np.ndarray, " B"],
    largest_batch: int | None = None,
    whole: bool = False,
    fine: bool = False,
) -> CertifiedSolution:
    """Solve; where the certificate fails, once more around the answer in the units of its slack.

    A centre far from the answer leaves too few digits for an optimum much smaller than its own
    violation, as where fewer rows are decided than there are unknowns.
    """
    found = _around(problem, solver, centre, scale, largest_batch, whole, fine)
    open_ = np.flatnonzero(~found.certified & np.isfinite(found.latent).all(-1))
    if problem.slack is Slack.NONE or not open_.size:
        return found
    violation = problem.take(open_).least_slack(found.latent[open_]).max(-1)
    closer = (violation < CLOSER * scale[open_]) & (violation > 0)
    if closer.any():
        open_, near = open_[closer], problem.take(open_[closer])
        unit = np.maximum(violation[closer], near.floor)
        again = _around(near, solver, found.latent[open_], unit, largest_batch, whole, fine)
        _adopt(found, open_, again)
    return found


def _around(
    problem: IntervalLP,
    solver: Solver,
    centre: Float[np.ndarray, "B k"],
    scale: Float[np.ndarray, " B"],
    largest_batch: int | None,
    whole: bool,
    fine: bool,
) -> CertifiedSolution:
    """Solve once; whole: with the far sides, which may matter after all."""
    recentred = problem.recentred(centre, scale)
    asked = recentred if whole else _near_sides(recentred)
    answer = run_backend(asked, solver, largest_batch, fine)
    solution, certificate = _judged(recentred, answer)
    if isinstance(solver, InteriorPoint) and solver.vertex:
        solution, certificate = _purified(recentred, solution, certificate, solution.finished)
    latent = np.clip(solution.uncentred(centre, scale).latent, problem.box_lower, problem.box_upper)
    offset = (problem.cost * centre).sum(-1)
    return CertifiedSolution(
        latent=latent,
        objective=scale * certificate.objective + offset,
        certified=certificate.holds(CERTIFIED),
        steps=solution.steps,
        fallback=np.zeros(problem.batch_size, bool),
    )


def _adopt(
    found: CertifiedSolution, index: Int[np.ndarray, " m"], other: CertifiedSolution
) -> None:
    """Take over, in place, the certified answers of some instances; steps add up."""
    better = other.certified
    other = replace(other, steps=found.steps[index] + other.steps)
    found.steps[index] = other.steps
    for part in fields(found):
        getattr(found, part.name)[index[better]] = getattr(other, part.name)[better]
