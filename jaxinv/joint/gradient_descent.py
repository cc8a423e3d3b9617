"""Gradient descent on the squared distance to the observation: the baseline of the paper."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from jaxinv.joint.starts import starting_points
from jaxinv.joint.target import Target
from jaxinv.linalg.select import select
from jaxinv.model.generator import Generator, forward
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
    generator: Generator,
    observations: Float[Array, "batch n"],
    mask: Bool[Array, "batch n"],
    weights: Float[Array, "batch n"],
    method: GradientDescent,
    seed: int,
    row_ids: Int[Array, " batch"],
) -> Inversion:
    """Minimise the weighted squared distance from random starting points, keep the best run.

    L(z) = sum_j m_j (w_j (G(z)_j - x_j))^2,    z <- z + update(grad L(z)),

    m the mask and w the weights. A run stops where ||grad L||_2 <= gradient_tolerance, at the step
    limit, where the loss overflows, or when another run of its observation has converged to a
    point that solves it. A run's result is the point it converged to, else the best it saw.

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
        starts = starting_points(
            seed,
            jnp.asarray(row_ids),
            method.restarts,
            generator.latent_size,
            method.start_scale,
        )
        target = Target(observations, mask, weights)
        inversion: Inversion = _best_run(generator, target, starts, method)
        return inversion


def descend(
    generator: Generator, target: Target, starts: Float[Array, "batch R k"], method: GradientDescent
) -> Descent:
    """Run every starting point to its end, for use inside a traced computation."""
    optimizer = optax.with_extra_args_support(_optimizer(method))
    solved_loss = _solved_loss(target, method.tolerance)[:, None]

    def running(state: Descent) -> Bool[Array, "batch R"]:
        ended = state.converged | state.diverged | (state.steps >= method.steps)
        solved = state.converged & (state.loss <= solved_loss)
        # One solution is enough: the other runs of that observation (never its neighbours) stop.
        return ~ended & ~solved.any(axis=1, keepdims=True)

    def update(row: Target, z: Array, loss: Array, gradient: Array, state: Any) -> Any:
        return optimizer.update(
            gradient, state, z, value=loss, grad=gradient, value_fn=partial(_loss, generator, row)
        )

    def step(state: Descent) -> Descent:
        # Mapped over runs, so that no norm, line search or counter of one run sees another's.
        updates, memory = _per_run(update)(
            target, state.latent, state.loss, state.gradient, state.optimizer
        )
        latent = state.latent + updates
        after = _evaluate(generator, target, latent, method.gradient_tolerance)
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

    first = _evaluate(generator, target, starts, method.gradient_tolerance)
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


def keep_best(
    generator: Generator, target: Target, runs: Descent, method: GradientDescent
) -> Inversion:
    """Each observation's run of the lowest loss, and what to call it (traced, as `descend` is)."""
    latent = jnp.where(runs.converged[..., None], runs.latent, runs.best_latent)
    loss = jnp.where(runs.converged, runs.loss, runs.best_loss)
    # A diverged run's best point is no result: that run never came near anything.
    best = jnp.where(runs.diverged, jnp.inf, loss).argmin(axis=1)
    latent = jnp.take_along_axis(latent, best[:, None, None], axis=1)[:, 0]
    converged = jnp.take_along_axis(runs.converged, best[:, None], axis=1)[:, 0]
    solved = _loss(generator, target, latent) <= _solved_loss(target, method.tolerance)
    failed = runs.diverged.all(axis=1)
    latent = jnp.where(failed[:, None], jnp.nan, latent)
    status = jnp.select(
        [failed, solved, converged],
        [int(Status.SOLVER_FAILED), int(Status.SOLVED), int(Status.INEXACT)],
        int(Status.STEP_LIMIT),
    )
    return Inversion(
        latent=latent,
        status=status.astype(jnp.int32),
        undetermined=jnp.zeros_like(status, jnp.int32),
        residual=jnp.linalg.norm(_misfit(target, forward(generator, latent)), axis=-1),
    )


class _Evaluation(NamedTuple):
    """Loss and gradient at a point of every run, and what they say about stopping."""

    loss: Float[Array, "batch R"]
    gradient: Float[Array, "batch R k"]
    converged: Bool[Array, "batch R"]
    diverged: Bool[Array, "batch R"]


def _evaluate(generator: Generator, target: Target, z: Array, tolerance: float) -> _Evaluation:
    """L(z) and grad L(z) = 2 J'(m w^2 (G(z) - x)), both exact on the cell z lies in."""
    runs = jax.tree.map(lambda leaf: leaf[:, None, :], target)
    image, pull_back = jax.vjp(partial(forward, generator), z)
    misfit = runs.weight * _misfit(runs, image)
    loss = (misfit**2).sum(axis=-1)
    (gradient,) = pull_back(2.0 * runs.weight * misfit)
    norm = jnp.linalg.norm(gradient, axis=-1)
    return _Evaluation(loss, gradient, norm <= tolerance, ~jnp.isfinite(loss + norm))


def _loss(generator: Generator, target: Target, z: Array) -> Array:
    """L(z) for targets and latents with the same leading axes, if any."""
    return ((target.weight * _misfit(target, forward(generator, z))) ** 2).sum(axis=-1)


def _misfit(target: Target, image: Array) -> Array:
    # Selected, not multiplied: a row that is not observed may hold anything, NaN included.
    return jnp.where(target.mask, image - target.observation, 0.0)


def _solved_loss(target: Target, tolerance: float) -> Float[Array, " batch"]:
    """The largest loss that counts as a solution."""
    observed = jnp.where(target.mask, target.observation, 0.0)
    return tolerance**2 * ((target.weight * observed) ** 2).sum(axis=-1)


@partial(jax.jit, static_argnames="method")
def _best_run(
    generator: Generator, target: Target, starts: Array, method: GradientDescent
) -> Inversion:
    return keep_best(generator, target, descend(generator, target, starts, method), method)


def _per_run(function: Callable[..., Any]) -> Callable[..., Any]:
    """Map over observations and over their runs; the first argument is shared by the runs."""
    over_runs = jax.vmap(function, in_axes=(None, 0, 0, 0, 0))
    return jax.vmap(over_runs)


def _optimizer(method: GradientDescent) -> Any:
    if not isinstance(method.optimizer, str):
        return method.optimizer
    rate: optax.ScalarOrSchedule = method.learning_rate
    if method.schedule == "cosine":
        rate = optax.cosine_decay_schedule(method.learning_rate, max(method.steps, 1))
    return _NAMED[method.optimizer](rate, method.momentum or None)


_NAMED: Mapping[str, Callable[[Any, float | None], optax.GradientTransformation]] = {
    "sgd": lambda rate, momentum: optax.sgd(rate, momentum=momentum),
    "nesterov": lambda rate, momentum: optax.sgd(rate, momentum=momentum, nesterov=True),
    "adam": lambda rate, _: optax.adam(rate),
    "adabelief": lambda rate, _: optax.adabelief(rate),
    "rmsprop": lambda rate, _: optax.rmsprop(rate),
}
