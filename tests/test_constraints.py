"""Each program's rows against the paper's table, entry by entry, and against what they promise."""

import numpy as np
import pytest

from jaxinv.layerwise.constraints import (
    Rows,
    bracket_rows,
    l1_rows,
    linf_rows,
    out_of_reach,
    relaxed_rows,
    signed_rows,
    tolerance_needed,
    undecided,
)
from jaxinv.model.activation import Activation

BATCH, ROWS, COLUMNS = 4, 60, 3
TOLERANCE = np.array([0.05, 0.2, 0.3, 0.4])
NAMES = ("relu", "leaky_relu:0.2", "one-sided", "identity", "sigmoid", "tanh")
INVERSE = {"sigmoid": lambda x: np.log(x / (1.0 - x)), "tanh": np.arctanh}
PHI = {
    "relu": lambda u: max(u, 0.0),
    "leaky_relu:0.2": lambda u: max(u, 0.2 * u),
    "one-sided": lambda u: max(u, 0.2 * u),
    "identity": lambda u: u,
    "sigmoid": lambda u: 1.0 / (1.0 + np.exp(-u)),
    "tanh": np.tanh,
}


def layer(name, seed=0):
    """Rows with biases, weights, a tenth not observed; squashed ones lie beyond their range too."""
    rng = np.random.default_rng(seed)
    activation = Activation.parse("leaky_relu:0.2" if name == "one-sided" else name)
    low, high = activation.range if activation.squashing else (-1.0, 1.0)
    omega = rng.uniform(0.5, 2.0, (BATCH, ROWS)) * (rng.random((BATCH, ROWS)) < 0.9)
    box = (np.full((BATCH, COLUMNS), -2.0), np.full((BATCH, COLUMNS), 3.0))
    return Rows(
        matrix=rng.standard_normal((ROWS, COLUMNS)),
        bias=0.3 * rng.standard_normal(ROWS),
        activation=activation,
        x=rng.uniform(low - 0.02, high + 0.02, (BATCH, ROWS)),
        row_weight=omega,
        box=box,
        one_sided=name == "one-sided",
    )


def interval(name, x, eps, s):
    """What u = w.z + b must lie in at slack s; sigmoid and tanh: at s = 0 and s = eps."""
    if name in INVERSE:
        low = 0.0 if name == "sigmoid" else -1.0
        ends = [np.clip(end, low, 1.0) for end in (x - s, x + s)]
        with np.errstate(divide="ignore"):
            return INVERSE[name](ends[0]), INVERSE[name](ends[1])
    if name == "identity" or x > eps:
        return x - s, x + s
    if name in ("relu", "one-sided"):
        return -np.inf, x + s
    return (x - s) / 0.2, ((x + s) / 0.2 if x < -eps else x + s)


def ends(program, rows, s):
    """The program's intervals for u at slack s, (B, n) twice."""
    lower = program.lower - program.lower_slack * s[:, None] + rows.bias
    return lower, program.upper + program.upper_slack * s[:, None] + rows.bias


def expected_ends(name, rows, s):
    """The same from `interval`: a weight divides tolerance and slack, no weight is no row."""
    found = np.empty((2, BATCH, ROWS))
    for i, j in np.ndindex(BATCH, ROWS):
        omega = rows.row_weight[i, j]
        found[:, i, j] = (
            interval(name, rows.x[i, j], TOLERANCE[i] / omega, s[i] / omega)
            if omega
            else (-np.inf, np.inf)
        )
    return found


