"""Feeds the interior-point solver: a fixed number of slots, each refilled when its instance ends.

A batch runs as long as its slowest member, and a row's last bits depend on the shape of the batch
it is computed in. So there is one shape: instances wait in a queue, and who is done makes room.
"""

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxinv.lp.device_matrix import DeviceMatrix
from jaxinv.lp.interior_point import Program, State, advance, start
from jaxinv.lp.problem import IntervalLP, LPSolution, Slack
from jaxinv.lp.sides import Sides
from jaxinv.methods import InteriorPoint
from jaxinv.normal_matrix import pair_products

SLOT_BYTES = 1 << 28  # what the normal matrices of all slots may take
MOST_ON_CPU = 64  # more leave the cache
REFILL = 8  # a slot in so many must be free before they are refilled


def default_slots(columns: int) -> int:
    """As many slots as fit SLOT_BYTES; on a CPU no more than keep to the cache."""
    fit = SLOT_BYTES // (4 * 8 * (columns + 1) ** 2)
    return int(np.clip(fit, 1, MOST_ON_CPU if jax.default_backend() == "cpu" else 4096))


def solve(
    problem: IntervalLP, settings: InteriorPoint, largest_batch: int | None = None
) -> LPSolution:
    """Solve every instance; one that does not converge comes back as NaN, not finished.

    largest_batch: the most instances the caller ever brings at once, which bounds the number of
    slots; the same number gives the same bits whatever the batch of one call.
    """
    slots = settings.slots or default_slots(problem.columns)
    slots = max(1, min(slots, largest_batch or problem.batch_size))
    answer = LPSolution(
        latent=np.full((problem.batch_size, problem.columns), np.nan),
        lower_dual=np.zeros((problem.batch_size, problem.rows)),
        upper_dual=np.zeros((problem.batch_size, problem.rows)),
        finished=np.zeros(problem.batch_size, bool),
        steps=np.zeros(problem.batch_size, np.int64),
    )
    if problem.batch_size:
        with jax.enable_x64(True):
            _run(problem, settings, slots, answer)
    return answer


def _run(problem: IntervalLP, settings: InteriorPoint, slots: int, answer: LPSolution) -> None:
    waiting = deque(range(problem.batch_size))
    holds = np.full(slots, -1)  # which instance a slot holds
    shared = _on_device(problem.matrix) if problem.matrix.ndim == 2 else None
    loaded: tuple[DeviceMatrix, Program, State] | None = None
    while waiting or (holds >= 0).any():
        free = np.flatnonzero(holds < 0)[: len(waiting)]
        if free.size:
            holds[free] = [waiting.popleft() for _ in free]
            loaded = _refilled(problem, shared, holds, free, loaded)
        assert loaded is not None
        matrix, program, state = loaded
        occupied = holds >= 0
        spare = max(1, int(occupied.sum()) // REFILL) if waiting else int(occupied.sum())
        state = advance(
            matrix,
            program,
            state,
            slots - int(occupied.sum()) + spare,
            settings.tolerance,
            problem.slack,
            settings.correctors,
            settings.steps,
        )
        loaded = matrix, program, state
        done = occupied & ~np.asarray(state.running)
        _store(answer, state, np.flatnonzero(done), holds[done], problem)
        holds[done] = -1


def _on_device(matrix: np.ndarray) -> DeviceMatrix:
    rows = jnp.asarray(matrix)
    return DeviceMatrix(rows, jax.jit(pair_products)(rows))


def _refilled(
    problem: IntervalLP,
    shared: DeviceMatrix | None,
    holds: Int[np.ndarray, " S"],
    free: Int[np.ndarray, " m"],
    loaded: tuple[DeviceMatrix, Program, State] | None,
) -> tuple[DeviceMatrix, Program, State]:
    """The slots with new instances in the free ones; a slot that holds nobody stands still."""
    instance = np.maximum(holds, 0)
    matrix = shared or _on_device(problem.matrix[instance])
    program = _program(problem.take(instance))
    state = start(matrix, program, problem.slack)
    state = state._replace(finished=jnp.asarray(holds < 0))
    if loaded is not None:
        fresh = np.zeros(len(holds), bool)
        fresh[free] = True
        program, state = _choose(jnp.asarray(fresh), (program, state), loaded[1:])
    return matrix, program, state


@jax.jit
def _choose(
    fresh: Bool[Array, " S"], new: tuple[Program, State], old: tuple[Program, State]
) -> tuple[Program, State]:
    def pick(a: Array, b: Array) -> Array:
        return jnp.where(fresh.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(pick, new, old)


def _program(problem: IntervalLP) -> Program:
    width = {Slack.SHARED: 1, Slack.SEPARATE: problem.rows, Slack.NONE: 0}[problem.slack]
    ends = [problem.lower, problem.upper, problem.box_lower, problem.box_upper]
    zeros = np.zeros((problem.batch_size, width))
    return Program(
        ends=Sides(
            *(jnp.asarray(np.where(np.isfinite(e), e, 0.0)) for e in ends), jnp.asarray(zeros)
        ),
        present=Sides(*(jnp.asarray(np.isfinite(e)) for e in ends), jnp.asarray(zeros == 0)),
        lower_slack=jnp.asarray(problem.lower_slack),
        upper_slack=jnp.asarray(problem.upper_slack),
        cost=jnp.asarray(problem.cost / _cost_unit(problem)[:, None]),
        floor=jnp.asarray(problem.floor),
    )


def _cost_unit(problem: IntervalLP) -> Float[np.ndarray, " B"]:
    """The length of the cost, in which multipliers are of order one."""
    length = np.linalg.norm(problem.cost, axis=-1)
    return np.where(length > 0, length, 1.0)


def _store(
    answer: LPSolution, state: State, slot: np.ndarray, instance: np.ndarray, problem: IntervalLP
) -> None:
    finished = np.asarray(state.finished)[slot]
    answer.finished[instance] = finished
    answer.steps[instance] = np.asarray(state.steps)[slot]
    slot, instance = slot[finished], instance[finished]
    unit = _cost_unit(problem.take(instance))[:, None]
    answer.latent[instance] = np.asarray(state.latent)[slot]
    answer.lower_dual[instance] = unit * np.asarray(state.multiplier.lower)[slot]
    answer.upper_dual[instance] = unit * np.asarray(state.multiplier.upper)[slot]
