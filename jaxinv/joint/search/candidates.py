r"""Starts that are chosen: of some random points, the one whose image is nearest, up to its size.

    z_r = argmin_{z in P_r} min_{s >= 0} ||W (s G(z) - x)||_2,    P_r random points, others for
    each run r.

Without the factor s, images of little contrast would be nearest to most observations, and with them
points from which a ReLU net's units are dead.

A run from there ends in the lowest minimum more often than one from any single point, at a price
of one value of G a point: the points of run r are the same for all observations, so that their
images are shared. Runs stay independent of each other, as their points are.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxinv.joint.problem import Problem
from jaxinv.joint.search.starts import starting_points
from jaxinv.linalg.on_device import on_device
from jaxinv.model.decoder import Decoder

STREAM = 1 << 24  # number of the first random point of the first run, in a stream of their own
BYTES = 1 << 28  # what carrying a block of candidates through G may take


def nearest_candidates(
    problem: Problem, runs: slice, candidates: int, scale: float
) -> Float[np.ndarray, "B runs k"]:
    """The start of each of these runs, for every observation."""
    k = problem.generator.latent_size
    points = np.empty((len(problem.live), runs.stop - runs.start, k))
    for place, run in enumerate(range(runs.start, runs.stop)):
        drawn, images = drawn_images(problem, run, candidates, scale)
        nearest = _nearest(
            on_device(problem.observation),
            on_device(problem.weight),
            images,
        )
        points[:, place] = drawn[np.asarray(nearest)]
    return points


def drawn_images(
    problem: Problem, run: int, candidates: int, scale: float
) -> tuple[Float[np.ndarray, "P k"], Float[Array, "P n"]]:
    """The points that a run chooses its start among, and their images.

    They follow from the seed and the run's number: no observation has a part in them.
    """
    k, first = problem.generator.latent_size, STREAM + run * candidates
    drawn = starting_points(problem.seed, np.zeros(1, int), candidates, k, scale, first)
    points = np.clip(np.asarray(drawn)[0], problem.box.low, problem.box.high)
    return points, _images(problem.generator, points)


def _images(decoder: Decoder, points: Float[np.ndarray, "P k"]) -> Float[Array, "P n"]:
    """G of every candidate in single precision, in blocks of one shape."""
    block = int(np.clip(BYTES // (4 * decoder.scratch), 1, len(points)))
    padded = np.resize(points, (-(-len(points) // block) * block, points.shape[1]))
    images = [
        _value(decoder, on_device(padded[start : start + block], np.float32))
        for start in range(0, len(padded), block)
    ]
    return jnp.concatenate(images)[: len(points)]


@jax.jit
def _value(decoder: Decoder, z: Float[Array, "P k"]) -> Float[Array, "P n"]:
    return decoder.value(z)


@jax.jit
def _nearest(
    x: Float[Array, "B n"], weight: Float[Array, "B n"], images: Float[Array, "P n"]
) -> Array:
    """The candidate of largest <p, x>^2 / <p, p>, <p, x> > 0: what s p takes off the misfit."""
    square, x = weight.astype(images.dtype) ** 2, x.astype(images.dtype)
    quadratic = jnp.matmul(square, (images**2).T, precision="highest")
    linear = jnp.matmul(square * x, images.T, precision="highest")
    taken = jnp.maximum(linear, 0.0) ** 2 / quadratic
    return jnp.where(jnp.isfinite(taken), taken, -1.0).argmax(-1)
