"""Feeds the interior-point solver: a fixed number of slots, each refilled when its instance ends.

Instances wait in the queue of `linalg.refill`; where single precision comes first, those that it
carried to a coarse tolerance go on in double precision from where they stand.
"""

from dataclasses import replace

import jax
import numpy as np
from jaxtyping import Bool, Float

from jaxinv.linalg.device_memory import share_of_memory
from jaxinv.linalg.double_precision import MANY_COLUMNS, single_precision_pays
from jaxinv.linalg.normal_matrix import FEWEST_OBSERVATIONS, pair_products
from jaxinv.linalg.on_device import on_device, on_host
from jaxinv.linalg.refill import Queue, room
from jaxinv.linalg.select import select
from jaxinv.lp.device_program import DeviceMatrix, Program, State
from jaxinv.lp.interior_point import advance, start
from jaxinv.lp.newton import least_pivot
from jaxinv.lp.problem import IntervalLP, LPSolution, Slack
from jaxinv.lp.sides import Sides
from jaxinv.settings import InteriorPoint

SLOT_BYTES = 1 << 28  # what the normal matrices of all slots may take, on a CPU
SHARE_OF_DEVICE = 16
MOST_ON_CPU = 64  # more leave the cache
# Where columns are many a step takes its time in products an instance, whatever the batch: a batch
# of one in few slots does not cost as much as one of many (measured at 500 x 200 and 784 x 500).
FEW_ON_CPU = 8
COARSE = 1e-3  # what single precision is asked for before double precision takes over
COARSE_STEPS = 15  # an instance that needs more starts afresh in double precision


def default_slots(columns: int) -> int:
    """As many slots as fit their share of the device; on a CPU no more than keep to the cache."""
    fit = share_of_memory(SHARE_OF_DEVICE, SLOT_BYTES) // (4 * 8 * (columns + 1) ** 2)
    most = FEW_ON_CPU if columns > MANY_COLUMNS else MOST_ON_CPU
    return int(np.clip(fit, 1, most if jax.default_backend() == "cpu" else 4096))


def solve(
    problem: IntervalLP,
    settings: InteriorPoint,
    largest_batch: int | None = None,
    fine: bool = False,
) -> LPSolution:
    """Solve every instance; one that does not converge comes back as NaN, not finished.

    largest_batch: the most instances the caller ever brings at once, which bounds the number of
    slots; the same number gives the same bits whatever the batch of one call. fine: see
    `newton.least_pivot`.
    """
    slots = settings.slots or default_slots(problem.columns)
    slots = max(1, min(slots, largest_batch or problem.batch_size))
    if problem.batch_size == 0:
        none = np.zeros((0, problem.rows))
        latent = np.zeros((0, problem.columns))
        return LPSolution(latent, none, none, np.zeros(0, bool), np.zeros(0, np.int64))
    with jax.enable_x64(True):
        state = None
        first = settings.single_precision_first
        if single_precision_pays(problem.columns) if first is None else first:
            coarse = replace(settings, tolerance=COARSE, steps=COARSE_STEPS)
            state = _run(problem, coarse, slots, np.dtype(np.float32), None, fine)
        state = _run(problem, settings, slots, np.dtype(np.float64), state, fine)
    finished = np.asarray(state.finished)
    # A cost of unit length was solved for: the multipliers are in its units.
    unit = _cost_unit(problem)[:, None]
    return LPSolution(
        latent=np.where(finished[:, None], state.latent, np.nan),
        lower_dual=np.where(finished[:, None], unit * state.multiplier.lower, 0.0),
        upper_dual=np.where(finished[:, None], unit * state.multiplier.upper, 0.0),
        finished=finished,
        steps=np.asarray(state.steps, np.int64),
    )


def _run(
    problem: IntervalLP,
    settings: InteriorPoint,
    slots: int,
    dtype: np.dtype,
    earlier: State | None,
    fine: bool,
) -> State:
    """Every instance's last state, (B, ...) on the host; earlier: where to start, if not afresh."""
    queue = Queue(slots, problem.batch_size)
    # Pairs are used from so many observations on, and forming them takes as long as some steps.
    keep = slots >= FEWEST_OBSERVATIONS
    shared = _on_device(problem.matrix, dtype, keep) if problem.matrix.ndim == 2 else None
    last: State | None = None
    loaded: tuple[DeviceMatrix, Program, State] | None = None
    while queue.unfinished:
        fresh = queue.refill()
        if fresh.any():
            loaded = _refilled(problem, shared, queue, fresh, loaded, earlier, dtype)
        assert loaded is not None
        matrix, program, state = loaded
        occupied = queue.occupied
        state = advance(
            matrix,
            program,
            state,
            slots - int(occupied.sum()) + queue.enough,
            settings.tolerance,
            least_pivot(dtype, fine),
            problem.slack,
            settings.correctors,
            settings.steps,
        )
        loaded = matrix, program, state
        if last is None:
            last = room(state, problem.batch_size)
        finished, stuck = on_host((state.finished, state.stuck))
        done = finished | stuck
        queue.store(occupied & done, state, last)
    assert last is not None, "an empty batch has no state"
    return last


def _on_device(matrix: np.ndarray, dtype: np.dtype, keep_pairs: bool = True) -> DeviceMatrix:
    rows = on_device(matrix, dtype)
    return DeviceMatrix(rows, jax.jit(pair_products)(rows) if keep_pairs else ())


def _refilled(
    problem: IntervalLP,
    shared: DeviceMatrix | None,
    queue: Queue,
    fresh: Bool[np.ndarray, " S"],
    loaded: tuple[DeviceMatrix, Program, State] | None,
    earlier: State | None,
    dtype: np.dtype,
) -> tuple[DeviceMatrix, Program, State]:
    """The slots with new instances in the fresh ones; a slot without an instance stands still."""
    instance = queue.instance
    matrix = shared or _on_device(problem.matrix[instance], dtype)
    program = _program(problem.take(instance), dtype)
    state = start(matrix, program, problem.slack)
    if earlier is not None:
        before = jax.tree.map(
            lambda part, now: on_device(part[instance], now.dtype), earlier, state
        )
        state = _select(before.stuck, state, before)
    empty = ~queue.occupied
    state = state._replace(finished=on_device(empty), stuck=on_device(np.zeros_like(empty)))
    if loaded is not None:
        program, state = _select(on_device(fresh), (program, state), (loaded[1], loaded[2]))
    return matrix, program, state


_select = jax.jit(select)


def _program(problem: IntervalLP, dtype: np.dtype) -> Program:
    slack = np.zeros((problem.batch_size, _width(problem)))
    ends = (problem.lower, problem.upper, problem.box_lower, problem.box_upper, slack)
    return Program(
        ends=Sides(*(on_device(np.where(np.isfinite(end), end, 0.0), dtype) for end in ends)),
        present=Sides(*(on_device(np.isfinite(end)) for end in ends)),
        lower_slack=on_device(problem.lower_slack, dtype),
        upper_slack=on_device(problem.upper_slack, dtype),
        cost=on_device(problem.cost / _cost_unit(problem)[:, None], dtype),
        floor=on_device(problem.floor, dtype),
    )


def _width(problem: IntervalLP) -> int:
    """Slack variables of an instance."""
    return {Slack.SHARED: 1, Slack.SEPARATE: problem.rows, Slack.NONE: 0}[problem.slack]


def _cost_unit(problem: IntervalLP) -> Float[np.ndarray, " B"]:
    """The length of the cost, in which multipliers are of order one."""
    length = np.linalg.norm(problem.cost, axis=-1)
    return np.where(length > 0, length, 1.0)
