"""Feeds Levenberg-Marquardt: a fixed number of lanes, each refilled when its run ends."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxinv.joint.descent.exact_step import exact_step
from jaxinv.joint.descent.gauss_newton import chord_ending
from jaxinv.joint.descent.levenberg_marquardt import (
    Box,
    Runs,
    Starts,
    advance,
    idle,
    load,
)
from jaxinv.joint.descent.matrix_free import LONG_LATENT, matrix_free_runs
from jaxinv.linalg.refill import Queue
from jaxinv.model.decoder import Decoder

LANE_BYTES = 1 << 31  # what the Jacobians of all lanes may take
SHARE_OF_DEVICE = 4
MOST_LANES, MOST_ON_CPU = 1024, 16  # on a CPU more lanes only leave the cache
CLOSINGS = 2  # Jacobians in single precision with which a run is closed
ROUNDS = 4  # steps between two looks at which lanes are done


def default_lanes(decoder: Decoder, memory: int | None = None) -> int:
    """As many lanes as pay for this decoder on this device.

    memory: bytes that the Jacobians of all lanes may take, on their way through the decoder too;
    None takes a share of what the device says it has, or LANE_BYTES where it says nothing.
    """
    if memory is None:
        stated = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
        memory = stated // SHARE_OF_DEVICE if stated else LANE_BYTES
    fit = memory // (3 * 8 * decoder.latent_size * decoder.scratch)
    return int(np.clip(fit, 1, MOST_ON_CPU if jax.default_backend() == "cpu" else MOST_LANES))


@dataclass(frozen=True)
class Engine:
    """Makes runs for the rows of one batch, x (B, n) with weights (B, n), 0 where not observed."""

    decoder: Decoder
    observation: Float[np.ndarray, "B n"]
    weight: Float[np.ndarray, "B n"]
    box: Box
    lanes: int
    steps: int

    def run(self, starts: Starts) -> Runs:
        """Run every start to its end and close it with the last steps of its cell."""
        if self.decoder.latent_size >= LONG_LATENT and not self.decoder.is_dense:
            data = self.observation, self.weight, self.box
            return matrix_free_runs(self.decoder, *data, starts, self.lanes, self.steps)
        precision = jnp.float64 if self.decoder.is_dense else jnp.float32
        total = len(starts.row)
        ends = Runs(
            starts.latent.copy(),
            np.full(total, np.inf),
            np.zeros(total, np.int64),
            np.zeros(total, bool),
        )
        queue, state = Queue(self.lanes, total), idle(self.lanes, self.decoder)
        while queue.unfinished:
            fresh = queue.refill()
            if fresh.any():
                run = queue.instance
                row = starts.row[run]
                state = load(
                    state,
                    jnp.asarray(fresh),
                    jnp.asarray(self.observation[row]),
                    jnp.asarray(self.weight[row]),
                    jnp.asarray(np.clip(starts.latent[run], self.box.low, self.box.high)),
                    jnp.asarray(starts.softness[run]),
                )
            state = advance(self.decoder, state, self.box, ROUNDS, self.steps, precision)
            done = queue.occupied & ~np.asarray(state.running)
            if done.sum() >= queue.enough:
                now = Runs(state.latent, state.loss, state.steps, state.converged)
                queue.store(done, now, ends)
        return self._closed(starts, ends)

    def _closed(self, starts: Starts, ends: Runs) -> Runs:
        """The runs with the last steps of their cells, in blocks as large as the lanes.

        Closed one by one as they end, every run would cost as much as all lanes together.
        """
        dense = self.decoder.is_dense
        ending, times = (exact_step, 1) if dense else (chord_ending, CLOSINGS)
        latent, loss = ends.latent.copy(), ends.loss.copy()
        for first in range(0, len(loss), self.lanes):
            some = np.arange(first, min(first + self.lanes, len(loss)))
            padded = np.resize(some, self.lanes)
            row, z = starts.row[padded], jnp.asarray(ends.latent[padded])
            data = jnp.asarray(self.observation[row]), jnp.asarray(self.weight[row])
            for _ in range(times):
                z, value = ending(self.decoder, *data, z, self.box)
            latent[some], loss[some] = np.asarray(z)[: len(some)], np.asarray(value)[: len(some)]
        return ends._replace(latent=latent, loss=loss)
