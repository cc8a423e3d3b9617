"""What is determined, and how far errors reach: NumPy's own Jacobians, ranks and least squares."""

from itertools import pairwise

import numpy as np
import pytest

import jaxinv
from jaxinv import Status
from jaxinv.certify.local_rank import local_rank
from jaxinv.certify.noise_level import SURE


def jacobian(layers, z):
    """J and every ReLU's pre-activation with its gradient, layer by layer in NumPy."""
    product, units = np.eye(len(z)), []
    for weight, bias, slope in layers:
        u, gradient = weight @ z + bias, weight @ product
        units.append((u, gradient))
        d = np.where(u > 0, 1.0, slope)
        z, product = np.where(u > 0, u, slope * u), d[:, None] * gradient
    return product, units


def drawn(widths, slope, seed):
    rng = np.random.default_rng(seed)
    return [
        (rng.standard_normal((n, m)) / np.sqrt(m), 0.3 * rng.standard_normal(n), slope)
        for m, n in pairwise(widths)
    ]


def generator(layers):
    return jaxinv.Generator.from_layers(
        [(w, b, f"leaky_relu:{s}" if s else "relu") for w, b, s in layers]
    )


@pytest.mark.parametrize("noise", [1e-6, 0.02, 0.2])
@pytest.mark.parametrize("widths", [(3, 8, 16), (4, 6, 10, 30)])
def test_what_hangs_on_units_near_their_kink_is_not_determined(widths, noise):
    layers = drawn(widths, 0.0, 1)
    rng = np.random.default_rng(2)
    z = rng.standard_normal((150, widths[0]))
    deviation = noise * rng.uniform(0.5, 2.0, (150, widths[-1]))
    seen = rng.random((150, widths[-1])) < 0.9
    found = local_rank(generator(layers), z, seen, np.where(seen, deviation, 0.0))
    for row in range(150):
        j, units = jacobian(layers, z[row])
        scaled = (j / deviation[row][:, None])[seen[row]]
        root = np.linalg.pinv(scaled, rcond=1e-13)
        whole = np.linalg.matrix_rank(scaled) == widths[0]
        product = np.eye(widths[0])
        close = False  # to the bound: either answer is right
        for (weight, _, _), (u, gradient) in zip(layers, units, strict=True):
            spread = np.linalg.norm(gradient @ root, axis=1)
            close |= (np.abs(np.abs(u) - SURE * spread) < 1e-3 * SURE * spread).any()
            on = (u > 0) & (np.abs(u) > SURE * spread)
            product = np.where(on[:, None], weight @ product, 0.0)
        sure = np.linalg.matrix_rank(product[seen[row]]) if whole else 0
        if whole and not close:
            assert found.rank[row] == sure
        if not whole:
            assert found.rank[row] < widths[0]
        if found.rank[row] == widths[0] and not close:
            least = np.linalg.svd(product[seen[row]], compute_uv=False)[-1]
            assert found.gain[row] >= (1 - 1e-6) / least
            assert found.gain[row] <= (1 + 1e-4) * np.sqrt(widths[0]) / least
        elif found.rank[row] < widths[0]:
            assert np.isinf(found.gain[row])


def test_an_ill_conditioned_jacobian_has_full_rank_and_a_large_gain():
    rng = np.random.default_rng(3)
    for condition in (1e3, 1e7, 1e11):
        left, _, right = np.linalg.svd(rng.standard_normal((40, 6)), full_matrices=False)
        w = left * np.geomspace(1.0, 1.0 / condition, 6) @ right
        g = jaxinv.Generator.from_layers([(w, None, "identity")])
        found = local_rank(g, np.zeros((2, 6)), np.ones((2, 40), bool))
        assert (found.rank == 6).all()
        assert (found.gain >= 0.999 * condition).all() and (found.gain <= 3 * condition).all()


def test_the_error_that_is_allowed_holds_and_decides():
    """Codes of ill-conditioned nets are off by no more than their rows say, or are INEXACT."""
    rng = np.random.default_rng(4)
    for condition in (1e2, 1e6, 1e10, 1e13):
        left, _, right = np.linalg.svd(rng.standard_normal((40, 6)), full_matrices=False)
        w = left * np.geomspace(1.0, 1.0 / condition, 6) @ right
        g = jaxinv.Generator.from_layers([(w, 1e3 * rng.standard_normal(40), "leaky_relu:0.3")])
        z = rng.standard_normal((8, 6))
        x = np.asarray(g(z))
        for method in ("exact", "auto", "lm"):
            found = jaxinv.invert(g, x, method)
            error = np.linalg.norm(np.asarray(found.latent) - z, axis=1)
            allowed = np.asarray(found.allowed_error)
            assert (error <= allowed).all()
            relative = allowed / np.linalg.norm(found.latent, axis=1)
            solved = np.asarray(found.status) == Status.SOLVED
            assert (relative[solved] <= 1e-2).all()
            assert solved.all() == (condition < 1e9)
    loose = jaxinv.invert(g, x, jaxinv.Auto(largest_error=np.inf))
    assert np.asarray(loose.explained).all()


