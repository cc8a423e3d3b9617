r"""Runs on the last layer's pre-activation, where a sigmoid or tanh hides it.

With x = phi(u), phi squashing, u = phi^-1(x) is known wherever x is not saturated, and a run that
minimises ||V (u(z) - u)||_2 meets no flat region, as one on phi(u(z)) does. An error of x by e is
one of e / phi'(u) in u, so that

    V_j = w_j / ((e + rounding) / phi'(u_j) + FLOOR max|u|),

e being the largest excursion out of phi's range, which only noise can cause. What such a run finds
is a start: the run that counts is made on x itself, from there, unless x is reproduced already.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinv.joint.descent.lanes import Engine
from jaxinv.joint.descent.levenberg_marquardt import Runs, Starts
from jaxinv.joint.problem import Problem, engine_of
from jaxinv.model.activation import Activation
from jaxinv.model.decoder import Decoder
from jaxinv.model.generator import Generator
from jaxinv.model.layer import Layer
from jaxinv.settings import Auto

FLOOR = 1e-6  # of the largest pre-activation: no entry is trusted more for being exact
SATURATED = 1e-16  # of the range's width: closer to its ends an entry says only on which side it is
EVERY = 2  # of a row's runs one in so many is led there; the others see the observation alone


def squashed(decoder: Decoder) -> bool:
    """Whether a last sigmoid or tanh stands behind layers that are not peeled off one by one."""
    layers = decoder.layers
    return bool(layers) and layers[-1].activation.squashing and not decoder.is_dense


def engine_before(problem: Problem, method: Auto) -> Engine:
    """Lanes that fit the last layer's pre-activation."""
    *head, last = problem.generator.layers
    linear = Layer(last.linear, last.bias, Activation.parse("identity"))
    low, high = last.activation.range
    x, seen = problem.observation, problem.weight > 0
    outside = np.where(seen, np.maximum(x - high, low - x), 0.0).max(-1, keepdims=True, initial=0.0)
    with np.errstate(over="ignore"):
        single = (x == x.astype(np.float32)).all(-1, keepdims=True)
    rounding = np.where(single, np.finfo(np.float32).eps, np.finfo(np.float64).eps) / 2.0
    margin = SATURATED * (high - low)
    inside = np.clip(x, low + margin, high - margin)
    u = last.activation.inverse(inside)
    slope = np.maximum(last.activation.slope_of_output(inside), margin)
    error = (outside + rounding) / slope + FLOOR * np.abs(u).max(-1, keepdims=True)
    weight = problem.weight / error
    largest = weight.max(-1, keepdims=True, initial=0.0)
    weight = weight / np.where(largest > 0, largest, 1.0)
    before = replace(problem, generator=Generator((*head, linear)), observation=u, weight=weight)
    return engine_of(before, method)


def led_runs(
    before: Engine,
    engine: Engine,
    starts: Starts,
    number: Int[np.ndarray, " T"],
    rounded: Float[np.ndarray, " B"],
) -> tuple[Starts, Runs]:
    """Runs from these starts, those of every EVERY-th run from where a run of `before` ends.

    number: (T,) which of its row's runs each start is. rounded: (B,) the loss that rounding alone
    leaves. Where the end of the first run is no higher, it is the end of the second as well.
    """
    first = number % EVERY == 0
    latent, softness = starts.latent.copy(), np.where(first, 0.0, starts.softness)
    runs = Runs(
        latent.copy(),
        np.full(len(first), np.inf),
        np.zeros(len(first), np.int64),
        np.zeros(len(first), bool),
    )
    if first.any():
        row = starts.row[first]
        led = before.descended(Starts(row, latent[first], softness[first]))
        found = np.isfinite(led.latent).all(-1)
        latent[first] = np.where(found[:, None], led.latent, latent[first])
        ends = engine.closed(row, led._replace(latent=latent[first]))
        loss = engine.losses(row, ends.latent)
        _put(runs, first, ends._replace(loss=loss, converged=loss <= rounded[row]))
    starts = Starts(starts.row, latent, softness)
    left = ~runs.converged
    if left.any():
        _put(runs, left, engine.run(Starts(*(part[left] for part in starts))))
    return starts, runs


def _put(runs: Runs, where: Bool[np.ndarray, " T"], some: Runs) -> None:
    """Put some runs in their places, in place."""
    for whole, part in zip(runs, some, strict=True):
        whole[where] = part
