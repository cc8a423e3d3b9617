"""One layer's linear programs for a batch: a centre for each, the backend, the certificate."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxinv.layerwise import least_squares
from jaxinv.layerwise.active_rows import linear_rows
from jaxinv.layerwise.constraints import Rows
from jaxinv.linalg.on_device import on_device, on_host
from jaxinv.lp.problem import IntervalLP, Slack
from jaxinv.lp.solve import CertifiedSolution, solve_certified
from jaxinv.model.layer import Layer
from jaxinv.settings import Solver

# One program: operation by operation it would be eight, for every layer.
_linear_rows = jax.jit(linear_rows)

# Sigmoid and tanh: errors are no rounding here, so that the slope alone says what a row is worth.
ANY_NOISE = 1.0

Build = Callable[[Rows, np.ndarray], IntervalLP]


class Centre(NamedTuple):
    """Least-squares points inside the box (m, k), and whether their rows have full rank (m,)."""

    latent: Float[np.ndarray, "m k"]
    full_rank: Bool[np.ndarray, " m"]


@dataclass(frozen=True)
class LayerProgram:
    """A batch of observations of one layer, and who solves their programs.

    An argument `which` (m,) names observations, one of them as often as there are tolerances to
    try on it; tolerance is (m,) then. fallback: (B,) programs so far of which the solver's own
    answer was not certified, so that the Clarabel pool was asked.
    """

    layer: Layer
    rows: Rows
    solver: Solver
    fallback: Int[np.ndarray, " B"] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fallback", np.zeros(self.batch_size, np.int64))

    @property
    def batch_size(self) -> int:
        return len(self.rows.x)

    def centre(self, which: Int[np.ndarray, " m"], tolerance: Float[np.ndarray, " m"]) -> Centre:
        """Least squares over the rows that are active at each tolerance."""
        if self.layer.activation.kind != "relu":
            # The same rows at every tolerance.
            once = self._whole_centre
            return Centre(once.latent[which], once.full_rank[which])
        z = np.empty((len(which), self.layer.width_in))
        full_rank = np.empty(len(which), bool)
        for turn in _without_repeats(which):
            # One fixed batch shape, so that no row's bits depend on which others are still open.
            full = np.ones(self.batch_size)
            full[which[turn]] = tolerance[turn]
            found = self._centre_at(full)
            z[turn], full_rank[turn] = (part[which[turn]] for part in found)
        return Centre(z, full_rank)

    @cached_property
    def _whole_centre(self) -> Centre:
        return self._centre_at(np.ones(self.batch_size))

    @cached_property
    def _observation(self) -> tuple[Float[Array, "B n"], Float[Array, "B n"]]:
        """x and the rows' weights on the device."""
        return on_device(self.rows.x), on_device(self.rows.row_weight)

    def _centre_at(self, tolerance: Float[np.ndarray, " B"]) -> Centre:
        """The centre of every observation at a tolerance of its own."""
        active = _linear_rows(self.layer, *self._observation, on_device(tolerance), ANY_NOISE)
        found = least_squares.centre(self.layer.weight, active)
        latent, full_rank = on_host((found.latent, found.full_rank))
        return Centre(np.clip(np.nan_to_num(latent), *self.rows.box), full_rank)

    def solve(
        self,
        build: Build,
        which: Int[np.ndarray, " m"],
        tolerance: Float[np.ndarray, " m"],
        together: int = 1,
    ) -> CertifiedSolution:
        """Solve for these rows at these tolerances; together: of one row, about how many."""
        problem = build(self.rows.take(which), tolerance)
        return self.solve_from(problem, which, self.centre(which, tolerance), tolerance, together)

    def solve_from(
        self,
        problem: IntervalLP,
        which: Int[np.ndarray, " m"],
        centre: Centre,
        tolerance: Float[np.ndarray, " m"],
        together: int = 1,
    ) -> CertifiedSolution:
        """Solve, recentred; a centre whose slack is rounding is an optimum already.

        The unit of the recentred program is the centre's violation, but not below what counts as
        zero (`IntervalLP.floor`) and, without slack, the tolerance: as far as the answer may lie.
        """
        if problem.slack is Slack.NONE:
            violation = _violation(problem, centre.latent)
            # Without a cost, as for an observation of zeros, any point of the rows will do.
            settled = ~problem.cost.any(-1) & (violation <= problem.floor)
            value = (problem.cost * centre.latent).sum(-1)
            scale = np.maximum(violation, np.maximum(tolerance, problem.floor))
        else:
            slack = problem.least_slack(centre.latent)
            violation = slack.max(-1)
            value = violation if problem.slack is Slack.SHARED else slack.sum(-1)
            settled = value <= problem.floor
            scale = np.maximum(violation, problem.floor)
        count = problem.batch_size
        found = CertifiedSolution(
            latent=centre.latent.copy(),
            objective=value,
            certified=settled.copy(),
            steps=np.zeros(count, np.int64),
            fallback=np.zeros(count, bool),
        )
        left = np.flatnonzero(~settled)
        if left.size:
            solved = solve_certified(
                problem.take(left),
                self.solver,
                centre.latent[left],
                scale[left],
                largest_batch=together * self.batch_size,
            )
            for part in fields(found):
                getattr(found, part.name)[left] = getattr(solved, part.name)
            np.add.at(self.fallback, which[left], solved.fallback)
        return found


def _violation(problem: IntervalLP, z: np.ndarray) -> np.ndarray:
    wz = problem.apply(z)
    return np.maximum(problem.lower - wz, wz - problem.upper).max(-1, initial=0.0)


def _without_repeats(which: np.ndarray) -> list[np.ndarray]:
    """Positions in `which`, split so that no row comes twice in one part."""
    turn = np.zeros(len(which), np.int64)
    seen: dict[int, int] = {}
    for position, row in enumerate(which.tolist()):
        turn[position] = seen.get(row, 0)
        seen[row] = int(turn[position]) + 1
    return [np.flatnonzero(turn == t) for t in range(max(seen.values(), default=0))]
