"""The portfolio behind "auto": which runs to make for which rows, and when a row is settled.

Rows that the layers determine one by one are settled first: without noise by the layers alone, with
noise by one run from there. The others take their runs in waves: random starts of the whole net,
each wave twice the one before, the layer-wise start and the prefix that peeling leaves where the
last layer can make anything like the observation; then also starts near the lowest minima of a row
that almost fits (basin hopping, Wales & Doye 1997). A wave is made for the rows still unsettled,
and what a row does next depends on that row alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxinv.joint.descent.gauss_newton import gauss_newton
from jaxinv.joint.descent.lanes import Engine
from jaxinv.joint.descent.levenberg_marquardt import Runs, Starts
from jaxinv.joint.descent.orthogonal_step import orthogonal_steps
from jaxinv.joint.problem import Problem, blank_image, engine_of
from jaxinv.joint.search import unrolled
from jaxinv.joint.search.candidates import drawn_images
from jaxinv.joint.search.lack_of_fit import noise_losses
from jaxinv.joint.search.neighbours import with_neighbours
from jaxinv.joint.search.peeling import operations, peel_rows, plausible
from jaxinv.joint.search.points import every_start, given_starts
from jaxinv.joint.search.starts import starting_points
from jaxinv.joint.search.state import (
    Search,
    kept,
    learnt,
    nothing_found,
    settled,
    with_ends,
    with_noise,
    with_peeled,
    with_prefix_runs,
)
from jaxinv.joint.search.structure import structured
from jaxinv.joint.search.waves import WaveMaker, waves
from jaxinv.linalg.on_device import on_device
from jaxinv.linalg.shared import per_row
from jaxinv.model.decoder import Decoder
from jaxinv.model.generator import Generator
from jaxinv.outcome.search_report import Start
from jaxinv.settings import Auto, LevenbergMarquardt

AGREEMENT = 2
PEEL_AFTER = 4  # random runs
HIDDEN = 1e-4  # relative error that a hidden vector found by peeling may have


def portfolio(problem: Problem, method: Auto, peeling: bool = True) -> Search:
    """Fit every live row: G(z) close to x in the weighted 2-norm, the lowest minimum found kept."""
    search = nothing_found(problem, method.agreement, method.plan.chance)
    for now in stages(problem, method, search, peeling):
        search = now
    return search


def stages(problem: Problem, method: Auto, search: Search, peeling: bool) -> Iterator[Search]:
    """The same, one stage at a time: where the search stands after each."""
    engine = engine_of(problem, method)
    images = _images_once(problem, method.candidates, method.start_scale)
    peeling = peeling and peels(problem.generator)
    if peeling and unrolling_pays(problem.generator):
        search = _looked_at(problem, _from_unrolling(problem, search, engine), images)
        yield search
    if (problem.begun & search.open).any():
        search = learnt(search, given_starts(problem, search.open), engine, Start.GIVEN)
        search = _looked_at(problem, search, images)
        yield search
    maker = WaveMaker(problem, method, engine)
    # Where a layer-wise start costs more than a run from anywhere, runs come first.
    peel_at = 0 if peeling_pays(problem.generator) else PEEL_AFTER
    for start, wave in waves(method.plan.runs, method.plan.nearby):
        if not search.open.any():
            break
        if peeling and (start is Start.NEARBY or wave.start >= peel_at):
            peeling = False
            for now in _from_peeling(problem, method, search, maker):
                search = _looked_at(problem, now, images)
                yield search
        if (search.near if start is Start.NEARBY else search.open).any():
            search = maker.wave(search, start, wave)
            search = _looked_at(problem, search, images)
            yield search
    unfinished = search.facts.live & ~search.minima.converged & np.isfinite(search.minima.loss)
    # Far from a fit a few more chord steps end most runs, at a tenth of the price.
    rows = np.flatnonzero(unfinished & ~search.rough)
    if rows.size and not engine.matrix_free:
        search = with_ends(search, rows, engine.chorded(rows, _ends(search, rows)))
        unfinished &= ~search.minima.converged
    rows = np.flatnonzero(unfinished)
    if rows.size:
        starts = Starts(rows, search.minima.latent[rows], np.zeros(len(rows)))
        search = with_ends(search, rows, engine.run(starts))
    yield search if problem.penalised else with_neighbours(problem, search)


def _ends(search: Search, rows: Int[np.ndarray, " R"]) -> Runs:
    """Where the lowest minima of these rows stand, as runs that may go on."""
    nothing = np.zeros(len(rows), np.int64)
    return Runs(search.minima.latent[rows], search.minima.loss[rows], nothing, nothing == 1)


def restarts(problem: Problem, method: LevenbergMarquardt) -> Search:
    """Every live row from the caller's starting points or, without any, all its random ones."""
    search, engine = nothing_found(problem, AGREEMENT), engine_of(problem, method)
    live, begun = search.facts.live, problem.begun
    images = _images_once(problem, Auto.candidates, method.start_scale)
    if (live & begun).any():
        search = learnt(search, given_starts(problem, live), engine, Start.GIVEN)
    if begun.all():
        return _looked_at(problem, search, images)
    ids = jnp.asarray(problem.row_ids)
    k, scale = problem.generator.latent_size, method.start_scale
    points = np.asarray(starting_points(problem.seed, ids, method.restarts, k, scale))
    rows = np.flatnonzero(live & ~begun)
    starts = every_start(rows, points[rows], np.full(method.restarts, method.softness))
    search = learnt(search, starts, engine, Start.RANDOM)
    return with_neighbours(problem, _looked_at(problem, search, images))


