"""One chunk of observations, padded to one shape, through the method that was asked for."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxinv.call.request import Data, Request
from jaxinv.call.runners import runner
from jaxinv.joint.answer import refined
from jaxinv.joint.descent.levenberg_marquardt import Box
from jaxinv.joint.endings.robust import robust_ending
from jaxinv.joint.finish import Provisional, finished
from jaxinv.joint.problem import Problem
from jaxinv.linalg.norms import row_norms
from jaxinv.outcome.inversion import Inversion, take_rows
from jaxinv.settings import Auto, LevenbergMarquardt


def invert_chunk(
    request: Request,
    data: Data,
    size: int,
    first_row: int,
) -> Inversion:
    """One chunk, padded to `size` rows; padding is never live and costs no linear program."""
    rows, entry_weight, start = data
    padding = ((0, size - len(rows)), (0, 0))
    seen = np.where(entry_weight > 0, rows, 0.0)
    live = np.asarray(np.isfinite(seen).all(-1) & (entry_weight > 0).any(-1))
    x = np.pad(np.where(live[:, None], seen, 0.0), padding)
    weight = np.pad(entry_weight, padding)
    # enable_x64 holds for one thread: each worker sets its own.
    with jax.enable_x64(True):
        padded_live = np.pad(live, padding[0])
        row_ids = first_row + np.arange(len(x))
        problem = joint_problem(request, x, weight, padded_live, row_ids)
        if start is not None:
            problem = replace(problem, start=np.pad(start, (*padding, (0, 0))))
        found = runner(request.method).run(problem, request.method, request)
        found = _refined(request, problem, found)
        credible: Float[np.ndarray, " B"] | float = np.inf
        if request.noise is not None:
            credible = noise_limit(request.noise, (weight > 0).sum(-1))
        return take_rows(finished(problem, found, credible), slice(0, len(rows)))


def _refined(request: Request, problem: Problem, found: Provisional) -> Provisional:
    """What `refine=` asks for, from the latents that have been found."""
    if request.refine is None:
        return found
    if not runner(request.method).to_minima:
        found = refined(problem, found, LevenbergMarquardt())
    return found if request.refine == "lm" else robust_ending(problem, found, request.refine)


def joint_problem(
    request: Request, x: np.ndarray, weight: np.ndarray, live: np.ndarray, row_ids: np.ndarray
) -> Problem:
    """The chunk as every method is given it; its limit is for those that fit all layers."""
    method, tolerance = request.method, Auto.tolerance
    if isinstance(method, Auto | LevenbergMarquardt):
        tolerance = method.tolerance
        # These weights say how entries compare: a power of two in common changes no digit.
        weight = np.ldexp(weight, -np.frexp(weight.max(-1, keepdims=True, initial=0.0))[1])
    with np.errstate(over="ignore"):
        limit = (tolerance * row_norms(weight * x)) ** 2
        if request.noise is not None:
            square = weight**2
            spread = square.sum(-1) + 3.0 * np.sqrt(2.0 * (square**2).sum(-1))
            limit = np.maximum(limit, request.noise**2 * spread)
    low, high = (jnp.asarray(side) for side in request.latent_bounds)
    return Problem(request.generator, x, weight, live, limit, Box(low, high), request.seed, row_ids)


def noise_limit(noise: float, observed: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
    """Largest credible ||e||_2 of m entries of deviation noise: noise sqrt(m + 3 sqrt(2 m))."""
    return noise * np.sqrt(observed + 3.0 * np.sqrt(2.0 * observed))
