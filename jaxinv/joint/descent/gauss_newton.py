r"""Gauss-Newton from a good start, for ||G(z) - x||_2^2: a few steps with one matrix.

    z <- z - N^-1 J'(G(z) - x),    N = J'J,

J and N in single precision and kept for some steps (the chord method), residual and gradient in
double precision and always anew: the matrix decides how fast the steps shrink, not where they end.
A start whose cell is almost the minimum's, as the layer-wise estimate's is, needs no more; a run
that does not end in a minimum says so, and is for others to make again.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxinv.linalg import cholesky
from jaxinv.linalg.select import select
from jaxinv.model.generator import Generator, chained, passed

BLOCK, LANE = 64, 8  # most rows computed together, and of what their number is a multiple
RENEWALS, CHORD = 8, 5  # matrices, and steps with each
SMALL_PROMISE = 1e-12  # of the loss, by the next step: where a run ends in a cell
SMALL_DECREASE = 1e-6  # of the loss, by all steps with a new matrix: where it ends at a kink


class Ends(NamedTuple):
    """Where runs ended: latent (B, k), loss (B,), converged (B,): in a minimum."""

    latent: Float[np.ndarray, "B k"]
    loss: Float[np.ndarray, " B"]
    converged: Bool[np.ndarray, " B"]


def gauss_newton(
    generator: Generator,
    observation: Float[np.ndarray, "B n"],
    start: Float[np.ndarray, "B k"],
    batch: int,
) -> Ends:
    """Run every row to its minimum; for fully observed rows.

    batch: of how many rows these are some. It decides the shape of the blocks, so that a row's bits
    do not depend on which others are run.
    """
    latent, loss = start.copy(), np.full(len(start), np.inf)
    converged = np.zeros(len(start), bool)
    size = min(BLOCK, -(-batch // LANE) * LANE)
    for _ in range(RENEWALS):
        # A block works as long as its slowest row: the rows left are packed together again.
        left = np.flatnonzero(~converged)
        for first in range(0, len(left), size):
            rows = left[first : first + size]
            padded = np.resize(rows, size)
            state = _renewed(
                generator,
                jnp.asarray(observation[padded]),
                jnp.asarray(latent[padded]),
                jnp.asarray(loss[padded]),
            )
            latent[rows], loss[rows], converged[rows] = (
                np.asarray(part)[: len(rows)] for part in state
            )
    return Ends(latent, loss, converged)


class _State(NamedTuple):
    """trial: the point looked at next. step: what led there. sound: it was finite, every time."""

    latent: Array
    loss: Array
    trial: Array
    step: Array
    sound: Array
    converged: Array


@jax.jit
def _renewed(
    generator: Generator,
    x: Float[Array, "S n"],
    start: Float[Array, "S k"],
    best: Float[Array, " S"],
) -> tuple[Array, Array, Array]:
    """CHORD steps from the start, whose loss was `best`: latent, loss, and whether a run ended."""
    jacobian = chained(generator, passed(generator, start)[1], jnp.float32)
    normal = jnp.matmul(jacobian.mT, jacobian, precision="highest")
    unit = 1.0 / jnp.sqrt(jnp.diagonal(normal, axis1=-2, axis2=-1))
    factor = cholesky.factor(unit[:, :, None] * normal * unit[:, None, :])

    def chord(_: Array, state: _State) -> _State:
        value, slopes = passed(generator, state.trial)
        residual = value - x
        loss = (residual**2).sum(-1)
        falls = loss <= state.loss
        gradient = _pulled_back(generator, slopes, residual)
        scaled = unit * gradient
        # Its size may be beyond single precision.
        size = jnp.maximum(jnp.abs(scaled).max(-1, keepdims=True), 1e-300)
        newton = -size * unit * cholesky.solve(factor, (scaled / size).astype(jnp.float32))
        promised = -(gradient * newton).sum(-1)
        end = falls & jnp.isfinite(loss) & (jnp.abs(promised) <= SMALL_PROMISE * loss)
        step = jnp.where(falls[:, None], newton, state.step / 2.0)
        latent = jnp.where(falls[:, None], state.trial, state.latent)
        loss = jnp.where(falls, loss, state.loss)
        sound = state.sound & jnp.isfinite(newton).all(-1)
        new = _State(latent, loss, latent + step, step, sound, state.converged | end)
        return select(state.converged, state, new)

    none = jnp.zeros(len(start), bool)
    first = _State(start, best, start, jnp.zeros_like(start), ~none, none)
    last: _State = jax.lax.fori_loop(0, CHORD, chord, first)
    stalled = last.sound & (best - last.loss <= SMALL_DECREASE * last.loss)
    stalled &= jnp.isfinite(last.loss)
    return last.latent, last.loss, last.converged | stalled


def _pulled_back(generator: Generator, slopes: list[Array], residual: Array) -> Array:
    """J'r = W_1' D_1 ... W_d' D_d r."""
    for layer, slope in zip(reversed(generator.layers), reversed(slopes), strict=True):
        residual = jnp.matmul(slope * residual, layer.weight, precision="highest")
    return residual
