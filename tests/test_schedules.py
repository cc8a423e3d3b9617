"""The tolerance schedules of one layer against the paper's loops and against exhaustive search."""

import algorithm_1
import jax
import numpy as np
import paper
import pytest
from scipy.optimize import linprog

import jaxinv
from jaxinv.layerwise.constraints import Rows, l1_rows, linf_rows, tolerance_needed
from jaxinv.layerwise.freedom import undetermined
from jaxinv.layerwise.grid import Grid
from jaxinv.layerwise.layer_program import LayerProgram
from jaxinv.layerwise.optimum import breakpoints, least_misfit
from jaxinv.layerwise.signs import best_of_sets
from jaxinv.layerwise.tolerance import literal_loop, smallest_accepted
from jaxinv.layerwise.true_residual import L1, RELAXED, best_of_grid, l1_residual, walk
from jaxinv.model.generator import Generator

SHAPES = ((8, 3), (15, 5), (20, 8), (30, 10))
POOL = jaxinv.ClarabelPool(threads=1)


@pytest.fixture(autouse=True)
def _double():
    # The rooms under `invert` expect their caller to have set float64.
    with jax.enable_x64(True):
        yield


def one_layer(shape, activation, noise, batch, bias=False, weights=False, mask=False, seed=0):
    """A random layer, planted inputs (B, k), and its noisy outputs as rows."""
    n, k = shape
    rng = np.random.default_rng([n, k, batch, seed, int(1e7 * noise)])
    w = rng.standard_normal((n, k)) / np.sqrt(n)
    b = 0.3 * rng.standard_normal(n) if bias else np.zeros(n)
    layer = Generator.from_layers([(w, b, activation)]).layers[0]
    z = rng.standard_normal((batch, k))
    x = np.asarray(layer(jax.numpy.asarray(z)))
    x = x + rng.uniform(-noise, noise, x.shape)
    omega = rng.uniform(0.5, 2.0, x.shape) if weights else np.ones_like(x)
    omega = omega * (rng.random(x.shape) < 0.85) if mask else omega
    box = (np.full((batch, k), -np.inf), np.full((batch, k), np.inf))
    return LayerProgram(layer, Rows(w, b, layer.activation, x, omega, box), POOL), z


def grid_of(program, initial=1e-6, growth=1.2):
    size = program.rows.size
    return Grid.up_to(initial * size, growth, size)


def freedom(program, accepted):
    return undetermined(program, accepted.latent, accepted.tolerance)


def slack_at(program, accepted):
    """The slack that an answer needs in the program of its tolerance, or what counts as 0: (B,)."""
    problem = linf_rows(program.rows, accepted.tolerance)
    return np.maximum(problem.least_slack(accepted.latent).max(-1), problem.floor)


def width(program, accepted, slack):
    """How far the inputs that need no more slack reach in some direction, (B,): 0 for one point."""
    problem = linf_rows(program.rows, accepted.tolerance)
    direction = np.random.default_rng(1).standard_normal(problem.columns)
    low = problem.lower - problem.lower_slack * (1 + 1e-7) * slack[:, None]
    high = problem.upper + problem.upper_slack * (1 + 1e-7) * slack[:, None]
    found = np.empty(len(slack))
    for i in range(len(slack)):
        rows = np.concatenate([problem.matrix, -problem.matrix])
        ends = np.concatenate([high[i], -low[i]])
        here = np.isfinite(ends)
        box = np.stack([problem.box_lower[i], problem.box_upper[i]], -1)
        reach = [
            linprog(sign * direction, rows[here], ends[here], bounds=box, method="highs")
            for sign in (1, -1)
        ]
        found[i] = -sum(r.fun for r in reach) if all(r.status == 0 for r in reach) else np.inf
    return found


def everyone(program):
    return np.ones(program.batch_size, bool)


OPTIONS = ({}, {"bias": True}, {"weights": True}, {"mask": True, "bias": True})


@pytest.mark.parametrize("activation", ["relu", "leaky_relu:0.1", "leaky_relu:0.5", "tanh"])
@pytest.mark.parametrize("noise", [1e-4, 1e-2, 1e-1])
def test_the_search_accepts_what_the_loop_accepts(activation, noise, record_property):
    asked = walked = unique = 0
    for shape, options in zip(SHAPES, OPTIONS, strict=True):
        program, _ = one_layer(shape, activation, noise, 6, **options)
        grid, live = grid_of(program), everyone(program)
        quick, loop = smallest_accepted(program, grid, live), literal_loop(program, grid, live)
        np.testing.assert_allclose(quick.tolerance, loop.tolerance, rtol=1e-12)
        least = slack_at(program, loop)
        np.testing.assert_allclose(slack_at(program, quick), least, rtol=1e-5)
        only = width(program, loop, least) < 1e-5
        unique += only.sum()
        np.testing.assert_allclose(quick.latent[only], loop.latent[only], atol=1e-4)
        np.testing.assert_array_equal(quick.exhausted, loop.exhausted)
        assert not (quick.failed | loop.failed).any()
        asked, walked = asked + quick.steps.sum(), walked + loop.steps.sum()
    record_property("programs saved", f"{walked} -> {asked}")
    assert unique >= 6
    assert asked <= 5 * 24
    assert asked < walked / 4


@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_the_search_accepts_what_highs_accepts(slope):
    activation = f"leaky_relu:{slope}" if slope else "relu"
    for shape in SHAPES[:3]:
        program, _ = one_layer(shape, activation, 3e-2, 4, bias=True)
        grid = grid_of(program, 1e-3)
        found = smallest_accepted(program, grid, everyone(program))
        rows = program.rows
        for row in range(program.batch_size):
            eps, _ = algorithm_1.layer(
                rows.matrix, rows.bias, rows.x[row], grid.start[row], 1.2, False, slope
            )
            assert found.tolerance[row] == pytest.approx(eps, rel=1e-9)


