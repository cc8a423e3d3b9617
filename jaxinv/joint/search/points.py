"""Where the runs of a wave begin: at the caller's points, at random ones, near minima."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinv.joint.descent.levenberg_marquardt import Starts
from jaxinv.joint.problem import Problem
from jaxinv.joint.search.starts import starting_points
from jaxinv.joint.search.state import Search

LARGEST_WAVE = 16
NEARBY_SPREAD = 0.3  # of the root mean square of a minimum's entries
NEARBY_STREAM = 1 << 20  # number of the first random point that is used as a displacement


def given_starts(problem: Problem, rows: Bool[np.ndarray, " B"]) -> Starts:
    """The caller's starting points of each of these rows."""
    assert problem.start is not None
    row, number = np.nonzero(np.isfinite(problem.start).all(-1) & rows[:, None])
    return Starts(row, problem.start[row, number], np.zeros(len(row)))


def every_start(
    rows: Int[np.ndarray, " R"],
    points: Float[np.ndarray, "R s k"],
    softness: Float[np.ndarray, " s"],
) -> Starts:
    """A run from each of these points of these rows."""
    latent = points.reshape(-1, points.shape[-1])
    return Starts(np.repeat(rows, points.shape[1]), latent, np.tile(softness, len(rows)))


def nearby_points(problem: Problem, search: Search, wave: slice) -> Float[np.ndarray, "R wave k"]:
    """Random points around the lowest minima of each row that is near, in turn."""
    which = np.flatnonzero(search.near)
    shifted = slice(wave.start + NEARBY_STREAM, wave.stop + NEARBY_STREAM)
    displacement = _points(problem, shifted, NEARBY_SPREAD)[which]
    known = np.isfinite(search.minima.elite_loss[which]).sum(axis=1)
    number = np.arange(wave.start, wave.stop)[None] % known[:, None]
    centre = search.minima.elite[which[:, None], number]
    size = np.sqrt((centre**2).mean(axis=-1, keepdims=True))
    return centre + size * displacement


def _points(problem: Problem, wave: slice, scale: float) -> Float[np.ndarray, "B wave k"]:
    """The random points of these numbers, for every row, cut from blocks of one shape."""
    first = wave.start - wave.start % LARGEST_WAVE
    ids, k = jnp.asarray(problem.row_ids), problem.generator.latent_size
    block = starting_points(problem.seed, ids, LARGEST_WAVE, k, scale, first)
    return np.asarray(block)[:, wave.start - first : wave.stop - first]
