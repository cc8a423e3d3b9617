"""A batch to fit by all layers at once, and the engine that makes its runs."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinv.joint.descent.lanes import Engine, default_lanes
from jaxinv.joint.descent.levenberg_marquardt import Box
from jaxinv.model.decoder import Decoder
from jaxinv.settings import Auto, LevenbergMarquardt


@dataclass(frozen=True)
class Problem:
    """A batch to fit: x (B, n), weights (B, n), 0 where not observed, and who is asked for.

    limit: (B,) weighted loss at which a row counts as reproduced. row_ids: (B,) names by which
    rows draw their starting points. start: the caller's own, NaN where one is left out.
    """

    generator: Decoder
    observation: Float[np.ndarray, "B n"]
    weight: Float[np.ndarray, "B n"]
    live: Bool[np.ndarray, " B"]
    limit: Float[np.ndarray, " B"]
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
