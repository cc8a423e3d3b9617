r"""The outer loops of Algorithms 2 and 3: the tolerance whose answer has the least true residual.

The true residual is sum_j omega_j |phi(u_j) - x_j| for the l_1 program, and the 2-norm of the same
for the relaxation; no program minimises it, so that every answer is judged by it afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinv.layerwise.constraints import Rows, l1_rows, relaxed_rows
from jaxinv.layerwise.feasibility import first_feasible
from jaxinv.layerwise.grid import Grid
from jaxinv.layerwise.layer_program import Build, LayerProgram
from jaxinv.layerwise.tolerance import Accepted

# An iterate counts as better when it lowers the residual by more than its certificate's accuracy.
BETTER = 1.0 - 1e-6


def l1_residual(rows: Rows, z: Float[np.ndarray, "B k"]) -> Float[np.ndarray, " B"]:
    """sum_j omega_j |phi(u_j) - x_j|."""
    return (rows.row_weight * np.abs(rows.output(z) - rows.x)).sum(-1)


def l2_residual(rows: Rows, z: Float[np.ndarray, "B k"]) -> Float[np.ndarray, " B"]:
    """||omega (phi(u) - x)||_2, infinite where the square overflows."""
    with np.errstate(over="ignore"):
        return np.linalg.norm(rows.row_weight * (rows.output(z) - rows.x), axis=-1)


class Objective(NamedTuple):
    """A program at a tolerance, and the residual by which its answers are judged."""

    build: Build
    residual: Callable[[Rows, np.ndarray], np.ndarray]


L1 = Objective(l1_rows, l1_residual)
RELAXED = Objective(relaxed_rows, l2_residual)


@dataclass
class Best:
    """The best answer so far, one entry an observation (written in place, row by row).

    residual: infinite before the first answer. asked: programs.
    """

    latent: Float[np.ndarray, "B k"]
    tolerance: Float[np.ndarray, " B"]
    residual: Float[np.ndarray, " B"]
    asked: Int[np.ndarray, " B"]

    @classmethod
    def none(cls, program: LayerProgram) -> "Best":
        batch = program.batch_size
        return cls(
            np.full((batch, program.layer.width_in), np.nan),
            np.full(batch, np.nan),
            np.full(batch, np.inf),
            np.zeros(batch, np.int64),
        )

    def offer(
        self, which: np.ndarray, tolerance: np.ndarray, residual: np.ndarray, latent: np.ndarray
    ) -> Bool[np.ndarray, " m"]:
        """Keep what is better than what is there; `which` may name a row more than once."""
        better = residual < BETTER * self.residual[which]
        # The best offer of each row is written last.
        order = np.flatnonzero(better)
        order = order[np.argsort(-residual[order], kind="stable")]
        rows = which[order]
        self.residual[rows], self.tolerance[rows] = residual[order], tolerance[order]
        self.latent[rows] = latent[order]
        return better

    def finish(self, exhausted: Bool[np.ndarray, " B"]) -> Accepted:
        """The answers kept; a row that asked and has none failed (not certified, or overflow)."""
        failed = ~np.isfinite(self.residual) & ~exhausted & (self.asked > 0)
        return Accepted(self.latent, self.tolerance, failed, exhausted, self.asked)


def try_tolerances(
    objective: Objective,
    program: LayerProgram,
    best: Best,
    which: Int[np.ndarray, " m"],
    tolerance: Float[np.ndarray, " m"],
    together: int = 1,
) -> Float[np.ndarray, " m"]:
    """Solve all of them in one call, keep the best; returns residuals, infinite without answer."""
    solution = program.solve(objective.build, which, tolerance, together)
    np.add.at(best.asked, which, 1)
    residual = objective.residual(program.rows.take(which), np.nan_to_num(solution.latent))
    residual = np.where(solution.certified, residual, np.inf)
    best.offer(which, tolerance, residual, solution.latent)
    return residual


def walk(
    objective: Objective, program: LayerProgram, grid: Grid, live: Bool[np.ndarray, " B"]
) -> Accepted:
    """Algorithms 2 and 3 as printed (after correction).

    Solve at eps_0, eps_1, ..., stop at the first answer that is no better than the one before it,
    and return that one before. Tolerances without a feasible program are passed over.
    """
    best = Best.none(program)
    t = _start(objective, program, grid, live, best)
    exhausted = live & (t > grid.last)
    open_ = live & ~exhausted
    while open_.any():
        which = np.flatnonzero(open_)
        before = best.residual[which].copy()
        residual = try_tolerances(objective, program, best, which, grid.tolerance(which, t[which]))
        t[which] += 1
        worse = (residual >= BETTER * before) & np.isfinite(before)
        open_[which] = ~worse & (t[which] <= grid.last[which])
    return best.finish(exhausted)


# Steps of the grid between the tolerances tried at first, and around the best of them.
STRIDES = (6, 2, 1)
TOGETHER = (8, 4, 2)  # about as many at a time


def best_of_grid(program: LayerProgram, grid: Grid, live: Bool[np.ndarray, " B"]) -> Accepted:
    """Algorithm 3: every sixth tolerance first, then the neighbours of the best in finer steps."""
    best = Best.none(program)
    first = _start(RELAXED, program, grid, live, best)
    exhausted = live & (first > grid.last)
    at = np.zeros(program.batch_size, np.int64)
    for number, stride in enumerate(STRIDES):
        pairs: list[tuple[int, int]] = []
        for row in np.flatnonzero(live & ~exhausted):
            if number == 0:
                steps = np.arange(grid.last[row], first[row] - 1, -stride)
            else:
                reach = STRIDES[number - 1]
                offsets = np.arange(-reach + stride, reach, stride)
                steps = at[row] + offsets[offsets != 0]
                steps = steps[(steps >= first[row]) & (steps <= grid.last[row])]
            pairs += [(int(row), int(step)) for step in steps]
        if pairs:
            which, t = np.array(pairs).T
            before = best.residual.copy()
            eps = grid.tolerance(which, t)
            residual = try_tolerances(RELAXED, program, best, which, eps, TOGETHER[number])
            for row in np.flatnonzero(best.residual < before):
                here = which == row
                at[row] = t[here][np.argmin(residual[here])]
    return best.finish(exhausted)


def _start(
    objective: Objective, program: LayerProgram, grid: Grid, live: np.ndarray, best: Best
) -> Int[np.ndarray, " B"]:
    """The first grid step with a feasible program; grid.last + 1 where there is none."""
    if objective is L1:
        return np.zeros(program.batch_size, np.int64)
    first, asked = first_feasible(program, grid, live)
    best.asked += asked
    return first
