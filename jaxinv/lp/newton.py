"""Newton's direction for a batch of interval programs: slack eliminated, one factor a step.

The equations stand in `interior_point`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxinv.linalg import cholesky
from jaxinv.lp.device_program import DeviceMatrix, Program, State
from jaxinv.lp.problem import Slack
from jaxinv.lp.sides import Sides

REFINEMENTS = 1


def least_pivot(dtype: np.dtype, fine: bool) -> float:
    """The least pivot of a unit diagonal through which a step goes.

    Near rounding, pivots are noise and would become long steps. But along directions that only
    degenerate sides hold, those with m and y both near zero, pivots fall as m y does, and what is
    left out there stays in the residuals: fine takes the smaller ones too.
    """
    eps = float(jnp.finfo(dtype).eps)
    return 300.0 * eps if fine else 4.0 * eps**0.75


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


def newton_matrix(
    matrix: DeviceMatrix,
    program: Program,
    state: State,
    least_pivot: Float[Array, ""],
    kind: Slack,
) -> Newton:
    """Factor the step's matrix; pivots of its unit diagonal at most least_pivot are left out."""
    ratio = state.multiplier / state.margin
    a, b = program.lower_slack, program.upper_slack
    e = a * ratio.lower - b * ratio.upper
    sigma = for_the_slack(a**2 * ratio.lower + b**2 * ratio.upper, kind) + ratio.slack
    row = ratio.lower + ratio.upper
    if kind is Slack.SEPARATE:
        # D- + D+ - e^2 / sigma, without the cancellation.
        row = ((a + b) ** 2 * ratio.lower * ratio.upper + row * ratio.slack) / sigma
    box = ratio.box_lower + ratio.box_upper
    normal = matrix.normal(row)
    unit = _unit(jnp.diagonal(normal, axis1=-2, axis2=-1) + box)
    # One pass over the matrices: the box is seen in the unit diagonal alone.
    on_diagonal = jnp.eye(matrix.columns, dtype=bool)
    one = jnp.where(unit > 0, 1.0, 0.0)[:, :, None]
    scaled = jnp.where(on_diagonal, one, unit[:, :, None] * normal * unit[:, None, :])
    factor = cholesky.factor(scaled, least_pivot)
    if kind is Slack.SHARED:
        of_slack = _unit(sigma)
        coupling = unit * matrix.adjoint(e) * of_slack
        factor = cholesky.bordered(factor, coupling, jnp.ones_like(sigma), least_pivot)
        unit = jnp.concatenate([unit, of_slack], -1)
    return Newton(ratio, e, sigma, row, box, unit, factor)


def _unit(diagonal: Float[Array, "B q"]) -> Float[Array, "B q"]:
    """What scales these diagonal entries to one; an empty row and column stays empty."""
    positive = diagonal > 0
    return jnp.where(positive, 1.0 / jnp.sqrt(jnp.where(positive, diagonal, 1.0)), 0.0)


def direction_to(
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
    for_slack = for_the_slack(price(program, h), kind) + h.slack - residuals.slack
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
    """The factored system, refined against W itself."""

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

    def refine(_: int, solution: Array) -> Array:
        missing = right - product(solution)
        return solution + newton.unit * cholesky.solve(newton.factor, newton.unit * missing)

    # From zero: one product more, and the solve is compiled once.
    solution: Array = jax.lax.fori_loop(0, 1 + REFINEMENTS, refine, jnp.zeros_like(right))
    return solution


def price(program: Program, multiplier: Sides) -> Float[Array, "B n"]:
    """a y_lower + b y_upper."""
    return program.lower_slack * multiplier.lower + program.upper_slack * multiplier.upper


def for_the_slack(values: Float[Array, "B n"], kind: Slack) -> Float[Array, "B m"]:
    """Row-wise values as the slack meets them: summed, one by one, or not at all."""
    if kind is Slack.SHARED:
        return values.sum(-1, keepdims=True)
    return values if kind is Slack.SEPARATE else values[:, :0]
