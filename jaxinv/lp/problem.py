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
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int


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
        """W z, instance by instance."""
        if self.matrix.ndim == 2:
            return z @ self.matrix.T
        return np.einsum("bnk,bk->bn", self.matrix, z)

    def apply_adjoint(self, y: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B k"]:
        """W' y, instance by instance."""
        if self.matrix.ndim == 2:
            return y @ self.matrix
        return np.einsum("bnk,bn->bk", self.matrix, y)

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
    return np.where(violation > 0, needed, 0.0)


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

    def holds(self, tolerance: float = 1e-8) -> Bool[np.ndarray, " B"]:
        """Whether primal, dual and gap are all within tolerance, relative to the objective.

        Relative means relative to max(|objective|, floor).
        """
        limit = tolerance * self.scale
        with np.errstate(invalid="ignore"):
            return (
                np.isfinite(self.objective)
                & (self.primal <= limit)
                & (self.dual <= tolerance)
                & (np.abs(self.gap) <= limit)
            )
