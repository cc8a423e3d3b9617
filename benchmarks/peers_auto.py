"""jaxinv's own methods in the race: as the call that a user makes, and stage by stage."""

from collections.abc import Iterator

import jax
import numpy as np

import jaxinv
from benchmarks.peers_race import Progress
from jaxinv.call.chunk import joint_problem
from jaxinv.call.request import Options, checked
from jaxinv.joint.search.portfolio import stages
from jaxinv.joint.search.state import nothing_found
from jaxinv.model.precision import rounding_of


def whole(
    method: str | jaxinv.Auto, generator: jaxinv.Generator, x: np.ndarray
) -> Iterator[Progress]:
    """The whole call: nothing is known before all of it is, labels and ranks included."""
    yield Progress(np.asarray(jaxinv.invert(generator, x, method).latent), len(x))


def staged(generator: jaxinv.Generator, x: np.ndarray) -> Iterator[Progress]:
    """`auto` as the iterative rivals are run: the latents it has after each stage of its search."""
    method = jaxinv.Auto()
    request, data = checked(generator, x, method, Options(), rounding_of(x, None))
    with jax.enable_x64(True):
        live, row_ids = np.ones(len(x), bool), np.arange(len(x))
        problem = joint_problem(request, x, data.weight, live, row_ids, data.rounding)
        begin = nothing_found(problem, method.agreement, method.plan.chance)
        for search in stages(problem, method, begin, peeling=True):
            yield Progress(search.minima.latent, len(x))
