"""Priors of the latent: closed forms, other solvers, isolation, and what is refused."""

import json
import warnings

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import least_squares
from typer.testing import CliRunner

import jaxinv
from jaxinv import Ending, GaussianPrior, Status
from jaxinv.certify.uncertainty import UnderCoverage
from jaxinv.cli import app
from jaxinv.job import Job
from jaxinv.job.work import Work, compute_shard

METHODS = [
    "auto",
    "lm",
    jaxinv.GradientDescent(optimizer="adam", learning_rate=0.05, steps=4000),
]
NOISE = 0.5


class Linear:
    """x = W z + b + e with z ~ N(mean, L L'), and its posterior mean in closed form."""

    def __init__(self, k=4, n=12, rows=6):
        rng = np.random.default_rng(0)
        self.w, self.b = rng.standard_normal((n, k)), rng.standard_normal(n)
        self.mean = rng.standard_normal(k)
        self.factor = np.tril(rng.standard_normal((k, k))) + 2 * np.eye(k)
        self.z = self.mean + rng.standard_normal((rows, k)) @ self.factor.T
        self.x = self.z @ self.w.T + self.b + NOISE * rng.standard_normal((rows, n))
        self.generator = jaxinv.Generator.from_layers([(self.w, self.b, "identity")])

    def posterior_mean(self, deviation, mean, covariance):
        precision = np.linalg.inv(covariance)
        w, x = self.w / deviation[:, None], (self.x - self.b) / deviation
        right = x @ w + precision @ mean
        return np.linalg.solve(w.T @ w + precision, right.T).T


def decoder():
    return jaxinv.Generator.random((3, 12, 40), seed=0, activation="leaky_relu:0.2")


@pytest.mark.parametrize("method", METHODS, ids=["auto", "lm", "gd"])
def test_the_latent_is_the_posterior_mean_of_a_linear_gaussian_model(method):
    case = Linear()
    prior = GaussianPrior(case.mean, factor=case.factor)
    r = jaxinv.invert(case.generator, case.x, method, prior=prior, noise=NOISE)
    want = case.posterior_mean(np.full(12, NOISE), case.mean, case.factor @ case.factor.T)
    np.testing.assert_allclose(r.latent, want, atol=1e-7)
    assert r.counts() == {Status.SOLVED: 6}
    pull = (np.linalg.solve(case.factor, (want - case.mean).T) ** 2).sum(0)
    misfit = ((case.x - case.b - want @ case.w.T) ** 2).sum(1)
    np.testing.assert_allclose(r.prior_pull, pull, rtol=1e-5)
    np.testing.assert_allclose(r.objective, misfit / NOISE**2 + pull, rtol=1e-5)
    np.testing.assert_allclose(r.residual, np.sqrt(misfit), rtol=1e-5)


@pytest.mark.parametrize("each", [False, True])
def test_deviations_of_each_entry_weigh_the_fit_with_and_without_a_prior(each):
    case = Linear()
    deviation = np.random.default_rng(1).uniform(0.1, 2.0, 12)
    stated = np.tile(deviation, (6, 1)) if each else deviation
    prior = GaussianPrior(1.0, [1.0, 2.0, 3.0, 4.0])
    with_prior = jaxinv.invert(case.generator, case.x, prior=prior, noise=stated)
    want = case.posterior_mean(deviation, np.ones(4), np.diag([1.0, 4.0, 9.0, 16.0]))
    np.testing.assert_allclose(with_prior.latent, want, atol=1e-8)
    without = jaxinv.invert(case.generator, case.x, noise=stated)
    want = case.posterior_mean(deviation, np.zeros(4), 1e14 * np.eye(4))
    np.testing.assert_allclose(without.latent, want, atol=1e-8)
    assert without.objective is None and without.prior_pull is None


def test_csgm_is_ridge_regression_behind_a_linear_generator():
    case, a = Linear(), np.random.default_rng(2).standard_normal((3, 12))
    y, behind = case.x @ a.T, a @ case.w
    r = jaxinv.invert(case.generator, y, operator=a, prior_weight=0.3)
    right = behind.T @ (y - a @ case.b).T
    want = np.linalg.solve(behind.T @ behind + 0.3 * np.eye(4), right).T
    np.testing.assert_allclose(r.latent, want, atol=1e-8)
    np.testing.assert_allclose(r.prior_pull, 0.3 * (want**2).sum(1), rtol=1e-5)
    # Three entries do not determine four, whatever the prior adds.
    assert (np.asarray(r.undetermined) == 1).all()


