r"""A predictor-corrector for batches of interval linear programs that share their matrix.

Each side of an `IntervalLP` has a margin m >= 0 and a multiplier y >= 0; the slack s is its own
margin:

    lower      W z + a s - lower = m      box_lower   z - box_lower = m
    upper      upper + b s - W z = m      box_upper   box_upper - z = m

    stationary in z:   cost - W'(y_lower - y_upper) - y_box_lower + y_box_upper = 0
    stationary in s:   1 - a y_lower - b y_upper - y_slack = 0      (summed over rows if SHARED)
    complementary:     m y = 0

Newton's step for m dy + y dm = c has dy = h - D dv, where dv is the change of the side's value,
dm = dv + r with the side's residual r, D = y / m and h = (c - y r) / m. With D- and D+ of the lower
and upper sides,

    e = a D- - b D+,     sigma = a^2 D- + b^2 D+ + D_slack       (row by row)

the slack is eliminated analytically, and each step factors k x k matrices only:

    SHARED     [ W'(D- + D+)W + box    W'e       ] [dz]         one more row and column
               [ e'W                   sum sigma ] [ds]
    SEPARATE   W' diag(D- + D+ - e^2 / sigma) W + box           (Portnoy & Koenker 1997)
    NONE       W'(D- + D+)W + box

Each matrix serves a predictor (c = -m y), Mehrotra's corrector (1992) and centrality correctors
(Gondzio 1996), and every direction is refined once against W itself. An instance that has finished
stands still, and none reads another's numbers.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxinv import cholesky
from jaxinv.lp.device_matrix import DeviceMatrix
from jaxinv.lp.problem import Slack
from jaxinv.lp.sides import Sides

RIDGE = 1e-14  # of the unit diagonal: keeps a rank-deficient matrix factorable
LEAST_MARGIN = 0.5  # recentred programs have residuals of order one
STEP_BACK = 0.995  # of the way to the boundary
CENTRED = (0.1, 10.0)  # products m y are kept within these multiples of their target
LONGER = 0.1  # how much longer a step a centrality corrector asks for


class Program(NamedTuple):
    """A batch on the device. ends: the sides' constants, 0 where infinite. present: which exist.

    lower_slack, upper_slack: a and b, (B, n). cost: (B, k), of unit length for NONE. floor: (B,),
    an optimum below it needs no digits.
    """

    ends: Sides
    present: Sides
    lower_slack: Float[Array, "B n"]
    upper_slack: Float[Array, "B n"]
    cost: Float[Array, "B k"]
    floor: Float[Array, " B"]


class State(NamedTuple):
    """latent (B, k), margins, multipliers, steps taken, and whether an instance is done: (B,)."""

    latent: Float[Array, "B k"]
    margin: Sides
    multiplier: Sides
    steps: Int[Array, " B"]
    finished: Bool[Array, " B"]
    stuck: Bool[Array, " B"]

    @property
    def running(self) -> Bool[Array, " B"]:
        return ~(self.finished | self.stuck)


class Residuals(NamedTuple):
    """What is missing in the sides' equations, in stationarity in z, and in s."""

    sides: Sides
    latent: Float[Array, "B k"]
    slack: Float[Array, "B m"]


class Newton(NamedTuple):
    """The factored matrix of one step, and what eliminates the slack.

    ratio: D of every side. e, sigma: as above. row: weights of W'..W, (B, n). box: (B, k). unit:
    scales the diagonal to one, as it is in the matrix that `factor` factors.
    """

    ratio: Sides
    e: Float[Array, "B n"]
    sigma: Float[Array, "B m"]
    row: Float[Array, "B n"]
    box: Float[Array, "B k"]
    unit: Float[Array, "B q"]
    factor: cholesky.Factor


class Direction(NamedTuple):
    """Changes of latent (B, k), margins and multipliers."""

    latent: Float[Array, "B k"]
    margin: Sides
    multiplier: Sides


