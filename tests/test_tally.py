"""Values counted on a logarithmic axis, against NumPy's histogram and quantiles of all of them."""

import numpy as np
import pytest

from jaxinv.job.report.tally import Tally


@pytest.mark.parametrize("kinds", [1, 3])
def test_a_tally_counts_as_numpy_does(kinds):
    rng = np.random.default_rng(0)
    value, kind = 10.0 ** rng.normal(-3, 2, 5000), rng.integers(0, kinds, 5000)
    tally = Tally(kinds)
    for some in np.array_split(np.arange(5000), 7):
        tally.add(value[some], kind[some])
    shown = tally.shown()
    bars = shown.counts.shape[1]
    assert bars <= 48
    for one in range(kinds):
        own = value[kind == one]
        expected, _ = np.histogram(np.log10(own), bars, (shown.low, shown.high))
        np.testing.assert_array_equal(shown.counts[one], expected)
        for q in (0.05, 0.5, 0.95):
            np.testing.assert_allclose(tally.quantile(q, [one]), _reached(own, q), rtol=0.02)


def _reached(values, share):
    """The least of the values that this share of them does not exceed."""
    return np.quantile(values, share, method="inverted_cdf")


def test_a_tally_takes_whatever_a_residual_can_be():
    tally = Tally()
    tally.add(np.array([0.0, 0.0, 5e-324, 1.0, 1.7e308, np.inf, np.nan]))
    assert tally.total() == 6
    assert tally.quantile(0.0) == tally.quantile(0.3) == 0.0
    assert tally.quantile(1.0) == np.inf and tally.quantile(0.6) == 1.0
    assert tally.shown().counts.sum() == 3
    ones = Tally()
    ones.add(np.ones(3))
    assert ones.shown().low < -0.9 and 0.9 < ones.shown().high < 1.1
    assert np.isnan(Tally().quantile(0.5)) and Tally().shown() is None
