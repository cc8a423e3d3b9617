r"""Runs on the last layer's pre-activation, where a sigmoid or tanh hides it.

With x = phi(u), phi squashing, u = phi^-1(x) is known wherever x is not saturated, and a run that
minimises ||V (u(z) - u)||_2 meets no flat region, as one on phi(u(z)) does. An error of x by e is
one of e / phi'(u) in u, so that

    V_j = w_j / ((e + rounding) / phi'(u_j) + FLOOR max|u|),

e being the largest excursion out of phi's range, which only noise can cause. What such a run finds
is a start: the run that counts is made on x itself, from there.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from jaxinv.joint.descent.lanes import Engine
from jaxinv.joint.problem import Problem, engine_of
from jaxinv.model.activation import Activation
from jaxinv.model.decoder import Decoder
from jaxinv.model.generator import Generator
from jaxinv.model.layer import Layer
from jaxinv.settings import Auto

FLOOR = 1e-6  # of the largest pre-activation: no entry is trusted more for being exact
SATURATED = 1e-16  # of the range's width: closer to its ends an entry says only on which side it is
LED = 4  # of the runs that race, those that may be led there
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


def led_points(
    before: Engine,
    rows: Int[np.ndarray, " R"],
    points: Float[np.ndarray, "R s k"],
    wave: slice,
) -> Float[np.ndarray, "R s k"]:
    """The starts of a wave, every EVERY-th run's where a run of `before` from it ends."""
    led = np.arange(wave.start, wave.stop) % EVERY == 0
    if not led.any():
        return points
    moved = points.copy()
    found = before.track.ends(rows, points[:, led])
    moved[:, led] = np.where(np.isfinite(found), found, points[:, led])
    return moved
