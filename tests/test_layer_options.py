"""What the layer-wise methods do with options, and what they say to bad input."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import linprog

import jaxinv
from jaxinv import L1LP, LinfLP, RelaxedLP, Status
from jaxinv.model.activation import SQUASHES

POOL = jaxinv.ClarabelPool(threads=1)
# A layer's shape costs the device solver seconds to compile; the pool takes any.
METHODS = {
    "linf": partial(LinfLP, solver=POOL),
    "l1": partial(L1LP, solver=POOL),
    "relaxed": partial(RelaxedLP, solver=POOL),
}


def planted(widths=(5, 25, 100), activation="relu", rows=4, noise=1e-3, biases=False, seed=0):
    rng = np.random.default_rng(seed)
    generator = jaxinv.Generator.from_layers(
        [
            (
                rng.standard_normal((n, k)) / np.sqrt(n),
                0.3 * rng.standard_normal(n) if biases else None,
                activation,
            )
            for k, n in pairwise(widths)
        ]
    )
    latent = rng.standard_normal((rows, widths[0]))
    x = np.asarray(generator(latent))
    return generator, latent, x + rng.uniform(-noise, noise, x.shape)


def error(found, latent):
    return np.linalg.norm(np.asarray(found.latent) - latent) / np.linalg.norm(latent)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("activation", ["relu", "leaky_relu:0.2", "identity", *SQUASHES])
def test_every_method_inverts_every_activation(method, activation):
    generator, latent, x = planted(activation=activation, noise=1e-5, biases=True)
    found = jaxinv.invert(generator, x, METHODS[method]())
    assert bool(found.ok.all())
    assert error(found, latent) < (0.02 if activation == "sigmoid" else 1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_noiseless_observations_are_recovered(method):
    generator, latent, x = planted(noise=0.0)
    found = jaxinv.invert(generator, x, METHODS[method]())
    assert bool(found.ok.all())
    # The relaxation lies a tolerance above x; the others are at rounding.
    assert error(found, latent) < (1e-4 if method == "relaxed" else 1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_masks_weights_and_bounds(method):
    generator, latent, x = planted(biases=True, rows=5)
    rng = np.random.default_rng(4)
    mask = rng.random(x.shape) < 0.8
    spoilt = np.where(mask, x, 1e3)
    high = np.abs(latent).max()
    found = jaxinv.invert(
        generator,
        spoilt,
        METHODS[method](),
        mask=mask,
        weights=rng.uniform(0.5, 2, x.shape),
        latent_bounds=(-high, high),
    )
    assert bool(found.ok.all())
    assert error(found, latent) < 0.03
    # Bounds that exclude the code are kept.
    short = jaxinv.invert(generator, x, METHODS[method](), latent_bounds=(-0.1, 0.1))
    kept = np.isfinite(np.asarray(short.latent)).all(-1)
    assert (np.abs(np.asarray(short.latent)[kept]) <= 0.1).all()


def test_a_heavy_weight_pulls_the_fit_to_its_row():
    generator, _, x = planted((3, 40), noise=5e-2, rows=6)
    row = int(x.mean(0).argmax())
    weights = np.ones(x.shape)
    weights[:, row] = 100.0
    for method in ("linf", "l1"):
        plain, heavy = (
            jaxinv.invert(generator, x, METHODS[method](), weights=w) for w in (None, weights)
        )
        misfit = [np.abs(np.asarray(generator(f.latent)) - x)[:, row] for f in (plain, heavy)]
        assert (misfit[1] <= misfit[0] + 1e-9).all() and (misfit[1] < 0.05 * 5e-2).mean() > 0.6


def test_gross_outliers_are_for_l1():
    generator, latent, x = planted((5, 200), noise=1e-4, rows=6)
    rng = np.random.default_rng(0)
    x = np.where(rng.random(x.shape) < 0.1, x + rng.standard_normal(x.shape), x)
    assert error(jaxinv.invert(generator, x, METHODS["l1"]()), latent) < 1e-3
    assert error(jaxinv.invert(generator, x, METHODS["linf"]()), latent) > 0.05


def test_remark_2s_first_variant_takes_negative_rows_as_inactive():
    generator, latent, x = planted(activation="leaky_relu:0.1", noise=1e-3)
    for name, settings in METHODS.items():
        one_sided = jaxinv.invert(generator, x, settings(negative="inactive"))
        assert bool(one_sided.ok.all()), name
        assert error(one_sided, latent) < 0.03
        active = [np.asarray(layer.active) for layer in one_sided.layers]
        assert (active[1] < 0.7 * x.shape[1]).all()


def test_footnote_2s_tolerances_are_used_as_they_are():
    generator, latent, x = planted(noise=1e-3)
    for settings in METHODS.values():
        method = settings(schedule="fixed", initial_tolerance=1.1e-3, layer_growth=4.0)
        found = jaxinv.invert(generator, x, method)
        assert bool(found.ok.all())
        tolerances = [np.asarray(layer.tolerance) for layer in found.layers]
        np.testing.assert_allclose(tolerances[1], 1.1e-3, rtol=1e-12)
        np.testing.assert_allclose(tolerances[0], 4.4e-3, rtol=1e-12)
        assert all((np.asarray(layer.steps) == 1).all() for layer in found.layers)
        assert error(found, latent) < 0.1
    small = METHODS["linf"](schedule="fixed", initial_tolerance=1e-5)
    assert jaxinv.invert(generator, x, small).counts() == {Status.TOLERANCE_EXHAUSTED: 4}


def test_carried_tolerances_start_where_the_layer_above_ended():
    generator, latent, x = planted((4, 20, 60), noise=1e-2)
    found = jaxinv.invert(generator, x, METHODS["linf"](carry_tolerance=True, schedule="loop"))
    assert (found.layers[0].tolerance >= found.layers[1].tolerance).all()
    assert error(found, latent) < 0.2


def test_a_relaxation_without_a_point_is_a_status():
    # u_1 <= max(0, x_1 + eps) needs z below zero, where the bounds forbid it: b_1 is large.
    w, b = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.array([50.0, 0.0, 0.0])
    generator = jaxinv.Generator.from_layers([(w, b, "relu")])
    x = np.array([[1.0, 1.0, 2.0], [51.0, 1.0, 2.0]])
    for schedule in ("best", "loop"):
        found = jaxinv.invert(
            generator, x, METHODS["relaxed"](schedule=schedule), latent_bounds=(0.0, 10.0)
        )
        assert np.asarray(found.status).tolist() == [Status.TOLERANCE_EXHAUSTED, Status.SOLVED]
        assert np.isnan(np.asarray(found.latent)[0]).all()
        np.testing.assert_allclose(np.asarray(found.latent)[1], 1.0, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("activation", ["relu", "leaky_relu:0.1"])
def test_an_observation_of_zeros_has_the_preimage_zero(method, activation):
    generator, _, x = planted(activation=activation, rows=1)
    found = jaxinv.invert(generator, 0 * x, METHODS[method]())
    assert int(found.status[0]) in (Status.SOLVED, Status.UNDERDETERMINED)
    assert float(found.residual[0]) == 0


@pytest.mark.parametrize("method", METHODS)
def test_too_few_rows_are_called_underdetermined(method):
    generator, _, x = planted((12, 10), activation="leaky_relu:0.3", noise=1e-2, rows=5)
    found = jaxinv.invert(generator, x, METHODS[method]())
    assert (np.asarray(found.status) == Status.UNDERDETERMINED).all()
    assert (np.asarray(found.undetermined) >= 1).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_bad_row_changes_no_other_row(method):
    generator, _, x = planted((20, 60, 150), rows=6, noise=1e-2)
    damaged = x.copy()
    damaged[1, 3], damaged[4, 0] = np.nan, np.inf
    good, bad = (
        jaxinv.invert(generator, x, METHODS[method]()),
        jaxinv.invert(generator, damaged, METHODS[method]()),
    )
    assert np.asarray(bad.status)[[1, 4]].tolist() == [Status.BAD_INPUT] * 2
    others = [0, 2, 3, 5]
    assert np.asarray(good.latent)[others].tobytes() == np.asarray(bad.latent)[others].tobytes()


@pytest.mark.parametrize("settings", METHODS.values())
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"initial_tolerance": 0.0}, "must be positive, or None"),
        ({"initial_tolerance": -1e-3}, "must be positive, or None"),
        ({"initial_tolerance": float("nan")}, "must be positive, or None"),
        ({"growth": 1.0}, "must exceed 1"),
        ({"growth": float("nan")}, "must exceed 1"),
        ({"layer_growth": 0.0}, "must be positive"),
        ({"negative": "dropped"}, "expected one of"),
        ({"schedule": "slowest"}, "expected one of"),
        ({"schedule": "fixed"}, "needs initial_tolerance"),
    ],
)
def test_bad_settings_are_refused_with_the_fix(settings, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        settings(**arguments)


def test_what_is_not_there_is_named():
    generator, _, x = planted()
    with pytest.raises(ValueError, match="hides every entry"):
        jaxinv.invert(generator, x, "l1", mask=np.zeros(x.shape[1], bool))
    with pytest.raises(ValueError, match=r"no solver 'GURROBI' installed; it offers .*HIGHS"):
        jaxinv.invert(generator, x, L1LP(solver=jaxinv.CvxpySolver("GURROBI")))
    hidden = np.ones(x.shape, bool)
    hidden[2] = False
    found = jaxinv.invert(generator, x, METHODS["l1"](), mask=hidden)
    assert np.asarray(found.status).tolist() == [0, 0, Status.BAD_INPUT, 0]


@pytest.mark.parametrize("method", ["linf", "l1"])
def test_freedom_is_the_width_of_what_explains_as_much(method):
    generator = jaxinv.Generator.random((3, 8, 12), seed=2)
    x = np.asarray(generator(np.random.default_rng(7).standard_normal((10, 3))))
    w = np.asarray(generator.layers[1].weight)
    width = []
    for row in x:
        on = row > 0
        ends = [
            linprog(
                sign * np.eye(8)[j],
                A_ub=w[~on],
                b_ub=np.zeros((~on).sum()),
                A_eq=w[on],
                b_eq=row[on],
                bounds=(0, 1e3),
            ).fun
            for j in range(8)
            for sign in (1, -1)
        ]
        width.append(max(-(low + high) for low, high in zip(ends[::2], ends[1::2], strict=True)))
    unique = np.array(width) < 1e-9
    assert 2 <= unique.sum() < 10
    found = jaxinv.invert(generator, x, METHODS[method](), chunk=10)
    outer = np.asarray(found.layers[1].undetermined)
    assert ((outer == 0) == unique).all()
    ranks = [8 - np.linalg.matrix_rank(w[row > 0]) for row in x]
    assert (outer == np.where(unique, 0, ranks)).all()
