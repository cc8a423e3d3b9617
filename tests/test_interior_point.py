"""The device solver: certified answers for hostile programs, and bits that no neighbour changes."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxinv
from jaxinv.linalg import double_precision
from jaxinv.lp import interior_point, slots, solve
from jaxinv.lp.problem import IntervalLP, Slack, certify
from jaxinv.lp.solve import run_backend, solve_certified
from jaxinv.lp.vertex import to_vertex

ROWS, COLUMNS = 24, 6
HIGHS = jaxinv.CvxpySolver("HIGHS")


def programs(rng, slack, count, rows=ROWS, columns=COLUMNS, per_instance=False, size=1.0):
    """Recentred as those of a layer are: interval rows around a point, one-sided and open ones."""
    shape = (count, rows, columns) if per_instance else (rows, columns)
    matrix = rng.standard_normal(shape) / np.sqrt(rows)
    z = rng.standard_normal((count, columns))
    u = (matrix @ z[:, :, None])[:, :, 0] + 0.1 * rng.uniform(-1, 1, (count, rows))
    width = 0.3 * rng.random((count, rows)) if slack is Slack.NONE else np.zeros((count, rows))
    inactive = u < -0.05
    return IntervalLP(
        matrix=matrix,
        lower=size * np.where(inactive, -np.inf, u - width),
        upper=size * np.where(inactive, 0.0, u + width),
        lower_slack=np.ones((count, rows)),
        upper_slack=rng.choice([1.0, 10.0], (count, rows)),
        box_lower=np.full((count, columns), -size * 8.0),
        box_upper=np.full((count, columns), size * 8.0),
        cost=rng.standard_normal((count, columns)) * (slack is Slack.NONE),
        slack=slack,
        floor=np.full(count, 1e-9 * size),
    )


def units(program):
    return np.zeros((program.batch_size, program.columns)), program.floor / 1e-9


@pytest.mark.parametrize("slack", Slack)
@pytest.mark.parametrize("per_instance", [False, True])
def test_optima_are_those_of_highs(slack, per_instance):
    program = programs(np.random.default_rng(1), slack, 20, per_instance=per_instance)
    # Without slack some of these programs have no point; there both must say so.
    mine = run_backend(program, jaxinv.InteriorPoint())
    theirs = run_backend(program, HIGHS)
    assert (mine.finished == theirs.finished).all()
    assert mine.finished.sum() >= 5
    # A sign wrong in a step's length or its correctors costs no digit, only steps.
    assert mine.steps[mine.finished].mean() <= 9.2
    some = program.take(mine.finished)
    judged = certify(some, mine.take(mine.finished))
    assert judged.holds(1e-8).all()
    oracle = certify(some, theirs.take(theirs.finished)).objective
    np.testing.assert_allclose(judged.objective, oracle, rtol=1e-6, atol=1e-9)


def damaged(program, rng, damage):
    w = program.matrix.copy()
    lower, upper = program.lower.copy(), program.upper.copy()
    if damage == "all rows masked":
        lower[:], upper[:] = -np.inf, np.inf
    elif damage == "duplicate rows":
        w[1::2] = w[::2]
        lower[:, 1::2], upper[:, 1::2] = lower[:, ::2], upper[:, ::2]
    elif damage == "rank-deficient matrix":
        w[:, -2:] = w[:, :2]
    elif damage == "zero column":
        w[:, rng.integers(COLUMNS)] = 0.0
    elif damage == "zero rows":
        w[rng.integers(ROWS, size=8)] = 0.0
    elif damage == "zero observation":
        lower, upper = np.where(np.isfinite(lower), 0.0, lower), np.zeros_like(upper)
    elif damage == "sides that cross":
        crossed = rng.random(lower.shape) < 0.3
        lower = np.where(crossed, upper + 0.05 * program.floor[:, None] / 1e-9, lower)
    return replace(program, matrix=w, lower=lower, upper=upper)


DAMAGES = (
    "none",
    "all rows masked",
    "duplicate rows",
    "rank-deficient matrix",
    "zero column",
    "zero rows",
    "zero observation",
    "sides that cross",
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    damage=st.sampled_from(DAMAGES),
    slack=st.sampled_from([Slack.SHARED, Slack.SEPARATE]),
    size=st.sampled_from([1e-12, 1.0, 1e12]),
)
def test_hostile_programs_are_certified(seed, damage, slack, size):
    rng = np.random.default_rng(seed)
    program = damaged(programs(rng, slack, 1, size=size), rng, damage)
    centre, scale = units(program)
    found = solve_certified(program, jaxinv.InteriorPoint(), centre, scale)
    assert found.certified.all()
    # The oracle gets the program in its own units: HiGHS knows no tolerance of 1e-12.
    recentred = program.recentred(centre, scale)
    oracle = certify(recentred, run_backend(recentred, HIGHS)).objective * scale
    np.testing.assert_allclose(found.objective, oracle, rtol=1e-6, atol=2e-9 * size)


@pytest.mark.parametrize("slack", Slack)
def test_the_start_is_feasible_where_slack_allows_and_central(slack):
    program = programs(np.random.default_rng(10), slack, 5, size=3.0)
    origin = np.zeros((5, COLUMNS))
    with jax.enable_x64(True):
        matrix = slots._on_device(program.matrix, np.dtype(float))
        begin = interior_point.start(matrix, slots._program(program, np.dtype(float)), slack)
    np.testing.assert_array_equal(begin.latent, origin)
    if slack is Slack.NONE:
        s = np.zeros((5, 1))
    else:
        # One above what the rows need at the origin.
        s = program.least_slack(origin) + 1.0
        s = s.max(-1, keepdims=True) if slack is Slack.SHARED else s
        np.testing.assert_allclose(begin.margin.slack, s)
    ends = {
        "lower": program.lower_slack * s - program.lower,
        "upper": program.upper_slack * s + program.upper,
        "box_lower": -program.box_lower,
        "box_upper": program.box_upper,
    }
    products = [np.asarray(begin.margin.slack) * np.asarray(begin.multiplier.slack)]
    prices = np.asarray(begin.multiplier.slack).sum(-1)
    for side, value in ends.items():
        here = np.isfinite(value)
        margin, multiplier = (
            np.asarray(getattr(part, side)) for part in (begin.margin, begin.multiplier)
        )
        np.testing.assert_allclose(margin[here], np.maximum(value, 0.5)[here])
        assert not multiplier[~here].any()
        products.append(np.where(here, margin * multiplier, np.nan))
        if not side.startswith("box"):
            prices = prices + (getattr(program, f"{side}_slack") * multiplier).sum(-1)
    products = np.concatenate(products, axis=-1)
    assert (products > 0)[np.isfinite(products)].all()
    spread = np.nanmax(products, axis=-1) / np.nanmin(products, axis=-1)
    np.testing.assert_allclose(spread, 1.0)
    if slack is Slack.SHARED:
        np.testing.assert_allclose(prices, 1.0)  # the multipliers fit the slack's cost


@pytest.mark.parametrize("slack", [Slack.SHARED, Slack.SEPARATE])
def test_no_neighbour_changes_a_bit(slack):
    program = programs(np.random.default_rng(2), slack, 9)
    chosen = jaxinv.InteriorPoint(slots=4)
    whole = run_backend(program, chosen)
    poisoned = replace(program, lower=program.lower.copy())
    poisoned.lower[0] = np.nan
    order = np.array([5, 0, 7, 3, 8, 1])
    other = run_backend(poisoned.take(order), chosen)
    assert not other.finished[1]
    kept = np.delete(np.arange(len(order)), 1)
    for name in ("latent", "lower_dual", "upper_dual", "steps"):
        expected = getattr(whole, name)[order[kept]]
        np.testing.assert_array_equal(getattr(other, name)[kept], expected, err_msg=name)


def test_what_does_not_finish_goes_to_the_pool_and_is_counted():
    program = programs(np.random.default_rng(3), Slack.SHARED, 6)
    hurried = solve_certified(program, jaxinv.InteriorPoint(steps=3), *units(program))
    patient = solve_certified(program, jaxinv.InteriorPoint(), *units(program))
    assert hurried.certified.all()
    assert hurried.fallback.all()
    assert not patient.fallback.any()
    np.testing.assert_allclose(hurried.objective, patient.objective, rtol=1e-7)


def test_what_misses_its_certificate_is_asked_for_more_digits_before_the_pool_is():
    program = programs(np.random.default_rng(0), Slack.NONE, 16)
    found = solve_certified(program, jaxinv.InteriorPoint(tolerance=2e-7), *units(program))
    assert found.certified.sum() >= 15
    np.testing.assert_array_equal(found.fallback, ~found.certified)


@pytest.mark.parametrize("slack", [Slack.SHARED, Slack.SEPARATE])
def test_what_the_pool_misses_goes_to_a_simplex_method(slack, monkeypatch):
    monkeypatch.setattr(solve, "FALLBACKS", ())
    program = programs(np.random.default_rng(3), slack, 4)
    found = solve_certified(program, jaxinv.InteriorPoint(steps=2), *units(program))
    assert found.fallback.all()
    assert found.certified.all()


def test_a_vertex_is_exact():
    program = programs(np.random.default_rng(4), Slack.SHARED, 12)
    ended = solve_certified(program, jaxinv.InteriorPoint(vertex=True), *units(program))
    slack = program.least_slack(ended.latent)
    wz = program.apply(ended.latent)
    best = slack.max(-1, keepdims=True)
    above = program.upper + program.upper_slack * best - wz
    below = wz - program.lower + program.lower_slack * best
    at_box = np.minimum(ended.latent - program.box_lower, program.box_upper - ended.latent)
    tight = sum((np.abs(side) < 1e-13).sum(-1) for side in (above, below, at_box))
    assert (tight >= COLUMNS + 1).all()


def test_a_vertex_of_separate_slack_is_exact():
    program = programs(np.random.default_rng(4), Slack.SEPARATE, 12)
    rough = run_backend(program, jaxinv.InteriorPoint(tolerance=1e-4))
    assert not certify(program, rough).holds().any()
    vertex = to_vertex(program, rough, certify(program, rough).objective)
    assert certify(program, vertex).holds(1e-12).all()
    oracle = certify(program, run_backend(program, HIGHS)).objective
    np.testing.assert_allclose(certify(program, vertex).objective, oracle, rtol=1e-9)
    wz = program.apply(vertex.latent)
    sides = (wz - program.lower, program.upper - wz)
    at_box = np.minimum(vertex.latent - program.box_lower, program.box_upper - vertex.latent)
    at_end = np.minimum(*(np.abs(side) for side in sides)) < 1e-13
    assert (at_end.sum(-1) + (at_box < 1e-13).sum(-1) >= COLUMNS).all()


@pytest.mark.parametrize("slack", [Slack.SHARED, Slack.SEPARATE])
def test_single_precision_only_comes_first(slack):
    program = programs(np.random.default_rng(5), slack, 12)
    mixed = run_backend(program, jaxinv.InteriorPoint(single_precision_first=True))
    plain = run_backend(program, jaxinv.InteriorPoint())
    assert certify(program, mixed).holds(1e-8).all()
    np.testing.assert_allclose(
        certify(program, mixed).objective, certify(program, plain).objective, rtol=2e-8
    )


def test_many_columns_take_few_slots_and_begin_in_single_precision(monkeypatch):
    begun = []
    run = slots._run

    def noted(problem, settings, places, dtype, *rest):
        begun.append((places, dtype))
        return run(problem, settings, places, dtype, *rest)

    monkeypatch.setattr(slots, "_run", noted)
    monkeypatch.setattr(slots, "MANY_COLUMNS", COLUMNS - 1)
    monkeypatch.setattr(double_precision, "MANY_COLUMNS", COLUMNS - 1)
    program = programs(np.random.default_rng(5), Slack.SHARED, 12)
    found = run_backend(program, jaxinv.InteriorPoint(), 12)
    single = np.dtype(np.float32), np.dtype(np.float64)
    assert begun == [(slots.FEW_ON_CPU, dtype) for dtype in single]
    assert certify(program, found).holds(1e-8).all()
    begun.clear()
    run_backend(program, jaxinv.InteriorPoint(single_precision_first=False), 12)
    assert begun == [(slots.FEW_ON_CPU, np.dtype(np.float64))]


def test_a_shape_is_compiled_once():
    rng = np.random.default_rng(6)
    chosen = jaxinv.InteriorPoint(slots=3, steps=59)
    run_backend(programs(rng, Slack.SHARED, 3, rows=11, columns=2), chosen)
    before = interior_point.advance._cache_size()
    for count in (1, 3, 8):
        run_backend(programs(rng, Slack.SHARED, count, rows=11, columns=2), chosen, 8)
    assert interior_point.advance._cache_size() == before


def test_the_certificate_refuses_wrong_answers():
    program = programs(np.random.default_rng(7), Slack.SHARED, 8)
    right = run_backend(program, jaxinv.InteriorPoint())
    assert certify(program, right).holds().all()
    for wrong in (
        replace(right, latent=right.latent + 1e-3),
        replace(right, latent=np.full_like(right.latent, np.nan)),
        replace(right, lower_dual=1.001 * right.lower_dual),
        replace(right, lower_dual=right.upper_dual, upper_dual=right.lower_dual),
    ):
        assert not certify(program, wrong).holds().any()


def test_no_program_is_no_work():
    nothing = programs(np.random.default_rng(8), Slack.SHARED, 4).take(np.zeros(0, np.int64))
    assert run_backend(nothing, jaxinv.InteriorPoint()).latent.shape == (0, COLUMNS)


def test_slots_follow_the_memory_of_a_normal_matrix():
    assert slots.default_slots(20) >= slots.default_slots(500) >= 1
    assert slots.default_slots(20_000) == 1
    assert not jax.config.jax_enable_x64


@pytest.mark.parametrize("slack", Slack)
def test_the_units_of_the_unknowns_change_no_verdict(slack):
    program = programs(np.random.default_rng(9), slack, 8)
    unit = 2.0 ** np.linspace(-17, 17, COLUMNS).round()  # exact, so that the residuals are the same
    other = replace(
        program,
        matrix=program.matrix * unit,
        box_lower=program.box_lower / unit,
        box_upper=program.box_upper / unit,
        cost=program.cost * unit,
    )
    some = run_backend(other, jaxinv.InteriorPoint()).finished
    assert some.sum() >= 2
    program, other = program.take(some), other.take(some)
    found = run_backend(program, jaxinv.InteriorPoint())
    same = replace(found, latent=found.latent / unit)
    assert certify(program, found).holds().all()
    np.testing.assert_array_equal(certify(other, same).dual, certify(program, found).dual)
    assert certify(other, run_backend(other, jaxinv.InteriorPoint())).holds().all()
    # A reduced cost in the smallest column, which the largest ones would hide.
    wrong = replace(found, lower_dual=found.lower_dual + 1e-4 * found.lower_dual.max())
    assert not certify(program, wrong).holds().any()
    also_wrong = certify(other, replace(wrong, latent=same.latent))
    np.testing.assert_allclose(also_wrong.dual, certify(program, wrong).dual, rtol=1e-6)
    assert not also_wrong.holds().any()


def test_a_row_says_how_often_the_pool_was_asked():
    net = jaxinv.Generator.random((3, 8, 24), seed=0)
    rng = np.random.default_rng(0)
    x = np.asarray(net(rng.standard_normal((4, 3)))) + 1e-3 * rng.uniform(-1, 1, (4, 24))
    hurried = jaxinv.invert(net, x, jaxinv.LinfLP(solver=jaxinv.InteriorPoint(steps=2)))
    patient = jaxinv.invert(net, x, "linf")
    assert all((np.asarray(layer.fallback) > 0).all() for layer in hurried.layers)
    assert not any(np.asarray(layer.fallback).any() for layer in patient.layers)
    assert hurried.ok.all()


@pytest.mark.parametrize("method", ["linf", "l1"])
def test_a_dead_hidden_unit_sends_no_program_to_the_pool(method):
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((8, 3)), rng.standard_normal((20, 8))
    second[:, 3] = 0.0
    net = jaxinv.Generator.from_layers([(first, None, "relu"), (second, None, "relu")])
    x = np.array(net(rng.standard_normal((4, 3))))
    x += 1e-3 * np.abs(x).max() * rng.uniform(-1, 1, x.shape)
    found = jaxinv.invert(net, x, method)
    assert not np.asarray(found.layers[1].fallback).any()