@partial(jax.jit, static_argnames="kind")
def start(matrix: DeviceMatrix, program: Program, kind: Slack) -> State:
    """z = 0, slack one above its violation, margins at least LEAST_MARGIN, m y equal everywhere."""
    latent = jnp.zeros_like(program.cost)
    none = jnp.zeros_like(program.ends.slack)
    value = _value(matrix, program, latent, none)
    short = jnp.maximum(
        _needed(program.present.lower, value.lower, program.lower_slack),
        _needed(program.present.upper, value.upper, program.upper_slack),
    )
    slack = (
        none
        + (short.max(-1, keepdims=True) if kind is Slack.SHARED else short)[:, : none.shape[-1]]
    )
    margin = _value(matrix, program, latent, slack + 1.0).clipped(LEAST_MARGIN, jnp.inf)
    margin = margin.where(program.present, 1.0)
    one = jax.tree.map(jnp.ones_like, margin).where(program.present, 0.0)
    multiplier = one / margin
    if kind is Slack.SHARED:
        # One product for all sides that makes the multipliers stationary in s.
        price = _price(program, multiplier).sum(-1, keepdims=True) + multiplier.slack
        multiplier = multiplier / price
    unset = jnp.zeros(len(latent), bool)
    return State(latent, margin, multiplier, jnp.zeros(len(latent), jnp.int32), unset, unset)


@partial(jax.jit, static_argnames=("kind", "correctors", "limit"))
def advance(
    matrix: DeviceMatrix,
    program: Program,
    state: State,
    enough: Int[Array, ""],
    tolerance: Float[Array, ""],
    kind: Slack,
    correctors: int,
    limit: int,
) -> State:
    """Step until `enough` instances are finished (to the tolerance) or stuck."""

    def step(state: State) -> State:
        residuals = _residuals(matrix, program, state, kind)
        done = _converged(program, state, residuals, tolerance, kind) & state.running
        moved = _moved(matrix, program, state, residuals, kind, correctors)
        lost = ~jnp.isfinite(moved.latent).all(-1) | (moved.steps >= limit)
        kept = _choose(done | lost | ~state.running, state, moved)
        stuck = state.stuck | (lost & ~done & state.running)
        return kept._replace(finished=state.finished | done, stuck=stuck)

    return jax.lax.while_loop(lambda state: (~state.running).sum() < enough, step, state)


def _moved(
    matrix: DeviceMatrix,
    program: Program,
    state: State,
    residuals: Residuals,
    kind: Slack,
    correctors: int,
) -> State:
    """One predictor-corrector step for every instance."""
    newton = _newton(matrix, program, state, kind)
    direction_to = partial(_direction, matrix, program, state, residuals, newton, kind)
    product = state.margin * state.multiplier
    sides = jnp.maximum(program.present.total(), 1)
    mean = product.total() / sides

    predictor = direction_to(-product)
    lengths = _lengths(program, state, predictor)
    centring = (_after(state, predictor, lengths).total() / sides / mean) ** 3
    target = (centring * mean)[:, None]
    aim = -(product + predictor.margin * predictor.multiplier) + target
    direction = direction_to(aim)
    lengths = _lengths(program, state, direction)
    low, high = CENTRED[0] * target, CENTRED[1] * target
    for _ in range(correctors):
        # Ask for a longer step, and bring back the products that it would let go astray.
        reached = _after(state, direction, jnp.minimum(lengths + LONGER, 1.0))
        repaired = aim + (reached.clipped(low, high) - reached).clipped(-high, jnp.inf)
        trial = direction_to(repaired)
        trial_lengths = _lengths(program, state, trial)
        better = trial_lengths.sum(-1) >= lengths.sum(-1) + 0.1 * LONGER
        direction, aim, lengths = _choose(
            better, (trial, repaired, trial_lengths), (direction, aim, lengths)
        )
    primal, dual = lengths[:, :1], lengths[:, 1:]
    return state._replace(
        latent=state.latent + primal * direction.latent,
        margin=state.margin + direction.margin * primal,
        multiplier=state.multiplier + direction.multiplier * dual,
        steps=state.steps + 1,
    )


