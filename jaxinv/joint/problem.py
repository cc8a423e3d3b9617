"""A batch to fit by all layers at once, and the engine that makes its runs."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinv.joint.descent.lanes import Engine, default_lanes
from jaxinv.joint.descent.levenberg_marquardt import Box
from jaxinv.linalg.norms import row_norms
from jaxinv.model.decoder import Decoder
from jaxinv.settings import Auto, LevenbergMarquardt


@dataclass(frozen=True)
class Problem:
    """A batch to fit: x (B, n), weights (B, n), 0 where not observed, and who is asked for.

    limit: (B,) weighted loss at which a row counts as reproduced. size: (B,) weighted norm of what
    a code explains (`explained_size`). rounding: (B, n) deviation of each entry from what G made,
    were rounding all there is. row_ids: (B,) names by which rows draw their starting points.
    start: the caller's own, NaN where one is left out.
    """

    generator: Decoder
    observation: Float[np.ndarray, "B n"]
    weight: Float[np.ndarray, "B n"]
    live: Bool[np.ndarray, " B"]
    limit: Float[np.ndarray, " B"]
    size: Float[np.ndarray, " B"]
    rounding: Float[np.ndarray, "B n"]
    box: Box
    seed: int
    row_ids: Int[np.ndarray, " B"]
    start: Float[np.ndarray, "B s k"] | None = None

    @property
    def begun(self) -> Bool[np.ndarray, " B"]:
        """Rows for which the caller has named a starting point."""
        if self.start is None:
            return np.zeros(len(self.live), bool)
        return np.asarray(np.isfinite(self.start).all(-1).any(-1))

    @property
    def clipped(self) -> Bool[np.ndarray, " B"]:
        """Rows of which such a point lies outside the box, whose edge takes its place."""
        if self.start is None:
            return np.zeros(len(self.live), bool)
        outside = ~self.box.holds(self.start) & np.isfinite(self.start).all(-1)
        return np.asarray(outside.any(-1))


def engine_of(problem: Problem, method: LevenbergMarquardt | Auto) -> Engine:
    """Lanes for this problem, as many as its shape (never its observations) says."""
    lanes = method.lanes or min(default_lanes(problem.generator, method.memory), len(problem.live))
    data = problem.observation, problem.weight, problem.box
    return Engine(problem.generator, *data, lanes, method.steps)


def explained_size(
    decoder: Decoder,
    observation: Float[np.ndarray, "B n"],
    weight: Float[np.ndarray, "B n"],
    box: Box,
) -> Float[np.ndarray, " B"]:
    """min(||W x||, ||W (x - G(0))||): a misfit beside a large bias says nothing of the code."""
    zero = np.clip(np.zeros((len(observation), decoder.latent_size)), box.low, box.high)
    seen = weight > 0
    with np.errstate(over="ignore", invalid="ignore"):
        moved = np.where(seen, observation - np.asarray(decoder(zero)), 0.0)
        size = row_norms(weight * np.where(seen, observation, 0.0))
        return np.fmin(size, row_norms(weight * moved))


def reproduced(problem: Problem, tolerance: float) -> Float[np.ndarray, " B"]:
    """Largest ||m (G(z) - x)||_2, m the mask, of an observation that its code reproduces.

    A share `tolerance` of what a code explains, or what rounding leaves.
    """
    mask = (problem.weight > 0).astype(np.float64)
    size = explained_size(problem.generator, problem.observation, mask, problem.box)
    return np.maximum(tolerance * size, row_norms(problem.rounding))
