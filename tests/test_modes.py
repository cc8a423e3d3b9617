"""Minima of an observation, each once: against those of a grid, and of nets solved by hand."""

import numpy as np
import pytest
from scipy import ndimage, optimize

import jaxinv
from jaxinv import GaussianPrior, Generator

SIZE = Generator.from_layers([([[1.0], [-1.0]], None, "relu"), ([[1.0, 1.0]], None, "identity")])


def test_both_signs_of_a_magnitude():
    found = jaxinv.modes(SIZE, [[2.0], [3.0]], noise=0.1)
    np.testing.assert_array_equal(found.count, 2)
    np.testing.assert_allclose(np.sort(found.latent[..., 0]), [[-2, 2], [-3, 3]], atol=1e-6)
    np.testing.assert_allclose(found.weight, 0.5, atol=1e-6)
    np.testing.assert_array_equal(found.hits.sum(1), 64)


def test_a_prior_tells_signs_apart_as_laplace_says():
    prior, noise = GaussianPrior(mean=0.5), 0.1
    found = jaxinv.modes(SIZE, [2.0], noise=noise, prior=prior)
    # (s z - 2)^2 / s^2 + (z - .5)^2 on each side of the kink: a parabola of one curvature.
    z = (np.array([2.0, -2.0]) / noise**2 + 0.5) / (1 / noise**2 + 1)
    energy = ((np.abs(z) - 2.0) / noise) ** 2 + (z - 0.5) ** 2
    np.testing.assert_allclose(found.latent[:, 0], z, atol=1e-6)
    np.testing.assert_allclose(found.objective, energy, rtol=1e-6)
    weight = np.exp(-energy / 2) / np.exp(-energy / 2).sum()
    np.testing.assert_allclose(found.weight, weight, rtol=1e-4)


def test_all_the_minima_that_a_grid_has():
    net, noise = Generator.random((2, 6, 8), seed=0), 0.1
    rng = np.random.default_rng(1)
    x = np.asarray(net(rng.standard_normal((6, 2)))) + noise * rng.standard_normal((6, 8))
    found = jaxinv.modes(net, x, noise=noise, prior=GaussianPrior())
    axis = np.linspace(-4.0, 4.0, 321)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    image = np.asarray(net(grid.reshape(-1, 2)))

    def objective(z, row):
        return (((np.asarray(net(z)) - x[row]) / noise) ** 2).sum(-1) + (z**2).sum(-1)

    for row in range(6):
        height = (((image - x[row]) / noise) ** 2).sum(1).reshape(321, 321) + (grid**2).sum(-1)
        lowest = height == ndimage.minimum_filter(height, 5)
        ends = [
            optimize.minimize(objective, z, (row,), "Nelder-Mead", options={"xatol": 1e-8}).x
            for z in grid[lowest]
        ]
        low = [z for z in ends if objective(z, row) < objective(found.latent[row, 0], row) + 12]
        known = found.latent[row, : found.count[row]]
        for z in low:
            ways = [[objective(z + t * (m - z), row) for t in np.linspace(0, 1, 99)] for m in known]
            assert min(max(way) - objective(z, row) for way in ways) < 1.0 + 1e-6
        # In a kink a run's steps shrink before they have arrived.
        assert objective(known[0], row) <= min(objective(z, row) for z in ends) * (1 + 1e-4)


def test_a_flat_preimage_is_one_mode():
    # The second entry moves nothing: a line of minima, that every run ends on elsewhere.
    net = Generator.from_layers([([[1.0, 0.0], [2.0, 0.0]], None, "identity")])
    found = jaxinv.modes(net, [1.0, 2.0], runs=16)
    assert found.count == 1
    assert found.hits.tolist() == [16]


def test_given_latents_are_looked_at_beside_random_ones():
    net = Generator.random((3, 10, 20), seed=2)
    x = np.asarray(net(np.full((2, 3), 3.0)))
    found = jaxinv.modes(net, x, runs=1, start=np.full((2, 3), 3.0))
    assert found.hits.sum(1).tolist() == [2, 2]
    np.testing.assert_allclose(found.latent[:, 0], 3.0, atol=1e-6)


def test_a_bad_row_has_no_modes_and_harms_no_other():
    net = Generator.random((2, 6, 8), seed=0)
    x = np.array(net(np.random.default_rng(0).standard_normal((3, 2))))
    clean = jaxinv.modes(net, x, noise=0.1, runs=8)
    x[1, 3] = np.nan
    found = jaxinv.modes(net, x, noise=0.1, runs=8)
    assert found.count[1] == 0
    assert np.isnan(found.latent[1]).all()
    kept = found.latent.shape[1]
    for row in (0, 2):
        np.testing.assert_array_equal(found.latent[row], clean.latent[row, :kept])


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"runs": 0}, "runs=0 must be at least 1"),
        ({"most": 0}, "most=0 must be at least 1"),
        ({"operator": jaxinv.measurements.quantise(0.1)}, "state noise=step"),
        ({"prior": GaussianPrior()}, "a prior needs noise="),
        ({"noise": -1.0}, "must be a standard deviation"),
        ({"mask": np.zeros(8, bool)}, "hides every entry"),
    ],
    ids=["runs", "most", "cells", "prior", "noise", "mask"],
)
def test_what_does_not_fit_is_refused(changed, sentence):
    with pytest.raises(ValueError, match=sentence):
        jaxinv.modes(Generator.random((2, 6, 8), seed=0), np.zeros(8), **changed)
