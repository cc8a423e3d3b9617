"""Rows that a layer-wise inverse reproduces to rounding are inverted without a single run."""

import jax
import numpy as np
import pytest

import jaxinv
from jaxinv import Status
from jaxinv.joint.descent import lanes
from jaxinv.joint.search import portfolio, unrolled


def net(*activations, seed=0):
    """6-30-80-200: expansive, and few inputs a unit, so that nothing saturates."""
    rng = np.random.default_rng(seed)
    widths = (6, 30, 80, 200)[: len(activations) + 1]
    return jaxinv.Generator.from_layers(
        (rng.standard_normal((n, k)) / np.sqrt(2 * k), 0.1 * rng.standard_normal(n), name)
        for k, n, name in zip(widths, widths[1:], activations, strict=False)
    )


def planted(generator, rows=12):
    latent = np.random.default_rng(5).standard_normal((rows, generator.latent_size))
    return latent, np.array(generator(latent))


@pytest.fixture
def no_runs(monkeypatch):
    def run(self, starts):
        raise AssertionError(f"{len(starts.row)} runs were made")

    monkeypatch.setattr(lanes.Engine, "run", run)


@pytest.mark.parametrize(
    "generator",
    [
        net("leaky_relu:0.1", "leaky_relu:0.1", "leaky_relu:0.1"),
        net("relu", "leaky_relu:0.3", "sigmoid"),
        net("relu", "tanh", "identity"),
        jaxinv.Generator.random((6, 40, 200)),
    ],
    ids=repr,
)
@pytest.mark.usefixtures("no_runs")
def test_a_noiseless_row_takes_no_run(generator):
    latent, x = planted(generator)
    found = jaxinv.invert(generator, x)
    np.testing.assert_allclose(found.latent, latent, rtol=0, atol=1e-9)
    assert (np.asarray(found.status) == Status.SOLVED).all()


