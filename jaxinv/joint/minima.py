"""The minima found for each row: the lowest, how often it was met, and what that says."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinv.joint.lanes import Engine
from jaxinv.joint.levenberg_marquardt import Runs, Starts
from jaxinv.joint.problem import Problem
from jaxinv.linalg.norms import row_norms
from jaxinv.outcome.search_report import Start

SAME_MINIMUM = 1e-3  # relative loss: a shift of the latent far below the noise that explains it
SMALL_MISFIT = 0.05  # relative residual above which agreement is asked of many runs, not of two
MANY_RUNS = 32
AMPLE = 4.0  # equations an unknown: with fewer a small misfit may well be a false minimum's
ROUNDED = 1e-11  # relative residual that only rounding leaves
ROUGH = 0.1  # relative residual up to which a fit is worth carrying on from
ELITE = 4  # lowest minima that are remembered


@dataclass
class Best:
    """The lowest minimum of each row (written in place), one entry a row.

    start: (`Start`) where its run began. hits: runs that ended in it. made: independent runs made,
    carried_on: runs from what others had found, prefix_made: those on the first layers. peeled:
    outer layers that were peeled. limit: the loss that reproduces the observation. size: its
    weighted 2-norm. ample: whether far more entries than unknowns bind the latent. noisy: whether
    noise can explain a misfit. noise_low, noise_high: losses that are noise as the last layer
    shows it, none where it shows nothing. elite: the lowest minima, different ones, ascending;
    elite_loss is infinite where there are fewer.
    """

    latent: Float[np.ndarray, "B k"]
    loss: Float[np.ndarray, " B"]
    converged: Bool[np.ndarray, " B"]
    start: Int[np.ndarray, " B"]
    hits: Int[np.ndarray, " B"]
    made: Int[np.ndarray, " B"]
    carried_on: Int[np.ndarray, " B"]
    prefix_made: Int[np.ndarray, " B"]
    peeled: Int[np.ndarray, " B"]
    limit: Float[np.ndarray, " B"]
    size: Float[np.ndarray, " B"]
    ample: Bool[np.ndarray, " B"]
    noisy: Bool[np.ndarray, " B"]
    noise_low: Float[np.ndarray, " B"]
    noise_high: Float[np.ndarray, " B"]
    elite: Float[np.ndarray, "B elite k"]
    elite_loss: Float[np.ndarray, "B elite"]
    agreement: int
    live: Bool[np.ndarray, " B"]

    @property
    def reproduced(self) -> Bool[np.ndarray, " B"]:
        return self.loss <= self.limit

    @property
    def small(self) -> Bool[np.ndarray, " B"]:
        """Whether the misfit is so small that false minima would stand out."""
        return self.loss <= (SMALL_MISFIT * self.size) ** 2

    @property
    def explained(self) -> Bool[np.ndarray, " B"]:
        """Whether a minimum leaves what the last layer alone shows of noise, met twice if much."""
        noise = (self.loss >= self.noise_low) & (self.loss <= self.noise_high)
        return self.converged & noise & (self.small | (self.hits >= self.agreement))

    @property
    def confirmed(self) -> Bool[np.ndarray, " B"]:
        """Whether enough runs ended in the lowest minimum known, many being made if it is high."""
        enough = (self.small & self.ample) | (self.made >= MANY_RUNS)
        return enough & self.noisy & (self.hits >= self.agreement)

    @property
    def open(self) -> Bool[np.ndarray, " B"]:
        return self.live & ~self.reproduced & ~self.explained & ~self.confirmed

    @property
    def near(self) -> Bool[np.ndarray, " B"]:
        """Open rows whose lowest minimum almost fits: the range of G cannot be far."""
        return self.open & (self.loss <= (ROUGH * self.size) ** 2)

    def learn(self, starts: Starts, engine: Engine, start: Start) -> None:
        """Make the runs, and keep what they find."""
        self.keep(starts, engine.run(starts), start)

    def keep(self, starts: Starts, runs: Runs, start: Start) -> None:
        """Keep, run by run, what is lower or confirms the lowest.

        Runs that start from what others found are not independent, and confirm nothing.
        """
        independent = start not in (Start.PREFIX, Start.NEARBY)
        for i, row in enumerate(starts.row):
            self.made[row] += independent
            self.carried_on[row] += not independent
            same = abs(runs.loss[i] - self.loss[row]) <= SAME_MINIMUM * self.loss[row]
            self.hits[row] += same and independent
            if runs.loss[i] < self.loss[row]:
                self.hits[row] = self.hits[row] if same else 1
                self.latent[row], self.loss[row] = runs.latent[i], runs.loss[i]
                self.converged[row] = runs.converged[i]
                self.start[row] = Start.SOFTENED if starts.softness[i] else start
            self._remember(int(row), runs.latent[i], runs.loss[i])

    def _remember(self, row: int, latent: Float[np.ndarray, " k"], loss: float) -> None:
        """Put a minimum among the row's lowest, unless it is one of them already."""
        known = self.elite_loss[row]
        if np.isfinite(loss) and not (abs(known - loss) <= SAME_MINIMUM * loss).any():
            place = int(np.searchsorted(known, loss))
            self.elite_loss[row] = np.insert(known, place, loss)[:ELITE]
            self.elite[row] = np.insert(self.elite[row], place, latent, axis=0)[:ELITE]


