"""The layer-wise estimate of a fully observed row, at as little cost as rounding allows.

Last layer first, z = argmin ||W_I z - (phi^-1(x) - b)_I||_2 over the rows I that x fixes. Every row
of a LeakyReLU, identity, sigmoid or tanh layer is one of them: W'W, the same for all observations,
is factored once. A ReLU layer's W_I'W_I are factored in single precision, observation by
observation, which suffices to refine in double. What comes out is looked at, never trusted: it is
an answer where G(z) reproduces x to rounding, and a start where there is noise.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.linalg import cho_factor, cho_solve

from jaxinv.generator import Generator
from jaxinv.joint.lack_of_fit import OuterNoise, outer_noise
from jaxinv.joint.peeling import ROUNDING
from jaxinv.layerwise.active_rows import LinearRows, linear_rows
from jaxinv.layerwise.least_squares import quick_centre

REFINEMENTS = 2
CONSISTENT = 1e-9  # of the target: a larger misfit of the last layer is noise, not rounding
# Noise of a ReLU's inactive rows is as likely positive as negative: what is to pass for active
# stands this many times above the largest negative excursion.
CLEARLY_ACTIVE = 2.0


class Unrolled(NamedTuple):
    """latent: (B, k), finite, zeros where not usable. noise: what the last layer shows of it.

    usable: (B,), every ReLU layer's W_I of full column rank beyond doubt.
    """

    latent: Float[np.ndarray, "B k"]
    usable: Bool[np.ndarray, " B"]
    noise: OuterNoise


def unrolled(generator: Generator, x: Float[np.ndarray, "B n"]) -> Unrolled:
    """Estimate the latent of fully observed rows."""
    hidden, noise = x, None
    usable = np.ones(len(x), bool)
    for layer in reversed(generator.layers):
        relu = layer.activation.kind == "relu"
        threshold = ROUNDING * np.abs(hidden).max(-1)
        if relu:
            threshold = np.maximum(threshold, CLEARLY_ACTIVE * (-hidden).max(-1))
        seen = jnp.ones(hidden.shape)
        rows = linear_rows(layer, jnp.asarray(hidden), seen, jnp.asarray(threshold), 0.0)
        if relu:
            found = quick_centre(layer.weight, rows)
            latent, usable = np.asarray(found.latent), usable & np.asarray(found.full_rank)
        else:
            latent = _shared(layer.weight, rows)
        usable = usable & np.isfinite(latent).all(-1)
        latent = np.where(usable[:, None], latent, 0.0)
        if noise is None:
            target = np.asarray(rows.target)
            misfit = latent @ np.asarray(layer.weight).T - target
            misfit = np.where(rows.active, misfit, 0.0)
            small = np.linalg.norm(misfit, axis=1) <= CONSISTENT * np.linalg.norm(target, axis=1)
            noise = outer_noise(layer, rows, misfit, usable & ~small)
        hidden = latent
    assert noise is not None
    return Unrolled(hidden, usable, noise)


def operations(generator: Generator) -> float:
    """Floating-point operations, in units of double precision, of unrolling one row."""
    cost = 0.0
    for layer in generator.layers:
        n, k = layer.width, layer.width_in
        one_row = n * k**2 + 2 * k**3 if layer.activation.kind == "relu" else 0
        cost += one_row / 2 + 4 * (1 + REFINEMENTS) * n * k
    return cost


def _shared(matrix: Float[Array, "n k"], rows: LinearRows) -> Float[np.ndarray, "B k"]:
    """Least squares over all rows of W, whether x fixes them or not; NaN where W'W is singular."""
    w, target = np.asarray(matrix), np.asarray(rows.target)
    scale = 1.0 / np.maximum(np.linalg.norm(w, axis=0), 1e-300)
    unit = w * scale
    latent = np.zeros((len(target), w.shape[1]))
    try:
        factor = cho_factor(unit.T @ unit, check_finite=False)
    except np.linalg.LinAlgError:
        return np.full_like(latent, np.nan)
    for _ in range(1 + REFINEMENTS):
        slope = (target - latent @ unit.T) @ unit
        latent += cho_solve(factor, slope.T, check_finite=False).T
    found: Float[np.ndarray, "B k"] = latent * scale
    return found
