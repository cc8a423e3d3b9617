"""Feeds Levenberg-Marquardt: a fixed number of lanes, each refilled when its run ends.

A row's last bits depend on the shape of the batch it is computed in, and a batch runs as long as
its slowest member. So there is one shape: runs wait in a queue, and who is done makes room.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxinv.joint.gauss_newton import chord_ending
from jaxinv.joint.levenberg_marquardt import (
    Box,
    Runs,
    Starts,
    advance,
    exact_step,
    idle,
    load,
)
from jaxinv.model.decoder import Decoder

LANE_BYTES = 1 << 31  # what the Jacobians of all lanes may take
MOST_LANES, MOST_ON_CPU = 1024, 16  # on a CPU more lanes only leave the cache
ROUNDS = 4  # steps between two looks at which lanes are done


def default_lanes(decoder: Decoder) -> int:
    """As many lanes as pay for this decoder on this device."""
    fit = LANE_BYTES // (3 * 8 * decoder.latent_size * decoder.scratch)
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
        single = not self.decoder.is_dense
        precision, ending = (jnp.float32, chord_ending) if single else (jnp.float64, exact_step)
        total = len(starts.row)
        latent, loss = starts.latent.copy(), np.full(total, np.inf)
        steps, converged = np.zeros(total, np.int64), np.zeros(total, bool)
        holds = np.full(self.lanes, -1)
        state = idle(self.lanes, self.decoder)
        waiting = 0
        while waiting < total or (holds >= 0).any():
            empty = np.flatnonzero(holds < 0)[: total - waiting]
            if empty.size:
                holds[empty] = np.arange(waiting, waiting + empty.size)
                waiting += empty.size
                fresh = np.zeros(self.lanes, bool)
                fresh[empty] = True
                which = np.maximum(holds, 0)
                row = starts.row[which]
                state = load(
                    state,
                    jnp.asarray(fresh),
                    jnp.asarray(self.observation[row]),
                    jnp.asarray(self.weight[row]),
                    jnp.asarray(np.clip(starts.latent[which], self.box.low, self.box.high)),
                    jnp.asarray(starts.softness[which]),
                )
            state = advance(self.decoder, state, self.box, ROUNDS, self.steps, precision)
            done = np.flatnonzero((holds >= 0) & ~np.asarray(state.running))
            # Refilling costs a copy of all lanes: wait until an eighth of them is free.
            busy = (holds >= 0).sum() - done.size
            if done.size and (busy == 0 or done.size >= max(1, self.lanes // 8)):
                z, value = ending(
                    self.decoder, state.observation, state.weight, state.latent, self.box
                )
                run = holds[done]
                latent[run], loss[run] = np.asarray(z)[done], np.asarray(value)[done]
                steps[run] = np.asarray(state.steps)[done]
                converged[run] = np.asarray(state.converged)[done]
                holds[done] = -1
        return Runs(latent, loss, steps, converged)
