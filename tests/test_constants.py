"""The constants c_p of the theorems against brute force, exact inverses and lying solvers."""

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.linalg import hilbert, invhilbert

from jaxinv.certify import lower_bound, sampled_upper_estimate
from jaxinv.certify.constants import ORDER, Norm

NORMS: tuple[Norm, ...] = ("linf", "l1", "l2")


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("effort", ["fast", "thorough"])
@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (12, 5), (40, 12)])
def test_no_direction_is_below_a_lower_bound(
    norm: Norm, effort: Any, shape: tuple[int, int]
) -> None:
    w = np.random.default_rng(0).standard_normal(shape)
    bound = lower_bound(w, norm, effort)
    assert 0 < bound.value <= sampled_upper_estimate(w, norm, 5000).value * (1 + 1e-12)
    singular = np.linalg.svd(w, compute_uv=False)[-1]
    side = {"linf": np.sqrt(shape[0]), "l1": np.sqrt(shape[1]), "l2": 1.0}[norm]
    assert bound.value >= singular / side * (1 - 1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_thorough_is_exact_for_two_columns(norm: Norm) -> None:
    for seed in range(5):
        w = np.random.default_rng(seed).standard_normal((5, 2))
        angles = np.linspace(0, np.pi, 200_001)
        z = np.stack([np.cos(angles), np.sin(angles)])
        order = ORDER[norm]
        ratios = np.linalg.norm(w @ z, order, axis=0) / np.linalg.norm(z, order, axis=0)
        bound = lower_bound(w, norm, "thorough")
        assert bound.exact
        assert bound.value == pytest.approx(ratios.min(), rel=1e-4)
        assert bound.value <= ratios.min()
        assert lower_bound(w, norm, "fast").value <= bound.value * (1 + 1e-12)


@pytest.mark.parametrize(("norm", "axis"), [("linf", 1), ("l1", 0)])
@pytest.mark.parametrize("effort", ["fast", "thorough"])
def test_ill_conditioned_constants_stay_below_the_truth(norm: Norm, axis: int, effort: Any) -> None:
    # The inverse of a Hilbert matrix is a matrix of integers, so the truth has no rounding; that of
    # the matrix itself moves it by the condition number, 5e8 at size 7.
    for size in (3, 5, 7):
        inverse = invhilbert(size, exact=True)
        sums = [int(sum(abs(int(v)) for v in row)) for row in (inverse if axis else inverse.T)]
        truth = float(Fraction(1, max(sums)))
        value = lower_bound(hilbert(size), norm, effort).value
        assert truth * (1 - 1e-3) <= value <= truth * (1 + 1e-6)
    # At size 12 (condition number 2e16) the product L W is nowhere near I: nothing is proven.
    assert lower_bound(hilbert(12), norm, effort).value == 0.0


@pytest.mark.parametrize("norm", NORMS)
def test_nothing_is_proven_without_full_rank(norm: Norm) -> None:
    rng = np.random.default_rng(0)
    low_rank = rng.standard_normal((9, 2)) @ rng.standard_normal((2, 3))
    nearly = np.diag([1.0, 1.0, 1e-17])
    for w in (low_rank, nearly, np.ones((2, 3)), np.zeros((4, 2)), np.zeros((0, 2))):
        for effort in ("fast", "thorough"):
            assert lower_bound(w, norm, effort).value == 0.0


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_a_wrong_solver_costs_tightness_not_truth(
    norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = np.random.default_rng(0).standard_normal((12, 4))
    truth = lower_bound(w, norm, "thorough").value

    def liar(cost: np.ndarray, **_: Any) -> SimpleNamespace:
        rng = np.random.default_rng(1)
        marginals = SimpleNamespace(marginals=rng.standard_normal(4))
        return SimpleNamespace(status=0, x=0.01 * rng.random(len(cost)), eqlin=marginals)

    monkeypatch.setattr("scipy.optimize.linprog", liar)
    lied = lower_bound(w, norm, "thorough")
    assert lied.value <= truth * (1 + 1e-9)
    assert not lied.exact
    monkeypatch.setattr("scipy.optimize.linprog", lambda cost, **_: SimpleNamespace(status=4))
    refused = lower_bound(w, norm, "thorough")
    assert refused.value == pytest.approx(lower_bound(w, norm, "fast").value)


def test_more_rows_never_lower_a_constant() -> None:
    w = np.random.default_rng(3).standard_normal((30, 6))
    for norm in NORMS:
        values = [lower_bound(w[:rows], norm, "thorough").value for rows in (8, 15, 30)]
        assert values == sorted(values)


def test_the_doors_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="norm='l3'"):
        lower_bound(np.eye(2), "l3")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="effort='hard'"):
        lower_bound(np.eye(2), "l1", "hard")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected"):
        lower_bound(np.ones(3), "l1")
    with pytest.raises(ValueError, match="NaN"):
        lower_bound(np.full((2, 2), np.nan), "l1")
    with pytest.raises(ValueError, match="samples=0"):
        sampled_upper_estimate(np.eye(2), "l1", samples=0)
