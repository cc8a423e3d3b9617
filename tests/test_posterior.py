"""Posteriors against exact Gaussian ones, quadrature, and what they promise of themselves."""

import sys

import numpy as np
import pytest
from scipy import stats

import jaxinv
from jaxinv import GaussianPrior, Generator

pytest.importorskip("blackjax")
SIZE = Generator.from_layers([([[1.0], [-1.0]], None, "relu"), ([[1.0, 1.0]], None, "identity")])


@pytest.fixture(scope="module")
def linear():
    """Draws of the posterior of three observations of a linear net, with its mean and covariance.

    The second row is not finite.
    """
    rng, noise = np.random.default_rng(0), 0.5
    weight = rng.standard_normal((12, 3))
    x = rng.standard_normal((3, 3)) @ weight.T + noise * rng.standard_normal((3, 12))
    factor = np.array([[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [0.0, -0.3, 0.5]])
    prior = GaussianPrior(mean=0.2, factor=factor)
    precision = np.linalg.inv(factor @ factor.T)
    covariance = np.linalg.inv(weight.T @ weight / noise**2 + precision)
    mean = (x @ weight / noise**2 + precision @ np.full(3, 0.2)) @ covariance
    x[1, 4] = np.nan
    net = Generator.from_layers([(weight, None, "identity")])
    drawn = jaxinv.posterior(net, x, noise=noise, prior=prior, draws=12000)
    return drawn, mean, covariance


def test_a_linear_nets_posterior_is_the_exact_one(linear):
    drawn, mean, covariance = linear
    for row in (0, 2):
        error = np.sqrt(np.diag(covariance) / drawn.ess[row])
        assert (np.abs(drawn.mean[row] - mean[row]) <= 3 * error).all()
        off = np.linalg.norm(drawn.covariance[row] - covariance)
        assert off <= 0.05 * np.linalg.norm(covariance)
        assert drawn.reliable[row]
        assert drawn.r_hat[row] < 1.01


def test_intervals_and_levels_are_the_exact_ones(linear):
    drawn, mean, covariance = linear
    low, high = drawn.interval(0.9)
    half = stats.norm.ppf(0.95) * np.sqrt(np.diag(covariance))
    for row in (0, 2):
        np.testing.assert_allclose(low[row], mean[row] - half, atol=0.1 * half.max())
        np.testing.assert_allclose(high[row], mean[row] + half, atol=0.1 * half.max())
    apart = np.linalg.cholesky(covariance) @ np.array([1.0, -1.0, 0.5])
    level = drawn.level(mean + apart)
    want = stats.chi2.cdf(2.25, 3)
    np.testing.assert_allclose(level[[0, 2]], want, atol=0.03)


def test_a_bad_row_has_no_draws(linear):
    drawn, _, _ = linear
    assert np.isnan(drawn.samples[1]).all()
    assert not drawn.reliable[1]


def test_two_modes_weigh_what_quadrature_says():
    noise, prior = 0.3, GaussianPrior(mean=[0.3, 0.0])
    # |z_1| and z_2: modes at both signs of z_1, of which the prior prefers one.
    net = Generator.from_layers(
        [
            ([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], None, "relu"),
            ([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]], None, "identity"),
        ]
    )
    x = np.array([[1.5, 0.5], [0.5, 0.5]])
    drawn = jaxinv.posterior(net, x, noise=noise, prior=prior, draws=4000)
    axis = np.linspace(-6.0, 6.0, 4001)
    for row in range(2):
        energy = ((np.abs(axis) - x[row, 0]) / noise) ** 2 + (axis - 0.3) ** 2
        density = np.exp(-energy / 2)
        right = density[axis > 0].sum() / density.sum()
        place = np.argmax(drawn.modes.latent[row, :, 0])
        assert abs(drawn.weight[row, place] - right) < 0.05
        assert abs((drawn.samples[row, :, 0] > 0).mean() - right) < 0.05
        assert drawn.modes.count[row] == 2


def test_counts_follow_their_own_likelihood():
    net = Generator.from_layers([(np.ones((3, 1)), None, "identity")])
    x, prior = np.array([3.0, 6.0, 4.0]), GaussianPrior(mean=5.0, scale=2.0)
    drawn = jaxinv.posterior(net, x, noise=jaxinv.Poisson(), prior=prior, draws=4000)
    axis = np.linspace(0.05, 15.0, 3001)
    log = stats.poisson.logpmf(x[:, None], axis).sum(0) + stats.norm.logpdf(axis, 5.0, 2.0)
    density = np.exp(log - log.max())
    mean = (axis * density).sum() / density.sum()
    deviation = np.sqrt(((axis - mean) ** 2 * density).sum() / density.sum())
    assert abs(drawn.mean[0] - mean) < 4 * deviation / np.sqrt(drawn.ess)
    np.testing.assert_allclose(np.sqrt(drawn.covariance[0, 0]), deviation, rtol=0.08)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"draws": 1}, "draws=1 must be at least 2"),
        ({"chains": 1}, "chains=1 must be at least 2"),
        ({"warmup": 3}, "warmup=3 must be at least 20"),
        ({"runs": 0}, "runs=0 must be at least 1"),
        ({"noise": None}, "needs noise="),
        ({"noise": 0.0}, "noise=0 leaves a prior nothing to say"),
    ],
    ids=["draws", "chains", "warmup", "runs", "no noise", "zero noise"],
)
def test_what_does_not_fit_is_refused(changed, sentence):
    with pytest.raises(ValueError, match=sentence):
        jaxinv.posterior(SIZE, [1.0], **({"noise": 0.1} | changed))


def test_without_blackjax_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "blackjax", None)
    with pytest.raises(ValueError, match=r"jaxinv\[posterior\]"):
        jaxinv.posterior(SIZE, [1.0], noise=0.1)
