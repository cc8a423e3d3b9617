"""The theorems' bounds against measured errors of literal transcriptions of their programs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import cvxpy
import numpy as np
import pytest
from scipy.optimize import linprog

import jaxinv
from jaxinv.certify import ErrorBound, error_bound, observed_error_bound
from jaxinv.certify.constants import ORDER, Norm
from jaxinv.model.generator import Generator
from jaxinv.model.layer import Layer

cp: Any = cvxpy  # its types lack most of its functions

# HiGHS leaves rows and objective off by up to 1e-7 each; an l1 objective adds up its rows.
SOLVER_ERROR = {"linf": 1e-6, "l1": 2e-5, "l2": 2e-5}


def layer_program(
    layer: Layer, y: np.ndarray, tolerance: float, norm: Norm, nonnegative: bool
) -> tuple[np.ndarray, float]:
    """The program of Algorithm 1 (shared slack) or 2 (a slack a row), and its l2 sibling.

    ReLU: y - s <= u <= y + s where y > tolerance, else u <= y + s. LeakyReLU: the same, and
    y - s <= c u <= y + s where y < -tolerance, else (y - s) / c <= u <= y + s.
    """
    w, b = np.asarray(layer.weight), np.asarray(layer.bias)
    rows, columns = w.shape
    kind, c = layer.activation.kind, layer.activation.slope
    positive, negative = y > tolerance, y < -tolerance
    if kind == "identity":
        positive, negative = np.ones(rows, bool), np.zeros(rows, bool)
    if kind != "leaky_relu":
        negative = np.zeros(rows, bool)
    up_scale = np.where(negative, 1 / c if kind == "leaky_relu" else 1.0, 1.0)
    low_scale = np.where(positive, 1.0, 1 / c if kind == "leaky_relu" else 1.0)
    below = positive if kind == "relu" else np.ones(rows, bool)
    if norm == "l2":
        z, s = cp.Variable(columns), cp.Variable(rows, nonneg=True)
        u = w @ z + b
        constraints: list[Any] = [u <= cp.multiply(up_scale, y + s)]
        if below.any():
            constraints.append(u[below] >= cp.multiply(low_scale, y - s)[below])
        constraints += [z >= 0] if nonnegative else []
        problem = cp.Problem(cp.Minimize(cp.norm(s)), constraints)
        problem.solve(solver=cp.CLARABEL)
        assert problem.status == "optimal"
        return np.asarray(z.value), float(np.linalg.norm(np.asarray(s.value)))
    slack = np.ones((rows, 1)) if norm == "linf" else np.eye(rows)
    upper = np.hstack([w, -up_scale[:, None] * slack])
    lower = np.hstack([-w, -low_scale[:, None] * slack])[below]
    answer: Any = linprog(
        np.concatenate([np.zeros(columns), np.ones(slack.shape[1])]),
        A_ub=np.vstack([upper, lower]),
        b_ub=np.concatenate([up_scale * y - b, (b - low_scale * y)[below]]),
        bounds=[(0 if nonnegative else None, None)] * columns + [(0, None)] * slack.shape[1],
        method="highs",
    )
    assert answer.status == 0
    return answer.x[:columns], float(answer.fun)


def algorithm_1(
    layer: Layer, y: np.ndarray, growth: float, nonnegative: bool
) -> tuple[np.ndarray, float]:
    """The smallest tolerance of the grid whose program is feasible, and its solution."""
    tolerance = 1e-6 * float(np.abs(y).max())
    while True:
        z, slack = layer_program(layer, y, tolerance, "linf", nonnegative)
        if slack <= tolerance:
            return z, tolerance
        tolerance *= growth


def invert_layers(
    generator: Generator, x: np.ndarray, one_layer: Callable[[int, np.ndarray], np.ndarray]
) -> list[np.ndarray]:
    """What every layer was inverted from, first layer first, after the code itself."""
    seen = [x]
    for index in reversed(range(generator.depth)):
        seen.insert(0, one_layer(index, seen[0]))
    return seen


def is_hidden_relu(generator: Generator, index: int) -> bool:
    return index > 0 and generator.layers[index - 1].activation.kind == "relu"


def noise_vectors(
    rng: np.random.Generator, size: int, level: float, norm: Norm
) -> list[np.ndarray]:
    """Dense, at the corners of the box, and in one entry only: each of p-norm at most level."""
    spike = np.zeros(size)
    spike[rng.integers(size)] = 1.0
    vectors = [rng.uniform(-1, 1, size), rng.choice([-1.0, 1.0], size), spike]
    return [level * v / np.linalg.norm(v, ORDER[norm]) for v in vectors]


def random_net(widths: tuple[int, ...], activation: str, seed: int, bias: float) -> Generator:
    """Gaussian weights of variance 1 / n_i; "relu+identity" has the identity in its last layer."""
    rng = np.random.default_rng(seed)
    first, _, last = activation.partition("+")
    names = [first] * (len(widths) - 2) + [last or first]
    return Generator.from_layers(
        (
            rng.standard_normal((n, k)) / np.sqrt(n),
            bias * rng.standard_normal(n) / np.sqrt(n),
            name,
        )
        for (k, n), name in zip(pairwise(widths), names, strict=True)
    )


NETS = [
    ((4, 20, 80), "relu", 0.0),
    ((4, 20, 80), "relu", 0.5),
    ((5, 25), "relu", 0.3),
    ((3, 12, 40, 120), "relu", 0.0),
    ((4, 20, 60), "relu+identity", 0.3),
    ((4, 10, 30), "leaky_relu:0.2", 0.3),
]
LEVELS = (1e-4, 1e-3, 1e-2)


@dataclass(frozen=True)
class Case:
    """A planted code, a noise level, and observations whose noise stays within it."""

    generator: Generator
    code: np.ndarray
    level: float
    observations: list[np.ndarray]


def cases(norm: Norm, codes: int = 1) -> Iterator[Case]:
    for (widths, activation, bias), seed in product(NETS, range(codes)):
        generator = random_net(widths, activation, seed, bias)
        rng = np.random.default_rng(100 + seed)
        code = rng.standard_normal(widths[0])
        clean = np.asarray(generator(code))
        for level in LEVELS:
            noisy = [clean + e for e in noise_vectors(rng, len(clean), level, norm)]
            yield Case(generator, code, level, noisy)


def assert_within(bound: ErrorBound, case: Case, seen: list[np.ndarray]) -> None:
    """The error of the code and of every hidden estimate is within the bound's own account."""
    truths = [case.code, *map(np.asarray, case.generator.outputs(case.code))]
    errors = [
        np.linalg.norm(estimate - truth, ORDER[bound.norm])
        for estimate, truth in zip(seen, truths, strict=True)
    ]
    assert errors[0] <= bound.value
    for layer in bound.layers:
        assert errors[layer.layer] <= layer.noise * (1 + 1e-9)


