"""Gradient descent on the squared distance to the observation: the baseline of the paper."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxinv.joint.descent.levenberg_marquardt import Box
from jaxinv.joint.finish import Provisional, finished
from jaxinv.joint.problem import Problem
from jaxinv.joint.search.starts import starting_points
from jaxinv.linalg.blocks import in_whole_vectors
from jaxinv.linalg.on_device import on_device
from jaxinv.linalg.select import select
from jaxinv.model.decoder import Decoder
from jaxinv.outcome.inversion import Inversion
from jaxinv.outcome.status import Status
from jaxinv.settings import GradientDescent


class Descent(NamedTuple):
    """Where the runs are: one run for each of R starting points of each of B observations.

    latent, gradient: (B, R, k) of the current iterate, loss: (B, R) there. optimizer: its state,
    every leaf (B, R, ...). best_latent, best_loss: the iterate of the lowest loss so far. steps:
    (B, R) steps taken. converged: the gradient is small enough. diverged: the loss or its gradient
    overflowed.
    """

    latent: Float[Array, "batch restarts k"]
    loss: Float[Array, "batch restarts"]
    gradient: Float[Array, "batch restarts k"]
    optimizer: Any
    best_latent: Float[Array, "batch restarts k"]
    best_loss: Float[Array, "batch restarts"]
    steps: Int[Array, "batch restarts"]
    converged: Bool[Array, "batch restarts"]
    diverged: Bool[Array, "batch restarts"]


def gradient_descent(
    generator: Decoder,
    observations: Float[Array, "batch n"],
    mask: Bool[Array, "batch n"],
    weights: Float[Array, "batch n"],
    method: GradientDescent,
    seed: int,
    row_ids: Int[Array, " batch"],
) -> Inversion:
    """Minimise the weighted squared distance from random starting points, keep the best run.

    L(z) = sum_j m_j (w_j (G(z)_j - x_j))^2,    z <- P(z + update(grad L(z))),

    m the mask, w the weights, and P the projection onto the latent's bounds, where there are any: a
    step ends on the side it would leave by. A run stops where ||grad L||_2 <= gradient_tolerance,
    entries that a side holds back left out, at the step limit, where the loss overflows, or when
    another run of its observation has converged to a point that solves it. A run's result is the
    point it converged to, else the best it saw.

    Status: SOLVED where sqrt(L(z)) <= tolerance * sqrt(sum_j m_j (w_j x_j)^2), recomputed from the
    latent returned: the generator reproduces the observation, whatever stopped the run. INEXACT
    where the best run converged to a stationary point that does not (a local minimum, a dead
    region, or noise). STEP_LIMIT where the limit came first; a ReLU net's local minima lie at kinks
    as well, where the gradient never becomes small, and a run caught there ends so. SOLVER_FAILED,
    and NaN, where every run diverged: the learning rate is too large. The method says nothing about
    uniqueness, so `undetermined` is 0 throughout.

    observations, mask, weights: (B, n), finite where observed. row_ids: (B,), the names by which
    the observations draw their starting points. A row's result depends on its own observation,
    id, and the batch's shape.
    """
    with jax.enable_x64(True):
        seen, weight = np.asarray(mask), np.where(mask, weights, 0.0)
        free = jnp.full(generator.latent_size, jnp.inf)
        problem = Problem(
            generator,
            observation=np.where(seen, observations, 0.0),
            weight=weight,
            live=np.ones(len(seen), bool),
            limit=np.zeros(len(seen)),
            certain=np.zeros(len(seen)),
            blank=np.zeros(generator.observation_size),
            rounding=np.zeros(seen.shape),
            box=Box(-free, free),
            seed=seed,
            row_ids=np.asarray(row_ids),
        )
        return finished(problem, descended(problem, method), np.inf)


def descended(problem: Problem, method: GradientDescent) -> Provisional:
    """The method on the observations of a problem; its limit has no part in it.

    Where the caller has named starting points, random ones stand in for those left out. A start
    outside the box is moved onto its side.
    """
    rows = len(problem.live)
    added = in_whole_vectors(rows) - rows

    def padded(part: np.ndarray) -> np.ndarray:
        return np.pad(part, ((0, added),) + ((0, 0),) * (part.ndim - 1))

    given = None if problem.start is None else padded(problem.start)
    starts = starting_points(
        problem.seed,
        on_device(padded(problem.row_ids)),
        method.restarts if given is None else given.shape[1],
        problem.generator.latent_size,
        method.start_scale,
    )
    if given is not None:
        left_out = ~np.isfinite(given).all(-1, keepdims=True)
        starts = on_device(np.where(left_out, starts, given))
    x, weight = (on_device(padded(part)) for part in (problem.observation, problem.weight))
    best: BestRun = _best_run(problem.generator, x, weight, starts, problem.box, method)
    live, latent, status = problem.live, *(np.asarray(part)[:rows] for part in best)
    return Provisional(
        latent=np.where(live[:, None], latent, np.nan),
        status=np.where(live, status.astype(np.int64), int(Status.BAD_INPUT)),
        undetermined=np.zeros(rows, np.int64),
    )


def descend(
    generator: Decoder,
    x: Float[Array, "batch n"],
    weight: Float[Array, "batch n"],
    starts: Float[Array, "batch R k"],
    box: Box,
    method: GradientDescent,
) -> Descent:
    """Run every starting point to its end, for use inside a traced computation.

    weight: 0 where an entry is not observed, which may then hold anything. starts: inside the box.
    """
    optimizer = _optimizer(method)
    solved_loss = _solved_loss(x, weight, method.tolerance)[:, None]

    def running(state: Descent) -> Bool[Array, "batch R"]:
        ended = state.converged | state.diverged | (state.steps >= method.steps)
        solved = state.converged & (state.loss <= solved_loss)
        # One solution is enough: the other runs of that observation (never its neighbours) stop.
        return ~ended & ~solved.any(axis=1, keepdims=True)

    def update(x: Array, w: Array, z: Array, loss: Array, gradient: Array, state: Any) -> Any:
        value = partial(_loss, generator, x, w)
        return optimizer.update(gradient, state, z, value=loss, grad=gradient, value_fn=value)

    def step(state: Descent) -> Descent:
        # Mapped over runs, so that no norm, line search or counter of one run sees another's.
        updates, memory = _per_run(update)(
            x, weight, state.latent, state.loss, state.gradient, state.optimizer
        )
        latent = jnp.clip(state.latent + updates, box.low, box.high)
        after = _evaluate(generator, x, weight, latent, box, method.gradient_tolerance)
        better = after.loss < state.best_loss
        moved = state._replace(
            latent=latent,
            loss=after.loss,
            gradient=after.gradient,
            optimizer=memory,
            best_latent=jnp.where(better[..., None], latent, state.best_latent),
            best_loss=jnp.where(better, after.loss, state.best_loss),
            steps=state.steps + 1,
            converged=after.converged,
            diverged=after.diverged,
        )
        return select(running(state), moved, state)

    first = _evaluate(generator, x, weight, starts, box, method.gradient_tolerance)
    state = Descent(
        latent=starts,
        loss=first.loss,
        gradient=first.gradient,
        optimizer=jax.vmap(jax.vmap(optimizer.init))(starts),
        best_latent=starts,
        best_loss=first.loss,
        steps=jnp.zeros(starts.shape[:2], jnp.int32),
        converged=first.converged,
        diverged=first.diverged,
    )
    return jax.lax.while_loop(lambda s: running(s).any(), step, state)


class BestRun(NamedTuple):
    """latent (B, k), NaN where every run diverged, and what the method calls it, (B,)."""

    latent: Float[Array, "batch k"]
    status: Int[Array, " batch"]


def keep_best(
    generator: Decoder,
    x: Float[Array, "batch n"],
    weight: Float[Array, "batch n"],
    runs: Descent,
    method: GradientDescent,
) -> BestRun:
    """Each observation's run of the lowest loss, and what to call it (traced, as `descend` is)."""
    latent = jnp.where(runs.converged[..., None], runs.latent, runs.best_latent)
    loss = jnp.where(runs.converged, runs.loss, runs.best_loss)
    # A diverged run's best point is no result: that run never came near anything.
    best = jnp.where(runs.diverged, jnp.inf, loss).argmin(axis=1)
    latent = jnp.take_along_axis(latent, best[:, None, None], axis=1)[:, 0]
    converged = jnp.take_along_axis(runs.converged, best[:, None], axis=1)[:, 0]
    solved = _loss(generator, x, weight, latent) <= _solved_loss(x, weight, method.tolerance)
    failed = runs.diverged.all(axis=1)
    status = jnp.select(
        [failed, solved, converged],
        [int(Status.SOLVER_FAILED), int(Status.SOLVED), int(Status.INEXACT)],
        int(Status.STEP_LIMIT),
    )
    return BestRun(jnp.where(failed[:, None], jnp.nan, latent), status)


