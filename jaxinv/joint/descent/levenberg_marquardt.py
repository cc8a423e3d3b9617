r"""Batched Levenberg-Marquardt on ||W (x - G(z))||_2^2 over all layers at once.

With J the Jacobian of G, r = G(z) - x, N = J' W^2 J, g = J' W^2 r, a step solves

    (N + lambda D) delta = -g,  D = max(diag(N), c max diag(N)),  and is taken where the loss falls,

lambda falling where the model predicted the loss well and growing where it did not (More 1978;
Nielsen 1999). J may come in single precision: N is then the normal matrix of a Jacobian that is off
by 1e-7 of its size, formed in double, and only decides how fast the steps shrink.

On a cell of constant activation pattern G is affine and the step with lambda = 0 is
that cell's least-squares solution, so a run ends in finitely many steps; it closes with exactly
that step, refined (`exact_step.py`), or, where J is dear, with steps of one matrix more
(`gauss_newton.chord_ending`). Lanes of the batch share nothing but their shape.
"""

from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from jaxinv.joint.descent.linearization import linearize
from jaxinv.linalg import cholesky
from jaxinv.linalg.on_device import on_device, on_host
from jaxinv.linalg.select import select
from jaxinv.model.decoder import Decoder

FIRST_DAMPING = 1e-2
LEAST_DAMPING, MOST_DAMPING = 1e-12, 1e12
# c: an entry of the latent that hardly moves the image is damped as if it moved it by this much of
# what the most telling one does; damped by its own curvature it wanders far off for nothing.
LEAST_CURVATURE = 1e-2
SMALL_DECREASE, SOFT_DECREASE = 1e-5, 1e-1  # of the loss, of a step taken; while softened
SMALL_STEP = 1e-10  # of the latent
REPRODUCED = 1e-14  # relative residual below which nothing is left to fit
SOFTER, LEAST_SOFTNESS = 0.25, 0.02  # the homotopy's factor, and the slope it ends from
KEPT_ON = 1e-300  # no slope to speak of, yet outputs known to be active stay linear

Slope = TypeVar("Slope", Array, np.ndarray)


class Lanes(NamedTuple):
    """S runs: what each fits, where it is, and the point it will look at next.

    observation, weight: (S, n), weight 0 where not observed. latent, loss, gradient, normal: at
    the best point so far; loss is infinite before the first. trial: the next point to evaluate,
    predicted: the decrease expected there. damping, growth: lambda and its next factor.
    """

    observation: Float[Array, "S n"]
    weight: Float[Array, "S n"]
    latent: Float[Array, "S k"]
    loss: Float[Array, " S"]
    gradient: Float[Array, "S k"]
    normal: Float[Array, "S k k"]
    trial: Float[Array, "S k"]
    predicted: Float[Array, " S"]
    damping: Float[Array, " S"]
    growth: Float[Array, " S"]
    softness: Float[Array, " S"]
    steps: Int[Array, " S"]
    running: Bool[Array, " S"]
    converged: Bool[Array, " S"]


class Box(NamedTuple):
    """Bounds on the latent, each (k,), infinite where there is none."""

    low: Float[Array, " k"]
    high: Float[Array, " k"]

    def holds(self, latent: Float[np.ndarray, "*B k"]) -> Bool[np.ndarray, "*B"]:
        """Which latents lie inside."""
        low, high = on_host((self.low, self.high))
        return np.asarray(((latent >= low) & (latent <= high)).all(-1))

    def pressed(
        self, latent: Float[Array, "*B k"], gradient: Float[Array, "*B k"]
    ) -> Bool[Array, "*B k"]:
        """Which entries stand on a side of the box that descent would leave it by."""
        return (latent <= self.low) & (gradient > 0) | (latent >= self.high) & (gradient < 0)


