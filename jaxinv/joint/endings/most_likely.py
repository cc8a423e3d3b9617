r"""From a least-squares answer, and a few other points, to the most likely latent of a noise model.

With p = G(z), d the model's deviance (`model.likelihood`), a_j the squares of the weights and
P = (L L')^-1 of a prior, where there is one,

    F(z) = sum_j a_j d(p_j, x_j) + (z - mean)' P (z - mean)

is lowered by steps (J' C J + P + lambda D) delta = -(J' s + P (z - mean)) of its half, s_j and C_jj
being a_j times slope and curvature at p: Gauss-Newton steps whose weights are found anew at every
point (Fisher scoring; iteratively reweighted least squares), damped as Levenberg and Marquardt do,
and taken only where F falls. Outliers may have led least squares anywhere, so that runs begin at
other points as well, and the lowest end is kept. The curvature decides how fast the steps shrink;
the slope, computed in double precision, where they end.
"""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxinv.joint.descent.lanes import default_lanes
from jaxinv.joint.descent.levenberg_marquardt import (
    FIRST_DAMPING,
    LEAST_DAMPING,
    MOST_DAMPING,
    SMALL_STEP,
    Box,
    damping_matrix,
    unit_diagonal,
)
from jaxinv.joint.finish import Provisional, moved
from jaxinv.joint.map_estimate import Penalty
from jaxinv.joint.problem import Problem
from jaxinv.linalg import cholesky
from jaxinv.linalg.blocks import blocks
from jaxinv.linalg.select import select
from jaxinv.model.decoder import Decoder
from jaxinv.model.likelihood.base import NoiseModel
from jaxinv.outcome.inversion import Inversion
from jaxinv.outcome.status import Status

STEPS = 100
SMALL_DECREASE = 1e-12  # of F, of a step taken
EASED, TIGHTENED, REFUSED = 0.1, 2.0, 4.0  # factors of lambda: well predicted, badly, not taken


def most_likely(
    problem: Problem,
    found: Provisional,
    model: NoiseModel,
    penalty: Penalty | None,
    others: Float[np.ndarray, "B s k"] | None = None,
) -> Provisional:
    """Move every latent to the lowest minimum of F that a run finds; never to a higher F.

    others: points to begin at beside the latent found.
    """
    there = problem.live & np.isfinite(found.latent).all(-1)
    begun = np.where(there[:, None], found.latent, 0.0)[:, None]
    if others is not None:
        begun = np.concatenate([begun, others], axis=1)
    best, lowest = begun[:, 0].copy(), np.full(len(begun), np.inf)
    prior = _precision(problem, penalty)
    lanes = min(default_lanes(problem.generator), len(there))
    for start in np.moveaxis(begun, 1, 0):
        for some, padded in blocks(np.arange(len(there)), lanes):
            data = problem.observation[padded], problem.weight[padded] ** 2, start[padded]
            parts = (jnp.asarray(part) for part in data)
            end = _scored(problem.generator, model, *parts, prior, problem.box)
            latent, value = (np.asarray(part)[: len(some)] for part in end)
            lower = value < lowest[some]
            best[some[lower]], lowest[some[lower]] = latent[lower], value[lower]
    return moved(found, best, there)


def explained(problem: Problem, found: Provisional, model: NoiseModel) -> Provisional:
    """SOLVED where the misfit is what the noise model leaves, INEXACT elsewhere."""
    there = problem.live & np.isfinite(found.latent).all(-1)
    p = np.asarray(problem.generator(np.where(there[:, None], found.latent, 0.0)))
    fits = model.explains(p, problem.observation, problem.weight > 0)
    word = np.where(fits, int(Status.SOLVED), int(Status.INEXACT))
    return replace(found, status=np.where(there, word, found.status))


def with_deviance(
    problem: Problem, model: NoiseModel, penalty: Penalty | None, inversion: Inversion
) -> Inversion:
    """The inversion with F at its latents, and the prior's part in it."""
    latent = np.asarray(inversion.latent)
    there = np.isfinite(latent).all(-1)
    z = jnp.asarray(np.where(there[:, None], latent, 0.0))
    data = (jnp.asarray(part) for part in (problem.observation, problem.weight**2))
    whole, pull = _objective(problem.generator, model, *data, z, _precision(problem, penalty))
    whole, pull = (np.where(there, np.asarray(part), np.nan) for part in (whole, pull))
    return replace(
        inversion,
        objective=jnp.asarray(whole),
        prior_pull=None if penalty is None else jnp.asarray(pull),
    )


class _Prior(NamedTuple):
    """mean: (k,). precision: P, (k, k), zeros where there is no prior."""

    mean: Float[Array, " k"]
    precision: Float[Array, "k k"]


def _precision(problem: Problem, penalty: Penalty | None) -> _Prior:
    k = problem.generator.latent_size
    if penalty is None:
        return _Prior(jnp.zeros(k), jnp.zeros((k, k)))
    inverse = np.linalg.inv(penalty.factor)
    precision = penalty.share * (inverse.T @ inverse)
    return _Prior(jnp.asarray(penalty.mean), jnp.asarray(precision))