def _value(matrix: DeviceMatrix, program: Program, latent: Array, slack: Array) -> Sides:
    """The left-hand side of every side's equation at (z, s)."""
    wz, ends = matrix.apply(latent), program.ends
    s = slack if slack.shape[-1] else jnp.zeros((), wz.dtype)
    return Sides(
        lower=wz + program.lower_slack * s - ends.lower,
        upper=ends.upper + program.upper_slack * s - wz,
        box_lower=latent - ends.box_lower,
        box_upper=ends.box_upper - latent,
        slack=slack,
    )


def _needed(present: Array, value: Array, coefficient: Array) -> Float[Array, "B n"]:
    """The slack that lifts a side's value to zero."""
    helps = present & (value < 0) & (coefficient > 0)
    return jnp.where(helps, -value / jnp.where(helps, coefficient, 1.0), 0.0)


def _price(program: Program, multiplier: Sides) -> Float[Array, "B n"]:
    """a y_lower + b y_upper."""
    return program.lower_slack * multiplier.lower + program.upper_slack * multiplier.upper


def _for_slack(values: Float[Array, "B n"], kind: Slack) -> Float[Array, "B m"]:
    """Row-wise values as the slack meets them: summed, one by one, or not at all."""
    if kind is Slack.SHARED:
        return values.sum(-1, keepdims=True)
    return values if kind is Slack.SEPARATE else values[:, :0]


def _residuals(matrix: DeviceMatrix, program: Program, state: State, kind: Slack) -> Residuals:
    y = state.multiplier
    value = _value(matrix, program, state.latent, state.margin.slack)
    return Residuals(
        sides=(value - state.margin).where(program.present, 0.0),
        latent=program.cost - matrix.adjoint(y.lower - y.upper) - y.box_lower + y.box_upper,
        slack=1.0 - _for_slack(_price(program, y), kind) - y.slack,
    )


def _converged(
    program: Program, state: State, residuals: Residuals, tolerance: Array, kind: Slack
) -> Bool[Array, " B"]:
    """Complementarity, primal and dual residuals within tolerance, relative to the optimum."""
    if kind is Slack.NONE:
        scale = jnp.maximum(jnp.abs((program.cost * state.latent).sum(-1)), 1.0)
    else:
        scale = jnp.maximum(state.margin.slack.sum(-1), program.floor)
    y = state.multiplier
    size = jnp.maximum(y.lower.max(-1), y.upper.max(-1))
    return (
        ((state.margin * y).total() <= tolerance * scale)
        & (residuals.sides.largest() <= tolerance * scale)
        & (jnp.abs(residuals.latent).max(-1) <= tolerance * size)
    )


def _newton(matrix: DeviceMatrix, program: Program, state: State, kind: Slack) -> Newton:
    ratio = state.multiplier / state.margin
    a, b = program.lower_slack, program.upper_slack
    e = a * ratio.lower - b * ratio.upper
    sigma = _for_slack(a**2 * ratio.lower + b**2 * ratio.upper, kind) + ratio.slack
    row = ratio.lower + ratio.upper
    if kind is Slack.SEPARATE:
        # D- + D+ - e^2 / sigma, without the cancellation.
        row = ((a + b) ** 2 * ratio.lower * ratio.upper + row * ratio.slack) / sigma
    box = ratio.box_lower + ratio.box_upper
    normal = matrix.normal(row) + jax.vmap(jnp.diag)(box)
    if kind is Slack.SHARED:
        coupling = jnp.concatenate([matrix.adjoint(e), sigma], -1)[:, None, :]
        normal = jnp.concatenate([jnp.pad(normal, ((0, 0), (0, 0), (0, 1))), coupling], 1)
    diagonal = jnp.diagonal(normal, axis1=-2, axis2=-1)
    unit = jnp.where(diagonal > 0, 1.0 / jnp.sqrt(diagonal), 1.0)
    ridge = max(RIDGE, 10 * float(jnp.finfo(unit.dtype).eps))
    scaled = unit[:, :, None] * normal * unit[:, None, :]
    scaled += jax.vmap(jnp.diag)(jnp.where(diagonal > 0, ridge, 1.0))
    return Newton(ratio, e, sigma, row, box, unit, cholesky.factor(scaled))