def idle(lanes: int, decoder: Decoder) -> Lanes:
    """Lanes that hold no run yet."""
    n, k = decoder.observation_size, decoder.latent_size

    def empty(*shape: int, dtype: DTypeLike = np.float64, value: float = 0.0) -> Array:
        # Made by NumPy: JAX would compile a program for each.
        return on_device(np.full((lanes, *shape), value, dtype))

    return Lanes(
        observation=empty(n),
        weight=empty(n),
        latent=empty(k),
        loss=empty(),
        gradient=empty(k),
        normal=empty(k, k),
        trial=empty(k),
        predicted=empty(),
        damping=empty(value=FIRST_DAMPING),
        growth=empty(value=2.0),
        softness=empty(),
        steps=empty(dtype=np.int32),
        running=empty(dtype=np.bool_),
        converged=empty(dtype=np.bool_),
    )


@jax.jit
def load(
    lanes: Lanes,
    fresh: Bool[Array, " S"],
    observation: Float[Array, "S n"],
    weight: Float[Array, "S n"],
    start: Float[Array, "S k"],
    softness: Float[Array, " S"],
) -> Lanes:
    """Put new runs into the lanes that are `fresh`; the others keep every bit."""
    new = lanes._replace(
        observation=observation,
        weight=weight,
        latent=start,
        softness=softness,
        steps=jnp.zeros_like(lanes.steps),
        running=fresh,
        converged=jnp.zeros_like(fresh),
    )
    return select(fresh, _restarted(new), lanes)


@partial(jax.jit, static_argnames=("rounds", "limit", "precision"))
def advance(
    decoder: Decoder,
    lanes: Lanes,
    box: Box,
    rounds: int,
    limit: int,
    precision: DTypeLike = jnp.float64,
) -> Lanes:
    """At most `rounds` steps of every running lane; one that has taken `limit` steps stops.

    precision: of the Jacobian's columns.
    """

    def going(carry: tuple[Array, Lanes]) -> Array:
        return (carry[0] < rounds) & carry[1].running.any()

    def body(carry: tuple[Array, Lanes]) -> tuple[Array, Lanes]:
        count, state = carry
        return count + 1, select(state.running, _step(decoder, state, box, limit, precision), state)

    return jax.lax.while_loop(going, body, (jnp.zeros((), jnp.int32), lanes))[1]


def _step(decoder: Decoder, lanes: Lanes, box: Box, limit: int, precision: DTypeLike) -> Lanes:
    """Look at the trial point, take it or not, adapt the damping, and propose the next."""
    square = lanes.weight**2
    on = surely_on(lanes.observation, lanes.weight)
    here = linearize(decoder, lanes.trial, lanes.softness, on, precision)
    residual = jnp.where(lanes.weight > 0, here.value - lanes.observation, 0.0)
    loss = (square * residual**2).sum(-1)
    columns = here.columns.astype(jnp.float64)
    weighted = square[:, None, :] * columns
    first = jnp.isinf(lanes.loss)
    taken = loss < lanes.loss
    decrease = jnp.where(first, jnp.inf, lanes.loss - loss)
    ratio = decrease / jnp.maximum(lanes.predicted, 1e-300)
    lanes = select(
        taken,
        lanes._replace(
            latent=lanes.trial,
            loss=loss,
            gradient=jnp.einsum("skn,sn->sk", weighted, residual, precision="highest"),
            normal=jnp.matmul(weighted, columns.mT, precision="highest"),
        ),
        lanes,
    )
    eased = jnp.where(ratio > 0.75, 0.1, jnp.where(ratio < 0.25, 4.0, 1.0))
    factor = jnp.where(taken, jnp.where(first, 1.0, eased), lanes.growth)
    damping = jnp.clip(lanes.damping * factor, LEAST_DAMPING, MOST_DAMPING)
    growth = jnp.where(taken, 2.0, 2.0 * lanes.growth)
    delta, predicted = _proposal(lanes, damping, box)

    scale = (square * lanes.observation**2).sum(-1)
    small = jnp.where(lanes.softness > KEPT_ON, SOFT_DECREASE, SMALL_DECREASE)
    length, size = jnp.linalg.norm(delta, axis=-1), jnp.linalg.norm(lanes.latent, axis=-1)
    ended = (
        (taken & (decrease <= small * lanes.loss))
        | (lanes.loss <= REPRODUCED**2 * scale)
        | ~(length > SMALL_STEP * size)
        | (damping >= MOST_DAMPING)
    )
    steps = lanes.steps + 1
    lanes = lanes._replace(
        trial=lanes.latent + delta,
        predicted=predicted,
        damping=damping,
        growth=growth,
        steps=steps,
    )
    softened = ended & (lanes.softness > 0)
    lanes = select(softened, _harder(lanes), lanes)
    converged = ended & ~softened
    return lanes._replace(converged=converged, running=~converged & (steps < limit))


