"""Feeds Levenberg-Marquardt: a fixed number of lanes, each refilled when its run ends."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

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
from jaxinv.joint.descent.race import Track, track
from jaxinv.linalg.blocks import blocks
from jaxinv.linalg.device_memory import share_of_memory
from jaxinv.linalg.on_device import on_device, on_host
from jaxinv.linalg.refill import Queue
from jaxinv.model.decoder import Decoder

LANE_BYTES = 1 << 31  # what the Jacobians of all lanes may take
SHARE_OF_DEVICE = 4
MOST_LANES = 1024
# On a CPU more lanes only leave the cache; a convolution's columns fill it with fewer.
MOST_ON_CPU, MOST_CONVOLVED_ON_CPU = 16, 8
# Times as many race, as far as these bytes hold their Jacobians: most of their steps need none. No
# more than half a batch, or the last waves, which are for few rows, compute mostly idle lanes.
MOST_RACING, RACING_BYTES = 2, 1 << 25
CLOSINGS = 4  # Jacobians in single precision with which a run is closed, at most
CLOSED = 1e-4  # of the loss, by a closing: where a run has ended in its minimum
ROUNDS = 4  # steps between two looks at which lanes are done


def default_lanes(decoder: Decoder, memory: int | None = None) -> int:
    """As many lanes as pay for this decoder on this device.

    memory: bytes that the Jacobians of all lanes may take, on their way through the decoder too;
    None takes a share of what the device says it has, or LANE_BYTES where it says nothing.
    """
    if memory is None:
        memory = share_of_memory(SHARE_OF_DEVICE, LANE_BYTES)
    fit = memory // (3 * 8 * decoder.latent_size * decoder.scratch)
    most = MOST_ON_CPU if decoder.is_dense else MOST_CONVOLVED_ON_CPU
    return int(np.clip(fit, 1, most if jax.default_backend() == "cpu" else MOST_LANES))


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
        return self.closed(starts.row, self.descended(starts))

    @cached_property
    def track(self) -> Track:
        """The same problem in single precision."""
        data = self.observation, self.weight, self.box
        one = 4 * self.decoder.latent_size * self.decoder.scratch
        half = len(self.observation) // (2 * self.lanes)
        more = int(np.clip(min(RACING_BYTES // (self.lanes * one), half), 1, MOST_RACING))
        return track(self.decoder, *data, more * self.lanes)

    @property
    def matrix_free(self) -> bool:
        """Whether a Jacobian is too dear to be formed."""
        return self.decoder.latent_size >= LONG_LATENT and not self.decoder.is_dense

    def descended(self, starts: Starts) -> Runs:
        """Run every start until its steps no longer pay."""
        if self.matrix_free:
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
                    on_device(fresh),
                    on_device(self.observation[row]),
                    on_device(self.weight[row]),
                    on_device(np.clip(starts.latent[run], self.box.low, self.box.high)),
                    on_device(starts.softness[run]),
                )
            state = advance(self.decoder, state, self.box, ROUNDS, self.steps, precision)
            done = queue.occupied & ~np.asarray(state.running)
            if done.sum() >= queue.enough:
                now = Runs(state.latent, state.loss, state.steps, state.converged)
                queue.store(done, now, ends)
        return ends

    def closed(self, row: Int[np.ndarray, " T"], ends: Runs) -> Runs:
        """The runs with the last steps of their cells.

        Closed one by one as they end, every run would cost as much as all lanes together.
        """
        if self.matrix_free or not len(row):
            return ends
        if not self.decoder.is_dense:
            return self.chorded(row, ends)._replace(converged=ends.converged)
        latent, loss = self._in_blocks(exact_step, row, ends.latent)
        return ends._replace(latent=latent, loss=loss)

    def chorded(self, row: Int[np.ndarray, " T"], ends: Runs) -> Runs:
        """The runs with chord steps in double precision, until these lower them no more."""
        latent, loss = ends.latent.copy(), ends.loss.copy()
        converged, left = np.zeros(len(row), bool), np.arange(len(row))
        for _ in range(CLOSINGS):
            if left.size:
                now, low, settled = self._in_blocks(chord_ending, row[left], latent[left])
                with np.errstate(invalid="ignore"):  # infinity less infinity
                    converged[left] = settled | (loss[left] - low <= CLOSED * low)
                latent[left], loss[left] = now, low
                left = left[~converged[left]]
        return ends._replace(latent=latent, loss=loss, converged=converged)

    def _in_blocks(
        self,
        ending: Callable[..., tuple[Array, ...]],
        row: Int[np.ndarray, " T"],
        latent: Float[np.ndarray, "T k"],
    ) -> list[np.ndarray]:
        """What an ending makes of these latents, in blocks as large as the lanes."""
        parts = []
        for some, padded in blocks(np.arange(len(row)), self.lanes):
            data = self.observation[row[padded]], self.weight[row[padded]], latent[padded]
            ended = ending(self.decoder, *(on_device(part) for part in data), self.box)
            parts.append([part[: len(some)] for part in on_host(ended)])
        return [np.concatenate(part) for part in zip(*parts, strict=True)]
