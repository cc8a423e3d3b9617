"""The portfolio behind "auto": which runs to make for which rows, and when a row is settled.

Rows take their runs in waves: the layer-wise start first, then random starts of the whole net and
of the prefix that peeling leaves, half of them softened, each wave twice the one before. A wave
is made for the rows still unsettled, and what a row does next depends on that row alone.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinv.generator import Generator
from jaxinv.joint import unrolled
from jaxinv.joint.lanes import Engine, default_lanes
from jaxinv.joint.levenberg_marquardt import Box, Starts
from jaxinv.joint.peeling import operations, peel
from jaxinv.joint.starts import starting_points
from jaxinv.methods import Auto, LevenbergMarquardt

SAME_MINIMUM = 1e-3  # relative loss: a shift of the latent far below the noise that explains it
SMALL_MISFIT = 0.05  # relative residual above which agreement is asked of many runs, not of two
MANY_RUNS = 32
AMPLE = 4.0  # equations an unknown: with fewer a small misfit may well be a false minimum's
AGREEMENT = 2
PEEL_AFTER = 4  # random runs
LARGEST_WAVE = 16
ROUNDED = 1e-11  # relative residual that only rounding leaves
ROUGH = 0.1  # relative residual up to which a prefix's fit is worth finishing on the whole net


@dataclass
class Best:
    """The lowest minimum of each row (written in place), one entry a row.

    hits: runs that ended in it. made: runs made. limit: the loss that reproduces the observation.
    size: its weighted 2-norm. ample: whether far more entries than unknowns bind the latent.
    noisy: whether noise can explain a misfit. determined: J is known to have full column rank.
    """

    latent: Float[np.ndarray, "B k"]
    loss: Float[np.ndarray, " B"]
    converged: Bool[np.ndarray, " B"]
    hits: Int[np.ndarray, " B"]
    made: Int[np.ndarray, " B"]
    limit: Float[np.ndarray, " B"]
    size: Float[np.ndarray, " B"]
    ample: Bool[np.ndarray, " B"]
    noisy: Bool[np.ndarray, " B"]
    determined: Bool[np.ndarray, " B"]
    agreement: int
    live: Bool[np.ndarray, " B"]

    @property
    def reproduced(self) -> Bool[np.ndarray, " B"]:
        return self.loss <= self.limit

    @property
    def confirmed(self) -> Bool[np.ndarray, " B"]:
        """Whether enough runs ended in the lowest minimum known, many being made if it is high."""
        small = (self.loss <= (SMALL_MISFIT * self.size) ** 2) & self.ample
        enough = small | (self.made >= MANY_RUNS)
        return enough & self.noisy & (self.hits >= self.agreement)

    @property
    def open(self) -> Bool[np.ndarray, " B"]:
        return self.live & ~self.reproduced & ~self.confirmed

    def learn(self, starts: Starts, engine: Engine, independent: bool = True) -> None:
        """Make the runs and keep, run by run, what is lower or confirms the lowest.

        Runs that start from what others found are not independent, and confirm nothing.
        """
        runs = engine.run(starts)
        for i, row in enumerate(starts.row):
            self.made[row] += 1
            same = abs(runs.loss[i] - self.loss[row]) <= SAME_MINIMUM * self.loss[row]
            self.hits[row] += same and independent
            if runs.loss[i] < self.loss[row]:
                self.hits[row] = self.hits[row] if same else 1
                self.latent[row], self.loss[row] = runs.latent[i], runs.loss[i]
                self.converged[row] = runs.converged[i]


@dataclass(frozen=True)
class Problem:
    """A batch to fit: x (B, n), weights (B, n), 0 where not observed, and who is asked for.

    limit: (B,) weighted loss at which a row counts as reproduced. row_ids: (B,) names by which
    rows draw their starting points.
    """

    generator: Generator
    observation: Float[np.ndarray, "B n"]
    weight: Float[np.ndarray, "B n"]
    live: Bool[np.ndarray, " B"]
    limit: Float[np.ndarray, " B"]
    box: Box
    seed: int
    row_ids: Int[np.ndarray, " B"]


def portfolio(problem: Problem, method: Auto, peeling: bool = True) -> Best:
    """Fit every live row: G(z) close to x in the weighted 2-norm, the lowest minimum found kept."""
    best = nothing_found(problem, method.agreement)
    if peeling and unrolling_pays(problem.generator):
        _from_unrolling(problem, best)
    engine = engine_of(problem, method.lanes, method.steps)
    relu = any(layer.activation.kind == "relu" for layer in problem.generator.layers)
    softness = method.softness if relu else 0.0
    # Where a layer-wise start costs more than a run from anywhere, runs come first.
    peel_at = 0 if peeling_pays(problem.generator) else PEEL_AFTER
    points: Float[np.ndarray, "B runs k"] | None = None
    drawn = 0
    while best.open.any():
        if peeling and drawn >= peel_at:
            peeling = False
            _from_peeling(problem, method, best, engine)
        elif drawn < method.runs:
            if points is None:
                points = _points(problem, method.runs, method.start_scale)
            wave = slice(drawn, min(drawn + min(max(drawn, 1), LARGEST_WAVE), method.runs))
            best.learn(random_starts(best.open, points, wave, (softness, 0.0)), engine)
            drawn = wave.stop
        else:
            break
    return best


def restarts(problem: Problem, method: LevenbergMarquardt) -> Best:
    """Every live row from all its random starting points."""
    best = nothing_found(problem, AGREEMENT)
    points = _points(problem, method.restarts, method.start_scale)
    starts = random_starts(problem.live, points, slice(0, method.restarts), (method.softness,))
    best.learn(starts, engine_of(problem, method.lanes, method.steps))
    return best


def from_latents(
    problem: Problem, latent: Float[np.ndarray, "B k"], method: LevenbergMarquardt
) -> Best:
    """One run for every live row, from the latent given."""
    best = nothing_found(problem, AGREEMENT)
    rows = np.flatnonzero(problem.live)
    starts = Starts(rows, latent[rows], np.zeros(len(rows)))
    best.learn(starts, engine_of(problem, method.lanes, method.steps))
    return best


def peeling_pays(generator: Generator) -> bool:
    """Whether peeling a row costs less than a run from anywhere."""
    return operations(generator) < _run_operations(generator)


def unrolling_pays(generator: Generator) -> bool:
    """Whether every layer expands, and unrolling a row costs less than a run from anywhere."""
    expands = all(layer.width >= layer.width_in for layer in generator.layers)
    return expands and unrolled.operations(generator) < _run_operations(generator)


def _run_operations(generator: Generator) -> float:
    """Floating-point operations of the ten steps of a run that goes well."""
    k = generator.latent_size
    products = sum(2 * layer.width * layer.width_in * k for layer in generator.layers[1:])
    return 10.0 * (products + 2 * generator.observation_size * k**2 + 2 * k**3)


def random_starts(
    rows: Bool[np.ndarray, " B"],
    points: Float[np.ndarray, "B runs k"],
    wave: slice,
    softness: tuple[float, ...],
) -> Starts:
    """The wave's starting points of each of these rows, softened in turn."""
    which = np.flatnonzero(rows)
    latent = points[which, wave]
    number = np.arange(wave.start, wave.stop)
    soft = np.array(softness)[number % len(softness)]
    return Starts(
        np.repeat(which, len(number)),
        latent.reshape(-1, points.shape[-1]),
        np.tile(soft, len(which)),
    )


