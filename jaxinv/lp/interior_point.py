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
(Gondzio 1996), and every direction is refined once against W itself. They are one loop over aims c,
as a direction is most of what there is to compile. An instance that has finished stands still, and
none reads another's numbers.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxinv.linalg.select import select
from jaxinv.lp.device_program import DeviceMatrix, Program, State
from jaxinv.lp.newton import Direction, Residuals, direction_to, for_the_slack, newton_matrix, price
from jaxinv.lp.problem import NEGLIGIBLE, Slack
from jaxinv.lp.sides import Sides

LEAST_MARGIN = 0.5  # recentred programs have residuals of order one
STEP_BACK = 0.995  # of the way to the boundary
CENTRED = (0.1, 10.0)  # products m y are kept within these multiples of their target
LONGER = 0.1  # how much longer a step a centrality corrector asks for
LAST_DIGITS = 100.0  # times the tolerance; from here on, a step that does not help ends the matter


class Aim(NamedTuple):
    """c of every side, and the product m y that it would have on average: (B, 1)."""

    products: Sides
    target: Float[Array, "B 1"]


class Chosen(NamedTuple):
    """A direction, what it aims at, and how far it may be followed: (B, 2)."""

    direction: Direction
    aim: Aim
    lengths: Float[Array, "B 2"]


class Progress(NamedTuple):
    """Where an instance stands, and what is missing there.

    complementarity: sum m y, distance: the largest of it and the residuals, both (B,) and in units
    of the tolerance.
    """

    state: State
    residuals: Residuals
    complementarity: Float[Array, " B"]
    distance: Float[Array, " B"]


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
        total = price(program, multiplier).sum(-1, keepdims=True) + multiplier.slack
        multiplier = multiplier / total
    unset = jnp.zeros(len(latent), bool)
    return State(latent, margin, multiplier, jnp.zeros(len(latent), jnp.int32), unset, unset)


@partial(jax.jit, static_argnames=("kind", "correctors", "limit"))
def advance(
    matrix: DeviceMatrix,
    program: Program,
    state: State,
    enough: Int[Array, ""],
    tolerance: Float[Array, ""],
    least_pivot: Float[Array, ""],
    kind: Slack,
    correctors: int,
    limit: int,
) -> State:
    """Step until `enough` instances are finished or stuck.

    An instance is finished when it has reached the tolerance, and also when a step brings it no
    nearer although it is close, or although its products m y are as small as they need be: rounding
    has taken over there, and further steps lose digits. The certificate decides what that is worth.
    """

    def measured(state: State) -> Progress:
        residuals = _residuals(matrix, program, state, kind)
        products, distance = _distance(matrix, program, state, residuals, kind)
        return Progress(state, residuals, products / tolerance, distance / tolerance)

    def step(now: Progress) -> Progress:
        running = now.state.running
        moved = measured(
            _moved(matrix, program, now.state, now.residuals, least_pivot, kind, correctors)
        )
        lost = ~jnp.isfinite(moved.state.latent).all(-1) | (moved.state.steps > limit)
        close = (now.distance <= LAST_DIGITS) | (now.complementarity <= 1.0)
        ended = ~lost & ~(moved.distance < now.distance) & close
        kept = select(running & ~lost & ~ended, moved, now)
        done = running & (ended | (kept.distance <= 1.0))
        state = kept.state._replace(
            finished=kept.state.finished | done, stuck=kept.state.stuck | (running & lost & ~done)
        )
        return kept._replace(state=state)

    begin = measured(state)
    begin = begin._replace(
        state=state._replace(finished=state.finished | (state.running & (begin.distance <= 1.0)))
    )
    end = jax.lax.while_loop(lambda now: (~now.state.running).sum() < enough, step, begin)
    return end.state