def _direction(
    matrix: DeviceMatrix,
    program: Program,
    state: State,
    residuals: Residuals,
    newton: Newton,
    kind: Slack,
    aim: Sides,
) -> Direction:
    """Newton's direction for m dy + y dm = aim, all residuals removed by a full step."""
    h = ((aim - state.multiplier * residuals.sides) / state.margin).where(program.present, 0.0)
    for_slack = _for_slack(_price(program, h), kind) + h.slack - residuals.slack
    for_rows = h.lower - h.upper
    if kind is Slack.SEPARATE:
        for_rows = for_rows - newton.e * for_slack / newton.sigma
    right = matrix.adjoint(for_rows) + h.box_lower - h.box_upper - residuals.latent
    if kind is Slack.SHARED:
        right = jnp.concatenate([right, for_slack], -1)
    solution = _solve(matrix, newton, kind, right)
    latent = solution[:, : matrix.columns]
    rows = matrix.apply(latent)
    if kind is Slack.SEPARATE:
        slack = (for_slack - newton.e * rows) / newton.sigma
    else:
        slack = solution[:, matrix.columns :]
    s = slack if kind is not Slack.NONE else jnp.zeros((), rows.dtype)
    change = Sides(
        lower=rows + program.lower_slack * s,
        upper=program.upper_slack * s - rows,
        box_lower=latent,
        box_upper=-latent,
        slack=slack,
    ).where(program.present, 0.0)
    return Direction(latent, change + residuals.sides, h - newton.ratio * change)


def _solve(
    matrix: DeviceMatrix, newton: Newton, kind: Slack, right: Float[Array, "B q"]
) -> Float[Array, "B q"]:
    """The factored system, refined once."""

    def product(v: Array) -> Array:
        latent, slack = v[:, : matrix.columns], v[:, matrix.columns :]
        rows = matrix.apply(latent)
        weighted = newton.row * rows
        if kind is Slack.SHARED:
            weighted = weighted + newton.e * slack
        top = matrix.adjoint(weighted) + newton.box * latent
        if kind is not Slack.SHARED:
            return top
        bottom = (newton.e * rows).sum(-1, keepdims=True) + newton.sigma * slack
        return jnp.concatenate([top, bottom], -1)

    solution = newton.unit * cholesky.solve(newton.factor, newton.unit * right)
    missing = right - product(solution)
    return solution + newton.unit * cholesky.solve(newton.factor, newton.unit * missing)


def _lengths(program: Program, state: State, direction: Direction) -> Float[Array, "B 2"]:
    """How far margins and multipliers may go along their directions, at most 1."""

    def furthest(values: Sides, changes: Sides) -> Array:
        ends = jax.tree.map(
            lambda here, v, d: jnp.where(here & (d < 0), -v / jnp.where(d < 0, d, -1.0), jnp.inf),
            program.present,
            values,
            changes,
        )
        return jnp.minimum(1.0, STEP_BACK * ends.least())

    return jnp.stack(
        [
            furthest(state.margin, direction.margin),
            furthest(state.multiplier, direction.multiplier),
        ],
        -1,
    )


def _after(state: State, direction: Direction, lengths: Float[Array, "B 2"]) -> Sides:
    """The products m y after steps of these lengths."""
    margin = state.margin + direction.margin * lengths[:, :1]
    return margin * (state.multiplier + direction.multiplier * lengths[:, 1:])


def _choose(where: Bool[Array, " B"], yes, no):  # type: ignore[no-untyped-def]
    def pick(a: Array, b: Array) -> Array:
        return jnp.where(where.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(pick, yes, no)