def from_latents(
    problem: Problem, latent: Float[np.ndarray, "B k"], method: LevenbergMarquardt
) -> Search:
    """One run for every live row, from the latent given."""
    search = nothing_found(problem, AGREEMENT)
    rows = np.flatnonzero(search.facts.live)
    starts = Starts(rows, latent[rows], np.zeros(len(rows)))
    return learnt(search, starts, engine_of(problem, method), Start.LAYERWISE)


def _images_once(
    problem: Problem, candidates: int, scale: float
) -> Callable[[], Float[Array, "P n"]]:
    """The images of the first run's candidates, made when they are first asked for."""
    return cache(lambda: drawn_images(problem, 0, candidates, scale)[1])


def _looked_at(
    problem: Problem, search: Search, images: Callable[[], Float[Array, "P n"]]
) -> Search:
    """What a misfit would be called noise for, with a look at whether it can be."""
    search = _sharpened(problem, search)
    asked = search.facts.live & ~search.reproduced & np.isfinite(search.minima.loss)
    if problem.penalised or not asked.any():
        return search
    found = structured(problem, search.minima.latent, images())
    return replace(search, structured=asked & found)


def _sharpened(problem: Problem, search: Search) -> Search:
    """Minima between rounding and the tolerance, by singular values what they are to LAPACK."""
    between = search.open & (search.minima.loss <= search.facts.limit)
    if not between.any():
        return search
    latent = orthogonal_steps(
        problem, np.where(between[:, None], search.minima.latent, 0.0), between
    )
    loss = problem.fit(latent).loss
    rows = np.flatnonzero(between)
    nothing = np.zeros(len(rows), np.int64)
    return with_ends(search, rows, Runs(latent[rows], loss[rows], nothing, nothing == 0))


def peels(generator: Decoder) -> bool:
    """Whether layers can be undone one by one: each has a matrix and an activation that allows it.

    A convolution written out as a matrix would cost more than any run.
    """
    return generator.is_dense and all(layer.activation.layerwise for layer in generator.layers)


def peeling_pays(generator: Decoder) -> bool:
    """Whether peeling a row costs less than a run from anywhere."""
    return operations(generator) < _run_operations(generator)


def unrolling_pays(generator: Decoder) -> bool:
    """Whether every layer expands, and unrolling a row costs less than a run from anywhere."""
    expands = all(layer.width >= layer.width_in for layer in generator.layers)
    return expands and unrolled.operations(generator) < _run_operations(generator)


def _run_operations(generator: Decoder) -> float:
    """Floating-point operations of the ten steps of a run that goes well."""
    k = generator.latent_size
    products = k * sum(layer.linear.operations for layer in generator.layers[1:])
    return 10.0 * (products + 2 * generator.observation_size * k**2 + 2 * k**3)


