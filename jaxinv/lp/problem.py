r"""Interval rows with slack: the one form that every linear program here takes.

Each of the B instances asks for z in R^k and a slack s >= 0 with

    lower_j - a_j s_j  <=  w_j . z  <=  upper_j + b_j s_j        for every row j
    box_lower <= z <= box_upper

and minimises one of

    SHARED    s                     one slack for all rows        (l_inf, Algorithm 1)
    SEPARATE  sum_j s_j             a slack a row                 (l_1, Algorithm 2)
    NONE      cost . z              no slack at all               (relaxation, Algorithm 3)

An infinite side is no side, so that masks and one-sided rows need no other shape; lower_j > upper_j
is legal where slack can close the interval. Answers are judged here and nowhere else: a solver's
own word is never believed.
"""

import enum
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Bool, Float, Int

NEGLIGIBLE = 1e-8  # a reduced cost this small, relative to its terms, is reported as `dual`


class Slack(enum.Enum):
    """How the rows share their slack, which also fixes the objective."""

    SHARED = "one slack for all rows, minimised"
    SEPARATE = "one slack a row, their sum minimised"
    NONE = "no slack, a linear cost minimised"


@dataclass(frozen=True)
class IntervalLP:
    """A batch of B linear programs over the rows of one matrix (n, k), or of one each (B, n, k).

    lower, upper: (B, n), infinite where a row has no such side. lower_slack, upper_slack: (B, n),
    the coefficients a and b >= 0. box_lower, box_upper: (B, k). cost: (B, k), zero unless slack is
    NONE. floor: (B,), objective values below it count as zero when an answer is judged.
    """

    matrix: Float[np.ndarray, "*shared n k"]
    lower: Float[np.ndarray, "B n"]
    upper: Float[np.ndarray, "B n"]
    lower_slack: Float[np.ndarray, "B n"]
    upper_slack: Float[np.ndarray, "B n"]
    box_lower: Float[np.ndarray, "B k"]
    box_upper: Float[np.ndarray, "B k"]
    cost: Float[np.ndarray, "B k"]
    slack: Slack
    floor: Float[np.ndarray, " B"]

    @property
    def batch_size(self) -> int:
        return len(self.lower)

    @property
    def rows(self) -> int:
        return int(self.matrix.shape[-2])

    @property
    def columns(self) -> int:
        return int(self.matrix.shape[-1])

    def take(self, index: "Int[np.ndarray, ' m'] | Bool[np.ndarray, ' B'] | slice") -> "IntervalLP":
        """The same linear programs for some instances only."""
        arrays = {name: getattr(self, name)[index] for name in _PER_INSTANCE}
        matrix = self.matrix if self.matrix.ndim == 2 else self.matrix[index]
        return replace(self, matrix=matrix, **arrays)

    def matrix_of(self, instance: int) -> Float[np.ndarray, "n k"]:
        return self.matrix if self.matrix.ndim == 2 else self.matrix[instance]

    def apply(self, z: Float[np.ndarray, "B k"]) -> Float[np.ndarray, "B n"]:
        """W z, instance by instance: one product for all would round by the size of the batch."""
        return np.matmul(self.matrix, z[:, :, None])[:, :, 0]

    def apply_adjoint(self, y: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B k"]:
        """W' y, instance by instance, as `apply`."""
        return np.matmul(y[:, None, :], self.matrix)[:, 0, :]

    def least_slack(self, z: Float[np.ndarray, "B k"]) -> Float[np.ndarray, "B n"]:
        """The slack each row needs at z, at least 0; infinite where no slack can help."""
        wz = self.apply(z)
        return np.maximum(
            _slack_for(self.lower - wz, self.lower_slack),
            _slack_for(wz - self.upper, self.upper_slack),
        )

    def recentred(
        self, centre: Float[np.ndarray, "B k"], scale: Float[np.ndarray, " B"]
    ) -> "IntervalLP":
        """The same programs in w, z = centre + scale w, with slack in units of scale.

        With a good centre and its largest violation as scale every residual is of order one, so
        that a solver's tolerance is relative to the slack itself and not to the observation.
        """
        unit = scale[:, None]
        shift = self.apply(centre)
        return replace(
            self,
            lower=(self.lower - shift) / unit,
            upper=(self.upper - shift) / unit,
            box_lower=(self.box_lower - centre) / unit,
            box_upper=(self.box_upper - centre) / unit,
            floor=self.floor / scale,
        )


_PER_INSTANCE = (
    "lower",
    "upper",
    "lower_slack",
    "upper_slack",
    "box_lower",
    "box_upper",
    "cost",
    "floor",
)


def _slack_for(violation: np.ndarray, coefficient: np.ndarray) -> np.ndarray:
    violation = np.maximum(violation, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = violation / coefficient
    # A value that is not a number stays one: it must not pass for a side that is met.
    return np.where(violation <= 0, 0.0, needed)


@dataclass(frozen=True)
class LPSolution:
    """A batch of answers: latent (B, k), the rows' multipliers (B, n) >= 0, and a solver's word.

    lower_dual, upper_dual: multipliers of the two sides of each row. finished: (B,), what the
    solver says; only `certify` decides. steps: (B,) iterations.
    """

    latent: Float[np.ndarray, "B k"]
    lower_dual: Float[np.ndarray, "B n"]
    upper_dual: Float[np.ndarray, "B n"]
    finished: Bool[np.ndarray, " B"]
    steps: Int[np.ndarray, " B"]

    def take(self, index: "Int[np.ndarray, ' m'] | Bool[np.ndarray, ' B']") -> "LPSolution":
        """The answers of some instances only."""
        return LPSolution(*(getattr(self, f.name)[index] for f in fields(self)))

    def replaced(self, index: "Int[np.ndarray, ' m']", other: "LPSolution") -> "LPSolution":
        """The same answers with those of some instances exchanged."""
        merged = {f.name: getattr(self, f.name).copy() for f in fields(self)}
        for name, values in merged.items():
            values[index] = getattr(other, name)
        return LPSolution(**merged)

    def uncentred(
        self, centre: Float[np.ndarray, "B k"], scale: Float[np.ndarray, " B"]
    ) -> "LPSolution":
        """The answers of `IntervalLP.recentred(centre, scale)` in the original coordinates."""
        return replace(self, latent=centre + scale[:, None] * self.latent)


@dataclass(frozen=True)
class Certificate:
    """KKT residuals recomputed from the returned point, one entry an instance.

    objective: the value at the returned point, with the least slack that makes it feasible (so
    that the point is primal feasible by construction; for Slack.NONE see `primal`). primal: the
    largest violation that no slack can close. dual: the largest violation of the dual's equalities
    and signs, after negative multipliers are cut off. gap: objective minus dual objective.
    """

    objective: Float[np.ndarray, " B"]
    primal: Float[np.ndarray, " B"]
    dual: Float[np.ndarray, " B"]
    gap: Float[np.ndarray, " B"]
    scale: Float[np.ndarray, " B"]
    zero: Bool[np.ndarray, " B"]

    def holds(self, tolerance: float = 1e-8) -> Bool[np.ndarray, " B"]:
        """Whether primal, dual and gap are all within tolerance, relative to the objective.

        Relative means relative to max(|objective|, floor). A sum or maximum of slacks below the
        floor needs no multipliers: the optimum lies between 0 and it.
        """
        limit = tolerance * self.scale
        with np.errstate(invalid="ignore"):
            return (
                np.isfinite(self.objective)
                & (self.primal <= limit)
                & (self.zero | ((self.dual <= tolerance) & (np.abs(self.gap) <= limit)))
            )


def certify(problem: IntervalLP, solution: LPSolution) -> Certificate:
    r"""Recompute objective, primal and dual violation and duality gap from the returned numbers.

    The multipliers are first made feasible in the slack's dual constraint: for SHARED they are
    scaled down to sum_j (a_j y-_j + b_j y+_j) <= 1, for SEPARATE row by row. The reduced cost
    r = cost - W'(y- - y+) is then absorbed by the box where it is finite; what is left is `dual`,
    column by column in units of max_j |w_jc| max_j (y-_j + y+_j), so that it is what it is whatever
    the units of z.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        z = np.clip(solution.latent, problem.box_lower, problem.box_upper)
        has_lower, has_upper = np.isfinite(problem.lower), np.isfinite(problem.upper)
        y_lower = np.where(has_lower, np.maximum(solution.lower_dual, 0.0), 0.0)
        y_upper = np.where(has_upper, np.maximum(solution.upper_dual, 0.0), 0.0)
        if problem.slack is not Slack.NONE:
            price = problem.lower_slack * y_lower + problem.upper_slack * y_upper
            if problem.slack is Slack.SHARED:
                price = price.sum(-1, keepdims=True)
            y_lower, y_upper = (y / np.maximum(price, 1.0) for y in (y_lower, y_upper))
        objective, primal = _objective(problem, z)
        reduced = problem.cost - problem.apply_adjoint(y_lower - y_upper)
        size = np.abs(problem.matrix).max(-2) * (y_lower + y_upper).max(-1, keepdims=True)
        size = np.maximum(size, np.maximum(np.abs(problem.cost), 1e-300))
        bound = np.where(reduced > 0, problem.box_lower, problem.box_upper)
        # A reduced cost of rounding size times a far bound would only blow up the gap.
        free = ~np.isfinite(bound) | (np.abs(reduced) <= NEGLIGIBLE * size)
        dual_value = (
            np.where(has_lower, problem.lower, 0.0) * y_lower
            - np.where(has_upper, problem.upper, 0.0) * y_upper
        ).sum(-1) + (reduced * np.where(free, z, bound)).sum(-1)
        dual = np.where(free, np.abs(reduced) / size, 0.0).max(-1)
        # Without slack the objective has no natural zero: rows of order one are its scale.
        unit = np.linalg.norm(problem.cost, axis=-1) if problem.slack is Slack.NONE else 0.0
        scale = np.maximum(np.maximum(np.abs(objective), problem.floor), unit)
        zero = (problem.slack is not Slack.NONE) & (objective <= problem.floor)
        return Certificate(objective, primal, dual, objective - dual_value, scale, zero)


def _objective(problem: IntervalLP, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The objective at z with the least slack, and the violation that no slack closes."""
    if problem.slack is Slack.NONE:
        wz = problem.apply(z)
        violation = np.maximum(problem.lower - wz, wz - problem.upper).max(-1)
        return (problem.cost * z).sum(-1), np.maximum(violation, 0.0)
    slack = problem.least_slack(z)
    value = slack.max(-1) if problem.slack is Slack.SHARED else slack.sum(-1)
    return value, np.where(np.isfinite(value), 0.0, np.inf)