def _points(problem: Problem, count: int, scale: float) -> Float[np.ndarray, "B count k"]:
    """All the starting points that a row may ever need: one shape, compiled once."""
    ids, k = jnp.asarray(problem.row_ids), problem.generator.latent_size
    return np.asarray(starting_points(problem.seed, ids, count, k, scale))


def nothing_found(problem: Problem, agreement: int) -> Best:
    """The state before the first run."""
    batch = len(problem.live)
    binding = problem.weight > 0
    noisy = np.ones(batch, bool)
    if problem.generator.layers[-1].activation.kind == "relu":
        # Noise added to a ReLU's outputs makes some of them negative: without, misfit is misfit.
        noisy = np.asarray((binding & (problem.observation < 0)).any(axis=1))
        binding &= problem.observation > 0
    none = np.zeros(batch, np.int64)
    return Best(
        latent=np.full((batch, problem.generator.latent_size), np.nan),
        loss=np.full(batch, np.inf),
        converged=np.zeros(batch, bool),
        hits=none,
        made=none.copy(),
        limit=problem.limit,
        size=np.linalg.norm(problem.weight * problem.observation, axis=-1),
        ample=binding.sum(-1) >= AMPLE * problem.generator.latent_size,
        noisy=noisy,
        determined=np.zeros(batch, bool),
        agreement=agreement,
        live=problem.live,
    )


