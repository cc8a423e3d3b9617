"""Gradient descent: it recovers easy latents, keeps rows apart, and words its outcomes honestly."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax
import pytest
import scipy.optimize

import jaxinv
from jaxinv.joint.descent.gradient_descent import _best_run, _optimizer, gradient_descent
from jaxinv.joint.search.starts import starting_points
from jaxinv.model.generator import Generator
from jaxinv.outcome.inversion import Inversion
from jaxinv.outcome.status import Status
from jaxinv.settings import GRADIENT_OPTIMIZERS, METHODS, GradientDescent, resolve

Array = npt.NDArray[Any]

EASY = Generator.random((5, 25, 60), seed=3)
# Barely expanding layers: many runs end in a local minimum or where every unit is off.
TIGHT = Generator.random((4, 8, 12), seed=0)
# Rate 1 is for the paper's nets: on nets this small it is at the edge of instability.
GENTLE = GradientDescent(learning_rate=0.5, steps=4_000)


def run(
    generator: Generator,
    x: Array,
    method: GradientDescent,
    *,
    mask: Array | None = None,
    weights: Array | None = None,
    seed: int = 0,
    row_ids: Any = None,
) -> Inversion:
    with jax.enable_x64(True):
        return gradient_descent(
            generator,
            jnp.asarray(x, jnp.float64),
            jnp.asarray(np.ones(x.shape, bool) if mask is None else mask),
            jnp.asarray(np.ones(x.shape) if weights is None else weights),
            method,
            seed,
            jnp.asarray(np.arange(len(x)) if row_ids is None else row_ids),
        )


def codes(generator: Generator, count: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).standard_normal((count, generator.latent_size))


def observe(generator: Generator, z: Array) -> Array:
    return np.array(generator(z))


def take(found: Inversion, rows: Array) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[rows], found)


def recovery_error(found: Inversion, z: Array) -> Array:
    miss = np.linalg.norm(np.asarray(found.latent) - z, axis=1)
    return np.asarray(miss / np.linalg.norm(z, axis=1))


def statuses(found: Inversion) -> list[Status]:
    return [Status(int(value)) for value in np.asarray(found.status)]


def starts(generator: Generator, ids: Any, restarts: int = 1, seed: int = 0) -> Array:
    with jax.enable_x64(True):
        return np.asarray(
            starting_points(seed, np.asarray(ids), restarts, generator.latent_size, 1.0)
        )


def test_plain_descent_recovers_an_easy_net() -> None:
    z = codes(EASY, 4)
    found = run(EASY, observe(EASY, z), GENTLE)
    assert statuses(found) == [Status.SOLVED] * 4
    assert recovery_error(found, z).max() < 1e-6
    assert found.latent.dtype == np.float64 and found.layers == ()
    assert not np.asarray(found.undetermined).any()


def test_a_row_of_padding_costs_nothing_and_says_so() -> None:
    x = np.zeros((2, 60))
    found = run(EASY, x, GradientDescent(steps=7), mask=np.zeros(x.shape, bool))
    assert statuses(found) == [Status.SOLVED] * 2
    np.testing.assert_array_equal(found.latent, starts(EASY, [0, 1])[:, 0])


def test_the_residual_is_recomputed_from_the_latent() -> None:
    x = observe(EASY, codes(EASY, 4)) + 0.01
    mask = np.random.default_rng(0).random(x.shape) < 0.8
    found = run(EASY, x, GENTLE, mask=mask)
    misfit = mask * (observe(EASY, np.asarray(found.latent)) - x)
    np.testing.assert_allclose(found.residual, np.linalg.norm(misfit, axis=1), rtol=1e-12)


def test_one_step_follows_the_gradient_of_the_weighted_masked_loss() -> None:
    layers = [
        (np.random.default_rng(i).standard_normal((n, k)) / np.sqrt(n), np.full(n, 0.1), name)
        for i, (n, k, name) in enumerate([(9, 4, "leaky_relu:0.2"), (7, 9, "tanh")])
    ]
    generator = Generator.from_layers(layers)
    rng = np.random.default_rng(5)
    x, weights, mask = rng.normal(size=(3, 7)), rng.random((3, 7)), rng.random((3, 7)) < 0.7
    rate = 1e-3
    found = run(generator, x, GradientDescent(rate, steps=1), mask=mask, weights=weights)
    z = starts(generator, [0, 1, 2])[:, 0]
    gradient = (z - np.asarray(found.latent)) / rate

    def loss(points: Array) -> Array:
        for w, b, name in layers:
            u = points @ w.T + b
            points = np.tanh(u) if name == "tanh" else np.where(u > 0, u, 0.2 * u)
        return np.asarray((mask * (weights * (points - x)) ** 2).sum(axis=1))

    h = 1e-6
    numerical = [(loss(z + h * e) - loss(z - h * e)) / (2 * h) for e in np.eye(4)]
    np.testing.assert_allclose(gradient, np.transpose(numerical), rtol=1e-6, atol=1e-8)
    jacobian = np.asarray(generator.jacobian(z))
    misfit = weights**2 * mask * (observe(generator, z) - x)
    np.testing.assert_allclose(
        gradient, 2 * np.einsum("bnk,bn->bk", jacobian, misfit), rtol=1e-10, atol=1e-12
    )


def test_what_is_masked_may_hold_anything() -> None:
    z = codes(EASY, 2)
    x = observe(EASY, z)
    mask = np.ones(x.shape, bool)
    mask[:, ::4] = False
    method = replace(GENTLE, restarts=4)
    found = run(EASY, x, method, mask=mask)
    spoiled = run(EASY, np.where(mask, x, np.nan), method, mask=mask)
    np.testing.assert_array_equal(spoiled.latent, found.latent)
    assert recovery_error(found, z).max() < 1e-6


def test_a_weight_of_zero_is_a_mask() -> None:
    z = codes(EASY, 2)
    x = observe(EASY, z)
    weights = np.ones(x.shape)
    weights[:, ::4] = 0.0
    x[:, ::4] += 10.0
    found = run(EASY, x, replace(GENTLE, restarts=4), weights=weights)
    assert statuses(found) == [Status.SOLVED] * 2
    assert recovery_error(found, z).max() < 1e-6


def test_restarts_find_what_one_start_misses() -> None:
    x = observe(TIGHT, codes(TIGHT, 16))
    once, often = (run(TIGHT, x, GradientDescent(restarts=n)) for n in (1, 6))
    assert 0 < np.asarray(once.ok).sum() < np.asarray(often.ok).sum()
    # The first of the six starts is the single one, so no row is worse off.
    assert np.asarray(often.ok)[np.asarray(once.ok)].all()


@pytest.mark.parametrize("last", ["relu", "sigmoid"])
def test_a_row_knows_neither_its_place_nor_its_neighbours(last: str) -> None:
    rng = np.random.default_rng(2)
    generator = Generator.from_layers(
        [(rng.standard_normal((9, 4)), None, "leaky_relu:0.1"), (rng.random((13, 9)), None, last)]
    )
    x = observe(generator, codes(generator, 7))
    method = GradientDescent(0.02, steps=50, optimizer="adam", restarts=3)
    whole = run(generator, x, method)
    order = rng.permutation(7)
    moved = run(generator, x[order], method, row_ids=order)
    jax.tree.map(np.testing.assert_array_equal, moved, take(whole, order))

    changed = x.copy()
    changed[3] = 1e200  # this row overflows at once
    beside = run(generator, changed, method)
    assert statuses(beside)[3] is Status.SOLVER_FAILED
    others = np.arange(7) != 3
    jax.tree.map(np.testing.assert_array_equal, take(beside, others), take(whole, others))


def test_a_row_that_has_ended_is_frozen() -> None:
    x = observe(EASY, codes(EASY, 4))
    x[1:] = x[0]  # the same observation from the same start: the batch ends when row 0 does
    hard = x.copy()
    hard[2] = np.random.default_rng(0).random(x.shape[1])
    together, apart = (run(EASY, data, GENTLE, row_ids=[0] * 4) for data in (x, hard))
    np.testing.assert_array_equal(apart.latent[0], together.latent[0])
    assert statuses(together)[0] is Status.SOLVED and statuses(apart)[2] is not Status.SOLVED


def test_starting_points_follow_the_row_and_not_the_truth() -> None:
    drawn = starts(EASY, [7, 8, 7], restarts=3)
    np.testing.assert_array_equal(drawn[0], drawn[2])
    np.testing.assert_array_equal(starts(EASY, [8], restarts=5)[0, :3], drawn[1])
    assert len(np.unique(drawn[:2].reshape(6, -1), axis=0)) == 6
    assert not np.array_equal(starts(EASY, [7], seed=1)[0], drawn[0, :1])
    assert starts(EASY, range(900)).std() == pytest.approx(1.0, rel=0.05)
    with jax.enable_x64(True):
        key = jax.random.key(0)
        for truth in (key, jax.random.fold_in(key, 7), jax.random.fold_in(key, 0)):
            latent = np.asarray(jax.random.normal(truth, (3, 5)))
            assert np.abs(latent[None] - drawn[0][:, None]).max(axis=-1).min() > 1e-3


def test_a_row_too_noisy_to_reproduce_is_inexact() -> None:
    z = codes(EASY, 4)
    x = observe(EASY, z) + 1e-3 * np.random.default_rng(1).standard_normal((4, 60))
    found = run(EASY, x, GENTLE)
    assert statuses(found) == [Status.INEXACT] * 4
    assert recovery_error(found, z).max() < 0.05
    loose = run(EASY, x, replace(GENTLE, tolerance=0.1))
    assert statuses(loose) == [Status.SOLVED] * 4


def test_a_dead_start_is_inexact_and_a_short_run_meets_its_limit() -> None:
    dead = Generator.from_layers([(np.eye(3), np.full(3, -100.0), "relu")])
    assert statuses(run(dead, np.ones((2, 3)), GENTLE)) == [Status.INEXACT] * 2
    x = observe(EASY, codes(EASY, 2))
    short = run(EASY, x, GradientDescent(steps=7))
    assert statuses(short) == [Status.STEP_LIMIT] * 2
    assert np.isfinite(short.latent).all()


def test_the_best_point_of_a_run_cut_short_is_kept() -> None:
    x = observe(EASY, codes(EASY, 4))
    # Far too large a rate: the iterates only get worse, and the start stays the best point.
    wild = run(EASY, x, GradientDescent(learning_rate=50.0, steps=5))
    assert statuses(wild) == [Status.STEP_LIMIT] * 4
    best = np.linalg.norm(observe(EASY, starts(EASY, range(4))[:, 0]) - x, axis=1)
    assert (np.asarray(wild.residual) <= best * (1 + 1e-12)).all()


def test_divergence_is_a_failure() -> None:
    found = run(EASY, observe(EASY, codes(EASY, 2)), GradientDescent(learning_rate=1e3))
    assert statuses(found) == [Status.SOLVER_FAILED] * 2
    assert np.isnan(found.latent).all() and np.isnan(found.residual).all()


@pytest.mark.parametrize("name", ["clipped", "line search"])
def test_an_optax_optimizer_is_taken_as_it_is(name: str) -> None:
    clipped = optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.5))
    optimizer = clipped if name == "clipped" else optax.lbfgs()
    z = codes(EASY, 3)
    x = observe(EASY, z)
    method = GradientDescent(optimizer=optimizer, steps=400)
    found = run(EASY, x, method)
    assert statuses(found) == [Status.SOLVED] * 3
    # A clip by the global norm would tie the rows together, were it not mapped over them.
    huge = x.copy()
    huge[1] *= 1e3
    np.testing.assert_array_equal(run(EASY, huge, method).latent[0], found.latent[0])


def test_named_optimizers_recover_an_easy_net() -> None:
    z = codes(EASY, 3)
    for method in (
        GradientDescent(0.1, optimizer="adam", schedule="cosine"),
        GradientDescent(0.5, optimizer="nesterov", momentum=0.8),
    ):
        assert recovery_error(run(EASY, observe(EASY, z), method), z).max() < 1e-3


def test_a_second_batch_of_the_same_shape_is_not_compiled_again() -> None:
    method = GradientDescent(steps=7)
    x = observe(EASY, codes(EASY, 2))
    run(EASY, x, method)
    jitted: Any = _best_run
    compiled = jitted._cache_size()
    run(EASY, x + 1.0, GradientDescent(steps=7), seed=9, row_ids=[5, 6])
    assert jitted._cache_size() == compiled


def test_settings() -> None:
    for name in GRADIENT_OPTIMIZERS:
        momentum = 0.9 if name == "nesterov" else 0.0
        assert callable(_optimizer(GradientDescent(optimizer=name, momentum=momentum)).update)
    assert METHODS["gd"] is GradientDescent and resolve("gd") == GradientDescent.paper("random")
    mnist = GradientDescent.paper("mnist")
    assert (mnist.learning_rate, mnist.steps, mnist.gradient_tolerance) == (1e-3, 10_000, 1e-9)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be positive"),
        ({"steps": -1}, "steps=-1"),
        ({"optimizer": "newton"}, "'newton' is not known; expected one of"),
        ({"optimizer": 3}, "optimizer is a int; expected one of"),
        ({"optimizer": "adam", "momentum": 0.9}, "momentum belongs to"),
        ({"optimizer": "nesterov"}, "needs momentum="),
        ({"momentum": 1.0}, r"must be in \[0, 1\)"),
        ({"schedule": "step"}, "schedule='step' is not known"),
        ({"restarts": 0}, "restarts=0 must be at least 1"),
        ({"tolerance": 0.0}, "tolerance=0.0 must be positive"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        GradientDescent(**settings)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_bounds_hold_every_iterate_and_hide_no_code_inside(optimizer: str) -> None:
    rate = 0.5 if optimizer == "sgd" else 0.05
    method = GradientDescent(rate, steps=4_000, optimizer=optimizer, restarts=3)
    z = np.clip(codes(EASY, 4), -0.9, 0.9)
    inside = jaxinv.invert(EASY, observe(EASY, z), method, latent_bounds=(-1.0, 1.0))
    assert statuses(inside) == [Status.SOLVED] * 4
    assert recovery_error(inside, z).max() < 1e-5
    # Rows whose code lies outside end on a side of the box, from wherever they begin.
    outside = z + 2.0 * np.eye(5)[0]
    found = jaxinv.invert(
        EASY, observe(EASY, outside), method, latent_bounds=(-1.0, 1.0), start=outside
    )
    latent = np.asarray(found.latent)
    assert (np.abs(latent) <= 1.0).all() and (np.abs(latent) == 1.0).any(1).all()
    assert not np.isin(np.asarray(found.status), [Status.SOLVED, Status.UNDERDETERMINED]).any()


def test_a_run_held_back_by_a_bound_has_converged_to_the_least_squares_inside() -> None:
    matrix = np.random.default_rng(0).standard_normal((12, 3)) / 4
    line = Generator.from_layers([(matrix, None, "identity")])
    z = np.array([[0.5, 3.0, -0.2]])
    found = jaxinv.invert(line, observe(line, z), GENTLE, latent_bounds=(-1.0, 1.0))
    best = scipy.optimize.lsq_linear(matrix, (z @ matrix.T)[0], (-1.0, 1.0), tol=1e-14)
    np.testing.assert_allclose(found.latent[0], best.x, atol=1e-8)
    assert statuses(found) == [Status.INEXACT]