def nothing_found(problem: Problem, agreement: int) -> Best:
    """The state before the first run."""
    batch = len(problem.live)
    binding = problem.weight > 0
    noisy = np.ones(batch, bool)
    layers = problem.generator.layers
    if layers and layers[-1].activation.kind == "relu":
        # Noise added to a ReLU's outputs makes some of them negative: without, misfit is misfit.
        noisy = np.asarray((binding & (problem.observation < 0)).any(axis=1))
        binding &= problem.observation > 0
    none = np.zeros(batch, np.int64)
    with np.errstate(over="ignore"):
        size = row_norms(problem.weight * problem.observation)
        least, largest = (ROUNDED * size) ** 2, size**2
    # Where squares overflow or underflow there is no loss to lower.
    held = np.isfinite(largest + problem.limit)
    held &= (size == 0) | (least >= np.finfo(float).tiny)
    return Best(
        latent=np.full((batch, problem.generator.latent_size), np.nan),
        loss=np.full(batch, np.inf),
        converged=np.zeros(batch, bool),
        start=none,
        hits=none.copy(),
        made=none.copy(),
        carried_on=none.copy(),
        prefix_made=none.copy(),
        peeled=none.copy(),
        limit=problem.limit,
        size=np.where(held, size, np.inf),
        ample=binding.sum(-1) >= AMPLE * problem.generator.latent_size,
        noisy=noisy,
        noise_low=np.full(batch, np.inf),
        noise_high=np.full(batch, -np.inf),
        elite=np.zeros((batch, ELITE, problem.generator.latent_size)),
        elite_loss=np.full((batch, ELITE), np.inf),
        agreement=agreement,
        live=problem.live & held,
    )


def settle(problem: Problem, best: Best, latent: Float[np.ndarray, "B k"]) -> None:
    """Keep what reproduces an open row to rounding: nothing is left that a run could lower."""
    image = np.asarray(problem.generator(latent))
    misfit = np.where(problem.weight > 0, problem.weight * (image - problem.observation), 0.0)
    with np.errstate(over="ignore"):
        loss = (misfit**2).sum(-1)
    done = best.open & problem.box.holds(latent) & (loss <= (ROUNDED * best.size) ** 2)
    best.latent[done], best.loss[done], best.converged[done] = latent[done], loss[done], True
    best.start[done], best.hits[done] = Start.LAYERWISE, 1
    best.peeled[done] = len(problem.generator.layers)
