"""Theorem 2's probability against known values and against counted successes."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxinv.certify import recovery_probability, width_for_recovery


@pytest.mark.parametrize(("k", "failure"), [(20, 0.32), (100, 0.22), (1000, 0.014)])
def test_expansion_by_2_1_is_not_enough_at_small_k(k: int, failure: float) -> None:
    found = recovery_probability((k, round(2.1 * k)))
    assert 1 - found.value == pytest.approx(failure, rel=0.03)


@pytest.mark.parametrize(("k", "success"), [(109, 0.98), (115, 0.91), (120, 0.76), (124, 0.58)])
def test_the_paper_s_net(k: int, success: float) -> None:
    assert recovery_probability((k, 250, 600)).value == pytest.approx(success, abs=0.005)


def test_least_squares_succeeds_that_often() -> None:
    widths, trials = (6, 13, 27), 400
    successes = 0
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        z = truth = rng.standard_normal(widths[0])
        layers = []
        for k, n in pairwise(widths):
            w = rng.standard_normal((n, k)) / np.sqrt(n)
            z = np.maximum(w @ z, 0)
            layers.append(w)
        for w in reversed(layers):
            z = np.linalg.lstsq(w[z > 1e-9], z[z > 1e-9])[0]
        successes += bool(np.linalg.norm(z - truth) <= 1e-6 * np.linalg.norm(truth))
    expected = recovery_probability(widths).value
    assert 0.3 < expected < 0.9
    spread = np.sqrt(expected * (1 - expected) / trials)
    assert abs(successes / trials - expected) < 4 * spread


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(1, 500), min_size=2, max_size=5))
def test_the_exponential_bound_is_below_the_exact_value(widths: list[int]) -> None:
    found = recovery_probability(widths)
    assert 0 <= found.exponential <= found.value + 1e-12
    assert found.value == pytest.approx(np.prod(found.layers))


@pytest.mark.parametrize("k", [1, 2, 20, 109])
def test_width_for_recovery_is_the_smallest(k: int) -> None:
    for probability in (0.01, 0.5, 0.99):
        n = width_for_recovery(k, probability)
        assert recovery_probability((k, n)).value >= probability
        assert n == k or recovery_probability((k, n - 1)).value < probability


def test_the_doors_say_what_is_wrong() -> None:
    for widths in ((5,), (5, 0), (5, 2.5)):
        with pytest.raises(ValueError, match="two or more positive whole numbers"):
            recovery_probability(widths)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="inputs=0"):
        width_for_recovery(0, 0.5)
    with pytest.raises(ValueError, match=r"probability=1.0"):
        width_for_recovery(5, 1.0)