def test_theorem_3_bounds_algorithm_1() -> None:
    growth, held, total = 1.5, 0, 0
    for case in cases("linf"):
        bound = error_bound(
            case.generator,
            case.code,
            case.level,
            growth=growth,
            solver_error=SOLVER_ERROR["linf"],
            effort="thorough",
        )
        total += 1
        held += bound.holds
        for x in case.observations if bound.holds else []:
            tolerances: list[float] = []

            def one_layer(
                index: int,
                y: np.ndarray,
                generator: Generator = case.generator,
                tolerances: list[float] = tolerances,
            ) -> np.ndarray:
                nonnegative = is_hidden_relu(generator, index)
                z, tolerance = algorithm_1(generator.layers[index], y, growth, nonnegative)
                tolerances.insert(0, tolerance)
                return z

            seen = invert_layers(case.generator, x, one_layer)
            assert_within(bound, case, seen)
            for layer, accepted in zip(bound.layers, tolerances, strict=True):
                assert accepted <= layer.tolerance * (1 + 1e-6)
            observed = observed_error_bound(
                case.generator,
                seen[1:],
                tolerances,
                case.level,
                solver_error=SOLVER_ERROR["linf"],
            )
            assert np.abs(seen[0] - case.code).max() <= observed.value
    assert held >= total / 2


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_theorem_4_and_corollary_1_bound_their_programs(norm: Norm) -> None:
    held, total = 0, 0
    for case in cases(norm):
        bound = error_bound(
            case.generator,
            case.code,
            case.level,
            norm,
            solver_error=SOLVER_ERROR[norm],
            effort="thorough" if case.generator.depth == 1 else "fast",
        )
        total += 1
        held += bound.holds
        for x in case.observations if bound.holds else []:

            def one_layer(
                index: int,
                y: np.ndarray,
                generator: Generator = case.generator,
                bound: ErrorBound = bound,
            ) -> np.ndarray:
                tolerance = bound.layers[index].tolerance
                nonnegative = is_hidden_relu(generator, index)
                return layer_program(generator.layers[index], y, tolerance, norm, nonnegative)[0]

            seen = invert_layers(case.generator, x, one_layer)
            assert_within(bound, case, seen)
            observed = observed_error_bound(
                case.generator,
                seen[1:],
                [layer.tolerance for layer in bound.layers],
                case.level,
                norm,
                solver_error=SOLVER_ERROR[norm],
            )
            assert np.linalg.norm(seen[0] - case.code, ORDER[norm]) <= observed.value
    assert held >= total / 3