def test_rows_with_masks_or_bounds_go_the_usual_way(monkeypatch):
    generator = net("leaky_relu:0.1", "leaky_relu:0.1", "leaky_relu:0.1")
    latent, x = planted(generator)
    x[::2] += 1e-3 * np.random.default_rng(6).standard_normal(x[::2].shape)
    # Uneven noise is not the one level that the last layer shows.
    x[::2, :20] *= 1.5
    mask = np.ones(x.shape, bool)
    mask[1, :40] = False
    bounds = (-1.0, 1.0)
    with jax.enable_x64(True):
        off = np.abs(unrolled.unrolled(generator, x).latent - latent).max(1)
    exact = off < 1e-9
    assert exact.tolist() == [False, True] * 6
    got = [
        jaxinv.invert(generator, x, mask=mask),
        jaxinv.invert(generator, x, latent_bounds=bounds),
    ]
    monkeypatch.setattr(portfolio, "unrolling_pays", lambda generator: False)
    usual = [
        jaxinv.invert(generator, x, mask=mask),
        jaxinv.invert(generator, x, latent_bounds=bounds),
    ]
    outside = (np.abs(latent) > 1).any(1)
    assert outside.any() and not outside.all()
    for now, before, same in zip(
        got, usual, (~exact | ~mask.all(1), ~exact | outside), strict=True
    ):
        np.testing.assert_array_equal(now.latent[same], before.latent[same])
        np.testing.assert_allclose(now.latent, before.latent, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(now.status, before.status)


def test_a_row_keeps_its_bits_whatever_stands_beside_it():
    generator = net("relu", "leaky_relu:0.3", "sigmoid")
    _, x = planted(generator)
    spoiled = x.copy()
    spoiled[3], spoiled[4] = np.nan, 0.5
    alone, beside = (jaxinv.invert(generator, rows) for rows in (x, spoiled))
    others = np.delete(np.arange(len(x)), [3, 4])
    np.testing.assert_array_equal(alone.latent[others], beside.latent[others])
    assert np.asarray(beside.status)[3] == Status.BAD_INPUT


def test_layers_that_determine_nothing_are_left_to_the_portfolio():
    rng = np.random.default_rng(0)
    deficient = rng.standard_normal((40, 3)) @ rng.standard_normal((3, 10))
    generator = jaxinv.Generator.from_layers([(deficient, None, "leaky_relu:0.1")])
    _, x = planted(generator)
    found = jaxinv.invert(generator, x)
    assert (np.asarray(found.undetermined) == 7).all()
    contractive = jaxinv.Generator.random((8, 40, 32), activation="leaky_relu:0.1")
    assert not portfolio.unrolling_pays(contractive)


def test_a_unit_that_nothing_reads_spoils_no_other():
    """A column of zeros: W^+ does not exist, and the row is named for what it leaves open."""
    rng = np.random.default_rng(0)
    blind = rng.standard_normal((40, 10))
    blind[:, 3] = 0.0
    generator = jaxinv.Generator.from_layers([(blind, None, "leaky_relu:0.1")])
    latent, x = planted(generator)
    with jax.enable_x64(True):
        assert not unrolled.unrolled(generator, x).usable.any()
    found = jaxinv.invert(generator, x)
    assert (np.asarray(found.undetermined) == 1).all()
    seen = np.arange(10) != 3
    np.testing.assert_allclose(np.asarray(found.latent)[:, seen], latent[:, seen], atol=1e-8)


def test_the_pseudo_inverse_is_that_of_numpy_and_formed_once():
    for layer in net("leaky_relu:0.1", "sigmoid", "identity").layers:
        inverse = layer.pseudo_inverse
        np.testing.assert_allclose(inverse, np.linalg.pinv(np.asarray(layer.weight)), atol=1e-12)
        assert layer.pseudo_inverse is inverse


@pytest.mark.parametrize("spread", [1.0, 1e2, 1e5])
def test_single_precision_factors_cost_no_digit_or_say_nothing(spread):
    rng = np.random.default_rng(1)
    left, _, right = np.linalg.svd(rng.standard_normal((200, 20)), full_matrices=False)
    w = left * np.geomspace(1.0, spread, 20) @ right
    generator = jaxinv.Generator.from_layers([(w, None, "relu")])
    latent, x = planted(generator)
    with jax.enable_x64(True):
        found, usable, *_ = unrolled.unrolled(generator, x)
    if usable.any():
        np.testing.assert_allclose(found[usable], latent[usable], rtol=0, atol=1e-10 * spread)
    assert usable.all() if spread < 1e3 else not usable.any()
    answer = jaxinv.invert(generator, x)
    np.testing.assert_allclose(answer.latent, latent, rtol=0, atol=1e-12 * spread**2)
    assert (np.asarray(answer.status) == Status.SOLVED).all()


def test_what_the_slopes_do_not_determine_is_not_called_determined():
    """Saturated or nearly flat units: W has full rank, the Jacobian at the code has not."""
    saturated = jaxinv.Generator.from_layers([(np.eye(2), None, "sigmoid")])
    flat = jaxinv.Generator.from_layers(
        [
            (np.eye(2), None, "leaky_relu:0.00000000000001"),
            ([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], None, "relu"),
        ]
    )
    for generator, z in ((saturated, [[0.5, 32.5], [0.5, 34.0]]), (flat, [[-1.0, 2.0]])):
        found = jaxinv.invert(generator, np.array(generator(np.array(z))))
        rank = np.asarray(jaxinv.identifiability(generator, found.latent).rank)
        np.testing.assert_array_equal(found.undetermined, generator.latent_size - rank)
        assert (rank < 2).all()


def test_moderate_condition_costs_no_digits():
    rng = np.random.default_rng(0)
    left, _, right = np.linalg.svd(rng.standard_normal((200, 20)), full_matrices=False)
    w = left * np.repeat([1.0, 3e-3], 10) @ right
    generator = jaxinv.Generator.from_layers([(w, 0.01 * np.ones(200), "relu")])
    latent = rng.standard_normal((20, 20))
    found = jaxinv.invert(generator, np.array(generator(latent)))
    np.testing.assert_allclose(found.latent, latent, rtol=0, atol=1e-11)


def test_a_row_whose_square_overflows_is_no_success():
    generator = net("leaky_relu:0.1", "leaky_relu:0.1")
    latent, x = planted(generator)
    x[1] *= 1e300
    found = jaxinv.invert(generator, x)
    assert int(found.status[1]) == Status.SOLVER_FAILED
    assert int(found.search.ending[1]) == jaxinv.Ending.NONE
    np.testing.assert_allclose(np.delete(found.latent, 1, 0), np.delete(latent, 1, 0), atol=1e-9)


def test_squares_that_underflow_are_no_success():
    """Smaller than the square root of the smallest number: 0 <= 0 would reproduce everything."""
    generator = jaxinv.Generator.random((3, 12, 40))
    latent, x = planted(generator, rows=6)
    tiny = np.array(generator(1e-200 * latent))
    for method in ("auto", "lm"):
        found = jaxinv.invert(generator, np.concatenate([x, tiny]), method)
        status = np.asarray(found.status)
        assert (status[6:] == Status.SOLVER_FAILED).all()
        np.testing.assert_allclose(np.asarray(found.latent)[:6], latent, atol=1e-8)
    found = jaxinv.invert(generator, tiny, "exact")
    np.testing.assert_allclose(np.asarray(found.latent) * 1e200, latent, atol=1e-8)
    off = jaxinv.invert(generator, np.abs(tiny) + 1e-201, "exact")
    assert (np.asarray(off.residual) > 0).all()
    assert (np.asarray(off.status) == Status.INEXACT).all()


@pytest.mark.parametrize("weight", [1e-300, 1e-165, 3.0, 1e200])
def test_weights_in_common_change_nothing(weight):
    generator = jaxinv.Generator.random((3, 12, 40))
    _, x = planted(generator, rows=6)
    x += 1e-3 * np.random.default_rng(0).standard_normal(x.shape)
    plain, weighted = (jaxinv.invert(generator, x, weights=w) for w in (1.0, weight))
    np.testing.assert_array_equal(weighted.status, plain.status)
    np.testing.assert_allclose(weighted.latent, plain.latent, rtol=0, atol=1e-9)


def test_a_misfit_whose_square_overflows_spoils_no_neighbour():
    generator = net("leaky_relu:0.01")
    latent, x = planted(generator)
    x[3] = 1e153 * np.random.default_rng(0).standard_normal(x.shape[1])
    found = jaxinv.invert(generator, x)
    others = np.arange(len(x)) != 3
    np.testing.assert_allclose(np.asarray(found.latent)[others], latent[others], atol=1e-9)


def test_what_unrolling_fits_to_the_tolerance_is_not_lost():
    """A condition number of 7e9, too much for steps in single precision."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((4, 4))
    weight[:, 3] = weight[:, 0] + 1e-9 * rng.standard_normal(4)
    generator = jaxinv.Generator.from_layers([(weight, None, "identity")])
    _, x = planted(generator)
    x += 1e-3 * rng.standard_normal(x.shape)
    with jax.enable_x64(True):
        first = np.asarray(generator(unrolled.unrolled(generator, x).latent))
    found = jaxinv.invert(generator, x)
    size = np.linalg.norm(x, axis=1)
    before = np.linalg.norm(first - x, axis=1) / size
    assert (before > 1e-11).any() and (before < 1e-6).all()
    assert (np.asarray(found.residual) / size <= np.maximum(before, 1e-11) * (1 + 1e-6)).all()
