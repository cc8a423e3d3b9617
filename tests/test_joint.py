"""Levenberg-Marquardt over all layers: exact steps, weights, bounds, masks, refinement."""

import jax
import numpy as np
import pytest
from scipy.optimize import least_squares

import jaxinv
from jaxinv import Status
from jaxinv.joint.descent.linearization import linearize
from jaxinv.model.activation import SQUASHES


def recovery_error(found, latent):
    difference = np.linalg.norm(np.asarray(found) - latent, axis=-1)
    return difference / np.linalg.norm(latent, axis=-1)


def planted(widths, activation="relu", rows=16, noise=0.0, seed=0):
    generator = jaxinv.Generator.random(widths, seed=seed, activation=activation)
    rng = np.random.default_rng(seed + 1)
    latent = rng.standard_normal((rows, widths[0]))
    clean = np.asarray(generator(latent))
    return generator, latent, clean + noise * rng.standard_normal(clean.shape)


ACTIVATIONS = ["relu", "leaky_relu:0.1", "identity", *SQUASHES]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_lm_recovers_planted_codes(activation):
    generator, latent, x = planted((6, 24, 80), activation)
    found = jaxinv.invert(generator, x, "lm")
    assert found.counts() == {Status.SOLVED: 16}
    assert recovery_error(found.latent, latent).max() < 1e-9
    assert found.layers == ()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_jacobian_product_is_the_derivative(activation):
    rng = np.random.default_rng(3)
    generator = jaxinv.Generator.from_layers(
        [
            (rng.standard_normal((m, n)), rng.standard_normal(m), activation)
            for n, m in ((5, 9), (9, 14), (14, 20))
        ]
    )
    z = rng.standard_normal((4, 5))
    with jax.enable_x64(True):
        here = linearize(generator, z, np.zeros(4), np.zeros((4, 20), bool))
        expected = jax.vmap(jax.jacfwd(lambda v: generator(v)))(z)
        np.testing.assert_allclose(here.jacobian, expected, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(here.value, generator(z), rtol=1e-12)


def test_a_run_ends_with_the_least_squares_solution_of_its_cell():
    generator, _, x = planted((6, 40, 120), noise=1e-2)
    rng = np.random.default_rng(5)
    weight = rng.uniform(0.5, 2.0, x.shape)
    mask = rng.random(x.shape) < 0.8
    found = jaxinv.invert(generator, x, "lm", weights=weight, mask=mask, noise=0.02)
    at_kink = 0
    for z, row, w, seen in zip(np.asarray(found.latent), x, weight, mask, strict=True):
        jacobian = np.asarray(generator.jacobian(z))
        offset = np.asarray(generator(z)) - jacobian @ z
        scale = np.where(seen, w, 0.0)
        best = np.linalg.lstsq(scale[:, None] * jacobian, scale * (row - offset), rcond=None)[0]
        loss = [(scale**2 * (np.asarray(generator(v)) - row) ** 2).sum() for v in (z, best)]
        # A minimum on the boundary of two cells is neither's least-squares solution.
        if np.abs(z - best).max() > 1e-9:
            at_kink += 1
            assert loss[0] < loss[1]
    assert at_kink <= 6


def test_bounds_hold_and_the_minimum_is_scipys():
    generator, _, x = planted((4, 20, 60), "tanh", rows=6)
    found = jaxinv.invert(generator, x, "lm", latent_bounds=(-0.5, 0.5))
    latent = np.asarray(found.latent)
    assert np.abs(latent).max() <= 0.5
    for z, row in zip(latent, x, strict=True):
        theirs = least_squares(
            lambda v, row=row: np.asarray(generator(v)) - row,
            np.zeros(4),
            jac=lambda v: np.asarray(generator.jacobian(v)),
            bounds=(-0.5, 0.5),
            xtol=1e-12,
            ftol=1e-12,
            gtol=1e-12,
        )
        ours = 0.5 * ((np.asarray(generator(z)) - row) ** 2).sum()
        assert ours <= theirs.cost * (1 + 1e-5)


@pytest.mark.parametrize("method", ["lm", "auto"])
def test_a_bad_row_changes_no_other_row(method):
    generator, _, x = planted((6, 24, 30), rows=20)
    damaged = x.copy()
    damaged[3, 2] = np.nan
    good, bad = (jaxinv.invert(generator, rows, method) for rows in (x, damaged))
    assert int(bad.status[3]) == Status.BAD_INPUT
    assert np.isnan(np.asarray(bad.latent)[3]).all()
    others = np.arange(20) != 3
    assert np.asarray(good.latent)[others].tobytes() == np.asarray(bad.latent)[others].tobytes()
    assert (np.asarray(good.status) == np.asarray(bad.status))[others].all()


def test_chunks_do_not_change_what_a_row_gets():
    generator, _, x = planted((6, 24, 30), rows=12)
    whole, parts = (jaxinv.invert(generator, x, "lm", chunk=size) for size in (12, 4))
    np.testing.assert_allclose(whole.latent, parts.latent, atol=1e-8)


@pytest.mark.parametrize("method", ["exact", "linf"])
def test_refining_reaches_the_cramer_rao_bound(method):
    noise = 1e-3
    generator, latent, x = planted((8, 60, 200), rows=40, noise=noise)
    plain = jaxinv.invert(generator, x, method)
    refined = jaxinv.invert(generator, x, method, refine="lm")
    jacobian = np.asarray(generator.jacobian(latent))
    normal = np.einsum("bnk,bnl->bkl", jacobian, jacobian)
    bound = noise * np.sqrt(np.trace(np.linalg.inv(normal), axis1=1, axis2=2).mean())
    rms = {
        name: np.sqrt(((np.asarray(r.latent) - latent) ** 2).sum(-1).mean())
        for name, r in (("plain", plain), ("refined", refined))
    }
    assert rms["refined"] < 1.1 * bound
    assert rms["refined"] < 0.95 * rms["plain"]
    assert len(refined.layers) == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"refine": "l7"}, "not known"),
        ({"refine": "lm", "method": "gd"}, "baseline"),
    ],
)
def test_bad_refinements_are_refused(arguments, sentence):
    generator, _, x = planted((6, 24, 30), rows=2)
    with pytest.raises(ValueError, match=sentence):
        jaxinv.invert(generator, x, **{"method": "linf", **arguments})


@pytest.mark.parametrize("settings", [{"restarts": 0}, {"steps": 0}, {"softness": 1.0}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError, match="must"):
        jaxinv.LevenbergMarquardt(**settings)
