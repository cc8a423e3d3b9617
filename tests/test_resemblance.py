"""Agreement of runs counts where the misfit is noise: a test of known size, and of power."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinv
from jaxinv import Ending, Status
from jaxinv.call.chunk import joint_problem
from jaxinv.call.request import Options, checked
from jaxinv.joint.search.resemblance import LEVEL, resembles_images
from jaxinv.model.precision import Rounding

N, K, POINTS = 60, 4, 256


@pytest.fixture(scope="module")
def linear():
    """x = W z + b, whose least squares are NumPy's."""
    rng = np.random.default_rng(0)
    weight = np.outer(np.ones(N), np.ones(K)) + 0.3 * rng.standard_normal((N, K))
    generator = jaxinv.Generator.from_layers([(weight, rng.standard_normal(N), "identity")])
    images = np.asarray(generator(rng.standard_normal((POINTS, K))))
    return generator, weight, images


def told(generator, x, latent, images, weights=None):
    rounding = Rounding(2.0**-53)
    request, data = checked(generator, x, "auto", Options(weights=weights), rounding)
    live, ids = np.ones(len(x), bool), np.arange(len(x))
    with jax.enable_x64(True):
        problem = joint_problem(request, x, data.weight, live, ids, rounding)
        value = np.asarray(generator(latent))
        return resembles_images(problem, value, jnp.asarray(images, jnp.float32))


def fitted(weight, target, w):
    return (w * target) @ np.linalg.pinv(w[:, None] * weight).T


@pytest.mark.parametrize("law", ["normal", "uniform", "laplace"])
@pytest.mark.parametrize("level", [1e-6, 0.1, 10.0])
def test_noise_of_one_level_passes(linear, law, level):
    """2,000 rows, of which the level allows none in five and, at odds of 1 to 10,000, up to 4."""
    generator, weight, images = linear
    rng = np.random.default_rng(1)
    noise = getattr(rng, law)(*((-1, 1) if law == "uniform" else (0, 1)), (2000, N))
    latent = rng.standard_normal((2000, K))
    x = np.asarray(generator(latent)) + level * noise
    bias = np.asarray(generator.layers[0].bias)
    found = told(generator, x, fitted(weight, x - bias, np.ones(N)), images)
    assert LEVEL == 1e-4
    assert found.sum() <= 4


def test_noise_passes_as_the_weights_say_it(linear):
    generator, weight, images = linear
    rng = np.random.default_rng(2)
    deviation = np.geomspace(0.01, 1.0, N)
    latent = rng.standard_normal((2000, K))
    x = np.asarray(generator(latent)) + deviation * rng.standard_normal((2000, N))
    bias = np.asarray(generator.layers[0].bias)
    right = fitted(weight, x - bias, 1 / deviation)
    assert told(generator, x, right, images, 1 / deviation).sum() <= 4


def test_what_is_left_of_an_image_does_not_pass(linear):
    """A latent that misses the minimum leaves part of an image, far above the noise or below it."""
    generator, _, images = linear
    rng = np.random.default_rng(3)
    latent = rng.standard_normal((50, K))
    x = np.asarray(generator(latent))
    for off in (1e-6, 0.5):
        assert told(generator, x, latent + off, images).all()
    assert not told(generator, x, latent, images).any()


def test_few_entries_tell_nothing():
    generator = jaxinv.Generator.from_layers([(np.ones((3, 2)), None, "tanh")])
    x = np.asarray(generator(np.ones((2, 2))))
    assert not told(generator, x, np.zeros((2, 2)), x).any()


def test_runs_that_agree_on_part_of_an_image_are_not_believed():
    """Two bumps, of which the decoder makes one: every run finds the higher, and agrees on it."""

    def bump(z):
        t = jnp.arange(40.0) / 40.0
        return jnp.exp(-((t - jnp.tanh(z[0]) * 0.4 - 0.5) ** 2) / 0.002) * (1 + 0.1 * z[1])

    generator = jaxinv.FunctionGenerator(bump, latent_size=2)
    one, two = np.asarray(generator([[0.3, 0.2], [-1.0, 0.0]]))
    noise = 0.01 * np.random.default_rng(0).standard_normal(40)
    x = np.stack([one + noise, one + 0.3 * two + noise])
    found = jaxinv.invert(generator, x, jaxinv.Auto(runs=40, nearby=0, chance=0.2))
    assert np.asarray(found.status).tolist() == [Status.SOLVED, Status.CLOSEST]
    assert np.asarray(found.search.ending).tolist() == [Ending.AGREED, Ending.SEARCHED]
    # A bound of 0 is never reached: agreement ends the search.
    found = jaxinv.invert(generator, x, jaxinv.Auto(runs=40, nearby=0, chance=0.0))
    assert np.asarray(found.search.ending).tolist() == [Ending.AGREED, Ending.CONFIRMED]
