"""Ill-conditioned nets: what normal equations lose, cells told apart by 1e-8, runs that stopped."""

import numpy as np
import pytest

import jaxinv
from jaxinv import Status
from jaxinv.certify.local_rank import local_rank


def conditioned(rng, n, k, condition):
    left, _ = np.linalg.qr(rng.standard_normal((n, k)))
    right, _ = np.linalg.qr(rng.standard_normal((k, k)))
    return 4.0 * left @ np.diag(np.geomspace(1.0, 1.0 / condition, k)) @ right.T


@pytest.mark.parametrize("method", ["auto", "lm"])
@pytest.mark.parametrize("noise", [1e-3, 0.1])
def test_an_affine_net_is_fitted_as_lapack_fits_it(method, noise):
    rng = np.random.default_rng(0)
    weight, bias = conditioned(rng, 24, 2, 1.7e9), rng.standard_normal(24)
    g = jaxinv.Generator.from_layers([(weight, bias, "identity")])
    x = np.asarray(g(rng.standard_normal((8, 2)))) + noise * rng.standard_normal((8, 24))
    found = jaxinv.invert(g, x, method)
    fit = np.linalg.lstsq(weight, (x - bias).T, rcond=1e-15)[0].T
    least = np.linalg.norm(x - bias - fit @ weight.T, axis=1)
    np.testing.assert_allclose(found.residual, least, rtol=1e-5)


def test_a_code_in_another_cell_is_not_solved_because_it_is_within_the_tolerance():
    rng = np.random.default_rng(1)
    wrong = solved = 0
    for _ in range(3):
        first, second = rng.standard_normal((8, 4)), conditioned(rng, 40, 8, 1e9)
        g = jaxinv.Generator.from_layers([(first, None, "relu"), (second, None, "relu")])
        z = rng.standard_normal((20, 4))
        found = jaxinv.invert(g, g(z))
        error = np.linalg.norm(np.asarray(found.latent) - z, axis=1) / np.linalg.norm(z, axis=1)
        solved += (np.asarray(found.status) == Status.SOLVED).sum()
        wrong += ((np.asarray(found.status) == Status.SOLVED) & (error > 0.01)).sum()
    assert solved > 25 and wrong == 0


def test_runs_that_stop_where_nothing_moves_the_image_are_not_closest():
    # Both units are off around every z > 1: the image is 0 there, however far from x.
    g = jaxinv.Generator.from_layers(
        [([[-1.0], [-2.0]], [1.0, 2.0], "relu"), (np.ones((5, 2)), None, "identity")]
    )
    found = jaxinv.invert(g, -np.arange(1.0, 6.0), "lm", start=np.full((1, 3, 1), 5.0))
    assert int(found.undetermined) == 1 and int(found.status) == Status.INEXACT


def test_doubt_of_the_normal_equations_is_that_of_the_condition():
    rng = np.random.default_rng(2)
    for condition, well in ((1e2, True), (1e6, False)):
        weight = conditioned(rng, 24, 3, condition)
        g = jaxinv.Generator.from_layers([(weight, None, "identity")])
        known = local_rank(g, np.ones((2, 3)), np.ones((2, 24), bool))
        assert (known.well == well).all() and (known.rank == 3).all()