class _Evaluation(NamedTuple):
    """Loss and gradient at a point of every run, and what they say about stopping."""

    loss: Float[Array, "batch R"]
    gradient: Float[Array, "batch R k"]
    converged: Bool[Array, "batch R"]
    diverged: Bool[Array, "batch R"]


def _evaluate(
    generator: Decoder, x: Array, weight: Array, z: Array, box: Box, tolerance: float
) -> _Evaluation:
    """L(z) and grad L(z) = 2 J'(m w^2 (G(z) - x)), both exact on the cell z lies in."""
    x, weight = x[:, None], weight[:, None]
    image, pull_back = jax.vjp(generator.value, z)
    misfit = weight * _misfit(x, weight, image)
    loss = (misfit**2).sum(axis=-1)
    (gradient,) = pull_back(2.0 * weight * misfit)
    norm = jnp.linalg.norm(gradient, axis=-1)
    free = jnp.linalg.norm(jnp.where(box.pressed(z, gradient), 0.0, gradient), axis=-1)
    return _Evaluation(loss, gradient, free <= tolerance, ~jnp.isfinite(loss + norm))


def _loss(generator: Decoder, x: Array, weight: Array, z: Array) -> Array:
    """L(z) for observations and latents with the same leading axes, if any."""
    return ((weight * _misfit(x, weight, generator.value(z))) ** 2).sum(axis=-1)


