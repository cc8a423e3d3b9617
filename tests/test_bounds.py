"""The theorems' bounds by hand, their assumptions one by one, and the noise they bear."""

import numpy as np
import pytest

from jaxinv.certify import (
    corollary_1_noise_limit,
    error_bound,
    largest_noise,
    observed_error_bound,
)
from jaxinv.certify.constants import Norm
from jaxinv.model.generator import Generator

NORMS: tuple[Norm, ...] = ("linf", "l1", "l2")


def test_by_hand() -> None:
    # c_p = 1 for the first layer and 2 for the second, in every norm.
    g = Generator.from_layers(
        [(np.diag([1.0, 3.0]), None, "relu"), (np.diag([2.0, 5.0]), None, "relu")]
    )
    for norm in NORMS:
        bound = error_bound(g, [1.0, 1.0], 0.01, norm, effort="thorough")
        assert bound.holds
        assert bound.value == pytest.approx(0.01 * (2 / 2) * (2 / 1))
        assert [layer.constant for layer in bound.layers] == pytest.approx([1.0, 2.0])
        assert [layer.noise for layer in bound.layers] == pytest.approx([0.01, 0.01])
        assert [layer.rows for layer in bound.layers] == [2, 2]
    assert error_bound(g, [1.0, 1.0], 0.01, "l2", least_squares=True).value == pytest.approx(0.005)
    with_solver = error_bound(g, [1.0, 1.0], 0.01, "linf", solver_error=0.02)
    assert with_solver.value == pytest.approx((0.02 * 2 + 0.02) / 1)


def test_leaky_relu_by_hand() -> None:
    g = Generator.from_layers([(np.diag([1.0, 1.0]), None, "leaky_relu:0.5")])
    # Row 1 is positive and row 2 negative: D = diag(1, 1/2), slack up to 1.2 eps.
    assert error_bound(g, [1.0, -1.0], 0.1).value == pytest.approx(2.2 * 0.1 / 0.5)
    assert error_bound(g, [1.0, -1.0], 0.1, "l1").value == pytest.approx(2 * 0.1 / 0.5)
    near = error_bound(g, [1.0, -0.1], 0.1, "l1")
    assert not near.holds
    assert "kink" in near.failed[0]
    assert error_bound(g, [1.0, -0.1], 0.1).holds


def test_what_fails_is_named() -> None:
    g = Generator.random((4, 20, 80), seed=0)
    z = np.random.default_rng(0).standard_normal(4)
    much = error_bound(g, z, 10.0)
    assert (much.value, much.holds) == (np.inf, False)
    assert "layer 2" in much.failed[0]
    assert "do not determine its 20 inputs" in much.failed[0]
    tight = Generator.random((4, 3, 80), seed=0)
    assert "layer" in error_bound(tight, z, 0.0).failed[0]
    squashed = Generator.from_layers([(np.eye(4), None, "sigmoid")])
    assert "sigmoid" in error_bound(squashed, z, 1e-3).failed[0]


def test_without_noise_the_bound_is_zero() -> None:
    g = Generator.random((4, 20, 80), seed=0)
    z = np.random.default_rng(0).standard_normal(4)
    for norm in NORMS:
        assert error_bound(g, z, 0.0, norm).value == 0.0


@pytest.mark.parametrize("norm", NORMS)
def test_largest_noise_is_where_the_assumptions_end(norm: Norm) -> None:
    g = Generator.random((4, 20, 80), seed=1)
    z = np.random.default_rng(1).standard_normal(4)
    limit = largest_noise(g, z, norm)
    assert 0 < limit < np.inf
    assert error_bound(g, z, limit, norm).holds
    assert not error_bound(g, z, 1.02 * limit, norm).holds


def test_largest_noise_at_its_ends() -> None:
    z = np.ones(3)
    assert largest_noise(Generator.random((3, 2, 30), seed=0), z) == 0.0
    rng = np.random.default_rng(0)
    leaky = Generator.from_layers([(rng.standard_normal((6, 3)), None, "leaky_relu:0.1")])
    assert largest_noise(leaky, z) == np.inf
    assert largest_noise(leaky, z, "l1") < np.inf


def test_corollary_1() -> None:
    g = Generator.random((10, 50, 250), seed=0)
    z = np.random.default_rng(0).standard_normal(10)
    limit = corollary_1_noise_limit(g, z)
    assert limit.holds
    assert 0 < limit.constant < 1
    assert limit.value == pytest.approx(
        (limit.constant / 2) ** 2 * np.linalg.norm(z) / 16, rel=1e-12
    )
    # Promised at the limit: a sixteenth of the code.
    promised = (2 / limit.constant) ** 2 * limit.value
    assert promised == pytest.approx(np.linalg.norm(z) / 16)
    # At this size the certain rows reach beyond the limit, and the per-layer bound is smaller.
    bound = error_bound(g, z, limit.value, "l2")
    assert bound.holds
    narrow = Generator.from_layers([(np.eye(3), np.ones(3), "leaky_relu:0.1")])
    failed = " ".join(corollary_1_noise_limit(narrow, [1.0, 0.0, -2.0]).failed)
    for words in ("expand by 1", "leaky_relu", "bias", "c_2 = 0"):
        assert words in failed


def test_the_doors_say_what_is_wrong() -> None:
    g = Generator.random((2, 5, 9), seed=0)
    with pytest.raises(ValueError, match=r"\(3,\); expected one finite code \(2,\)"):
        error_bound(g, np.ones(3), 0.1)
    with pytest.raises(ValueError, match="expected one finite code"):
        corollary_1_noise_limit(g, [np.nan, 1.0])
    with pytest.raises(ValueError, match="noise=-1"):
        error_bound(g, np.ones(2), -1.0)
    with pytest.raises(ValueError, match="noise=nan"):
        error_bound(g, np.ones(2), np.nan)
    with pytest.raises(ValueError, match=r"growth=0.5"):
        error_bound(g, np.ones(2), 0.1, growth=0.5)
    with pytest.raises(ValueError, match="norm='l0'"):
        error_bound(g, np.ones(2), 0.1, "l0")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="least_squares=True"):
        error_bound(g, np.ones(2), 0.1, "linf", least_squares=True)
    with pytest.raises(ValueError, match="estimates have shapes"):
        observed_error_bound(g, [np.ones(9)], [0.1, 0.1], 0.1)
    with pytest.raises(ValueError, match="1 tolerances arrived for 2 layers"):
        observed_error_bound(g, [np.ones(5), np.ones(9)], [0.1], 0.1)
    with pytest.raises(ValueError, match="NaN"):
        observed_error_bound(g, [np.ones(5), np.full(9, np.nan)], [0.1, 0.1], 0.1)
