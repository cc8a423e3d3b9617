"""One chunk of observations, padded to one shape, through the method that was asked for."""

from dataclasses import replace

import jax
import numpy as np
from jaxtyping import Bool, Float

from jaxinv.call.limits import Observed, limits, noise_limit
from jaxinv.call.operators import JOINT
from jaxinv.call.request import Data, Request
from jaxinv.call.runners import runner
from jaxinv.joint.answer import refined
from jaxinv.joint.descent.levenberg_marquardt import Box
from jaxinv.joint.endings.cells import in_cells
from jaxinv.joint.endings.most_likely import explained, most_likely, with_deviance
from jaxinv.joint.endings.robust import robust_ending
from jaxinv.joint.finish import Provisional, finished
from jaxinv.joint.map_estimate import Penalty, judged, penalised, with_objective
from jaxinv.joint.problem import Problem, blank_image, reproduced
from jaxinv.joint.search.candidates import nearest_candidates
from jaxinv.linalg.on_device import handed_over, on_device
from jaxinv.linalg.shared import per_row, shared
from jaxinv.model.precision import Rounding
from jaxinv.outcome.inversion import Inversion, take_rows
from jaxinv.settings import Auto, LevenbergMarquardt

FURTHER_STARTS = 8  # of a fit to a noise model, beside the least-squares latent


def invert_chunk(
    request: Request,
    data: Data,
    size: int,
    first_row: int,
) -> Inversion:
    """One chunk, padded to `size` rows; padding is never live and costs no linear program."""
    rows = data.rows
    padding = ((0, size - len(rows)), (0, 0))
    x, live = _cleaned(rows, data.weight)
    x = _padded(x, size)
    weight = _padded(data.weight, size)
    # enable_x64 holds for one thread: each worker sets its own.
    with jax.enable_x64(True):
        padded_live = np.pad(live, padding[0])
        row_ids = first_row + np.arange(len(x))
        noise = None if data.noise is None else _padded(data.noise, size)
        problem = joint_problem(request, x, weight, padded_live, row_ids, data.rounding, noise)
        if data.start is not None:
            problem = replace(problem, start=np.pad(data.start, (*padding, (0, 0))))
        penalty = None
        if request.prior is not None:
            level = None if data.level is None else np.pad(data.level, padding[0])
            penalty = request.prior.penalty(problem, weight, level)
        found = _found(request, problem, penalty)
        inversion = _last_word(request, problem, penalty, found, noise)
        return inversion if len(rows) == size else take_rows(inversion, slice(0, len(rows)))


def _cleaned(
    rows: Float[np.ndarray, "B n"], weight: Float[np.ndarray, "B n"]
) -> tuple[Float[np.ndarray, "B n"], Bool[np.ndarray, " B"]]:
    """The observed entries, 0 elsewhere and in rows that are none; and which rows are some."""
    observed = per_row(lambda weight: weight > 0, weight)
    finite, any_seen = np.isfinite(rows), per_row(_any_seen, observed)
    if shared(observed).all() and finite.all():
        return rows, any_seen
    live = (finite | ~observed).all(-1) & any_seen
    return np.where(observed & live[:, None], rows, 0.0), live


def _any_seen(observed: Bool[np.ndarray, "B n"]) -> Bool[np.ndarray, " B"]:
    return np.asarray(observed.any(-1))


def _padded(part: Float[np.ndarray, "B n"], size: int) -> Float[np.ndarray, "size n"]:
    """So many rows, of zeros where there are no more; of what all rows share, of that."""
    if len(part) == size:
        return part
    if len(part) and part.strides[0] == 0:
        return np.broadcast_to(shared(part), (size, *part.shape[1:]))
    return np.pad(part, ((0, size - len(part)), (0, 0)))