def _from_unrolling(problem: Problem, search: Search, engine: Engine) -> Search:
    """Settle the rows that the layers determine one by one, up to rounding or up to noise."""
    x = problem.observation
    tried = search.open & (problem.count == x.shape[1])
    if not tried.any():
        return search
    found = unrolled.unrolled(problem.generator, problem.entries.observation, tried)
    search = settled(problem, search, found.latent)
    # One noise level is a row's to estimate, not one for each of its entries.
    even = per_row(lambda weight: (weight == weight[:, :1]).all(-1), problem.weight)
    rows = np.flatnonzero(search.open & tried & even & found.usable)
    if not rows.size:
        return search
    square = problem.weight[rows, 0] ** 2
    bounds = noise_losses(found.noise, x.shape[1] - problem.generator.latent_size)
    low, high = (square * bound[rows] for bound in bounds)
    search = with_noise(search, rows, low, high)
    # What fits worse than no code at all is no start: the layers have amplified too much noise.
    loss = problem.fit(found.latent).loss
    fitted = loss[rows] < search.facts.size[rows] ** 2
    rows, low, high, square = (part[fitted] for part in (rows, low, high, square))
    if not rows.size:
        return search
    ends = gauss_newton(problem.generator, x[rows], found.latent[rows], len(x))
    loss = square * ends.loss
    noise = (loss >= low) & (loss <= high)
    inside, fits = problem.box.holds(ends.latent), loss <= search.facts.limit[rows]
    good = inside & ends.converged & (noise | fits)
    starts = Starts(rows[good], found.latent[rows[good]], np.zeros(good.sum()))
    runs = Runs(ends.latent[good], loss[good], np.zeros(good.sum(), np.int64), ends.converged[good])
    search = kept(search, starts, runs, Start.LAYERWISE)
    # Too ill-conditioned for steps in single precision, and as good a start as there can be.
    carried = inside & fits & ~good
    if carried.any():
        points = Starts(rows[carried], ends.latent[carried], np.zeros(carried.sum()))
        search = learnt(search, points, engine, Start.LAYERWISE)
    begun = np.isin(np.arange(len(x)), rows[good | carried])
    return with_peeled(search, begun, len(problem.generator.layers))


def _from_peeling(
    problem: Problem, method: Auto, search: Search, maker: WaveMaker
) -> Iterator[Search]:
    """A run from the layer-wise start where there is one, then from the prefixes' solutions."""
    data = problem.observation, problem.weight
    told = np.asarray(plausible(problem.generator.layers[-1], *(on_device(d) for d in data)))
    # What unrolling began at is peeled already.
    told = told & search.open & (search.tally.peeled == 0)
    if not told.any():
        return
    peeled = peel_rows(problem.generator, *data, told)
    whole = len(problem.generator.layers)
    # Behind a layer that determines nothing false minima lie close to the observation as well.
    ample = search.facts.ample & ((peeled.depth == 0) | ~told)
    search = replace(search, facts=replace(search.facts, ample=ample))
    search = with_peeled(search, told, whole - peeled.depth)
    start = peeled.inputs.get(0)
    if start is not None:
        search = settled(problem, search, start)
    yield search
    rows = np.flatnonzero(search.open & told)
    if start is not None and rows.size:
        search = maker.made(search, rows, start[rows, None], Start.LAYERWISE)
        yield search
    for depth in range(1, whole):
        left = search.open & (peeled.depth == depth) & told
        if not left.any():
            continue
        below = _prefix(problem, method, peeled.inputs[depth], depth, left)
        search = with_prefix_runs(search, below)
        which = np.flatnonzero(left & below.rough)
        if which.size:
            search = maker.made(search, which, below.minima.latent[which, None], Start.PREFIX)
        yield search


def _prefix(
    problem: Problem,
    method: Auto,
    hidden: Float[np.ndarray, "B m"],
    depth: int,
    rows: Bool[np.ndarray, " B"],
) -> Search:
    """Solve the first `depth` layers against the hidden vector that peeling found."""
    generator = Generator(problem.generator.layers[:depth])
    # The hidden vector is an estimate: a fit below its error need not be improved.
    limit = (max(method.tolerance, HIDDEN) * np.linalg.norm(hidden, axis=-1)) ** 2
    prefix = Problem(
        generator=generator,
        observation=hidden,
        weight=np.ones_like(hidden),
        live=rows,
        limit=limit,
        certain=limit,
        blank=blank_image(generator, problem.box, on_device(hidden)),
        rounding=np.zeros_like(hidden),
        box=problem.box,
        seed=problem.seed,
        row_ids=problem.row_ids,
    )
    return portfolio(prefix, method, peeling=False)
