"""One runner a method: from a problem to latents and the method's own word on each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxinv.call.request import Request
from jaxinv.joint.answer import answer, refined
from jaxinv.joint.descent.gradient_descent import descended
from jaxinv.joint.endings.preimage import chosen_preimage
from jaxinv.joint.finish import BY_RANK, Provisional
from jaxinv.joint.problem import Problem, reproduced
from jaxinv.joint.search.portfolio import portfolio, restarts
from jaxinv.layerwise.sweep import sweep
from jaxinv.model.generator import Generator
from jaxinv.settings import (
    L1LP,
    Auto,
    Exact,
    GradientDescent,
    LevenbergMarquardt,
    LinfLP,
    Method,
    RelaxedLP,
)

COARSE = 1e-12  # rounding of the observation, relative to it: more than double precision's


@dataclass(frozen=True)
class Runner:
    """How a method is run.

    run: (problem, settings, request) to what was found. to_minima: whether its latents are minima
    of the weighted least squares over all layers already, from which every `refine=` sets out.
    """

    run: Callable[[Problem, Any, Request], Provisional]
    to_minima: bool = False


def _layer_by_layer(problem: Problem, method: Any, request: Request) -> Provisional:
    assert isinstance(problem.generator, Generator), "the door lets nothing else through"
    swept = sweep(
        problem.generator,
        problem.entries.observation,
        problem.weight,
        problem.live,
        method,
        request.latent_bounds,
        problem.rounding,
    )
    return Provisional(swept.latent, swept.status, swept.undetermined, layers=swept.layers)


def _exact(problem: Problem, method: Exact, request: Request) -> Provisional:
    found = _layer_by_layer(problem, method, request)
    # What the layers call unique, the Jacobian must call so as well.
    undetermined = np.where(found.undetermined == 0, BY_RANK, found.undetermined)
    limit = reproduced(problem, method.tolerance)
    found = _carried_on(problem, found, limit)
    return replace(
        found,
        undetermined=undetermined,
        largest_residual=limit,
        largest_error=method.largest_error,
    )


def _carried_on(
    problem: Problem, found: Provisional, limit: Float[np.ndarray, " B"]
) -> Provisional:
    """The answers that are none yet, over all layers at once, where that makes them one.

    A layer that leaves its input open hands on one of many, which the layers below need not make;
    and behind rounded outputs units near their kink are taken for on or off without knowing. What
    reproduces the observation decides.
    """
    there = problem.live & np.isfinite(found.latent).all(-1)
    coarse = problem.sizes.rounding > COARSE * problem.sizes.seen
    asked = there & (coarse | (found.undetermined > 0))
    if not asked.any():
        return found

    def left(latent: Float[np.ndarray, "B k"]) -> Float[np.ndarray, " B"]:
        return problem.fit(np.where(there[:, None], latent, 0.0)).residual

    asked &= ~(left(found.latent) <= limit)
    if not asked.any():
        return found
    moved = refined(replace(problem, live=asked), found, LevenbergMarquardt())
    better = asked & (left(moved.latent) <= limit)
    return replace(found, latent=np.where(better[:, None], moved.latent, found.latent))


def _search(problem: Problem, method: Auto, _: Request) -> Provisional:
    found = _bounded(answer(problem, portfolio(problem, method)), method)
    return found if method.preimage == "any" else chosen_preimage(problem, found, method)


def _restarts(problem: Problem, method: LevenbergMarquardt, _: Request) -> Provisional:
    return _bounded(answer(problem, restarts(problem, method)), method)


def _bounded(found: Provisional, method: Auto | LevenbergMarquardt) -> Provisional:
    return replace(found, largest_error=method.largest_error)


def _descent(problem: Problem, method: GradientDescent, _: Request) -> Provisional:
    return descended(problem, method)


RUNNERS: Mapping[type[Method], Runner] = {
    Exact: Runner(_exact),
    LinfLP: Runner(_layer_by_layer),
    L1LP: Runner(_layer_by_layer),
    RelaxedLP: Runner(_layer_by_layer),
    GradientDescent: Runner(_descent),
    LevenbergMarquardt: Runner(_restarts, to_minima=True),
    Auto: Runner(_search, to_minima=True),
}


def runner(method: Method) -> Runner:
    """The runner of these settings, or of the settings class that theirs is derived from."""
    return next(RUNNERS[kind] for kind in type(method).__mro__ if kind in RUNNERS)
