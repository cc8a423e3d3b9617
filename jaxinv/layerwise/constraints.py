r"""From (layer, observation, tolerance) to interval rows: the programs of Algorithms 1, 2 and 3.

With I+ = {x_j > eps}, I- = {x_j < -eps}, I0 the rest, u = W z + b, the rows of Algorithms 1 and 2
are (Algorithm 1: one slack s for all rows; Algorithm 2: a slack e_j a row in the place of s)

    ReLU       I+   x_j - s <= u_j <= x_j + s         else          u_j <= x_j + s
    LeakyReLU  I+   as above      I-  (x_j - s)/c <= u_j <= (x_j + s)/c
               I0   (x_j - s)/c <= u_j <= x_j + s
    identity        x_j - s <= u_j <= x_j + s
    sigmoid, tanh   lines in s from g(x_j) at s = 0 to g(x_j -+ eps) at s = eps, g = phi^-1

and Algorithm 3 maximises x_+'W z over  u_j <= max(0, x_j + eps)  for ReLU, x'W z over
min(x_j - eps, 0)/c <= u_j <= max(x_j + eps, 0) for LeakyReLU. The paper's cap s <= eps is left
out, so that the first two programs are always feasible: feasible at eps then means s* <= eps.
Biases stay in u; activity is tested on x_j. Rows that are not observed have no sides; a row weight
omega_j makes both s and eps, s / omega_j and eps / omega_j in that row, and the cost omega_j x_j.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxinv.lp.problem import IntervalLP, Slack
from jaxinv.model.activation import Activation

# Objective values below FLOOR * max|x| are rounding of the data, and count as zero.
FLOOR = 1e-9

Box = tuple[Float[np.ndarray, "B k"], Float[np.ndarray, "B k"]]


class Rows(NamedTuple):
    """A batch of one layer's observations: the layer in NumPy, x and the rows' weights (B, n).

    row_weight: 0 where not observed. box: where the layer's input lies, (B, k) twice.
    one_sided: LeakyReLU only, Remark 2's first variant: x_j <= eps is taken as inactive.
    """

    matrix: Float[np.ndarray, "n k"]
    bias: Float[np.ndarray, " n"]
    activation: Activation
    x: Float[np.ndarray, "B n"]
    row_weight: Float[np.ndarray, "B n"]
    box: Box
    one_sided: bool = False

    def take(self, which: np.ndarray) -> "Rows":
        return self._replace(
            x=self.x[which],
            row_weight=self.row_weight[which],
            box=(self.box[0][which], self.box[1][which]),
        )

    @property
    def observed(self) -> Bool[np.ndarray, "B n"]:
        return self.row_weight > 0

    @property
    def size(self) -> Float[np.ndarray, " B"]:
        """max_j omega_j |x_j|: no tolerance above it is of use."""
        return np.max(self.row_weight * np.abs(self.x), axis=-1, initial=0.0)

    @property
    def per_slack(self) -> Float[np.ndarray, "B n"]:
        """omega_j, one where nothing is observed."""
        return np.where(self.observed, self.row_weight, 1.0)

    @property
    def like_relu(self) -> bool:
        """Whether rows of small x_j bind from above only."""
        return self.activation.kind == "relu" or self.one_sided

    @property
    def leaky(self) -> bool:
        """Whether rows of small x_j are read with both slopes."""
        return self.activation.kind == "leaky_relu" and not self.one_sided

    @property
    def own_bracket(self) -> bool:
        """Whether Algorithm 1's optimum is itself a lower bound where it accepts."""
        return not (self.leaky or self.activation.squashing)

    def preactivation(self, z: Float[np.ndarray, "B k"]) -> Float[np.ndarray, "B n"]:
        # One product an observation: a product for all would round by the size of the batch.
        return np.matmul(self.matrix, z[:, :, None])[:, :, 0] + self.bias

    def output(self, z: Float[np.ndarray, "B k"]) -> Float[np.ndarray, "B n"]:
        """phi(W z + b)."""
        return self.activation.on_host(self.preactivation(z))


class Sides(NamedTuple):
    """lower - a s <= u <= upper + b s, row by row (B, n), before masks and weights."""

    lower: Float[np.ndarray, "B n"]
    upper: Float[np.ndarray, "B n"]
    a: Float[np.ndarray, "B n"]
    b: Float[np.ndarray, "B n"]


def linf_rows(rows: Rows, tolerance: Float[np.ndarray, " B"]) -> IntervalLP:
    """Algorithm 1's program for each observation at its own tolerance: min s."""
    return _slack_program(rows, _sides(rows, tolerance), Slack.SHARED)