class _State(NamedTuple):
    """Where S runs are: the best point of each with its F, half gradient and matrix there.

    trial: the next point to look at, predicted: the decrease of F expected there.
    """

    latent: Float[Array, "S k"]
    value: Float[Array, " S"]
    gradient: Float[Array, "S k"]
    normal: Float[Array, "S k k"]
    trial: Float[Array, "S k"]
    predicted: Float[Array, " S"]
    damping: Float[Array, " S"]
    steps: Int[Array, " S"]
    running: Bool[Array, " S"]


@partial(jax.jit, static_argnames="model")
def _objective(
    decoder: Decoder,
    model: NoiseModel,
    x: Float[Array, "S n"],
    square: Float[Array, "S n"],
    z: Float[Array, "S k"],
    prior: _Prior,
) -> tuple[Float[Array, " S"], Float[Array, " S"]]:
    """F, and the prior's part in it."""
    away = z - prior.mean
    pull = (away * _times(prior.precision, away)).sum(-1)
    return _sum(square, model.deviance(decoder.value(z), x)) + pull, pull


@partial(jax.jit, static_argnames="model")
def _scored(
    decoder: Decoder,
    model: NoiseModel,
    x: Float[Array, "S n"],
    square: Float[Array, "S n"],
    start: Float[Array, "S k"],
    prior: _Prior,
    box: Box,
) -> tuple[Float[Array, "S k"], Float[Array, " S"]]:
    """The latents where the runs from these end, and F there. square: a, 0 where not observed."""
    precision = jnp.float64 if decoder.is_dense else jnp.float32

    def look(state: _State) -> _State:
        here = decoder.linearized(state.trial, precision)
        value, _ = _objective(decoder, model, x, square, state.trial, prior)
        p, pull_back = jax.vjp(decoder.value, state.trial)
        slope = jnp.where(square > 0, square * model.slope(p, x), 0.0)
        curvature = jnp.where(square > 0, square * model.curvature(p, x), 0.0)
        away = state.trial - prior.mean
        columns = here.columns.astype(jnp.float64)
        normal = jnp.matmul(curvature[:, None, :] * columns, columns.mT, precision="highest")
        return state._replace(
            latent=state.trial,
            value=value,
            gradient=pull_back(slope)[0] + _times(prior.precision, away),
            normal=normal + prior.precision,
        )

    def propose(state: _State) -> _State:
        free = jnp.where(box.pressed(state.latent, state.gradient), 0.0, 1.0)
        normal = free[:, :, None] * state.normal * free[:, None, :]
        unit = unit_diagonal(normal)
        scaled = unit[:, :, None] * normal * unit[:, None, :]
        added = state.damping[:, None] * damping_matrix(normal, unit)
        factor = cholesky.factor(scaled + added[:, :, None] * jnp.eye(normal.shape[-1]))
        delta = -free * unit * cholesky.solve(factor, unit * free * state.gradient)
        predicted = (-state.gradient * delta + added * (delta / unit) ** 2).sum(-1)
        trial = jnp.clip(state.latent + delta, box.low, box.high)
        return state._replace(trial=trial, predicted=predicted)

    def step(state: _State) -> _State:
        seen = look(state)
        falls = seen.value < state.value
        decrease = state.value - seen.value
        ratio = decrease / jnp.maximum(state.predicted, 1e-300)
        eased = jnp.where(ratio > 0.75, EASED, jnp.where(ratio < 0.25, TIGHTENED, 1.0))
        factors = jnp.where(falls, eased, REFUSED)
        damping = jnp.clip(state.damping * factors, LEAST_DAMPING, MOST_DAMPING)
        after = propose(select(falls, seen, state)._replace(damping=damping))
        length = jnp.linalg.norm(after.trial - after.latent, axis=-1)
        ended = falls & (decrease <= SMALL_DECREASE * jnp.abs(seen.value))
        ended |= ~(length > SMALL_STEP * jnp.linalg.norm(after.latent, axis=-1))
        ended |= damping >= MOST_DAMPING
        steps = state.steps + 1
        after = after._replace(steps=steps, running=~ended & (steps < STEPS))
        return select(state.running, after, state)

    size, k = start.shape
    begun = jnp.clip(start, box.low, box.high)
    first = _State(
        latent=begun,
        value=jnp.zeros(size),
        gradient=jnp.zeros((size, k)),
        normal=jnp.zeros((size, k, k)),
        trial=begun,
        predicted=jnp.zeros(size),
        damping=jnp.full(size, FIRST_DAMPING),
        steps=jnp.zeros(size, jnp.int32),
        running=jnp.ones(size, bool),
    )
    last: _State = jax.lax.while_loop(lambda s: s.running.any(), step, propose(look(first)))
    return last.latent, last.value


def _sum(square: Array, deviance: Array) -> Array:
    """Over the observed entries: others may hold anything."""
    return jnp.where(square > 0, square * deviance, 0.0).sum(-1)


def _times(matrix: Float[Array, "k k"], v: Float[Array, "S k"]) -> Float[Array, "S k"]:
    """M v for a symmetric M, an instance at a time."""
    return (v[:, None, :] * matrix).sum(-1)