def _misfit(x: Array, weight: Array, image: Array) -> Array:
    # Selected, not multiplied: an entry that is not observed may hold anything, NaN included.
    return jnp.where(weight > 0, image - x, 0.0)


def _solved_loss(x: Array, weight: Array, tolerance: float) -> Float[Array, " batch"]:
    """The largest loss that counts as a solution."""
    observed = jnp.where(weight > 0, x, 0.0)
    return tolerance**2 * ((weight * observed) ** 2).sum(axis=-1)


@partial(jax.jit, static_argnames="method")
def _best_run(
    generator: Decoder,
    x: Array,
    weight: Array,
    starts: Array,
    box: Box,
    method: GradientDescent,
) -> BestRun:
    runs = descend(generator, x, weight, jnp.clip(starts, box.low, box.high), box, method)
    return keep_best(generator, x, weight, runs, method)


def _per_run(function: Callable[..., Any]) -> Callable[..., Any]:
    """Map over observations and over their runs, which share the first two arguments."""
    over_runs = jax.vmap(function, in_axes=(None, None, 0, 0, 0, 0))
    return jax.vmap(over_runs)


def _optimizer(method: GradientDescent) -> Any:
    import optax  # slow to import, and no other method needs it

    if not isinstance(method.optimizer, str):
        return optax.with_extra_args_support(method.optimizer)
    rate: optax.ScalarOrSchedule = method.learning_rate
    if method.schedule == "cosine":
        rate = optax.cosine_decay_schedule(method.learning_rate, max(method.steps, 1))
    momentum = method.momentum or None
    named: Mapping[str, Callable[[], optax.GradientTransformation]] = {
        "sgd": lambda: optax.sgd(rate, momentum=momentum),
        "nesterov": lambda: optax.sgd(rate, momentum=momentum, nesterov=True),
        "adam": lambda: optax.adam(rate),
        "adabelief": lambda: optax.adabelief(rate),
        "rmsprop": lambda: optax.rmsprop(rate),
    }
    return optax.with_extra_args_support(named[method.optimizer]())