def l1_rows(rows: Rows, tolerance: Float[np.ndarray, " B"]) -> IntervalLP:
    """Algorithm 2's program for each observation at its own tolerance: min sum_j e_j.

    What an observation exceeds the range of a sigmoid or tanh by is a constant of the loss.
    """
    if rows.activation.squashing:
        rows = rows._replace(x=np.clip(rows.x, *rows.activation.range))
    return _slack_program(rows, _sides(rows, tolerance), Slack.SEPARATE)


def bracket_rows(
    rows: Rows, tolerance: Float[np.ndarray, " B"], bracket: Bool[np.ndarray, " B"]
) -> IntervalLP:
    r"""Algorithm 1's program, its optimum made a lower bound of the least misfit where `bracket`.

    Where the program at eps accepts, the least s for which some z has |phi(u_j) - x_j| <= s lies
    in [s*, eps]. For ReLU Algorithm 1's own program has that property. Its ambiguous leaky rows
    with x_j > 0 do not: they ask for u_j >= (x_j - s)/c even where s < x_j. There the true end,
    min(x_j - s, (x_j - s)/c), is concave in s; its chord over [0, eps] is the tightest line below:

        u_j >= x_j - s (x_j - (x_j - eps)/c) / eps.
    """
    sides = _sides(rows, tolerance)
    if rows.leaky:
        eps = tolerance[:, None] / rows.per_slack
        chord = bracket[:, None] & (rows.x > 0) & (rows.x <= eps)
        slope = (rows.x - (rows.x - eps) / rows.activation.slope) / eps
        sides = sides._replace(
            lower=np.where(chord, rows.x, sides.lower), a=np.where(chord, slope, sides.a)
        )
    return _slack_program(rows, sides, Slack.SHARED)


def signed_rows(rows: Rows, positive: Bool[np.ndarray, "B n"]) -> IntervalLP:
    r"""The l_1 program in which signs of u, not a tolerance, say what a row costs.

    ReLU: |x_j - u_j| where x_j > 0 and u_j > 0, max(u_j, 0) elsewhere; never below the true loss
    |phi(u_j) - x_j| up to a constant, and equal to it at the z whose signs they are. LeakyReLU:
    Algorithm 2's rows, with those as I0 where the signs of u_j and x_j differ.
    """
    x, agree = rows.x, positive == (rows.x > 0)
    one = np.ones_like(x)
    if rows.like_relu:
        two_sided = agree & (x > 0)
        lower = np.where(two_sided, x, -np.inf)
        sides = Sides(lower, np.where(two_sided, x, 0.0), one, one)
    else:
        c = rows.activation.slope
        below, above = np.where(agree & (x > 0), 1.0, c), np.where(agree & (x <= 0), c, 1.0)
        sides = Sides(x / below, x / above, one / below, one / above)
    return _slack_program(rows, sides, Slack.SEPARATE)


def relaxed_rows(rows: Rows, tolerance: Float[np.ndarray, " B"]) -> IntervalLP:
    r"""Algorithm 3's program, eqs. 6 and 7, as min cost . z with a cost of length one.

    Sigmoid and tanh, read as the leaky rows are: min(g(x_j - eps), 0) <= u_j <= max(g(x_j + eps),
    0), pushed up where g(x_j) > 0 and down elsewhere with weight |phi(0) - x_j|; a side at which
    the output saturates is no side, and its row is not pushed there.
    """
    eps, x = tolerance[:, None] / rows.per_slack, rows.x
    if rows.activation.squashing:
        x = np.clip(x, *rows.activation.range)
        below, above = rows.activation.inverse(x - eps), rows.activation.inverse(x + eps)
        lower, upper = np.minimum(below, 0.0), np.maximum(above, 0.0)
        pull = x - 0.5 * sum(rows.activation.range)
        pull = np.where(np.isfinite(np.where(pull > 0, upper, lower)), pull, 0.0)
    else:
        upper = np.maximum(x + eps, 0.0)
        if rows.like_relu:
            lower, pull = np.full_like(x, -np.inf), np.maximum(x, 0.0)
        else:
            lower, pull = np.minimum(x - eps, 0.0) / rows.activation.slope, x
    cost = -np.matmul((rows.row_weight * pull)[:, None, :], rows.matrix)[:, 0, :]
    length = np.linalg.norm(cost, axis=-1, keepdims=True)
    none = np.zeros_like(x)
    program = _slack_program(rows, Sides(lower, upper, none, none), Slack.NONE)
    return replace(program, cost=cost / np.where(length > 0, length, 1.0))


