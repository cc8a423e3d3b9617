r"""Gauss-Newton from a good start, for ||G(z) - x||_2^2: a few steps with one matrix.

    z <- z - N^-1 J'(G(z) - x),    N = J'J,

J and N in single precision and kept for some steps (the chord method), residual and gradient in
double precision and always anew: the matrix decides how fast the steps shrink, not where they end.
A start whose cell is almost the minimum's, as the layer-wise estimate's is, needs no more; a run
that does not end in a minimum says so, and is for others to make again.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxinv.joint.descent.levenberg_marquardt import REPRODUCED, Box, unit_diagonal
from jaxinv.linalg import cholesky
from jaxinv.linalg.blocks import blocks
from jaxinv.linalg.on_device import on_device, on_host
from jaxinv.linalg.select import select
from jaxinv.model.decoder import Decoder

BLOCK, LANE = 64, 8  # most rows computed together, and of what their number is a multiple
RENEWALS, CHORD = 8, 5  # matrices, and steps with each
SMALL_PROMISE = 1e-16  # of the loss, by the next step: where a run ends in a cell
SMALL_DECREASE = 1e-6  # of the loss, by all steps with a new matrix: where it ends at a kink


class Ends(NamedTuple):
    """Where runs ended: latent (B, k), loss (B,), converged (B,): in a minimum."""

    latent: Float[np.ndarray, "B k"]
    loss: Float[np.ndarray, " B"]
    converged: Bool[np.ndarray, " B"]


def gauss_newton(
    decoder: Decoder,
    observation: Float[np.ndarray, "B n"],
    start: Float[np.ndarray, "B k"],
    batch: int,
) -> Ends:
    """Run every row to its minimum; for fully observed rows.

    batch: how many observations the caller's batch holds, of which these are a part. It decides the
    shape of the blocks, so that no answer's bits depend on which others are run.
    """
    latent, loss = start.copy(), np.full(len(start), np.inf)
    converged = np.zeros(len(start), bool)
    size = min(BLOCK, -(-batch // LANE) * LANE)
    for _ in range(RENEWALS):
        # A block works as long as its slowest row: the rows left are packed together again.
        left = np.flatnonzero(~converged)
        for rows, padded in blocks(left, size):
            state = _renewed(
                decoder,
                on_device(observation[padded]),
                on_device(latent[padded]),
                on_device(loss[padded]),
            )
            latent[rows], loss[rows], converged[rows] = (
                part[: len(rows)] for part in on_host(state)
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
    decoder: Decoder,
    x: Float[Array, "S n"],
    start: Float[Array, "S k"],
    best: Float[Array, " S"],
) -> tuple[Array, Array, Array]:
    """CHORD steps from the start, whose loss was `best`: latent, loss, and whether a run ended."""
    columns = decoder.linearized(start, jnp.float32).columns
    normal = jnp.matmul(columns, columns.mT, precision="highest")
    unit = 1.0 / jnp.sqrt(jnp.diagonal(normal, axis1=-2, axis2=-1))
    factor = cholesky.factor(unit[:, :, None] * normal * unit[:, None, :])

    def newton(gradient: Array) -> Array:
        scaled = unit * gradient
        # Its size may be beyond single precision.
        size = jnp.maximum(jnp.abs(scaled).max(-1, keepdims=True), 1e-300)
        return -size * unit * cholesky.solve(factor, (scaled / size).astype(jnp.float32))

    def fit(z: Array) -> tuple[Array, Array]:
        value, pull_back = jax.vjp(decoder.value, z)
        residual = value - x
        return (residual**2).sum(-1), pull_back(residual)[0]

    last = _chords(fit, newton, start, best)
    stalled = last.sound & (best - last.loss <= SMALL_DECREASE * last.loss)
    stalled &= jnp.isfinite(last.loss)
    return last.latent, last.loss, last.converged | stalled


@jax.jit
def chord_ending(
    decoder: Decoder,
    observation: Float[Array, "S n"],
    weight: Float[Array, "S n"],
    latent: Float[Array, "S k"],
    box: Box,
) -> tuple[Float[Array, "S k"], Float[Array, " S"], Bool[Array, " S"]]:
    """Close a run with CHORD steps of one Jacobian in single precision: latent, loss, settled.

    settled: the next step promises nothing, or the observation is reproduced to rounding.

    The normal matrix is formed and factored in double precision, where it is as well conditioned
    as a Jacobian allows that is off by 1e-7 of its size. A latent on a side of the box that its
    gradient points out of stays there.
    """
    square = weight**2
    here = decoder.linearized(latent, jnp.float32)
    columns = here.columns.astype(jnp.float64)

    def fit(z: Array) -> tuple[Array, Array]:
        value, pull_back = jax.vjp(decoder.value, z)
        residual = jnp.where(weight > 0, value - observation, 0.0)
        return (square * residual**2).sum(-1), pull_back(square * residual)[0]

    residual = jnp.where(weight > 0, here.value - observation, 0.0)
    gradient = jnp.einsum("skn,sn->sk", columns, square * residual, precision="highest")
    free = jnp.where(box.pressed(latent, gradient), 0.0, 1.0)
    columns *= free[..., None]
    normal = jnp.matmul(square[:, None, :] * columns, columns.mT, precision="highest")
    unit = unit_diagonal(normal)
    ridge = jnp.finfo(jnp.float64).eps * jnp.eye(normal.shape[-1])
    factor = cholesky.factor(unit[:, :, None] * normal * unit[:, None, :] + ridge)

    def newton(gradient: Array) -> Array:
        return -free * unit * cholesky.solve(factor, unit * gradient)

    start = jnp.clip(latent, box.low, box.high)
    last = _chords(fit, newton, start, jnp.full(len(latent), jnp.inf), box)
    reproduced = last.loss <= REPRODUCED**2 * (square * observation**2).sum(-1)
    return last.latent, last.loss, last.converged | reproduced


def _chords(
    fit: Callable[[Array], tuple[Array, Array]],
    newton: Callable[[Array], Array],
    start: Float[Array, "S k"],
    best: Float[Array, " S"],
    box: Box | None = None,
) -> _State:
    """CHORD steps with one matrix; a step after which the loss rises is halved, and tried again.

    fit: loss and half its gradient at a point. newton: gradient to step.
    """

    def chord(_: Array, state: _State) -> _State:
        loss, gradient = fit(state.trial)
        falls = loss <= state.loss
        ahead = newton(gradient)
        promised = -(gradient * ahead).sum(-1)
        end = falls & jnp.isfinite(loss) & (jnp.abs(promised) <= SMALL_PROMISE * loss)
        step = jnp.where(falls[:, None], ahead, state.step / 2.0)
        latent = jnp.where(falls[:, None], state.trial, state.latent)
        loss = jnp.where(falls, loss, state.loss)
        sound = state.sound & jnp.isfinite(ahead).all(-1)
        trial = latent + step
        if box is not None:
            trial = jnp.clip(trial, box.low, box.high)
        new = _State(latent, loss, trial, step, sound, state.converged | end)
        return select(state.converged, state, new)

    none = jnp.zeros(len(start), bool)
    first = _State(start, best, start, jnp.zeros_like(start), ~none, none)
    last: _State = jax.lax.fori_loop(0, CHORD, chord, first)
    return last
