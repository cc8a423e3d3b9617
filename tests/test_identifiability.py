"""Ranks, intervals and rigorous radii against NumPy, planted codes and repeated noise."""

import warnings
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import jaxinv
from jaxinv import Status
from jaxinv.certify.curvature import DRAWS, SEED, curvature
from jaxinv.certify.uncertainty import UnderCoverage
from jaxinv.model.activation import SQUASHES


def planted(widths, activation="relu", rows=16, seed=0):
    generator = jaxinv.Generator.random(widths, seed=seed, activation=activation)
    latent = np.random.default_rng(seed + 1).standard_normal((rows, widths[0]))
    return generator, latent, np.array(generator(latent))


def test_ranks_are_numpys():
    generator, latent, _ = planted((20, 40, 60), rows=40)
    found = jaxinv.identifiability(generator, latent)
    hidden, out = (np.asarray(output) for output in generator.outputs(latent))
    first, second = (np.asarray(layer.weight) for layer in generator.layers)
    for row in range(40):
        ranks = [
            np.linalg.matrix_rank(first[hidden[row] > 0]),
            np.linalg.matrix_rank(second[out[row] > 0]),
        ]
        assert found.layer_ranks[row].tolist() == ranks
        jacobian = np.asarray(generator.jacobian(latent[row]))
        assert found.rank[row] == np.linalg.matrix_rank(jacobian)
        assert found.unique[row] == (ranks == [20, 40])
    np.testing.assert_array_equal(found.undetermined, 20 - found.rank)
    np.testing.assert_array_equal(found.locally_unique, found.rank == 20)
    assert 0 < found.locally_unique.sum() < 40
    assert not found.unique.any()  # 60 outputs leave about 30 of 40 hidden units


def test_one_latent_has_no_batch_axis_and_masks_count():
    generator, latent, _ = planted((5, 40, 120), rows=1)
    whole = jaxinv.identifiability(generator, latent[0])
    assert whole.unique and whole.locally_unique and whole.layer_ranks.shape == (2,)
    few = np.arange(120) < 4
    masked = jaxinv.identifiability(generator, latent[0], mask=few)
    assert masked.undetermined >= 1 and not masked.unique


@pytest.mark.filterwarnings("ignore::jaxinv.certify.uncertainty.UnderCoverage")
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_intervals_cover_at_their_level(activation):
    noise = 3e-3 if activation == "relu" else 1e-2
    generator, latent, x = planted((6, 60, 200), activation, rows=150)
    x = x + noise * np.random.default_rng(3).standard_normal(x.shape)
    found = jaxinv.invert(generator, x)
    interval = jaxinv.confidence(generator, x, found)
    covered = (interval.low <= latent) & (latent <= interval.high)
    # 900 intervals of which 95% should cover: five standard deviations are 3.6%.
    assert 0.914 < covered.mean() < 0.986
    assert interval.noise.mean() == pytest.approx(noise, rel=0.02)
    assert interval.reliable.mean() >= 0.95  # a unit near its kink may matter in a few
    one = jaxinv.confidence(generator, x[0], jaxinv.invert(generator, x[0]))
    np.testing.assert_allclose(one.low, interval.low[0], rtol=1e-6, atol=1e-9)


def test_intervals_warn_where_the_noise_leaves_the_cell_open():
    generator, _, x = planted((6, 60, 200), rows=20)
    x = x + 0.5 * np.random.default_rng(3).standard_normal(x.shape)
    found = jaxinv.invert(generator, x)
    with pytest.warns(UnderCoverage, match="cover less"):
        interval = jaxinv.confidence(generator, x, found)
    assert not interval.reliable.all()


def test_intervals_of_what_is_not_determined_are_infinite():
    generator, _, x = planted((20, 30, 100), rows=4)
    found = jaxinv.invert(generator, x)
    assert (np.asarray(found.undetermined) > 0).any()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnderCoverage)
        interval = jaxinv.confidence(generator, x, found)
    assert np.isinf(interval.high[np.asarray(found.undetermined) > 0]).all()