def tolerance_needed(rows: Rows, z: Float[np.ndarray, "B k"]) -> Float[np.ndarray, " B"]:
    r"""The least eps whose Algorithm 1 rows hold at z with slack at most eps.

    max_j |phi(u_j) - x_j|, where ReLU rows with x_j < 0 ask for no more than u_j - x_j.
    """
    if rows.like_relu:
        u = rows.preactivation(z)
        misfit = np.maximum(u - rows.x, np.minimum(rows.x - u, rows.x))
    else:
        misfit = np.abs(rows.output(z) - rows.x)
    return np.max(rows.row_weight * misfit, axis=-1, initial=0.0)


def out_of_reach(rows: Rows) -> Float[np.ndarray, " B"]:
    """The distance of x from the range of a sigmoid or tanh: a tolerance must exceed it."""
    if not rows.activation.squashing:
        return np.zeros(len(rows.x))
    low, high = rows.activation.range
    beyond = np.maximum(low - rows.x, rows.x - high)
    return np.max(rows.row_weight * beyond, axis=-1, initial=0.0)


def undecided(rows: Rows, tolerance: Float[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
    """Equal values at two tolerances mean equal rows: how many rows the tolerance leaves open."""
    if rows.activation.kind == "identity":
        return np.zeros(len(rows.x))
    if rows.activation.squashing:
        return tolerance
    size = rows.row_weight * (rows.x if rows.like_relu else np.abs(rows.x))
    return (rows.observed & (size <= tolerance[:, None])).sum(-1)


def _sides(rows: Rows, tolerance: Float[np.ndarray, " B"]) -> Sides:
    """The rows that Algorithms 1 and 2 have in common."""
    x, eps = rows.x, tolerance[:, None] / rows.per_slack
    if rows.activation.squashing:
        return _squashed_sides(rows.activation, x, eps)
    one = np.ones_like(x)
    if rows.like_relu:
        return Sides(np.where(x > eps, x, -np.inf), x, one, one)
    c = rows.activation.slope
    below, above = np.where(x > eps, 1.0, c), np.where(x < -eps, c, 1.0)
    return Sides(x / below, x / above, one / below, one / above)


def _squashed_sides(activation: Activation, x: np.ndarray, eps: np.ndarray) -> Sides:
    """Lines in s that meet the interval of x -+ s at s = 0 and s = eps.

    At s = 0 the end is infinite where x saturates: there the line is the tangent at s = eps.
    """
    low, high = activation.range
    value = activation.inverse(x)
    # Beyond reach of eps there is no interval at all; the search never asks for one.
    least = np.minimum(x - eps, np.nextafter(high, low))
    most = np.maximum(x + eps, np.nextafter(low, high))
    below, above = activation.inverse(least), activation.inverse(most)
    flat = np.finfo(x.dtype).tiny
    slope_below, slope_above = (
        np.maximum(activation.slope_of_output(end), flat) for end in (least, most)
    )
    with np.errstate(invalid="ignore"):
        a = np.where(x < high, (value - below) / eps, 1.0 / slope_below)
        b = np.where(x > low, (above - value) / eps, 1.0 / slope_above)
    has_lower, has_upper = np.isfinite(below), np.isfinite(above)
    a, b = np.where(has_lower, a, 1.0), np.where(has_upper, b, 1.0)
    return Sides(
        np.where(has_lower, below, 0.0) + a * eps + np.where(has_lower, 0.0, -np.inf),
        np.where(has_upper, above, 0.0) - b * eps + np.where(has_upper, 0.0, np.inf),
        a,
        b,
    )


def _slack_program(rows: Rows, sides: Sides, slack: Slack) -> IntervalLP:
    """Move the bias over, drop what is not observed, weigh the slack."""
    observed, per_slack = rows.observed, rows.per_slack
    return IntervalLP(
        matrix=rows.matrix,
        lower=np.where(observed, sides.lower - rows.bias, -np.inf),
        upper=np.where(observed, sides.upper - rows.bias, np.inf),
        lower_slack=sides.a / per_slack,
        upper_slack=sides.b / per_slack,
        box_lower=rows.box[0],
        box_upper=rows.box[1],
        cost=np.zeros_like(rows.box[0]),
        slack=slack,
        floor=np.maximum(FLOOR * rows.size, np.finfo(float).tiny),
    )