@pytest.mark.parametrize("build", [linf_rows, l1_rows])
@pytest.mark.parametrize("name", NAMES)
def test_rows_of_algorithms_1_and_2(name, build):
    rows = layer(name)
    program = build(rows, TOLERANCE)
    if build is l1_rows and name in INVERSE:
        rows = rows._replace(x=np.clip(rows.x, *rows.activation.range))
    size = [max(w * abs(x)) for w, x in zip(rows.row_weight, rows.x, strict=True)]
    np.testing.assert_allclose(program.floor, 1e-9 * np.array(size))
    at_tolerance = expected_ends(name, rows, TOLERANCE)
    for share in (0.0, 1.0) if name in INVERSE else (0.0, 0.4, 1.0, 3.0):
        s = share * TOLERANCE
        both = zip(ends(program, rows, s), expected_ends(name, rows, s), at_tolerance, strict=True)
        for ours, theirs, last in both:
            # A line needs both its ends: without the last there is no side, and where x saturates
            # it is the tangent of the next test.
            np.testing.assert_array_equal(np.isinf(ours), np.isinf(last))
            known = np.isfinite(theirs) & np.isfinite(last)
            np.testing.assert_allclose(ours[known], theirs[known], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", INVERSE)
def test_a_saturated_row_starts_from_the_tangent(name):
    rows = layer(name)
    program, step = linf_rows(rows, TOLERANCE), 1e-6
    low, high = rows.activation.range
    for side, beyond in ((0, rows.x >= high), (1, rows.x <= low)):
        beyond = beyond & rows.observed
        assert beyond.sum() >= 3
        at = [ends(program, rows, TOLERANCE + d)[side][beyond] for d in (-step, step)]
        curve = [expected_ends(name, rows, TOLERANCE + d)[side][beyond] for d in (-step, step)]
        np.testing.assert_allclose(at, curve, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(at[1] - at[0], curve[1] - curve[0], rtol=1e-5)


def test_the_bracket_takes_the_chord_below_the_true_end():
    rows, bracket = layer("leaky_relu:0.2"), np.array([True, True, False, True])
    program, plain = bracket_rows(rows, TOLERANCE, bracket), linf_rows(rows, TOLERANCE)
    eps = TOLERANCE[:, None] / np.where(rows.observed, rows.row_weight, 1.0)
    chord = bracket[:, None] & rows.observed & (rows.x > 0) & (rows.x <= eps)
    assert chord.sum() >= 10
    for share in np.linspace(0, 1, 11):
        lower, upper = ends(program, rows, share * TOLERANCE)
        below, above = ends(plain, rows, share * TOLERANCE)
        gap = rows.x - share * eps
        true = np.minimum(gap, gap / 0.2)
        assert (lower <= true + 1e-12)[chord].all()
        if share in (0.0, 1.0):
            np.testing.assert_allclose(lower[chord], true[chord], atol=1e-12)
        np.testing.assert_array_equal(lower[~chord], below[~chord])
        np.testing.assert_array_equal(upper, above)
    for name in ("relu", "tanh"):
        rows = layer(name)
        same = bracket_rows(rows, TOLERANCE, bracket)
        np.testing.assert_array_equal(same.lower, linf_rows(rows, TOLERANCE).lower)


def misfits(name, rows, z):
    """|phi(u_j) - x_j|, (B, n)."""
    u = np.einsum("nk,bk->bn", rows.matrix, z) + rows.bias
    return u, np.abs(np.vectorize(PHI[name])(u) - rows.x)


@pytest.mark.parametrize("name", ["relu", "leaky_relu:0.2"])
def test_signs_cost_the_true_loss_where_they_hold(name):
    rows = layer(name)
    rng = np.random.default_rng(1)
    z, other = rng.standard_normal((2, BATCH, COLUMNS))
    u, loss = misfits(name, rows, z)
    program = signed_rows(rows, u > 0)
    slack = program.least_slack(z)
    free = np.where((rows.x > 0) & (u <= 0), rows.x, np.where(rows.x <= 0, -rows.x, 0.0))
    constant = free if name == "relu" else np.zeros_like(free)
    assert not slack[~rows.observed].any()
    true = np.where(rows.observed, rows.row_weight * (loss - constant), 0.0)
    np.testing.assert_allclose(slack, true, atol=1e-12)
    if name == "relu":
        _, elsewhere = misfits(name, rows, other)
        below = np.where(rows.observed, rows.row_weight * (elsewhere - constant), 0.0)
        assert (program.least_slack(other) >= below - 1e-12).all()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "identity"])