@pytest.mark.parametrize("c", [0.0, 0.1])
@pytest.mark.parametrize("one_sided", [False, True])
def test_algorithm_1_as_written_ends_at_the_same_tolerance(c, one_sided):
    program, _ = one_layer((15, 4), f"leaky_relu:{c}" if c else "relu", 2e-2, 3)
    program = LayerProgram(program.layer, program.rows._replace(one_sided=one_sided), POOL)
    grid = grid_of(program, 1e-2)
    found = smallest_accepted(program, grid, everyone(program))
    for row, x in enumerate(program.rows.x):
        layer = paper.Layer(program.rows.matrix, program.rows.bias, c, one_sided=one_sided)
        eps, z = paper.algorithm_1(layer, x, grid.start[row], 1.2)
        assert found.tolerance[row] == pytest.approx(eps, rel=1e-9)
        np.testing.assert_allclose(found.latent[row], z, atol=1e-6)


@pytest.mark.parametrize("c", [0.0, 0.1])
@pytest.mark.parametrize(
    ("objective", "program_of", "norm"),
    [(L1, paper.l1_program, 1), (RELAXED, paper.relaxed_program, 2)],
    ids=["Algorithm 2", "Algorithm 3"],
)
def test_the_loops_of_algorithms_2_and_3(objective, program_of, norm, c):
    program, _ = one_layer((20, 4), f"leaky_relu:{c}" if c else "relu", 2e-2, 4)
    grid = grid_of(program, 1e-2)
    found = walk(objective, program, grid, everyone(program))
    for row, x in enumerate(program.rows.x):
        layer = paper.Layer(program.rows.matrix, program.rows.bias, c)
        eps, z = paper.first_no_better(program_of, norm, layer, x, grid.start[row], 1.2)
        assert found.tolerance[row] == pytest.approx(eps, rel=1e-9)
        np.testing.assert_allclose(found.latent[row], z, atol=2e-5)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu:0.1", "identity", "sigmoid"])
def test_the_optimum_is_the_least_tolerance_of_all(activation):
    program, _ = one_layer((20, 6), activation, 3e-2, 5, weights=True)
    rows, live = program.rows, everyone(program)
    found = least_misfit(program, live)
    np.testing.assert_allclose(tolerance_needed(rows, found.latent), found.tolerance, rtol=1e-5)
    # Feasible there, infeasible just below: that is the optimum, whatever the search did.
    which = np.arange(program.batch_size)
    for factor, feasible in ((1 + 1e-4, True), (1 - 1e-4, False)):
        eps = factor * found.tolerance
        answer = program.solve(linf_rows, which, eps)
        assert answer.certified.all()
        assert ((answer.objective <= eps) == feasible).all()
    coarse = smallest_accepted(program, grid_of(program), live)
    assert (found.tolerance <= coarse.tolerance * (1 + 1e-6)).all()
    assert (found.tolerance * 1.2 >= coarse.tolerance * (1 - 1e-6)).all()


@pytest.mark.parametrize("activation", ["relu", "leaky_relu:0.1"])
@pytest.mark.parametrize("noise", [1e-4, 1e-2, 1e-1])
def test_l1_does_no_worse_than_any_set_changing_tolerance(activation, noise):
    program, _ = one_layer((30, 6), activation, noise, 4)
    rows, live = program.rows, everyone(program)
    v = np.maximum(breakpoints(rows), 1e-9)
    which, index = np.nonzero(np.diff(v, axis=-1, append=np.inf) > 0)
    every = program.solve(l1_rows, which, v[which, index])
    residual = l1_residual(rows.take(which), every.latent)
    least = np.array([residual[which == row].min() for row in range(4)])
    # The loss is not convex, and least squares is not robust: "iterate" may end higher.
    for by_programs, slack in ((True, 1e-6), (False, 0.1)):
        found = best_of_sets(program, live, by_programs)
        assert not (found.failed | (freedom(program, found) > 0)).any()
        assert (l1_residual(rows, found.latent) <= (1 + slack) * least).all()
        assert found.steps.max() <= 14


def test_the_relaxation_finds_the_grids_best_residual():
    for activation, noise in (("relu", 1e-3), ("leaky_relu:0.1", 1e-2), ("tanh", 1e-2)):
        program, _ = one_layer((30, 6), activation, noise, 3)
        grid, live = grid_of(program, 1e-4), everyone(program)
        found = best_of_grid(program, grid, live)
        for row in range(3):
            t = np.arange(grid.last[row] + 1)
            which = np.full(len(t), row)
            every = program.solve(RELAXED.build, which, grid.tolerance(which, t))
            residual = RELAXED.residual(program.rows.take(which), every.latent)
            residual = np.where(every.certified, residual, np.inf)
            mine = RELAXED.residual(program.rows, found.latent)[row]
            assert mine <= 1.02 * residual.min()
            assert found.steps[row] < len(t) / 2


def test_no_default_depends_on_where_the_grid_starts():
    generator = Generator.random((5, 25, 100), seed=1)
    rng = np.random.default_rng(2)
    x = np.asarray(generator(rng.standard_normal((4, 5))))
    x = x + 1e-3 * rng.standard_normal(x.shape)
    starts = (None, 1e-7, 1e-2)
    answers = [
        np.asarray(
            jaxinv.invert(generator, x, jaxinv.L1LP(initial_tolerance=start, solver=POOL)).latent
        )
        for start in starts
    ]
    assert answers[0].tobytes() == answers[1].tobytes() == answers[2].tobytes()
