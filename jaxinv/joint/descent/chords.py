r"""Levenberg-Marquardt in single precision, whose Jacobian is kept for a cycle of steps.

With J0 the Jacobian where a cycle begins and N = J0' W^2 J0, each of its steps solves

    (N + lambda D) delta = -J' W^2 r,

the gradient on the right, and the misfit r, at the point reached (the chord method; Shamanskii
1967). A Jacobian costs k pushes through the decoder and a gradient one pullback, so that a cycle is
hardly dearer than the one step that Levenberg-Marquardt takes with the same J0. What single
precision cannot tell from rounding is left to a run in double precision, or to its last steps.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxinv.joint.descent.levenberg_marquardt import (
    Box,
    damping_matrix,
    surely_on,
    unit_diagonal,
)
from jaxinv.joint.descent.linearization import linearize, softened_value
from jaxinv.linalg import cholesky
from jaxinv.linalg.select import select
from jaxinv.model.decoder import Decoder

LEAST_STEPS, PUSHES_A_STEP = 4, 6  # of a cycle: more where its Jacobian costs more pushes
EASED, TIGHTENED, REFUSED = 0.2, 3.0, 4.0  # factors of lambda: well predicted, badly, not taken
LEAST_DAMPING, MOST_DAMPING = 1e-7, 1e7  # what single precision can tell beside one


class Point(NamedTuple):
    """Where S runs are, all in single precision.

    latent: (S, k). loss: (S,), ||W r||_2^2. gradient: (S, k), J' W^2 r. damping: (S,), lambda.
    """

    latent: Float[Array, "S k"]
    loss: Float[Array, " S"]
    gradient: Float[Array, "S k"]
    damping: Float[Array, " S"]


@jax.jit
def cycle(
    decoder: Decoder,
    observation: Float[Array, "S n"],
    weight: Float[Array, "S n"],
    latent: Float[Array, "S k"],
    damping: Float[Array, " S"],
    softness: Float[Array, " S"],
    box: Box,
) -> tuple[Float[Array, "S k"], Float[Array, " S"], Float[Array, " S"], Float[Array, " S"]]:
    """Take some steps with one Jacobian: latent, loss, damping, and the loss there was before.

    Everything comes in single precision, and stays in it; no loss rises. softness: slope of the
    ReLUs' dead sides, throughout the cycle.
    """
    square, on = weight**2, surely_on(observation, weight)
    here = linearize(decoder, latent, softness, on, jnp.float32)

    def value_at(z: Array) -> Array:
        return softened_value(decoder, z, softness, on)

    residual = jnp.where(weight > 0, here.value - observation, 0.0)
    weighted = square[:, None, :] * here.columns
    normal = jnp.matmul(weighted, here.columns.mT, precision="highest")
    unit = unit_diagonal(normal)
    scaled = unit[:, :, None] * normal * unit[:, None, :]
    damped = damping_matrix(normal, unit)
    gradient = jnp.einsum("skn,sn->sk", weighted, residual, precision="highest")
    identity = jnp.eye(normal.shape[-1], dtype=normal.dtype)
    start = Point(latent, (square * residual**2).sum(-1), gradient, damping)

    def step(_: Array, at: Point) -> Point:
        free = jnp.where(box.pressed(at.latent, at.gradient), 0.0, 1.0).astype(latent.dtype)
        added = at.damping[:, None] * damped
        inside = free[:, :, None] * scaled * free[:, None, :]
        factor = cholesky.factor(inside + (added + (1.0 - free))[:, :, None] * identity)
        delta = -free * unit * cholesky.solve(factor, unit * free * at.gradient)
        promised = (-at.gradient * delta + added * (delta / unit) ** 2).sum(-1)
        trial = jnp.clip(at.latent + delta, box.low, box.high).astype(latent.dtype)
        value, pull_back = jax.vjp(value_at, trial)
        misfit = jnp.where(weight > 0, value - observation, 0.0)
        loss = (square * misfit**2).sum(-1)
        taken = loss < at.loss
        ratio = (at.loss - loss) / jnp.maximum(promised, 1e-37)
        eased = jnp.where(ratio > 0.75, EASED, jnp.where(ratio < 0.25, TIGHTENED, 1.0))
        factors = jnp.where(taken, eased, REFUSED).astype(latent.dtype)
        lam = jnp.clip(at.damping * factors, LEAST_DAMPING, MOST_DAMPING)
        new = Point(trial, loss, pull_back(square * misfit)[0], lam)
        return select(taken, new, at._replace(damping=lam))

    steps = max(LEAST_STEPS, decoder.latent_size // PUSHES_A_STEP)
    end: Point = jax.lax.fori_loop(0, steps, step, start)
    return end.latent, end.loss, end.damping, start.loss
