"""A batch to fit by all layers at once, and the engine that makes its runs."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxinv.joint.descent.lanes import Engine, default_lanes
from jaxinv.joint.descent.levenberg_marquardt import Box
from jaxinv.joint.sizes import Entries, Known, Sizes, known_of
from jaxinv.linalg.blocks import in_whole_vectors
from jaxinv.linalg.norms import row_norms
from jaxinv.linalg.on_device import on_device, on_host
from jaxinv.linalg.shared import per_row
from jaxinv.model.decoder import Decoder
from jaxinv.settings import Auto, LevenbergMarquardt

ROUNDED = 1e-11  # relative residual that only rounding leaves
SMALL = 1 << 13  # entries of the Jacobians of all lanes: a product of as many takes no time


class Fit(NamedTuple):
    """What latents leave of the observations, r = G(z) - x of the observed entries, (B,) each.

    latent, image: z and G(z), on the device. loss: ||W r||_2^2. residual: ||r||_2. weighted:
    ||W r||_2, right where its square overflows as well.
    """

    latent: Float[Array, "B k"]
    image: Float[Array, "B n"]
    loss: Float[np.ndarray, " B"]
    residual: Float[np.ndarray, " B"]
    weighted: Float[np.ndarray, " B"]


@dataclass(frozen=True)
class Problem:
    """A batch to fit: x (B, n), weights (B, n), 0 where not observed, and who is asked for.

    limit: (B,) weighted loss at which a row counts as reproduced where runs agree on it, certain:
    where a single run does, since rounding or the stated noise leaves as much. blank: (n,) the
    image of the code 0 (`blank_image`). rounding: (B, n) deviation of each entry from what G made,
    were rounding all there is; on the device or on the host. row_ids: (B,) names by which rows draw
    their starting points. start: the caller's own, NaN where one is left out. penalised: whether
    the last k entries are a prior's, so that a misfit of all entries is never noise alone. cell:
    half the width of the cell that an entry is known up to: inside it there is no misfit. known:
    what has been computed of these entries already, or of others: then it is computed anew.
    """

    generator: Decoder
    observation: Float[np.ndarray, "B n"]
    weight: Float[np.ndarray, "B n"]
    live: Bool[np.ndarray, " B"]
    limit: Float[np.ndarray, " B"]
    certain: Float[np.ndarray, " B"]
    blank: Float[np.ndarray, " n"]
    rounding: Float[Any, "B n"]
    box: Box
    seed: int
    row_ids: Int[np.ndarray, " B"]
    start: Float[np.ndarray, "B s k"] | None = None
    penalised: bool = False
    cell: float = 0.0
    known: Known | None = field(default=None, repr=False, compare=False)
    _seen: dict[bytes, Fit] = field(init=False, default_factory=dict, repr=False, compare=False)

    @cached_property
    def _known(self) -> Known:
        source = self.observation, self.weight, self.rounding, self.blank
        if self.known is not None and self.known.holds_for(*source):
            return self.known
        return known_of(*source)

    @property
    def entries(self) -> Entries:
        """The batch on the device, where it is sent once."""
        return self._known.entries

    @property
    def sizes(self) -> Sizes:
        """Norms of the observations."""
        return self._known.sizes

    @property
    def size(self) -> Float[np.ndarray, " B"]:
        """Weighted norm of what a code explains of each observation."""
        return np.asarray(self.sizes.moved)

    @cached_property
    def observed(self) -> Bool[np.ndarray, "B n"]:
        """Which entries are."""
        return per_row(lambda weight: weight > 0, self.weight)

    @cached_property
    def count(self) -> Int[np.ndarray, " B"]:
        """How many are."""
        return per_row(lambda observed: observed.sum(-1), self.observed)

    def fit(self, latent: Float[np.ndarray, "B k"]) -> Fit:
        """What these latents leave; those asked for last are not looked at again.

        A method looks at what it has found, and the last word is on the same latents. The image,
        of as many entries as the observations, stays on the device.
        """
        key = latent.tobytes()
        if key not in self._seen:
            there = on_device(latent)
            observation, weight, _ = self.entries
            image, left = _left(self.generator, there, observation, weight, self.cell)
            self._seen.clear()
            self._seen[key] = Fit(there, image, *on_host(left))
        return self._seen[key]

    def misfit(self, image: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B n"]:
        """G(z) - x of the observed entries, 0 for the others. image: G(z)."""
        away = np.where(self.weight > 0, image - self.observation, 0.0)
        return away - np.clip(away, -self.cell, self.cell) if self.cell else away

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


def blank_image(
    decoder: Decoder, box: Box, observation: Float[Array, "B n"]
) -> Float[np.ndarray, " n"]:
    """G(0), or G where the box comes nearest to 0, by the program that a batch is computed with."""
    zero = np.clip(np.zeros((len(observation), decoder.latent_size)), box.low, box.high)
    one = on_device(np.ones((1, observation.shape[1])))
    image, _ = _left(decoder, on_device(zero), observation, one, 0.0)
    return np.asarray(image)[0].copy()


@jax.jit
def _left(
    decoder: Decoder,
    latent: Float[Array, "B k"],
    observation: Float[Array, "B n"],
    weight: Float[Array, "#B n"],
    cell: float,
) -> tuple[Float[Array, "B n"], tuple[Float[Array, " B"], ...]]:
    """G(z); and ||W r||^2, ||r|| and ||W r|| of what is left outside the cells."""
    image = decoder.value(latent)
    away = jnp.where(weight > 0, image - observation, 0.0)
    away -= jnp.clip(away, -cell, cell)
    weighted = weight * away
    return image, ((weighted**2).sum(-1), row_norms(away, jnp), row_norms(weighted, jnp))


def reproduced(problem: Problem, tolerance: float) -> Float[np.ndarray, " B"]:
    """Largest ||m (G(z) - x)||_2, m the mask, of an observation that its code reproduces.

    A share `tolerance` of what a code explains, or what rounding leaves.
    """
    return np.maximum(tolerance * problem.sizes.told, problem.sizes.rounding)