def test_the_relaxation_is_equations_6_and_7(name):
    rows = layer(name)
    program = relaxed_rows(rows, TOLERANCE)
    centre = {"sigmoid": 0.5, "tanh": 0.0}.get(name)
    cost = np.zeros((BATCH, COLUMNS))
    for i, j in np.ndindex(BATCH, ROWS):
        x, omega = rows.x[i, j], rows.row_weight[i, j]
        if not omega:
            assert (program.lower[i, j], program.upper[i, j]) == (-np.inf, np.inf)
            continue
        eps = TOLERANCE[i] / omega
        if centre is not None:
            x = np.clip(x, *rows.activation.range)
            low, high = interval(name, x, eps, eps)
            side = max(high, 0.0) if x > centre else min(low, 0.0)
            low, high, pull = min(low, 0.0), max(high, 0.0), (x - centre) * np.isfinite(side)
        elif name == "leaky_relu:0.2":
            low, high, pull = min(x - eps, 0.0) / 0.2, max(x + eps, 0.0), x
        else:
            low, high, pull = -np.inf, max(x + eps, 0.0), max(x, 0.0)
        found = program.lower[i, j] + rows.bias[j], program.upper[i, j] + rows.bias[j]
        np.testing.assert_allclose(found, (low, high), rtol=1e-9, atol=1e-12)
        cost[i] -= omega * pull * rows.matrix[j]
    cost /= np.linalg.norm(cost, axis=-1, keepdims=True)
    np.testing.assert_allclose(program.cost, cost, atol=1e-12)
    # Where nothing pulls any point will do.
    idle = relaxed_rows(rows._replace(row_weight=0 * rows.row_weight), TOLERANCE)
    assert not idle.cost.any()


@pytest.mark.parametrize("name", NAMES)
def test_the_tolerance_needed_is_the_least_that_the_program_accepts(name):
    rows = layer(name)
    rng = np.random.default_rng(2)
    z = 0.3 * rng.standard_normal((BATCH, COLUMNS))
    image = np.vectorize(PHI[name])(misfits(name, rows, z)[0])
    np.testing.assert_allclose(rows.output(z), image)
    # Far from the image the rows that are off decide, near it the others.
    for x in (rows.x, image + 0.01 * rng.uniform(-1, 1, image.shape)):
        near = rows._replace(x=x)
        needed = tolerance_needed(near, z)
        for factor, accepted in ((1 + 1e-7, True), (1 - 1e-7, False)):
            eps = factor * needed
            assert ((linf_rows(near, eps).least_slack(z).max(-1) <= eps) == accepted).all()


@pytest.mark.parametrize("name", NAMES)
def test_what_no_tolerance_reaches_and_what_it_leaves_open(name):
    rows = layer(name)
    low, high = rows.activation.range if name in INVERSE else (-np.inf, np.inf)
    beyond, open_ = np.zeros(BATCH), np.zeros(BATCH)
    for i, j in np.ndindex(BATCH, ROWS):
        x, omega = rows.x[i, j], rows.row_weight[i, j]
        beyond[i] = max(beyond[i], omega * max(x - high, low - x, 0.0)) if omega else beyond[i]
        size = abs(x) if name == "leaky_relu:0.2" else x
        open_[i] += bool(omega) and omega * size <= TOLERANCE[i]
    np.testing.assert_allclose(out_of_reach(rows), beyond)
    assert (beyond > 0).all() == (name in INVERSE)
    if name in INVERSE:  # every tolerance has rows of its own
        open_ = TOLERANCE
    elif name == "identity":
        open_ = np.zeros(BATCH)
    np.testing.assert_array_equal(undecided(rows, TOLERANCE), open_)
