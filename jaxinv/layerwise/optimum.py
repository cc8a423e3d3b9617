r"""The exact optimum of one layer, min_z max_j |phi(u_j) - x_j|: bisection over sorted |x_j|.

The misfit F is quasiconvex, and {F <= eps} is what Algorithm 1's rows say at slack eps. Between two
neighbours of the sorted |x_j| the program does not change with eps: on [v_i, v_i+1) it accepts from
its optimum s_i* on, so that the least F is max(s_i*, v_i) for the first i with s_i* < v_i+1. Under
ReLU, max_j -x_j is left out: no z can change it.
"""

import numpy as np
from jaxtyping import Bool, Float

from jaxinv.layerwise.constraints import Rows, linf_rows
from jaxinv.layerwise.grid import Grid
from jaxinv.layerwise.layer_program import LayerProgram
from jaxinv.layerwise.tolerance import Accepted, smallest_accepted

LEAST = 1e-9  # of max|x|, below which a misfit is rounding
COARSE = 1.2
FINE = 1.0 + 1e-6  # of the optimum, where no tolerances change the program


def least_misfit(program: LayerProgram, live: Bool[np.ndarray, " B"]) -> Accepted:
    """z of least F and F as its tolerance; sigmoid and tanh to a relative 1e-6."""
    size = program.rows.size
    start = np.where(size > 0, LEAST * size, 1.0)
    found = smallest_accepted(program, Grid.up_to(start, COARSE, size), live)
    solved = ~(found.failed | found.exhausted) & live
    if program.rows.activation.squashing:
        start = np.where(solved, found.tolerance / COARSE, 1.0)
        narrow = Grid.up_to(start, FINE, COARSE * start)
        return _joined(found, smallest_accepted(program, narrow, solved))
    return _joined(found, _bisect(program, found.tolerance, solved))


def breakpoints(rows: Rows) -> Float[np.ndarray, "B m"]:
    """v_0 = 0 and the sorted tolerances at which a row's kind changes, zeros first.

    They are |x_j|, for ReLU where x_j > 0, and for sigmoid and tanh the distance to the nearer end
    of the range. But for these two, the program of every tolerance in [v_i, v_i+1) is that of v_i.
    """
    size = np.maximum(rows.x, 0.0) if rows.like_relu else np.abs(rows.x)
    if rows.activation.kind == "identity":
        size = np.zeros_like(size)
    if rows.activation.squashing:
        low, high = rows.activation.range
        size = np.maximum(np.minimum(rows.x - low, high - rows.x), 0.0)
    size = rows.row_weight * size
    return np.sort(np.concatenate([np.zeros((len(size), 1)), size], axis=-1), axis=-1)


def _bisect(program: LayerProgram, tolerance: np.ndarray, live: np.ndarray) -> Accepted:
    """The first interval between breakpoints that accepts; it lies in [tolerance / COARSE, ...]."""
    v = breakpoints(program.rows)
    batch = len(v)
    ends = np.concatenate([v[:, 1:], np.full((batch, 1), np.inf)], axis=-1)
    accepted = np.array(
        [np.searchsorted(v[i], tolerance[i], "right") - 1 if live[i] else 0 for i in range(batch)]
    )
    rejected = np.array(
        [
            np.searchsorted(v[i], tolerance[i] / COARSE, "right") - 2 if live[i] else -1
            for i in range(batch)
        ]
    )
    # The coarse grid's first tolerance may accept all below it.
    rejected = np.where(tolerance <= COARSE * LEAST * program.rows.size, -1, rejected)
    solved_at, asked = np.full(batch, -1), np.zeros(batch, np.int64)
    latent = np.full((batch, program.layer.width_in), np.nan)
    value = np.full(batch, np.nan)
    failed = np.zeros(batch, bool)
    while True:
        closed = (rejected >= accepted - 1) & (solved_at == accepted)
        which = np.flatnonzero(live & ~failed & ~closed)
        if not which.size:
            break
        gap = accepted[which] - rejected[which]
        i = np.where(gap > 1, (rejected[which] + accepted[which]) // 2, accepted[which])
        solution = program.solve(linf_rows, which, v[which, i])
        asked[which] += 1
        failed[which] |= ~solution.certified
        # What the coarse search proved outranks the last digits of s*.
        fits = (solution.objective < ends[which, i]) | (gap <= 1)
        kept = which[fits]
        accepted[kept] = solved_at[kept] = i[fits]
        latent[kept] = solution.latent[fits]
        value[kept] = np.maximum(solution.objective, v[which, i])[fits]
        rejected[which[~fits]] = i[~fits]
    latent[failed] = np.nan
    return Accepted(latent, value, failed, np.zeros(batch, bool), asked)


def _joined(coarse: Accepted, fine: Accepted) -> Accepted:
    return Accepted(
        fine.latent,
        fine.tolerance,
        coarse.failed | fine.failed,
        coarse.exhausted,
        coarse.steps + fine.steps,
    )
