"""What speaks against noise: tests of a size that is counted, and of power."""

import numpy as np
import pytest
from scipy import stats

import jaxinv
from jaxinv import Status
from jaxinv.joint.search import significance
from jaxinv.joint.search.normality import LEVEL, not_gaussian
from jaxinv.joint.search.significance import tells_of_a_code

ROWS = 40_000
MOST = int(stats.binom.ppf(1 - 1e-4, ROWS, 2 * LEVEL))  # of a level that is off by two at most


@pytest.mark.parametrize("entries", [10, 40, 400])
@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_gaussian_noise_is_refused_as_seldom_as_the_level_says(entries, scale):
    misfit = scale * np.random.default_rng(0).standard_normal((ROWS, entries))
    refused = not_gaussian(misfit, np.ones(misfit.shape, bool))
    assert LEVEL == 1e-4 and refused.sum() <= MOST


def test_the_statistic_is_the_one_that_scipy_computes():
    rng = np.random.default_rng(1)
    misfit = rng.standard_t(6, (300, 60))
    seen = rng.random(misfit.shape) < 0.8
    with np.errstate(all="ignore"):
        square = np.array(
            [
                stats.anderson(row[kept], "norm", method="interpolate").statistic
                for row, kept in zip(misfit, seen, strict=True)
            ]
        )
    m = seen.sum(1)
    corrected = square * (1 + 0.75 / m + 2.25 / m**2)
    probability = np.exp(1.2937 - 5.709 * corrected + 0.0186 * corrected**2)
    clear = np.abs(probability / LEVEL - 1.0) > 1e-6
    assert clear.all() and 0 < (probability < LEVEL).sum() < 300
    np.testing.assert_array_equal(not_gaussian(misfit, seen), probability < LEVEL)


def test_what_is_no_noise_is_refused():
    rng = np.random.default_rng(2)
    sparse = rng.standard_normal((50, 300)) * (rng.random((50, 300)) < 0.1)
    checkers = np.where(np.arange(300) % 2, 1.0, -1.0) + np.zeros((50, 1))
    for misfit in (sparse, checkers, rng.uniform(-1, 1, (50, 300))):
        assert not_gaussian(misfit, np.ones(misfit.shape, bool)).all()
    # Where nothing is left, and where hardly anything is seen, nothing can be told.
    assert not not_gaussian(np.zeros((2, 5)), np.ones((2, 5), bool)).any()


def test_a_fit_of_pure_noise_tells_of_no_code():
    """The least squares of a linear net take k of n variances off; those of a ReLU net, more."""
    rng = np.random.default_rng(3)
    for widths, activation in (((4, 60), "identity"), ((4, 12, 60), "leaky_relu:0.5")):
        g = jaxinv.Generator.random(widths, seed=0, activation=activation)
        noise = rng.standard_normal((200, 60))
        signal = np.asarray(g(rng.standard_normal((200, 4)))) + 0.02 * noise
        for x, expected in ((noise, False), (signal, True)):
            r = jaxinv.invert(g, x)
            size, loss = np.linalg.norm(x, axis=1), np.asarray(r.residual) ** 2
            told = tells_of_a_code(g, size, loss, np.full(200, 60))
            assert (told == expected).mean() > 0.97
            if not expected:
                assert not (np.asarray(r.status)[~told] == Status.SOLVED).any()


def test_what_the_net_cannot_make_is_not_solved():
    """Of a net that makes smooth bumps, whatever it makes of these has no misfit that is noise."""
    t = np.linspace(0, 1, 80)
    centres = np.linspace(0, 1, 12)
    bumps = np.exp(-(((t[:, None] - centres) / 0.06) ** 2))
    rng = np.random.default_rng(4)
    hidden = rng.standard_normal((12, 3))
    g = jaxinv.Generator.from_layers([(hidden, None, "leaky_relu:0.2"), (bumps, None, "identity")])
    made = np.asarray(g(rng.standard_normal((3, 3))))
    checkers = np.where(np.arange(80) % 2, 1.0, -1.0)
    others = np.stack([checkers, 1.0 - made[0], made[1][rng.permutation(80)], -np.abs(made[2])])
    found = jaxinv.invert(g, others)
    assert not np.asarray(found.explained).any()
    noisy = made + 0.02 * rng.standard_normal(made.shape)
    assert jaxinv.invert(g, noisy).counts() == {Status.SOLVED: 3}


def test_bounds_that_exclude_the_code_leave_no_explained_row():
    """All runs meet in one corner, whose misfit is no noise."""
    g = jaxinv.Generator.random((4, 12, 30), 0, "leaky_relu:0.1")
    x = np.asarray(g(np.random.default_rng(5).standard_normal((20, 4))))
    found = jaxinv.invert(g, x, latent_bounds=(5.0, 6.0))
    assert not np.asarray(found.explained).any()
    assert ((np.asarray(found.latent) >= 5) & (np.asarray(found.latent) <= 6)).all()


@pytest.mark.parametrize("widths", [(2, 24), (27, 38)])
def test_noise_through_an_affine_net_is_taken_for_a_code_as_seldom_as_the_level_says(widths):
    k, n = widths
    rng = np.random.default_rng(5)
    weight = rng.standard_normal((n, k))
    x = rng.standard_normal((ROWS, n))
    fit = np.linalg.lstsq(weight, x.T, rcond=None)[0]
    loss = ((x - (weight @ fit).T) ** 2).sum(1)
    g = jaxinv.Generator.from_layers([(weight, None, "identity")])
    told = tells_of_a_code(g, np.linalg.norm(x, axis=1), loss, np.full(ROWS, n))
    most = stats.binom.ppf(1 - 1e-4, ROWS, 2 * significance.LEVEL)
    assert told.sum() <= most