def test_the_least_objective_is_found_behind_layers_as_scipy_finds_it():
    g, rng = decoder(), np.random.default_rng(3)
    z = 0.3 + 0.5 * rng.standard_normal((5, 3))
    x = np.asarray(g(z)) + 0.2 * rng.standard_normal((5, 40))
    r = jaxinv.invert(g, x, prior=GaussianPrior(0.3, 0.5), noise=0.2)
    assert (np.asarray(r.search.ending) == Ending.AGREED).all()
    for row in range(5):

        def both(u, row=row):
            return np.concatenate([(np.asarray(g(u)) - x[row]) / 0.2, (u - 0.3) / 0.5])

        best = min(
            (least_squares(both, 0.3 + 0.5 * rng.standard_normal(3)) for _ in range(6)),
            key=lambda found: found.cost,
        )
        # A run ends where a step lowers the objective by less than 1e-5 of it.
        assert float(np.asarray(r.objective)[row]) <= 2 * best.cost * (1 + 1e-5)
        # It lies above the least misfit: the prior has moved it.
        free = jaxinv.invert(g, x[row], noise=0.2)
        assert float(np.asarray(free.residual)) < float(np.asarray(r.residual)[row])


def test_the_word_is_on_the_datas_misfit():
    g, rng = decoder(), np.random.default_rng(4)
    x = np.asarray(g(rng.standard_normal((4, 3)))) + 0.01 * rng.standard_normal((4, 40))
    # Far off the prior: its pull leaves a misfit that is no noise of the level stated.
    r = jaxinv.invert(g, x, prior=GaussianPrior(20.0, 0.01), noise=0.01)
    assert set(r.counts()) == {Status.INEXACT}
    r = jaxinv.invert(g, x, prior=GaussianPrior(0.0, 1.0), noise=0.01)
    assert set(r.counts()) == {Status.SOLVED}


def test_starts_are_drawn_from_the_prior():
    # All units are dead but far from 0, where no run from N(0, 1) would find a slope.
    layers = [([[1.0], [2.0], [0.5]], [-1000.0, -2000.0, -500.0], "relu")]
    g = jaxinv.Generator.from_layers(layers)
    x = np.asarray(g([1010.0]))
    r = jaxinv.invert(g, x, "lm", prior=GaussianPrior(1005.0, 3.0), noise=0.1)
    np.testing.assert_allclose(r.latent, [1010.0], atol=0.05)


def test_a_given_start_and_bounds_are_in_units_of_the_latent():
    case = Linear()
    bounds = (case.mean - 0.1, case.mean + 0.2)
    prior = GaussianPrior(case.mean, 2.0)
    r = jaxinv.invert(case.generator, case.x, prior=prior, noise=NOISE, latent_bounds=bounds)
    z = np.asarray(r.latent)
    assert (z >= bounds[0] - 1e-12).all() and (z <= bounds[1] + 1e-12).all()
    steps = jaxinv.GradientDescent(steps=0)
    r = jaxinv.invert(case.generator, case.x, steps, prior=prior, noise=NOISE, start=case.z)
    np.testing.assert_allclose(r.latent, case.z, atol=1e-12)


def test_a_bad_row_changes_no_bit_of_another():
    case, prior = Linear(), GaussianPrior(0.0, 2.0)
    bad = case.x.copy()
    bad[2, 5] = np.nan
    whole, some = (
        jaxinv.invert(case.generator, x, prior=prior, noise=NOISE) for x in (case.x, bad)
    )
    rest = np.arange(6) != 2
    for name in ("latent", "status", "residual", "objective", "prior_pull"):
        before, after = (np.asarray(getattr(r, name)) for r in (whole, some))
        assert before[rest].tobytes() == after[rest].tobytes(), name
    assert int(np.asarray(some.status)[2]) == Status.BAD_INPUT
    assert np.isnan(np.asarray(some.objective)[2]) and np.isnan(np.asarray(some.prior_pull)[2])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"prior": GaussianPrior()}, "needs noise="),
        ({"prior": 1.0, "noise": 0.1}, "prior is a float"),
        ({"prior": GaussianPrior(), "noise": 0.0}, "noise=0 leaves a prior nothing"),
        ({"prior": GaussianPrior(), "noise": 0.1, "method": "linf"}, "goes layer by layer"),
        ({"prior": GaussianPrior(), "noise": 0.1, "method": "exact"}, "goes layer by layer"),
        ({"prior": GaussianPrior(), "noise": 0.1, "refine": "l1"}, "leave the prior out"),
        ({"prior": GaussianPrior(np.ones(3)), "noise": 0.1}, "have 4 entries"),
        ({"prior_weight": -1.0}, "must be positive"),
        ({"prior_weight": "1"}, "must be a positive number"),
        ({"prior_weight": 1.0, "noise": np.ones(12)}, "leave prior_weight= out"),
        ({"noise": np.zeros(12)}, "not positive"),
        ({"noise": np.ones(11)}, r"noise has shape \(11,\)"),
        ({"noise": np.ones(12), "weights": np.ones(12)}, "leave weights= out"),
        (
            {
                "prior": GaussianPrior(factor=np.tri(4)),
                "noise": 0.1,
                "latent_bounds": (-1.0, 1.0),
            },
            "latent_bounds= do not go",
        ),
    ],
)
def test_what_is_refused(arguments, sentence):
    case = Linear()
    with pytest.raises(ValueError, match=sentence):
        jaxinv.invert(case.generator, case.x, **arguments)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"scale": 0.0}, "must be positive"),
        ({"scale": [1.0, -1.0]}, "must be positive"),
        ({"mean": np.nan}, "expected finite numbers"),
        ({"factor": [[1.0, 1.0], [1.0, 1.0]]}, "not positive definite"),
        ({"factor": [1.0, 2.0]}, r"expected \(k, k\)"),
        ({"factor": np.eye(2), "scale": 2.0}, "not both"),
    ],
)
def test_a_prior_that_is_none_is_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        GaussianPrior(**arguments)