def _found(request: Request, problem: Problem, penalty: Penalty | None) -> Provisional:
    """The least of the squared misfit, and of a prior beside it, with the data's word on it."""
    method = request.method
    if penalty is None:
        return _refined(request, problem, runner(method).run(problem, method, request))
    found = runner(method).run(penalised(problem, penalty), method, request)
    assert isinstance(method, JOINT), "the door lets no other take a prior"
    return judged(problem, penalty, found, method.start_scale)


def _last_word(
    request: Request,
    problem: Problem,
    penalty: Penalty | None,
    found: Provisional,
    noise: Float[np.ndarray, "B n"] | None,
) -> Inversion:
    """What a noise model or cells make of the latents found, and residuals, ranks and statuses."""
    observed = per_row(lambda seen: seen.astype(np.float64), problem.observed)
    if request.model is not None:
        even = replace(problem, weight=observed)
        others = _other_starts(request, problem, penalty)
        found = most_likely(even, found, request.model, penalty, others)
        found = explained(even, found, request.model)
        inversion = finished(problem, found, np.inf)
        return with_deviance(even, request.model, penalty, inversion)
    credible: Float[np.ndarray, " B"] | float = np.inf
    if noise is not None:
        # What is reproduced up to rounding is no less so where the noise is said to be nothing.
        credible = noise_limit(noise * observed)
        credible = np.maximum(credible, reproduced(problem, Auto.tolerance))
    if request.step:
        stated = np.zeros_like(observed) if noise is None else noise * observed
        within = np.maximum(noise_limit(stated), Auto.tolerance * problem.sizes.told)
        problem, found = in_cells(problem, penalty, found, request.step, within)
        credible = within
    inversion = finished(problem, found, credible)
    return inversion if penalty is None else with_objective(problem, penalty, inversion)


def _other_starts(
    request: Request, problem: Problem, penalty: Penalty | None
) -> Float[np.ndarray, "B s k"]:
    """Random points whose images are near, for runs that least squares has not led."""
    scale = request.method.start_scale if isinstance(request.method, JOINT) else 1.0
    wanted = slice(0, FURTHER_STARTS)
    if penalty is None:
        return nearest_candidates(problem, wanted, Auto.candidates, scale)
    whitened = penalised(problem, penalty)
    return penalty.latent(nearest_candidates(whitened, wanted, Auto.candidates, scale))


def _refined(request: Request, problem: Problem, found: Provisional) -> Provisional:
    """What `refine=` asks for, from the latents that have been found."""
    if request.refine is None:
        return found
    if not runner(request.method).to_minima:
        found = refined(problem, found, LevenbergMarquardt())
    return found if request.refine == "lm" else robust_ending(problem, found, request.refine)


def joint_problem(
    request: Request,
    x: np.ndarray,
    weight: np.ndarray,
    live: np.ndarray,
    row_ids: np.ndarray,
    rounding: Rounding,
    noise: Float[np.ndarray, "B n"] | None = None,
) -> Problem:
    """The chunk as every method is given it; its limit is for those that fit all layers."""
    method, tolerance = request.method, Auto.tolerance
    if isinstance(method, Auto | LevenbergMarquardt):
        tolerance = method.tolerance
        # These weights say how entries compare: a power of two in common changes no digit.
        weight = per_row(_comparable, weight)
    box = Box(*(on_device(side) for side in request.latent_bounds))
    sent = handed_over(x)
    # The same for every chunk of a call.
    blank = request.blanks.get(len(x))
    if blank is None:
        blank = request.blanks[len(x)] = blank_image(request.generator, box, sent)
    observed = Observed(x, weight, sent, blank, rounding)
    limit, certain, known = limits(request.generator, observed, tolerance, noise)
    return Problem(
        generator=request.generator,
        observation=x,
        weight=weight,
        live=live,
        limit=limit,
        certain=certain,
        blank=blank,
        rounding=known.entries.rounding,
        box=box,
        seed=request.seed,
        row_ids=row_ids,
        known=known,
    )


def _comparable(weight: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B n"]:
    """Weights below one, by powers of two."""
    return np.ldexp(weight, -np.frexp(weight.max(-1, keepdims=True, initial=0.0))[1])
