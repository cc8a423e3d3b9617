"""Noisy rows that one run from the layer-wise estimate settles: its minimum, and what is noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import least_squares

import jaxinv
from jaxinv import Ending, Start, Status
from jaxinv.joint.descent.gauss_newton import gauss_newton
from jaxinv.joint.search.lack_of_fit import _freedom, noise_losses, outer_noise
from jaxinv.joint.search.unrolled import unrolled
from jaxinv.layerwise.active_rows import linear_rows

LEAKY = jaxinv.Generator.random((6, 40, 200), seed=1, activation="leaky_relu:0.3")
RELU = jaxinv.Generator.random((6, 40, 300), seed=1)


def noisy(generator, sd, rows=60):
    rng = np.random.default_rng(2)
    latent = rng.standard_normal((rows, generator.latent_size))
    clean = np.array(generator(latent))
    return latent, clean + sd * rng.standard_normal(clean.shape)


@pytest.mark.parametrize("generator", [LEAKY, RELU], ids=["leaky", "relu"])
@pytest.mark.parametrize("sd", [1e-6, 1e-3, 1e-2])
def test_the_run_ends_in_the_minimum_scipy_finds_from_there(generator, sd):
    latent, x = noisy(generator, sd, rows=8)
    start = latent + 0.01
    with jax.enable_x64(True):
        ends = gauss_newton(generator, x, start, len(x))
    assert ends.converged.all()
    image = np.asarray(generator(ends.latent))
    np.testing.assert_allclose(ends.loss, ((image - x) ** 2).sum(1), rtol=1e-9)
    for row in range(len(x)):

        def misfit(z, row=row):
            return np.asarray(generator(z)) - x[row]

        known = least_squares(misfit, start[row], generator.jacobian, method="lm", xtol=1e-15)
        assert ends.loss[row] <= 2 * known.cost * (1 + 1e-4)


def test_a_row_keeps_its_bits_whatever_stands_beside_it():
    latent, x = noisy(LEAKY, 1e-3, rows=70)
    with jax.enable_x64(True):
        together = gauss_newton(LEAKY, x, latent + 0.1, 70)
        order = np.random.default_rng(3).permutation(70)
        mixed = gauss_newton(LEAKY, x[order], latent[order] + 0.1, 70)
    np.testing.assert_array_equal(together.latent[order], mixed.latent)


@pytest.mark.parametrize("rows", [10, 70])
def test_spoiled_neighbours_change_no_bit(rows):
    _, x = noisy(LEAKY, 1e-3, rows)
    spoiled = x.copy()
    spoiled[3], spoiled[4], spoiled[5], spoiled[6, :50] = np.nan, 0.0, 1e300, 10.0
    alone, beside = (jaxinv.invert(LEAKY, observed) for observed in (x, spoiled))
    others = np.delete(np.arange(rows), [3, 4, 5, 6])
    np.testing.assert_array_equal(alone.latent[others], beside.latent[others])
    np.testing.assert_array_equal(alone.search.ending[others], beside.search.ending[others])


@pytest.mark.parametrize("scale", [1e-100, 1e-20, 1e20, 1e150])
def test_the_unit_of_the_observation_does_not_matter(scale):
    """LEAKY has no bias: G(s z) = s G(z)."""
    _, x = noisy(LEAKY, 1e-3, rows=10)
    plain, scaled = jaxinv.invert(LEAKY, x), jaxinv.invert(LEAKY, scale * x)
    np.testing.assert_allclose(np.asarray(scaled.latent) / scale, plain.latent, rtol=0, atol=1e-8)
    np.testing.assert_array_equal(scaled.search.ending, plain.search.ending)


def test_a_matrix_that_cannot_be_factored_ends_no_run_in_a_minimum():
    """Two equal columns: N is singular, every step NaN."""
    w = np.array(LEAKY.layers[0].weight)
    w[:, 1] = w[:, 0]
    generator = jaxinv.Generator.from_layers(
        [(w, None, "leaky_relu:0.3"), (LEAKY.layers[1].weight, None, "leaky_relu:0.3")]
    )
    latent, x = noisy(generator, 1e-3, rows=8)
    with jax.enable_x64(True):
        ends = gauss_newton(generator, x, np.zeros(latent.shape), 8)
    solved = np.asarray(jaxinv.invert(generator, x, "lm").residual) ** 2
    assert (ends.loss[ends.converged] <= solved[ends.converged] * (1 + 1e-3)).all()


@pytest.mark.parametrize("generator", [LEAKY, RELU], ids=["leaky", "relu"])
def test_the_last_layer_alone_shows_the_noise(generator):
    """Mean and variance of s^2 over 2,000 draws of any input of that layer."""
    sd, rows = 1e-3, 2_000
    layer = generator.layers[-1]
    rng = np.random.default_rng(4)
    hidden = rng.standard_normal((rows, layer.width_in))
    with jax.enable_x64(True):
        clean = np.asarray(layer(hidden))
        x = clean + sd * rng.standard_normal(clean.shape)
        threshold = np.full(rows, 8 * sd if layer.activation.kind == "relu" else 0.0)
        which = linear_rows(layer, x, np.ones(x.shape), threshold, 0.0)
    w, active, target = (np.asarray(part) for part in (layer.weight, which.active, which.target))
    misfit = np.zeros(x.shape)
    for row in range(rows):
        on = active[row]
        found = np.linalg.lstsq(w[on], target[row, on], rcond=None)[0]
        misfit[row, on] = w[on] @ found - target[row, on]
    with jax.enable_x64(True):
        noise = outer_noise(layer, which, misfit, np.ones(rows, bool))
    ratio = noise.variance / sd**2
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / np.sqrt(rows) + 0.01
    np.testing.assert_allclose(ratio.var(), np.mean(2 / noise.degrees), rtol=0.2)


@pytest.mark.parametrize("rows", [2, 300])
@pytest.mark.parametrize("width", [3, 20])
def test_both_forms_of_the_degrees_of_freedom_are_tr_squared_over_tr_of_the_square(rows, width):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((24, width))
    slope = np.where(rng.random((rows, 24)) < 0.5, 1.0, 0.3)
    with jax.enable_x64(True):
        trace, degrees = _freedom(jnp.asarray(weight), np.linalg.pinv(weight), jnp.asarray(slope))
    leave = np.eye(24) - weight @ np.linalg.pinv(weight)
    for row in range(min(rows, 5)):
        inner = leave @ np.diag(slope[row] ** -2.0)
        np.testing.assert_allclose(trace[row], np.trace(inner), rtol=1e-9)
        np.testing.assert_allclose(
            degrees[row], np.trace(inner) ** 2 / np.trace(inner @ inner), rtol=1e-8
        )


def test_noise_passes_and_what_the_net_cannot_make_does_not():
    rows, sd = 400, 1e-3
    _, x = noisy(LEAKY, sd, rows)
    with jax.enable_x64(True):
        layer, inner = LEAKY.layers[-1], jaxinv.Generator(LEAKY.layers[:-1])
        rng = np.random.default_rng(5)
        hidden = np.asarray(inner(rng.standard_normal((rows, 6))))
        # An input of the last layer that the layers below do not make.
        off = hidden + 0.05 * rng.standard_normal(hidden.shape)
        spoiled = np.asarray(layer(off)) + sd * rng.standard_normal(x.shape)
        passed = []
        for observed in (x, spoiled):
            found = unrolled(LEAKY, observed)
            ends = gauss_newton(LEAKY, observed, found.latent, rows)
            low, high = noise_losses(found.noise, 200 - 6)
            passed.append((ends.loss >= low) & (ends.loss <= high))
    assert passed[0].mean() >= 0.98
    assert not passed[1].any()


@pytest.mark.parametrize("generator", [LEAKY, RELU], ids=["leaky", "relu"])
def test_settled_rows_are_as_good_as_the_usual_search(generator, monkeypatch):
    latent, x = noisy(generator, 1e-3)
    found = jaxinv.invert(generator, x)
    settled = np.asarray(found.search.ending) == Ending.EXPLAINED
    assert settled.mean() >= 0.9
    runs = np.asarray(found.search.runs)[settled]
    if generator is LEAKY:
        assert (np.asarray(found.search.start)[settled] == Start.LAYERWISE).all()
        assert (runs == 1).all()
    else:
        # Behind dead units a lower minimum may be near by: a second run has to meet this one.
        assert (runs >= 2).all() and np.median(runs) <= 4
    assert (np.asarray(found.status) == Status.SOLVED).all()
    monkeypatch.setattr("jaxinv.joint.search.portfolio.unrolling_pays", lambda generator: False)
    usual = jaxinv.invert(generator, x)
    error, known = (
        np.linalg.norm(np.asarray(r.latent) - latent, axis=1)[settled] for r in (found, usual)
    )
    np.testing.assert_allclose(error, known, rtol=1e-2)


def test_weights_scale_the_loss_and_bounds_are_kept():
    latent, x = noisy(LEAKY, 1e-3, rows=20)
    plain = jaxinv.invert(LEAKY, x)
    weighed = jaxinv.invert(LEAKY, x, weights=np.full(x.shape, 0.25))
    np.testing.assert_allclose(weighed.latent, plain.latent, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(weighed.search.ending, plain.search.ending)
    uneven = np.where(np.arange(x.shape[1]) < 100, 0.25, 1.0)
    other = jaxinv.invert(LEAKY, x, weights=uneven)
    assert not (np.asarray(other.search.ending) == Ending.EXPLAINED).any()
    bound = 1.0
    boxed = jaxinv.invert(LEAKY, x, latent_bounds=(-bound, bound))
    assert (np.abs(boxed.latent) <= bound).all()
    outside = (np.abs(np.asarray(plain.latent)) > bound).any(1)
    assert not (np.asarray(boxed.search.ending)[outside] == Ending.EXPLAINED).any()
    assert outside.any() and (np.abs(latent) > bound).any()