def test_least_squares_needs_no_factor_two() -> None:
    held = 0
    for case in cases("l2", codes=4):
        bound = error_bound(case.generator, case.code, case.level, "l2", least_squares=True)
        if not bound.holds:
            continue
        held += 1
        assert bound.value <= error_bound(case.generator, case.code, case.level, "l2").value
        for x in case.observations:

            def one_layer(
                index: int,
                y: np.ndarray,
                generator: Generator = case.generator,
                bound: ErrorBound = bound,
            ) -> np.ndarray:
                layer = generator.layers[index]
                w, b = np.asarray(layer.weight), np.asarray(layer.bias)
                kind, c = layer.activation.kind, layer.activation.slope
                if kind == "relu":
                    rows = y > bound.layers[index].tolerance
                    w, b, y = w[rows], b[rows], y[rows]
                slope = np.where(y < 0, c, 1.0) if kind == "leaky_relu" else np.ones(len(y))
                return np.asarray(np.linalg.lstsq(slope[:, None] * w, y - slope * b)[0])

            assert_within(bound, case, invert_layers(case.generator, x, one_layer))
    assert held >= 30


def test_two_eps_over_c_is_attained() -> None:
    # Two rows on the second input disagree by 2 eps and force the slack to eps; that leaves the
    # first input, observed eps too high, free to move as far up again. c_inf = 1.
    eps = 0.1
    g = Generator.from_layers([([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], None, "relu")])
    y = np.array([1.0 + eps, 1.0 - eps, 1.0 + eps])
    _, slack = layer_program(g.layers[0], y, eps, "linf", False)
    assert slack == pytest.approx(eps)
    worst = np.array([1.0 + 2 * eps, 1.0])
    assert np.abs(np.asarray(g(worst)) - y).max() == pytest.approx(slack)
    bound = error_bound(g, [1.0, 1.0], eps, effort="thorough")
    assert bound.value == pytest.approx(np.abs(worst - 1.0).max())


def test_a_threshold_below_the_noise_breaks_the_l1_bound() -> None:
    # u* = (1, -5): the noise lifts the second row above the threshold, and the program pays
    # for |-5 z - .01| what it should not pay at all.
    g = Generator.from_layers([(np.array([[1.0], [-5.0]]), None, "relu")])
    y, noise = np.array([1.0, 0.01]), 0.01
    z, _ = layer_program(g.layers[0], y, 0.001, "l1", False)
    assert abs(z[0] - 1.0) > 0.9
    refused = observed_error_bound(g, [y], [0.001], noise, "l1")
    assert not refused.holds
    assert "below the noise bound" in refused.failed[0]
    z, _ = layer_program(g.layers[0], y, 0.01, "l1", False)
    accepted = observed_error_bound(g, [y], [0.01], noise, "l1")
    assert abs(z[0] - 1.0) <= accepted.value == pytest.approx(0.02)


@pytest.mark.parametrize("condition", [1e2, 1e10, 1e13])
def test_an_ill_conditioned_layer_gives_a_true_radius_or_none(condition):
    rng = np.random.default_rng(0)
    finite = 0
    for trial in range(8):
        left, _, right = np.linalg.svd(rng.standard_normal((40, 8)), full_matrices=False)
        steep = left * np.geomspace(1, 1 / condition, 8) @ right
        kind = "relu" if trial % 2 else "leaky_relu:0.2"
        first = rng.standard_normal((8, 4))
        g = jaxinv.Generator.from_layers([(first, None, kind), (steep, np.ones(40), "relu")])
        z, bound = rng.standard_normal(4), 1e-3 / condition
        x = np.asarray(g(z)) + bound * rng.uniform(-1, 1, 40)
        centre, radius = jaxinv.rigorous_radius(g, x, bound)
        if np.isfinite(radius).all():
            finite += 1
            assert (np.abs(centre - z) <= radius).all()
    assert (finite > 0) == (condition < 1e12)