def engine_of(problem: Problem, lanes: int | None, steps: int) -> Engine:
    """Lanes for this problem, as many as its shape (never its observations) says."""
    lanes = lanes or min(default_lanes(problem.generator), len(problem.live))
    return Engine(problem.generator, problem.observation, problem.weight, problem.box, lanes, steps)


def _from_unrolling(problem: Problem, best: Best) -> None:
    """Settle the rows without noise that the layers determine one by one."""
    relu = problem.generator.layers[-1].activation.kind == "relu"
    tried = best.open & (problem.weight > 0).all(-1) & ~(relu & best.noisy)
    if tried.any():
        x = np.where(tried[:, None], problem.observation, 0.0)
        _settle(problem, best, *unrolled.unrolled(problem.generator, x))


def _settle(
    problem: Problem,
    best: Best,
    latent: Float[np.ndarray, "B k"],
    full_rank: Bool[np.ndarray, " B"],
) -> None:
    """Keep what reproduces an open row to rounding: nothing is left that a run could lower.

    full_rank: rows at which every layer's active rows have full column rank, and so has J.
    """
    image = np.asarray(problem.generator(latent))
    misfit = np.where(problem.weight > 0, problem.weight * (image - problem.observation), 0.0)
    loss = (misfit**2).sum(-1)
    inside = ((latent >= problem.box.low) & (latent <= problem.box.high)).all(-1)
    done = best.open & np.asarray(inside) & (loss <= (ROUNDED * best.size) ** 2)
    best.latent[done], best.loss[done], best.converged[done] = latent[done], loss[done], True
    best.determined[done] = full_rank[done]
    best.hits[done] = 1
    best.made[done] += 1


def _from_peeling(problem: Problem, method: Auto, best: Best, engine: Engine) -> None:
    """A run from the layer-wise start where there is one, then from the prefixes' solutions."""
    peeled = peel(problem.generator, jnp.asarray(problem.observation), jnp.asarray(problem.weight))
    # Behind a layer that determines nothing false minima lie close to the observation as well.
    best.ample &= peeled.depth == 0
    if 0 in peeled.inputs:
        start = np.asarray(peeled.inputs[0])
        _settle(problem, best, start, peeled.depth == 0)
        rows = np.flatnonzero(best.open)
        if rows.size:
            best.learn(Starts(rows, start[rows], np.zeros(len(rows))), engine)
    for depth in range(1, problem.generator.depth):
        rows = best.open & (peeled.depth == depth)
        if not rows.any():
            continue
        below = _prefix(problem, method, np.asarray(peeled.inputs[depth]), depth, rows)
        which = np.flatnonzero(rows & (below.loss <= (ROUGH * below.size) ** 2))
        starts = Starts(which, below.latent[which], np.zeros(len(which)))
        best.learn(starts, engine, independent=False)


def _prefix(
    problem: Problem,
    method: Auto,
    hidden: Float[np.ndarray, "B m"],
    depth: int,
    rows: Bool[np.ndarray, " B"],
) -> Best:
    """Solve the first `depth` layers against the hidden vector that peeling found."""
    prefix = Problem(
        generator=Generator(problem.generator.layers[:depth]),
        observation=hidden,
        weight=np.ones_like(hidden),
        live=rows,
        limit=(method.tolerance * np.linalg.norm(hidden, axis=-1)) ** 2,
        box=problem.box,
        seed=problem.seed,
        row_ids=problem.row_ids,
    )
    return portfolio(prefix, method, peeling=False)
