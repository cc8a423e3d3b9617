r"""Levenberg-Marquardt without a Jacobian, for latents so long that k pushes are too many.

A step solves (J'W^2 J + lambda c I) delta = -J'W^2 r by conjugate gradients, each iteration of
which takes one push J v (jax.jvp) and one pullback J'u (jax.vjp); c = g'J'W^2 J g / g'g is the
curvature along the gradient g. The step is taken where the loss falls, lambda falling with it, and
growing where it does not (Nocedal and Wright 2006, chapters 7 and 10). An inexact step costs at
most ITERATIONS pushes and pullbacks, whatever k is.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Bool, Float, Int

from jaxinv.joint.descent.levenberg_marquardt import (
    FIRST_DAMPING,
    LEAST_DAMPING,
    MOST_DAMPING,
    REPRODUCED,
    SMALL_STEP,
    Box,
    Runs,
    Starts,
)
from jaxinv.linalg.blocks import blocks
from jaxinv.linalg.on_device import on_device
from jaxinv.model.decoder import Decoder

LONG_LATENT = 512  # entries from which a step by conjugate gradients costs less than a Jacobian
ITERATIONS, ACCURACY = 60, 1e-3  # of the conjugate gradients of one step
EASED, TIGHTENED = 0.2, 4.0  # factors of lambda
SMALL_DECREASE = 1e-8  # of the loss, of a step taken; inexact steps fall slowly before they end


class _State(NamedTuple):
    latent: Float[Array, " k"]
    loss: Float[Array, ""]
    damping: Float[Array, ""]
    steps: Int[Array, ""]
    converged: Bool[Array, ""]


def matrix_free_runs(
    decoder: Decoder,
    observation: Float[np.ndarray, "B n"],
    weight: Float[np.ndarray, "B n"],
    box: Box,
    starts: Starts,
    lanes: int,
    limit: int,
) -> Runs:
    """Run every start to its end, `lanes` of them at a time; softened starts begin unsoftened."""
    total = len(starts.row)
    latent, loss = starts.latent.copy(), np.full(total, np.inf)
    steps, converged = np.zeros(total, np.int64), np.zeros(total, bool)
    for here, padded in blocks(np.arange(total), lanes):
        row = starts.row[padded]
        begin = np.clip(starts.latent[padded], box.low, box.high)
        parts = on_device(observation[row]), on_device(weight[row]), on_device(begin)
        end = _block(decoder, *parts, box, limit)
        latent[here], loss[here], _, steps[here], converged[here] = (
            np.asarray(part)[: len(here)] for part in end
        )
    return Runs(latent, loss, steps, converged)


@partial(jax.jit, static_argnames="limit")
def _block(
    decoder: Decoder,
    observation: Float[Array, "S n"],
    weight: Float[Array, "S n"],
    start: Float[Array, "S k"],
    box: Box,
    limit: int,
) -> _State:
    run = partial(_run, decoder, box, limit)
    ends: _State = jax.vmap(run)(observation, weight, start)
    return ends


def _run(
    decoder: Decoder,
    box: Box,
    limit: int,
    x: Float[Array, " n"],
    weight: Float[Array, " n"],
    start: Float[Array, " k"],
) -> _State:
    square = weight**2
    scale = (square * x**2).sum()

    def misfit(z: Array) -> Array:
        return jnp.where(weight > 0, decoder.value(z) - x, 0.0)

    def step(state: _State) -> _State:
        residual, pull_back = jax.vjp(misfit, state.latent)

        def curvature(v: Array) -> Array:
            pushed = jax.jvp(misfit, (state.latent,), (v,))[1]
            return pull_back(square * pushed)[0]

        (gradient,) = pull_back(square * residual)
        outward = box.pressed(state.latent, gradient)
        gradient = jnp.where(outward, 0.0, gradient)
        along = (gradient * curvature(gradient)).sum() / jnp.maximum((gradient**2).sum(), 1e-300)

        def damped(v: Array) -> Array:
            inside = jnp.where(outward, 0.0, curvature(v))
            return inside + state.damping * along * v

        delta = -cg(damped, gradient, tol=ACCURACY, maxiter=ITERATIONS)[0]
        trial = jnp.clip(state.latent + delta, box.low, box.high)
        loss = (square * misfit(trial) ** 2).sum()
        taken = loss < state.loss
        factor = jnp.where(taken, EASED, TIGHTENED)
        damping = jnp.clip(state.damping * factor, LEAST_DAMPING, MOST_DAMPING)
        length, size = jnp.linalg.norm(delta), jnp.linalg.norm(state.latent)
        ended = taken & (state.loss - loss <= SMALL_DECREASE * loss)
        ended |= ~(length > SMALL_STEP * size) | (damping >= MOST_DAMPING)
        loss = jnp.where(taken, loss, state.loss)
        return _State(
            jnp.where(taken, trial, state.latent),
            loss,
            damping,
            state.steps + 1,
            ended | (loss <= REPRODUCED**2 * scale),
        )

    first = _State(
        start,
        (square * misfit(start) ** 2).sum(),
        jnp.asarray(FIRST_DAMPING),
        jnp.zeros((), jnp.int32),
        jnp.zeros((), bool),
    )

    def going(state: _State) -> Array:
        return ~state.converged & (state.steps < limit)

    last: _State = jax.lax.while_loop(going, step, first)
    return last
