"""Noise models against SciPy's distributions and optimisers; what they explain, and refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

import jaxinv
from jaxinv import Bernoulli, GaussianPrior, Huber, Poisson, Status, StudentT
from jaxinv.model.likelihood.base import Cell

MODELS = [Poisson(), StudentT(3.0, 0.2), Huber(0.2), Bernoulli(), Cell(0.3)]
NAMES = [type(model).__name__ for model in MODELS]


def entries(model):
    rng = np.random.default_rng(0)
    if isinstance(model, Poisson):
        p = np.concatenate([rng.uniform(0.02, 30.0, 300), rng.uniform(0.001, 0.009, 20)])
        return p, rng.poisson(p + 0.5).astype(float)
    if isinstance(model, Bernoulli):
        p = rng.uniform(0.001, 0.999, 300)
        return p, (rng.uniform(size=300) < p).astype(float)
    return rng.standard_normal(300), rng.standard_normal(300)


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_the_slope_is_half_the_deviances_derivative(model):
    p, x = entries(model)
    h = 1e-7 * np.maximum(np.abs(p), 1e-2)
    with jax.enable_x64(True):
        high, low, slope = (
            np.asarray(f)
            for f in (model.deviance(p + h, x), model.deviance(p - h, x), model.slope(p, x))
        )
    np.testing.assert_allclose((high - low) / (4.0 * h), slope, rtol=1e-4, atol=1e-4)


def test_deviances_are_scipys_log_likelihoods():
    with jax.enable_x64(True):
        p, x = entries(Poisson())
        p = np.maximum(p, 0.011)
        want = 2.0 * (stats.poisson.logpmf(x, np.maximum(x, 1e-300)) - stats.poisson.logpmf(x, p))
        np.testing.assert_allclose(Poisson().deviance(jnp.asarray(p), x), want, atol=1e-9)
        p, x = entries(Bernoulli())
        want = -2.0 * stats.bernoulli.logpmf(x, p)
        np.testing.assert_allclose(Bernoulli().deviance(jnp.asarray(p), x), want, atol=1e-9)
        p, x = entries(StudentT(3.0, 0.2))
        t = stats.t(3.0, loc=0.0, scale=0.2)
        want = 2.0 * (t.logpdf(0.0) - t.logpdf(p - x))
        np.testing.assert_allclose(StudentT(3.0, 0.2).deviance(p, x), want, atol=1e-9)


def test_curvatures_are_fishers_information():
    with jax.enable_x64(True):
        for p in (0.05, 0.7, 12.0):
            x = np.arange(200.0)
            chance = stats.poisson.pmf(x, p)
            want = (chance * np.asarray(Poisson().slope(p, x)) ** 2).sum()
            np.testing.assert_allclose(Poisson().curvature(p, x)[()], want, rtol=1e-9)
        for p in (0.05, 0.7):
            x = np.arange(2.0)
            want = (np.array([1 - p, p]) * np.asarray(Bernoulli().slope(p, x)) ** 2).sum()
            np.testing.assert_allclose(Bernoulli().curvature(p, x), want, rtol=1e-9)


@pytest.mark.parametrize("model", MODELS[1:3], ids=NAMES[1:3])
def test_parabolas_of_iterated_weights_lie_above_the_deviance(model):
    p, x = entries(model)
    q = p + np.random.default_rng(1).standard_normal(300)
    with jax.enable_x64(True):
        parabola = (
            np.asarray(model.deviance(p, x))
            + 2.0 * np.asarray(model.slope(p, x)) * (q - p)
            + np.asarray(model.curvature(p, x)) * (q - p) ** 2
        )
        assert (np.asarray(model.deviance(q, x)) <= parabola + 1e-9).all()


def decoder(last="sigmoid"):
    rng = np.random.default_rng(0)
    first = (rng.standard_normal((12, 3)), rng.standard_normal(12), "tanh")
    return jaxinv.Generator.from_layers([first, (rng.standard_normal((60, 12)), None, last)])


def observed(model, rows=5):
    """Draws of the model, the operator that makes its parameter, and -2 log likelihood by SciPy."""
    rng = np.random.default_rng(2)
    z = rng.standard_normal((rows, 3))
    if isinstance(model, Poisson):
        operator = lambda p: 20.0 * p + 1.0  # noqa: E731
        p = 20.0 * np.asarray(decoder()(z)) + 1.0
        return z, rng.poisson(p).astype(float), operator, decoder(), stats.poisson.logpmf
    if isinstance(model, Bernoulli):
        p = np.asarray(decoder()(z))
        x = (rng.uniform(size=p.shape) < p).astype(float)
        return z, x, None, decoder(), stats.bernoulli.logpmf
    g = decoder("identity")
    p = np.asarray(g(z))
    x = p + 0.2 * rng.standard_t(3.0, p.shape)
    if isinstance(model, Huber):
        x = p + 0.2 * rng.standard_normal(p.shape)
        x[:, ::12] += 30.0
        return z, x, None, g, None
    return z, x, None, g, lambda x, p: stats.t.logpdf(x, 3.0, p, 0.2)


def huber(t, threshold=1.345):
    size = np.abs(t)
    return np.where(size <= threshold, t**2, threshold * (2 * size - threshold))


@pytest.mark.parametrize("prior", [None, GaussianPrior(0.2, 0.7)], ids=["", "prior"])
@pytest.mark.parametrize("model", MODELS[:4], ids=NAMES[:4])
def test_the_latent_is_the_most_likely_one_as_scipy_finds_it(model, prior):
    z, x, operator, g, log_likelihood = observed(model)
    r = jaxinv.invert(g, x, "lm", operator=operator, noise=model, prior=prior)
    assert r.counts() == {Status.SOLVED: 5}
    for row in range(5):

        def objective(u, row=row):
            p = np.asarray(g(u))
            p = 20.0 * p + 1.0 if operator else p
            if isinstance(model, Huber):
                value = huber((x[row] - p) / 0.2).sum()
            else:
                value = -2.0 * log_likelihood(x[row], p).sum()
            return value + (0.0 if prior is None else (((u - 0.2) / 0.7) ** 2).sum())

        found = np.asarray(r.latent)[row]
        options = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000, "maxfev": 4000}
        near = optimize.minimize(objective, z[row], method="Nelder-Mead", options=options)
        assert objective(found) <= near.fun + 1e-7
        # The objective reported differs by what depends on x alone.
        shift = objective(found) - float(np.asarray(r.objective)[row])
        np.testing.assert_allclose(
            objective(near.x) - shift, float(np.asarray(r.objective)[row]), atol=1e-3
        )


def test_outliers_do_not_pull_where_least_squares_is_pulled():
    z, x, _, g, _ = observed(Huber(0.2))
    plain, robust, student = (
        np.linalg.norm(np.asarray(jaxinv.invert(g, x, "lm", noise=noise).latent) - z, axis=1)
        for noise in (None, Huber(0.2), StudentT(3.0, 0.2))
    )
    assert (robust < 0.2 * plain).all() and (student < 0.2 * plain).all()


@pytest.mark.parametrize("model", MODELS[:4], ids=NAMES[:4])
def test_noise_of_the_model_is_explained_and_a_wrong_rate_is_not(model):
    rng = np.random.default_rng(5)
    rows, n = 2000, 200
    if isinstance(model, Poisson):
        p = np.tile(rng.uniform(0.05, 20.0, n), (rows, 1))
        x, other = rng.poisson(p).astype(float), 2.0 * p
    elif isinstance(model, Bernoulli):
        p = np.tile(rng.uniform(0.01, 0.99, n), (rows, 1))
        x, other = (rng.uniform(size=p.shape) < p).astype(float), 1.0 - p
    else:
        p = np.zeros((rows, n))
        if isinstance(model, StudentT):
            x = 0.2 * rng.standard_t(3.0, p.shape)
        else:
            x = 0.2 * rng.standard_normal(p.shape)
            x[:, ::10] = 1e3
        other = p + 1.0
    seen = np.ones(x.shape, bool)
    with jax.enable_x64(True):
        assert model.explains(p, x, seen).mean() > 0.985
        assert not model.explains(other, x, seen).any()


def test_a_bad_row_changes_no_bit_of_another():
    _, x, operator, g, _ = observed(Poisson())
    bad = x.copy()
    bad[1, 3] = np.nan
    ask = {"operator": operator, "noise": Poisson(), "prior": GaussianPrior()}
    whole, some = (jaxinv.invert(g, v, **ask) for v in (x, bad))
    rest = np.arange(5) != 1
    for name in ("latent", "status", "residual", "objective", "prior_pull"):
        before, after = (np.asarray(getattr(r, name))[rest] for r in (whole, some))
        assert before.tobytes() == after.tobytes(), name
    assert int(np.asarray(some.status)[1]) == Status.BAD_INPUT
    assert np.isnan(np.asarray(some.objective)[1])


def test_masked_entries_may_hold_anything():
    _, x, operator, g, _ = observed(Poisson())
    mask = np.arange(60) >= 6
    other = x.copy()
    other[:, :6] = -0.5
    found = [
        np.asarray(jaxinv.invert(g, v, operator=operator, noise=Poisson(), mask=mask).latent)
        for v in (x, other)
    ]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        ({"noise": Poisson(), "x": -1.0}, "holds -1"),
        ({"noise": Poisson(), "x": 0.5}, "holds 0.5"),
        ({"noise": Bernoulli(), "x": 2.0}, "holds 2"),
        ({"noise": Poisson(), "method": "gd"}, "is for 'auto' and 'lm'"),
        ({"noise": Huber(1.0), "method": "linf"}, "is for 'auto' and 'lm'"),
        ({"noise": Huber(1.0), "refine": "l1"}, "leave out one"),
        ({"noise": Poisson(), "weights": np.ones(60)}, "leave weights="),
        ({"noise": Poisson(), "prior_weight": 1.0}, "leave it out"),
        ({"noise": Poisson(), "operator": jaxinv.measurements.quantise(1.0)}, "quantisation"),
    ],
)
def test_what_is_refused(ask, sentence):
    ask = dict(ask)
    x = np.full((2, 60), ask.pop("x", 1.0))
    with pytest.raises(ValueError, match=sentence):
        jaxinv.invert(decoder(), x, **ask)


@pytest.mark.parametrize(
    "make",
    [
        lambda: StudentT(0.0, 1.0),
        lambda: StudentT(2.0, -1.0),
        lambda: Huber(np.inf),
        lambda: Huber(1.0, 0.0),
        lambda: Huber("wide"),
    ],
)
def test_models_without_a_scale_are_refused(make):
    with pytest.raises(ValueError, match="must be a positive, finite number"):
        make()