def _moved(
    matrix: DeviceMatrix,
    program: Program,
    state: State,
    residuals: Residuals,
    least_pivot: Float[Array, ""],
    kind: Slack,
    correctors: int,
) -> State:
    """One predictor-corrector step for every instance."""
    newton = newton_matrix(matrix, program, state, least_pivot, kind)
    towards = partial(direction_to, matrix, program, state, residuals, newton, kind)
    product = state.margin * state.multiplier
    sides = jnp.maximum(program.present.total(), 1)
    mean = product.total() / sides

    def predictor(chosen: Chosen) -> Aim:
        return chosen.aim._replace(products=-product)

    def second_order(chosen: Chosen) -> Aim:
        direction = chosen.direction
        centring = (_after(state, direction, chosen.lengths).total() / sides / mean) ** 3
        target = (centring * mean)[:, None]
        return Aim(-(product + direction.margin * direction.multiplier) + target, target)

    def centrality(chosen: Chosen) -> Aim:
        # Ask for a longer step, and bring back the products that it would let go astray.
        products, target = chosen.aim
        low, high = CENTRED[0] * target, CENTRED[1] * target
        reached = _after(state, chosen.direction, jnp.minimum(chosen.lengths + LONGER, 1.0))
        repaired = products + (reached.clipped(low, high) - reached).clipped(-high, jnp.inf)
        return Aim(repaired, target)

    aims = (predictor, second_order, centrality)

    def follow(number: Array, chosen: Chosen) -> Chosen:
        aim = jax.lax.switch(jnp.minimum(number, len(aims) - 1), aims, chosen)
        direction = towards(aim.products)
        lengths = _lengths(program, state, direction)
        longer = lengths.sum(-1) >= chosen.lengths.sum(-1) + 0.1 * LONGER
        return select((number < len(aims) - 1) | longer, Chosen(direction, aim, lengths), chosen)

    begin = jax.tree.map(jnp.zeros_like, state)
    still = Direction(begin.latent, begin.margin, begin.multiplier)
    nothing = Aim(begin.margin, jnp.zeros_like(mean)[:, None])
    chosen = Chosen(still, nothing, jnp.zeros((len(mean), 2), mean.dtype))
    direction, _, lengths = jax.lax.fori_loop(0, len(aims) - 1 + correctors, follow, chosen)
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


def _residuals(matrix: DeviceMatrix, program: Program, state: State, kind: Slack) -> Residuals:
    y = state.multiplier
    value = _value(matrix, program, state.latent, state.margin.slack)
    return Residuals(
        sides=(value - state.margin).where(program.present, 0.0),
        latent=program.cost - matrix.adjoint(y.lower - y.upper) - y.box_lower + y.box_upper,
        slack=1.0 - for_the_slack(price(program, y), kind) - y.slack,
    )


def _distance(
    matrix: DeviceMatrix,
    program: Program,
    state: State,
    residuals: Residuals,
    kind: Slack,
) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
    """Complementarity, and the largest of it and the residuals, as the certificate measures them.

    A side may miss its equation by a little of its own margin: far sides are rounded coarsely.
    """
    if kind is Slack.NONE:
        scale = jnp.maximum(jnp.abs((program.cost * state.latent).sum(-1)), 1.0)
    else:
        scale = jnp.maximum(state.margin.slack.sum(-1), program.floor)
    y = state.multiplier
    size = matrix.largest * (y.lower + y.upper).max(-1, keepdims=True)
    size = jnp.maximum(size, jnp.abs(program.cost))
    # An unknown in no row and without a cost has nothing but its box to be measured by.
    size = jnp.where(size > 0, size, 1.0)
    missing = residuals.sides / (state.margin + scale[:, None])
    # A reduced cost left over adds its way to the box to the gap, if it is not negligible.
    left_over = jnp.abs(residuals.latent)
    way = state.margin.box_lower + state.margin.box_upper
    way = jnp.abs(state.latent) + jnp.where(left_over > NEGLIGIBLE * size, way, 0.0)
    products = (state.margin * y).total() / scale
    gap = products + (left_over * way).sum(-1) / scale
    return products, jnp.stack([gap, missing.largest(), (left_over / size).max(-1)]).max(0)


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
