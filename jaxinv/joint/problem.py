"""A batch to fit by all layers at once, and the engine that makes its runs."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinv.joint.descent.lanes import Engine, default_lanes
from jaxinv.joint.descent.levenberg_marquardt import Box
from jaxinv.linalg.blocks import in_whole_vectors
from jaxinv.linalg.norms import row_norms
from jaxinv.model.decoder import Decoder
from jaxinv.settings import Auto, LevenbergMarquardt

ROUNDED = 1e-11  # relative residual that only rounding leaves
SMALL = 1 << 13  # entries of the Jacobians of all lanes: a product of as many takes no time


@dataclass(frozen=True)
class Problem:
    """A batch to fit: x (B, n), weights (B, n), 0 where not observed, and who is asked for.

    limit: (B,) weighted loss at which a row counts as reproduced where runs agree on it, certain:
    where a single run does, since rounding or the stated noise leaves as much. blank: (n,) the
    image of the code 0 (`blank_image`). rounding: (B, n) deviation of each entry from what G made,
    were rounding all there is. row_ids: (B,) names by which rows draw their starting points. start:
    the caller's own, NaN where one is left out. penalised: whether the last k entries are a
    prior's, so that a misfit of all entries is never noise alone. cell: half the width of the cell
    that an entry is known up to: inside it there is no misfit.
    """

    generator: Decoder
    observation: Float[np.ndarray, "B n"]
    weight: Float[np.ndarray, "B n"]
    live: Bool[np.ndarray, " B"]
    limit: Float[np.ndarray, " B"]
    certain: Float[np.ndarray, " B"]
    blank: Float[np.ndarray, " n"]
    rounding: Float[np.ndarray, "B n"]
    box: Box
    seed: int
    row_ids: Int[np.ndarray, " B"]
    start: Float[np.ndarray, "B s k"] | None = None
    penalised: bool = False
    cell: float = 0.0
    _seen: dict[bytes, Float[np.ndarray, "B n"]] = field(
        init=False, default_factory=dict, repr=False, compare=False
    )

    @cached_property
    def size(self) -> Float[np.ndarray, " B"]:
        """Weighted norm of what a code explains of each observation."""
        return explained_size(self.observation, self.weight, self.blank)

    def image(self, latent: Float[np.ndarray, "B k"]) -> Float[np.ndarray, "B n"]:
        """G(z) on the host, read-only; the latents asked for last are not computed again.

        A method looks at what it has found, and the last word is on the same latents: one
        evaluation, and one journey of (B, n) entries from the device.
        """
        key = latent.tobytes()
        if key not in self._seen:
            image = np.asarray(self.generator(latent))
            self._seen.clear()
            self._seen[key] = image
        return self._seen[key]

    def misfit(self, image: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B n"]:
        """G(z) - x of the observed entries, 0 for the others. image: G(z)."""
        away = np.where(self.weight > 0, image - self.observation, 0.0)
        return away - np.clip(away, -self.cell, self.cell) if self.cell else away

    def loss(self, image: Float[np.ndarray, "B n"]) -> Float[np.ndarray, " B"]:
        """||W (G(z) - x)||_2^2. image: G(z)."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(((self.weight * self.misfit(image)) ** 2).sum(-1))

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
    """Lanes for this problem, as many as its shape (never its observations) says.

    No more than there are rows, but for small decoders, of which idle lanes cost nothing: there a
    row alone is computed as it is beside others, to the last bit of single precision.
    """
    most, decoder = default_lanes(problem.generator, method.memory), problem.generator
    small = most * decoder.latent_size * decoder.scratch <= SMALL
    enough = most if small else in_whole_vectors(len(problem.live))
    lanes = method.lanes or min(most, enough)
    data = problem.observation, problem.weight, problem.box
    return Engine(problem.generator, *data, lanes, method.steps)


def blank_image(decoder: Decoder, box: Box, batch: int) -> Float[np.ndarray, " n"]:
    """G(0), or G where the box comes nearest to 0, by the program that a batch is computed with."""
    zero = np.clip(np.zeros((batch, decoder.latent_size)), box.low, box.high)
    return np.asarray(decoder(zero))[0].copy()


def explained_size(
    observation: Float[np.ndarray, "B n"],
    weight: Float[np.ndarray, "B n"],
    blank: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " B"]:
    """min(||W x||, ||W (x - G(0))||): a misfit beside a large bias says nothing of the code."""
    seen = weight > 0
    with np.errstate(over="ignore", invalid="ignore"):
        moved = np.where(seen, observation - blank, 0.0)
        size = row_norms(weight * np.where(seen, observation, 0.0))
        return np.fmin(size, row_norms(weight * moved))


def reproduced(problem: Problem, tolerance: float) -> Float[np.ndarray, " B"]:
    """Largest ||m (G(z) - x)||_2, m the mask, of an observation that its code reproduces.

    A share `tolerance` of what a code explains, or what rounding leaves.
    """
    mask = (problem.weight > 0).astype(np.float64)
    size = explained_size(problem.observation, mask, problem.blank)
    return np.maximum(tolerance * size, row_norms(problem.rounding))