ACTIVATIONS = ["relu", "leaky_relu:0.2", "identity", *SQUASHES]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bound", [0.0, 1e-5, 3e-3])
def test_rigorous_radii_hold(activation, bound):
    generator, latent, clean = planted((6, 40, 200), activation, rows=40)
    rng = np.random.default_rng(4)
    # Noise at its bound is the worst; half of the rows get nothing else.
    sign = np.where(rng.random(clean.shape) < 0.5, -1.0, 1.0)
    size = np.where(np.arange(40)[:, None] < 20, 1.0, rng.random(clean.shape))
    centre, radius = jaxinv.rigorous_radius(generator, clean + bound * sign * size, bound)
    finite = np.isfinite(radius).all(-1)
    assert finite.mean() > 0.9 or (activation in SQUASHES and bound > 1e-3)
    assert (np.abs(centre - latent) <= radius)[finite].all()
    if bound:
        error = np.linalg.norm(centre - latent, axis=-1)[finite]
        assert np.all(np.linalg.norm(radius, axis=-1)[finite] >= error)
    else:
        assert radius[finite].max() < 1e-9


def test_bad_input_is_refused_with_a_sentence():
    generator, latent, x = planted((6, 40, 80), rows=2)
    found = jaxinv.invert(generator, x, "lm")
    with pytest.raises(ValueError, match="level"):
        jaxinv.confidence(generator, x, found, level=1.5)
    with pytest.raises(ValueError, match="expected"):
        jaxinv.confidence(generator, x[:1], found)
    with pytest.raises(ValueError, match="leave nothing"):
        jaxinv.confidence(generator, x, found, mask=np.arange(80) < 6)
    with pytest.raises(ValueError, match="bound"):
        jaxinv.rigorous_radius(generator, x, -1.0)
    with pytest.raises(ValueError, match="mask"):
        jaxinv.identifiability(generator, latent, mask=np.ones(7, bool))


def bent(slope):
    """G(z) = (z, z) + slope (z^2, -z^2): affine where slope is 0."""
    return jaxinv.FunctionGenerator(
        lambda z: jnp.concatenate([z + slope * z**2, z - slope * z**2, z]), latent_size=1
    )


def test_curvature_is_what_a_parabola_has():
    z, noise = np.zeros((3, 1)), np.array([0.1, 1.0, 0.0])
    root = noise[:, None, None] / np.sqrt(3.0)
    weight = np.ones((3, 3))
    np.testing.assert_allclose(curvature(bent(0.0), z, root, weight, noise), 0.0, atol=1e-12)
    # Along d = s e / sqrt(3): the even part is slope d^2 (1, -1, 0), the odd one d (1, 1, 1).
    draws = np.random.default_rng(SEED).standard_normal(DRAWS)
    share = 0.5 * np.sqrt(2.0) / 3.0 * np.sqrt((draws**2).mean())
    found = curvature(bent(0.5), z, root, weight, noise)
    np.testing.assert_allclose(found, share * noise, rtol=1e-9)


def test_intervals_are_not_reliable_where_the_decoder_bends_or_nothing_is_explained():
    # tanh is straight around .3, and within the noise of 3 it reaches its bound.
    g = jaxinv.Generator.from_layers([(np.linspace(0.9, 1.1, 24)[:, None], None, "tanh")])
    noise = 0.1 * np.random.default_rng(4).standard_normal((40, 24))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnderCoverage)
        for z, straight in ((0.3, True), (3.0, False)):
            x = np.asarray(g([z])) + noise
            found = jaxinv.invert(g, x)
            solved = np.asarray(found.status) == Status.SOLVED
            reliable = jaxinv.confidence(g, x, found).reliable
            assert solved.sum() >= 16
            assert (reliable[solved] == straight).mean() > 0.8
            for status in (Status.INEXACT, Status.CLOSEST):
                unsure = replace(found, status=np.full(40, int(status)))
                assert not jaxinv.confidence(g, x, unsure).reliable.any()


def test_the_noise_is_not_taken_for_less_than_the_rounding():
    generator, latent, x = planted((3, 20, 40), rows=100)
    coarse = x.astype(np.float16)
    found = jaxinv.invert(generator, coarse)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnderCoverage)
        interval = jaxinv.confidence(generator, coarse, found)
        exact = jaxinv.confidence(generator, np.asarray(coarse, float), found, precision="float16")
    np.testing.assert_array_equal(interval.low, exact.low)
    known = np.abs(x) * 2.0**-11
    least = np.linalg.norm(known, axis=1) / np.sqrt(40)
    assert (interval.noise >= 0.999 * least).all()
    assert ((interval.low <= latent) & (latent <= interval.high)).mean() > 0.92
