"""What GeneratorInverter says of rows: scores by SciPy, noise models and missing entries."""

import jax
import numpy as np
import pytest
from scipy import integrate, stats

import jaxinv
from jaxinv import Bernoulli, GaussianPrior, Generator, GeneratorInverter, Huber, Poisson, StudentT

pytest.importorskip("sklearn")
from sklearn.utils import get_tags

G = Generator.random((3, 12, 40), seed=0)
RNG = np.random.default_rng(0)
Z = RNG.standard_normal((6, 3))
X = np.asarray(G(Z))
NOISY = X + 0.1 * RNG.standard_normal(X.shape)
THERE = RNG.random(X.shape) > 0.3
HOLES = np.where(THERE, NOISY, np.nan)


def test_a_score_is_minus_the_squared_residual():
    model = GeneratorInverter(G).fit(X)
    want = -(np.asarray(model.invert(NOISY).residual) ** 2)
    np.testing.assert_allclose(model.score_samples(NOISY), want)
    assert model.score(NOISY) == pytest.approx(want.mean())


@pytest.mark.parametrize("noise", [0.1, np.linspace(0.05, 0.2, 40)], ids=["one", "each"])
def test_with_noise_a_score_is_a_gaussian_log_likelihood(noise):
    model = GeneratorInverter(G, noise=noise).fit(X)
    made = np.asarray(G(model.transform(NOISY)))
    want = stats.norm(made, noise).logpdf(NOISY).sum(1)
    np.testing.assert_allclose(model.score_samples(NOISY), want)


@pytest.mark.parametrize(
    "prior",
    [
        GaussianPrior(),
        GaussianPrior(mean=[0.1, 0.0, -1.0], scale=[0.5, 1.0, 2.0]),
        GaussianPrior(factor=[[1.0, 0.3, 0.0], [0.5, 1.0, 0.0], [0.0, -0.3, 0.5]]),
    ],
    ids=["standard", "scales", "correlated"],
)
def test_with_a_prior_a_score_is_the_joint_log_density(prior):
    model = GeneratorInverter(G, noise=0.1, prior=prior).fit(X)
    code = model.transform(NOISY)
    mean, factor = prior.of_size(3)
    want = stats.norm(np.asarray(G(code)), 0.1).logpdf(NOISY).sum(1)
    want += stats.multivariate_normal(mean, factor @ factor.T).logpdf(code)
    np.testing.assert_allclose(model.score_samples(NOISY), want)
    # The code is the most probable one: none nearby is more so.
    for step in 0.01 * np.eye(3):
        moved = stats.norm(np.asarray(G(code + step)), 0.1).logpdf(NOISY).sum(1)
        moved += stats.multivariate_normal(mean, factor @ factor.T).logpdf(code + step)
        assert (moved < want).all()


@pytest.mark.parametrize("noise", [None, 0.1], ids=["no_noise", "noise"])
def test_a_priors_weight_counts_as_invert_has_it(noise):
    prior = GaussianPrior(mean=[0.1, 0.0, -1.0], scale=[0.5, 1.0, 2.0])
    model = GeneratorInverter(G, noise=noise, prior=prior, prior_weight=0.3).fit(X)
    found = jaxinv.invert(G, NOISY, noise=noise, prior=prior, prior_weight=0.3)
    code = model.transform(NOISY)
    np.testing.assert_array_equal(code, found.latent)
    score = model.score_samples(NOISY)
    if noise is None:
        np.testing.assert_allclose(score, -np.asarray(found.objective))
        return
    mean, factor = prior.of_size(3)
    want = stats.norm(np.asarray(G(code)), noise).logpdf(NOISY).sum(1)
    covariance = factor @ factor.T * noise**2 / 0.3
    want += stats.multivariate_normal(mean, covariance).logpdf(code)
    np.testing.assert_allclose(score, want)


def test_a_weight_alone_is_that_of_the_standard_gaussian():
    scores = [
        GeneratorInverter(G, prior=prior, prior_weight=0.3).fit(X).score_samples(NOISY)
        for prior in (None, GaussianPrior())
    ]
    np.testing.assert_array_equal(*scores)


