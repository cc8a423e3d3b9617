"""Whether Algorithm 3's rows have a point at all, and from which tolerance of the grid on.

Its rows only give way as the tolerance grows, so that feasibility is monotone. Without a bias z = 0
satisfies them all; otherwise min s, s >= 0 over the rows with slack s decides, and every point
found feasible at one tolerance proves all larger ones.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinv.layerwise.constraints import Rows, relaxed_rows
from jaxinv.layerwise.grid import Grid
from jaxinv.layerwise.layer_program import LayerProgram
from jaxinv.lp.problem import IntervalLP, Slack


def slack_rows(rows: Rows, tolerance: Float[np.ndarray, " B"]) -> IntervalLP:
    """min s, s >= 0, such that Algorithm 3's rows hold up to s; the optimum is 0 if feasible."""
    hard = relaxed_rows(rows, tolerance)
    one = np.ones_like(hard.lower)
    return replace(
        hard,
        lower_slack=one,
        upper_slack=one,
        cost=np.zeros_like(hard.cost),
        slack=Slack.SHARED,
    )


def first_feasible(
    program: LayerProgram, grid: Grid, live: Bool[np.ndarray, " B"]
) -> tuple[Int[np.ndarray, " B"], Int[np.ndarray, " B"]]:
    """The first grid step with feasible rows (grid.last + 1: none), and programs solved, (B,)."""
    batch = program.batch_size
    rejected, accepted = np.full(batch, -1), grid.last + 1
    asked = np.zeros(batch, np.int64)
    origin = np.clip(np.zeros_like(program.rows.box[0]), *program.rows.box)
    while True:
        which = np.flatnonzero(live & (accepted - rejected > 1))
        if not which.size:
            return accepted, asked
        t = np.where(asked[which] == 0, rejected[which] + 1, (rejected + accepted)[which] // 2)
        eps = grid.tolerance(which, t)
        problem = slack_rows(program.rows.take(which), eps)
        fits = problem.least_slack(origin[which]).max(-1) <= problem.floor
        open_ = np.flatnonzero(~fits)
        if open_.size:
            centre = program.centre(which[open_], eps[open_])
            found = program.solve_from(problem.take(open_), which[open_], centre, eps[open_])
            asked[which[open_]] += 1
            # A point speaks for itself, whatever its certificate; without one it is not feasible.
            slack = problem.take(open_).least_slack(np.nan_to_num(found.latent)).max(-1)
            fits[open_] = np.isfinite(found.latent).all(-1) & (slack <= problem.floor[open_])
        accepted[which[fits]], rejected[which[~fits]] = t[fits], t[~fits]
