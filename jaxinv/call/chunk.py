"""One chunk of observations, padded to one shape, through the method that was asked for."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxinv.call.precision import Rounding, entry_rounding
from jaxinv.call.priors import PRIOR_METHODS
from jaxinv.call.request import Data, Request
from jaxinv.call.runners import runner
from jaxinv.joint.answer import refined
from jaxinv.joint.descent.levenberg_marquardt import Box
from jaxinv.joint.endings.robust import robust_ending
from jaxinv.joint.finish import Provisional, finished
from jaxinv.joint.map_estimate import Penalty, judged, penalised, with_objective
from jaxinv.joint.problem import Problem, blank_image, explained_size, reproduced
from jaxinv.outcome.inversion import Inversion, take_rows
from jaxinv.settings import Auto, LevenbergMarquardt


def invert_chunk(
    request: Request,
    data: Data,
    size: int,
    first_row: int,
) -> Inversion:
    """One chunk, padded to `size` rows; padding is never live and costs no linear program."""
    rows, entry_weight = data.rows, data.weight
    padding = ((0, size - len(rows)), (0, 0))
    seen = np.where(entry_weight > 0, rows, 0.0)
    live = np.asarray(np.isfinite(seen).all(-1) & (entry_weight > 0).any(-1))
    x = np.pad(np.where(live[:, None], seen, 0.0), padding)
    weight = np.pad(entry_weight, padding)
    # enable_x64 holds for one thread: each worker sets its own.
    with jax.enable_x64(True):
        padded_live = np.pad(live, padding[0])
        row_ids = first_row + np.arange(len(x))
        noise = None if data.noise is None else np.pad(data.noise, padding)
        problem = joint_problem(request, x, weight, padded_live, row_ids, data.rounding, noise)
        if data.start is not None:
            problem = replace(problem, start=np.pad(data.start, (*padding, (0, 0))))
        credible: Float[np.ndarray, " B"] | float = np.inf
        if noise is not None:
            # What is reproduced up to rounding is no less so where the noise is said to be nothing.
            credible = noise_limit(noise * (weight > 0))
            credible = np.maximum(credible, reproduced(problem, Auto.tolerance))
        if request.prior is None:
            found = runner(request.method).run(problem, request.method, request)
            inversion = finished(problem, _refined(request, problem, found), credible)
        else:
            level = None if data.level is None else np.pad(data.level, padding[0])
            penalty = request.prior.penalty(problem, weight, level)
            inversion = _most_probable(request, problem, penalty, credible)
        return take_rows(inversion, slice(0, len(rows)))


def _most_probable(
    request: Request,
    problem: Problem,
    penalty: Penalty,
    credible: Float[np.ndarray, " B"] | float,
) -> Inversion:
    """The least of misfit and prior together, and the word that the data have on it."""
    method = request.method
    found = runner(method).run(penalised(problem, penalty), method, request)
    assert isinstance(method, PRIOR_METHODS), "the door lets no other take a prior"
    found = judged(problem, penalty, found, method.start_scale)
    return with_objective(problem, penalty, finished(problem, found, credible))


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
        weight = np.ldexp(weight, -np.frexp(weight.max(-1, keepdims=True, initial=0.0))[1])
    box = Box(*(jnp.asarray(side) for side in request.latent_bounds))
    blank = blank_image(request.generator, box, len(x))
    layers = request.generator.layers
    cancelled = not (layers and layers[-1].activation.kind == "sigmoid")
    error = entry_rounding(rounding, x, weight, cancelled)
    with np.errstate(over="ignore"):
        limit = (tolerance * explained_size(x, weight, blank)) ** 2
        limit = np.maximum(limit, noise_limit(weight * error) ** 2)
        if noise is not None:
            limit = np.maximum(limit, noise_limit(noise * weight) ** 2)
    return Problem(
        request.generator, x, weight, live, limit, blank, error, box, request.seed, row_ids
    )


def noise_limit(deviation: Float[np.ndarray, "B n"]) -> Float[np.ndarray, " B"]:
    """Largest credible ||e||_2 of entries of deviations s_j: three deviations of ||e||_2^2 above.

    sqrt(sum_j s_j^2 + 3 sqrt(2 sum_j s_j^4)).
    """
    largest = deviation.max(-1, initial=0.0)
    scale = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
    square = (deviation / scale[:, None]) ** 2
    return scale * np.sqrt(square.sum(-1) + 3.0 * np.sqrt(2.0 * (square**2).sum(-1)))