def counted(x, p):
    return stats.poisson.logpmf(x, p)


def heavy(x, p):
    return stats.t(3.0, loc=p, scale=0.1).logpdf(x)


@pytest.mark.parametrize(
    ("noise", "density"), [(Poisson(), counted), (StudentT(3.0, 0.1), heavy)], ids=["counts", "t"]
)
def test_with_a_noise_model_a_score_is_its_log_likelihood(noise, density):
    decoder, x = G, HOLES
    if density is counted:
        decoder = Generator.from_layers([(np.eye(40)[:, :3] + 0.2, np.full(40, 9.0), "relu")])
        rates = np.asarray(decoder(np.abs(Z)))
        x = np.where(THERE, np.random.default_rng(1).poisson(rates), np.nan)
    model = GeneratorInverter(decoder, noise=noise).fit(x)
    found = jaxinv.invert(decoder, np.where(THERE, x, 0.0), mask=THERE, noise=noise)
    np.testing.assert_array_equal(model.transform(x), found.latent)
    made = np.asarray(decoder(found.latent))
    want = np.nansum(density(x, made), axis=1)
    np.testing.assert_allclose(model.score_samples(x), want)


@pytest.mark.parametrize("noise", [StudentT(3.0, 0.2), Huber(0.2), Huber(2.0, threshold=0.4)])
def test_densities_of_a_noise_model_integrate_to_one(noise):
    with jax.enable_x64(True):
        half, _ = integrate.quad(
            lambda x: float(np.exp(noise.log_density(0.3, np.array(x)))), 0.3, np.inf
        )
    assert half == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("p", [0.02, 0.7])
def test_chances_of_a_noise_model_sum_to_one(p):
    x = np.arange(200.0)
    for noise, all_there_are in ((Poisson(), x), (Bernoulli(), x[:2])):
        with jax.enable_x64(True):
            chance = np.exp(noise.log_density(np.full(all_there_are.shape, p), all_there_are))
        assert chance.sum() == pytest.approx(1.0, abs=1e-9)


def test_entries_that_are_nan_are_masked():
    model = GeneratorInverter(G).fit(HOLES)
    found = jaxinv.invert(G, np.where(THERE, NOISY, 7.0), mask=THERE)
    np.testing.assert_array_equal(model.transform(HOLES), found.latent)
    want = -(np.asarray(found.residual) ** 2)
    np.testing.assert_allclose(model.score_samples(HOLES), want)
    assert get_tags(model).input_tags.allow_nan
    whole = GeneratorInverter(G).fit(X)
    filled = whole.inverse_transform(whole.transform(np.where(THERE, X, np.nan)))
    np.testing.assert_allclose(filled, X, atol=1e-7)


def test_a_row_that_misses_everything_fails_alone():
    x = HOLES.copy()
    x[2] = np.nan
    model = GeneratorInverter(G, noise=0.1, prior=GaussianPrior()).fit(x)
    found = model.invert(x)
    others = np.arange(6) != 2
    assert (np.asarray(found.status) == jaxinv.Status.BAD_INPUT).tolist() == (~others).tolist()
    np.testing.assert_array_equal(np.asarray(found.latent)[others], model.transform(HOLES)[others])
    scores = model.score_samples(x)
    assert np.isnan(scores).tolist() == (~others).tolist()
    np.testing.assert_array_equal(scores[others], model.score_samples(HOLES)[others])
    assert np.isnan(model.transform(np.full((2, 40), np.nan))).all()


def test_with_missing_entries_a_score_has_the_terms_that_are_there():
    noise = np.linspace(0.05, 0.2, 40)
    model = GeneratorInverter(G, noise=noise).fit(HOLES)
    made = np.asarray(G(model.transform(HOLES)))
    want = np.nansum(stats.norm(made, noise).logpdf(HOLES), axis=1)
    np.testing.assert_allclose(model.score_samples(HOLES), want)
