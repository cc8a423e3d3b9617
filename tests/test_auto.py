"""The portfolio: every identifiable row recovered, every other one named, robust endings."""

import numpy as np
import pytest
from scipy.optimize import linprog

import jaxinv
from jaxinv import Status
from jaxinv.joint.endings.preimage import cell_polytope


def recovery_error(found, latent):
    difference = np.linalg.norm(np.asarray(found) - latent, axis=-1)
    return difference / np.linalg.norm(latent, axis=-1)


def planted(widths, activation="relu", rows=16, seed=0):
    generator = jaxinv.Generator.random(widths, seed=seed, activation=activation)
    latent = np.random.default_rng(seed + 1).standard_normal((rows, widths[0]))
    return generator, latent, np.array(generator(latent))


def test_auto_recovers_what_is_identifiable_and_names_the_rest():
    generator, latent, x = planted((30, 60, 200), rows=60)
    identifiable = np.linalg.matrix_rank(np.asarray(generator.jacobian(latent))) == 30
    assert 10 < identifiable.sum() < 50
    found = jaxinv.invert(generator, x)
    expected = np.where(identifiable, Status.SOLVED, Status.UNDERDETERMINED)
    np.testing.assert_array_equal(np.asarray(found.status), expected)
    assert recovery_error(found.latent, latent)[identifiable].max() < 1e-9
    assert (np.asarray(found.undetermined) > 0).tolist() == (~identifiable).tolist()
    reproduced = np.asarray(found.residual) <= 1e-6 * np.linalg.norm(x, axis=-1)
    # Where x does not determine z the search may end in a false minimum close to x: one row here.
    assert reproduced[identifiable].all() and reproduced.sum() >= 59


@pytest.mark.parametrize("last", [90, 32])
def test_auto_inverts_layers_that_do_not_expand(last):
    generator, latent, x = planted((8, 40, last), rows=24, seed=2)
    identifiable = np.linalg.matrix_rank(np.asarray(generator.jacobian(latent))) == 8
    found = jaxinv.invert(generator, x)
    assert identifiable.sum() >= 12
    assert (recovery_error(found.latent, latent)[identifiable] < 1e-6).mean() > 0.95


def test_peeling_helps_where_pixels_saturate():
    rng = np.random.default_rng(0)
    shapes = ((24, 10), (48, 24), (160, 48))
    names = ("leaky_relu:0.2", "leaky_relu:0.2", "tanh")
    generator = jaxinv.Generator.from_layers(
        [
            (rng.standard_normal(s) * 3 / np.sqrt(s[1]), None, name)
            for s, name in zip(shapes, names, strict=True)
        ]
    )
    latent = rng.standard_normal((16, 10))
    found = jaxinv.invert(generator, generator(latent))
    assert (recovery_error(found.latent, latent) < 1e-3).mean() >= 0.9


def test_a_stated_noise_level_that_the_residual_exceeds_is_inexact():
    generator, _, x = planted((6, 30, 100), rows=8)
    rng = np.random.default_rng(4)
    noisy = x + 0.01 * rng.standard_normal(x.shape)
    assert jaxinv.invert(generator, noisy, noise=0.02).counts() == {Status.SOLVED: 8}
    assert jaxinv.invert(generator, noisy, noise=0.001).counts() == {Status.INEXACT: 8}
    assert jaxinv.invert(generator, noisy).counts() == {Status.SOLVED: 8}
    other = np.abs(rng.standard_normal(x.shape))  # nothing the generator makes
    assert jaxinv.invert(generator, other, noise=0.02).counts() == {Status.INEXACT: 8}


def test_gross_outliers_lose_their_pull():
    generator, latent, x = planted((6, 60, 200), "leaky_relu:0.2", rows=12)
    rng = np.random.default_rng(5)
    hit = rng.random(x.shape) < 0.3
    x[hit] = rng.uniform(x.min(), x.max(), hit.sum())
    plain = jaxinv.invert(generator, x)
    robust = jaxinv.invert(generator, x, refine="l1")
    assert np.median(recovery_error(plain.latent, latent)) > 0.05
    assert np.median(recovery_error(robust.latent, latent)) < 1e-6


def test_the_linf_ending_is_a_minimum_that_linprog_confirms():
    generator, latent, x = planted((5, 40, 120), "leaky_relu:0.2", rows=8)
    x = x + np.random.default_rng(6).uniform(-0.02, 0.02, x.shape)
    plain, robust = (jaxinv.invert(generator, x, refine=refine) for refine in (None, "linf"))
    errors = [recovery_error(found.latent, latent).mean() for found in (plain, robust)]
    assert errors[1] < 0.9 * errors[0]
    for z, row in zip(np.asarray(robust.latent), x, strict=True):
        residual = np.asarray(generator(z)) - row
        jacobian = np.asarray(generator.jacobian(z))
        ones = np.ones((len(row), 1))
        best = linprog(
            np.r_[np.zeros(5), 1.0],
            A_ub=np.block([[jacobian, -ones], [-jacobian, -ones]]),
            b_ub=np.r_[-residual, residual],
            bounds=[(-1e-4, 1e-4)] * 5 + [(0, None)],
            method="highs",
        )
        assert np.abs(residual).max() <= best.fun * (1 + 1e-5)


def test_chosen_preimages_stay_in_the_preimage():
    generator, latent, x = planted((20, 30, 200), rows=24)
    kinds = ("any", "chebyshev", "minimum-norm")
    found = {kind: jaxinv.invert(generator, x, jaxinv.Auto(preimage=kind)) for kind in kinds}
    free = np.asarray(found["any"].undetermined) > 0
    assert free.sum() >= 12
    for kind in kinds:
        assert np.asarray(found[kind].residual)[free].max() < 1e-7
        assert (np.asarray(found[kind].undetermined) > 0).tolist() == free.tolist()
    norm = {kind: np.linalg.norm(np.asarray(r.latent), axis=-1) for kind, r in found.items()}
    assert (norm["minimum-norm"] <= norm["any"] * (1 + 1e-9))[free].all()
    assert (norm["minimum-norm"] <= norm["chebyshev"] * (1 + 1e-9))[free].all()
    inner = {
        kind: np.array([_radius(generator, z) for z in np.asarray(found[kind].latent)[free]])
        for kind in ("minimum-norm", "chebyshev")
    }
    # Balls beyond the length that the least norm sets are not asked for.
    cap = norm["minimum-norm"][free] / np.sqrt(20)
    least = np.minimum(inner["minimum-norm"], cap)
    assert (inner["chebyshev"] >= least * (1 - 1e-6) - 1e-9).all()
    assert np.median(inner["chebyshev"]) > 10 * np.median(inner["minimum-norm"])
    error = {kind: recovery_error(r.latent, latent)[free].mean() for kind, r in found.items()}
    assert error["chebyshev"] < error["any"]


def _radius(generator, z):
    """Of the largest ball around z that stays in its cell's polytope."""
    polytope = cell_polytope(generator, z, np.ones(generator.observation_size, bool))
    return (polytope.margin / np.linalg.norm(polytope.rows, axis=1)).min()


@pytest.mark.parametrize("settings", [{"runs": 0}, {"agreement": 1}, {"preimage": "best"}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError, match=r"must|not known"):
        jaxinv.Auto(**settings)
