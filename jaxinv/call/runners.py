"""One runner a method: from a problem to latents and the method's own word on each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxinv.call.request import Request
from jaxinv.joint.answer import answer
from jaxinv.joint.descent.gradient_descent import descended
from jaxinv.joint.endings.preimage import chosen_preimage
from jaxinv.joint.finish import Provisional
from jaxinv.joint.problem import Problem
from jaxinv.joint.search.portfolio import portfolio, restarts
from jaxinv.layerwise.sweep import sweep
from jaxinv.linalg.norms import row_norms
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


@dataclass(frozen=True)
class Runner:
    """How a method is run.

    run: (problem, settings, request) to what was found. to_minima: whether its latents are minima
    of the weighted least squares over all layers already, from which every `refine=` sets out.
    """

    run: Callable[[Problem, Any, Request], Provisional]
    to_minima: bool = False


def _layer_by_layer(problem: Problem, method: Any, request: Request) -> Provisional:
    x, weight = jnp.asarray(problem.observation), problem.weight
    assert isinstance(problem.generator, Generator), "the door lets nothing else through"
    swept = sweep(problem.generator, x, weight, problem.live, method, request.latent_bounds)
    latent = np.asarray(swept.latent)
    return Provisional(latent, swept.status, swept.undetermined, layers=swept.layers)


def _exact(problem: Problem, method: Exact, request: Request) -> Provisional:
    found = _layer_by_layer(problem, method, request)
    size = row_norms(problem.observation * (problem.weight > 0))
    return replace(found, largest_residual=method.tolerance * size)


def _search(problem: Problem, method: Auto, _: Request) -> Provisional:
    found = answer(problem, portfolio(problem, method))
    return found if method.preimage == "any" else chosen_preimage(problem, found, method)


def _restarts(problem: Problem, method: LevenbergMarquardt, _: Request) -> Provisional:
    return answer(problem, restarts(problem, method))


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
