"""The layer-wise inverse of an observation without noise, at as little cost as rounding allows.

Last layer first, z = argmin ||W_I z - (phi^-1(x) - b)_I||_2 over the rows I that x fixes. Every row
of a LeakyReLU, identity, sigmoid or tanh layer is one of them: W'W, the same for all observations,
is factored once. A ReLU layer's W_I'W_I are factored in single precision, observation by
observation, which suffices to refine in double. What comes out is looked at, never trusted: it is
an answer where G(z) reproduces x to rounding, and nothing where there is noise.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.linalg import cho_factor, cho_solve

from jaxinv.generator import Generator
from jaxinv.joint.peeling import ROUNDING
from jaxinv.layerwise.active_rows import LinearRows, linear_rows
from jaxinv.layerwise.least_squares import Centre, quick_centre

REFINEMENTS = 2
CONSISTENT = 1e-9  # of the target: a larger misfit of a layer is noise, not rounding
CLEAR_RANK = 1e-6  # smallest eigenvalue of W'W with unit diagonal


class Unrolled(NamedTuple):
    """latent: (B, k), finite. full_rank: (B,), every W_I of full column rank beyond doubt."""

    latent: Float[np.ndarray, "B k"]
    full_rank: Bool[np.ndarray, " B"]


def unrolled(generator: Generator, x: Float[np.ndarray, "B n"]) -> Unrolled:
    """Invert fully observed rows; those whose layers are inconsistent come back as zeros."""
    hidden, full_rank = x, np.ones(len(x), bool)
    good = np.ones(len(x), bool)
    for layer in reversed(generator.layers):
        size = jnp.max(jnp.abs(hidden), axis=-1)
        seen = jnp.ones(hidden.shape)
        rows = linear_rows(layer, jnp.asarray(hidden), seen, ROUNDING * size, 0.0)
        solve = quick_centre if layer.activation.kind == "relu" else _shared
        found = solve(layer.weight, rows)
        latent, target = np.asarray(found.latent), np.asarray(rows.target)
        misfit = np.where(rows.active, latent @ np.asarray(layer.weight).T - target, 0.0)
        good &= np.linalg.norm(misfit, axis=1) <= CONSISTENT * np.linalg.norm(target, axis=1)
        full_rank &= np.asarray(found.full_rank)
        if layer.activation.kind == "relu":
            # Factors in single precision refine well only where the rank is beyond doubt.
            good &= full_rank
        hidden = np.where(good[:, None], latent, 0.0)
        if not good.any():
            return Unrolled(np.zeros((len(x), generator.latent_size)), good)
    return Unrolled(hidden, good & full_rank)


def operations(generator: Generator) -> float:
    """Floating-point operations, in units of double precision, of unrolling one row."""
    cost = 0.0
    for layer in generator.layers:
        n, k = layer.width, layer.width_in
        one_row = n * k**2 + 2 * k**3 if layer.activation.kind == "relu" else 0
        cost += one_row / 2 + 4 * (1 + REFINEMENTS) * n * k
    return cost


def _shared(matrix: Float[Array, "n k"], rows: LinearRows) -> Centre:
    """Least squares over all rows of W, whether x fixes them or not; NaN where W'W is singular.

    A few inverse iterations tell the smallest eigenvalue, as for `centre`.
    """
    w, target = np.asarray(matrix), np.asarray(rows.target)
    scale = 1.0 / np.maximum(np.linalg.norm(w, axis=0), 1e-300)
    unit = w * scale
    latent = np.zeros((len(target), w.shape[1]))
    try:
        factor = cho_factor(unit.T @ unit, check_finite=False)
    except np.linalg.LinAlgError:
        return Centre(jnp.full_like(latent, jnp.nan), jnp.zeros(len(target), bool))
    for _ in range(1 + REFINEMENTS):
        slope = (target - latent @ unit.T) @ unit
        latent += cho_solve(factor, slope.T, check_finite=False).T
    v = np.sin(1.0 + np.arange(w.shape[1]) ** 2)
    for _ in range(1 + REFINEMENTS):
        v = cho_solve(factor, v / np.linalg.norm(v), check_finite=False)
    clear = 1.0 / np.linalg.norm(v) > CLEAR_RANK
    return Centre(jnp.asarray(latent * scale), rows.active.all(-1) & clear)
