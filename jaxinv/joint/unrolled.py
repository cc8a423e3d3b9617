"""The inverse of a net whose outer layers have no dead side: one factor a layer for all rows.

Every row of a LeakyReLU, identity, sigmoid or tanh layer is linear in the layer's input, so that
without noise

    z = (W'W)^-1 W' (phi^-1(x) - b)

and W'W, which does not depend on the observation, is factored once. ReLU layers take their active
rows, an observation at a time, as in peeling. What comes out is looked at, never trusted: it is an
answer where G(z) reproduces x to rounding, and nothing where there is noise.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve

from jaxinv.generator import Generator
from jaxinv.joint import peeling
from jaxinv.layerwise.active_rows import linear_rows
from jaxinv.layerwise.least_squares import centre

REFINEMENTS = 2


def unrolled(generator: Generator, x: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B k"]:
    """The latents of rows that are fully observed and free of noise; finite for any others."""
    hidden = x
    for layer in reversed(generator.layers):
        size = jnp.max(jnp.abs(hidden), axis=-1)
        everywhere = jnp.ones(hidden.shape)
        rows = linear_rows(layer, jnp.asarray(hidden), everywhere, peeling.ROUNDING * size, 0.0)
        if layer.activation.kind == "relu":
            found = np.asarray(centre(layer.weight, rows).latent)
        else:
            found = _least_squares(np.asarray(layer.weight), np.asarray(rows.target))
        hidden = np.nan_to_num(found, posinf=0.0, neginf=0.0)
    return hidden


def pays(generator: Generator) -> bool:
    """Whether all layers expand and unrolling costs far less than peeling, which knows noise."""
    expands = all(layer.width >= layer.width_in for layer in generator.layers)
    cost = sum(
        layer.width * layer.width_in**2 + 2 * layer.width_in**3
        if layer.activation.kind == "relu"
        else 4 * (1 + REFINEMENTS) * layer.width * layer.width_in
        for layer in generator.layers
    )
    return expands and 4 * cost < peeling.operations(generator)


def _least_squares(
    w: Float[np.ndarray, "n k"], target: Float[np.ndarray, "B n"]
) -> Float[np.ndarray, "B k"]:
    """argmin_z ||W z - t||_2 of every row, refined; NaN where W'W is not definite."""
    scale = 1.0 / np.maximum(np.linalg.norm(w, axis=0), 1e-300)
    unit = w * scale
    latent = np.zeros((len(target), w.shape[1]))
    try:
        factor = cho_factor(unit.T @ unit)
    except np.linalg.LinAlgError:
        return np.full_like(latent, np.nan)
    for _ in range(1 + REFINEMENTS):
        slope = (target - latent @ unit.T) @ unit
        latent += cho_solve(factor, slope.T).T
    return latent * scale