def test_jobs_and_the_command_line_take_a_prior(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case = Linear()
    jaxinv.save_generator(case.generator, "net.npz")
    np.save("x.npy", case.x)
    asked = ["invert", "net.npz", "x.npy", "--method", "lm", "--noise", str(NOISE)]
    prior = ["--prior-scale", "2", "--prior-mean", "1"]
    done = CliRunner().invoke(app, [*asked, *prior, "--out", "r.npz"])
    assert done.exit_code == 0, done.output
    want = case.posterior_mean(np.full(12, NOISE), np.ones(4), 4.0 * np.eye(4))
    with np.load("r.npz") as found:
        np.testing.assert_allclose(found["latent"], want, atol=1e-8)
        assert found["prior_pull"].shape == (6,)
    done = CliRunner().invoke(app, [*asked, *prior, "--out", "job"])
    assert done.exit_code == 0, done.output
    job = Job.open("job")
    np.testing.assert_allclose(job.shards.read(0)["latent"], want, atol=1e-8)
    other = CliRunner().invoke(app, [*asked, "--prior-scale", "3", "--out", "job"])
    assert "another prior" in str(other.exception)
    weighed = CliRunner().invoke(app, [*asked, "--prior-weight", "0.25", "--out", "w.npz"])
    assert weighed.exit_code == 0, weighed.output


def test_a_job_from_before_priors_still_opens(tmp_path):
    case = Linear()
    np.save(tmp_path / "x.npy", case.x)
    job = Job.create(tmp_path / "job", case.generator, tmp_path / "x.npy", "lm")
    manifest = tmp_path / "job" / "manifest.json"
    data = json.loads(manifest.read_text())
    for name in ("prior", "prior_weight"):
        assert data.pop(name) is None
    manifest.write_text(json.dumps(data))
    assert Job.open(job.folder).manifest == job.manifest
    assert compute_shard(Work(str(job.folder), 0, 6)).committed


def test_confidence_is_the_posterior_distribution_of_a_linear_gaussian_model():
    case = Linear()
    prior, deviation = GaussianPrior(case.mean, factor=case.factor), np.linspace(0.2, 1.0, 12)
    mask = np.arange(12) < 3  # fewer entries than unknowns
    ask = {"prior": prior, "noise": deviation, "mask": mask}
    r = jaxinv.invert(case.generator, case.x, **ask)
    c = jaxinv.confidence(case.generator, case.x, r, 0.9, **ask)
    w = (case.w / deviation[:, None])[:3]
    want = np.linalg.inv(w.T @ w + np.linalg.inv(case.factor @ case.factor.T))
    np.testing.assert_allclose(c.covariance, np.tile(want, (6, 1, 1)), rtol=1e-8)
    half = stats.norm.ppf(0.95) * np.sqrt(np.diag(want))
    np.testing.assert_allclose(c.high - c.low, np.tile(2 * half, (6, 1)), rtol=1e-8)
    assert c.reliable.all()
    with pytest.raises(ValueError, match="leave weights= out"):
        jaxinv.confidence(case.generator, case.x, r, noise=0.1, weights=np.ones(12))
    with pytest.raises(ValueError, match="positive and finite"):
        jaxinv.confidence(case.generator, case.x, r, noise=0.0)


def test_posterior_intervals_cover_draws_of_the_prior():
    # Without kinks Laplace's approximation is good; with them `reliable` says where it is not.
    g = jaxinv.Generator.random((3, 12, 40), seed=0, activation="tanh")
    rng = np.random.default_rng(7)
    z = rng.standard_normal((300, 3))
    x = np.asarray(g(z)) + 0.05 * rng.standard_normal((300, 40))
    ask = {"prior": GaussianPrior(), "noise": 0.05}
    r = jaxinv.invert(g, x, "lm", **ask)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnderCoverage)
        c = jaxinv.confidence(g, x, r, 0.9, **ask)
    covered = ((c.low < z) & (z < c.high)).mean()
    # Of 900 entries: the share's own deviation is .01. A row in hundreds leaves the noise stated.
    np.testing.assert_array_equal(c.reliable, r.explained)
    assert c.reliable.mean() > 0.97 and 0.87 < covered < 0.93, covered