def _proposal(lanes: Lanes, damping: Array, box: Box) -> tuple[Array, Array]:
    """The damped step within the box, and the decrease -g.delta + lambda delta' D delta it buys."""
    free = ~box.pressed(lanes.latent, lanes.gradient)
    normal = jnp.where(free[:, :, None] & free[:, None, :], lanes.normal, 0.0)
    gradient = jnp.where(free, lanes.gradient, 0.0)
    unit = unit_diagonal(normal)
    scaled = unit[:, :, None] * normal * unit[:, None, :]
    added = damping[:, None] * damping_matrix(normal, unit)
    factor = cholesky.factor(scaled + added[:, :, None] * jnp.eye(normal.shape[-1]))
    delta = -unit * cholesky.solve(factor, unit * gradient)
    predicted = (-gradient * delta + added * (delta / unit) ** 2).sum(-1)
    moved = jnp.clip(lanes.latent + delta, box.low, box.high) - lanes.latent
    return moved, predicted


def unit_diagonal(normal: Float[Array, "S k k"]) -> Float[Array, "S k"]:
    """1 / sqrt(diag N), and 1 for a coordinate on which nothing depends."""
    diagonal = jnp.diagonal(normal, axis1=-2, axis2=-1)
    floor = 1e-14 * diagonal.max(-1, keepdims=True)
    return jnp.where(diagonal > floor, 1.0 / jnp.sqrt(jnp.maximum(diagonal, 1e-300)), 1.0)


def surely_on(observation: Float[Array, "S n"], weight: Float[Array, "S n"]) -> Bool[Array, "S n"]:
    """Outputs of a ReLU that are active: above every negative one, which only noise can make."""
    excursion = jnp.max(jnp.where(weight > 0, -observation, 0.0), -1, keepdims=True)
    return observation > jnp.maximum(excursion, 0.0)


def harder(softness: Slope) -> Slope:
    """The next slope of the dead side: smaller, and at last 0."""
    softness = SOFTER * softness
    return softness * (softness >= LEAST_SOFTNESS)


def damping_matrix(normal: Float[Array, "S k k"], unit: Float[Array, "S k"]) -> Float[Array, "S k"]:
    """The diagonal of D where N is scaled to a unit diagonal: 1 or more."""
    diagonal = jnp.diagonal(normal, axis1=-2, axis2=-1)
    least = LEAST_CURVATURE * diagonal.max(-1, keepdims=True)
    return jnp.maximum(jnp.maximum(diagonal, least) * unit**2, 1.0)


def _harder(lanes: Lanes) -> Lanes:
    """The next, harder net of the homotopy, from where the softer one ended."""
    return _restarted(lanes._replace(softness=harder(lanes.softness)))


def _restarted(lanes: Lanes) -> Lanes:
    return lanes._replace(
        loss=jnp.full_like(lanes.loss, jnp.inf),
        gradient=jnp.zeros_like(lanes.gradient),
        normal=jnp.zeros_like(lanes.normal),
        trial=lanes.latent,
        predicted=jnp.zeros_like(lanes.loss),
        damping=jnp.full_like(lanes.loss, FIRST_DAMPING),
        growth=jnp.full_like(lanes.loss, 2.0),
    )


class Starts(NamedTuple):
    """T runs to make: the observation each belongs to, where it starts, and how soft."""

    row: Int[np.ndarray, " T"]
    latent: Float[np.ndarray, "T k"]
    softness: Float[np.ndarray, " T"]


class Runs(NamedTuple):
    """Where T runs ended: latent (T, k), loss (T,), steps (T,), converged (T,)."""

    latent: Float[np.ndarray, "T k"]
    loss: Float[np.ndarray, " T"]
    steps: Int[np.ndarray, " T"]
    converged: Bool[np.ndarray, " T"]