@pytest.mark.parametrize("method", ["auto", "exact", "lm"])
def test_a_kink_is_no_freedom_where_cones_pin_the_code(method):
    edge = jaxinv.Generator.from_layers([([[1.0], [-1.0]], None, "relu")])
    assert jaxinv.invert(edge, [0.0, 0.0], method).counts() == {Status.SOLVED: 1}
    wide = jaxinv.Generator.random((6, 30, 120), seed=0)
    found = jaxinv.invert(wide, np.zeros(120), method)
    assert found.counts() == {Status.SOLVED: 1} and np.linalg.norm(found.latent) < 1e-9
    # One side alone is open: every z <= 0 gives this.
    half = jaxinv.Generator.from_layers([([[1.0], [2.0]], None, "relu")])
    found = jaxinv.invert(half, [0.0, 0.0], method)
    assert found.counts() == {Status.UNDERDETERMINED: 1} and int(found.undetermined) == 1


def test_an_all_negative_observation_is_no_preimage_of_anything():
    wide = jaxinv.Generator.random((6, 30, 120), seed=0)
    for method in ("auto", "exact"):
        assert not bool(jaxinv.invert(wide, -np.ones(120), method).explained)


def test_seven_square_leaky_layers_are_determined():
    rng = np.random.default_rng(6)
    layers = [(rng.standard_normal((10, 10)) / 3, None, "leaky_relu:0.1") for _ in range(7)]
    g = jaxinv.Generator.from_layers(layers)
    z = rng.standard_normal((20, 10))
    found = jaxinv.invert(g, np.asarray(g(z)))
    assert not np.asarray(found.undetermined).any()
    error = np.linalg.norm(np.asarray(found.latent) - z, axis=1)
    reproduced = np.asarray(found.explained)
    assert reproduced.sum() >= 10 and (error <= np.asarray(found.allowed_error))[reproduced].all()


def test_a_misfit_beside_a_large_bias_is_seen():
    rng = np.random.default_rng(7)
    w = rng.standard_normal((40, 4))
    g = jaxinv.Generator.from_layers([(w, np.full(40, 1e7), "relu")])
    z = rng.standard_normal((6, 4))
    x = np.asarray(g(z))
    exact = jaxinv.invert(g, x)
    assert exact.counts() == {Status.SOLVED: 6}
    assert (
        np.linalg.norm(np.asarray(exact.latent) - z, axis=1) <= np.asarray(exact.allowed_error)
    ).all()
    other = x + np.where(np.arange(40) % 2, 1.0, -1.0)  # a ten-millionth of x, as large as its code
    for method in ("auto", "exact"):
        assert not np.asarray(jaxinv.invert(g, other, method).explained).any()


@pytest.mark.parametrize("missing", [0, 1])
@pytest.mark.parametrize("noise", [None, 1e-3])
def test_rounding_of_single_precision_is_no_rank(missing, noise):
    """J = -B is what two matrices leave that are 1e7 times as large, but for single precision."""
    rng = np.random.default_rng(3)
    k, n = 5, 40
    large = np.round(rng.standard_normal((n, k)) * 2.0**20) / 2.0**20
    factors = (rng.standard_normal(shape) for shape in ((n, k - missing), (k - missing, k)))
    left, right = (np.round(4.0 * factor) for factor in factors)
    small = left @ right
    small *= 2.0**-24
    first = np.concatenate([large, large + small])
    both = [(first, None, "identity"), (np.hstack([np.eye(n), -np.eye(n)]), None, "identity")]
    both.append((np.eye(n), None, "leaky_relu:0.5"))
    g = jaxinv.Generator.from_layers(both)
    z = rng.standard_normal((70, k))
    jacobian = np.where(z @ -small.T > 0, 1.0, 0.5)[:, :, None] * -small
    errors = None if noise is None else np.full((70, n), noise * 2.0**-24)
    found = local_rank(g, z, np.ones((70, n), bool), errors)
    if noise is None:
        np.testing.assert_array_equal(found.rank, np.linalg.matrix_rank(jacobian))
    assert (found.rank == k - missing).all()
    if not missing:
        gain = np.linalg.norm(np.linalg.pinv(jacobian), axis=(1, 2))
        assert (found.gain >= 0.999999 * gain).all() and (found.gain <= 3.0 * gain).all()
