"""Peel the outer layers off: least squares on the rows that are active beyond the noise.

A start for the joint methods, never an answer: each layer's input is a least-squares point, its
ReLU rows thresholded at the largest negative excursion, which only noise can cause.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxinv.generator import Generator
from jaxinv.layerwise.active_rows import linear_rows
from jaxinv.layerwise.least_squares import centre

ROUNDING = 1e-9  # of max|x|: entries this small count as zero whatever the noise


class Peeled(NamedTuple):
    """What is left after peeling.

    inputs[i]: (B, n_i), the estimated input of layer i + 1 (inputs[0] estimates z), for the layers
    that were peeled; a contractive layer stops it for every row. depth: (B,) layers that remain
    below the outermost layer whose active rows lack full column rank, that layer included; 0 where
    every layer is identifiable.
    """

    inputs: dict[int, Float[Array, "B n_i"]]
    depth: Int[np.ndarray, " B"]


def peel(generator: Generator, x: Float[Array, "B n"], row_weight: Float[Array, "B n"]) -> Peeled:
    """Estimate every layer's input, last layer first, and see how far the estimates are unique."""
    inputs: dict[int, Array] = {}
    depth = np.zeros(len(x), np.int64)
    for number in reversed(range(generator.depth)):
        layer = generator.layers[number]
        if layer.width < layer.width_in:
            depth = np.where(depth == 0, number + 1, depth)
            break
        size = jnp.max(jnp.where(row_weight > 0, jnp.abs(x), 0.0), axis=-1)
        noise = jnp.max(jnp.where(row_weight > 0, -x, 0.0), axis=-1)
        threshold = jnp.maximum(ROUNDING * size, noise)
        found = centre(layer.weight, linear_rows(layer, x, row_weight, threshold, 0.0))
        full_rank = np.asarray(found.full_rank)
        depth = np.where((depth == 0) & ~full_rank, number + 1, depth)
        x = jnp.nan_to_num(found.latent, posinf=0.0, neginf=0.0)
        row_weight = jnp.ones_like(x)
        inputs[number] = x
    return Peeled(inputs, depth)


def operations(generator: Generator) -> float:
    """Floating-point operations of peeling one row: a normal matrix and its inverse a layer."""
    widths = ((layer.width, layer.width_in) for layer in generator.layers)
    return float(sum(n * k**2 + 2 * k**3 for n, k in widths if n >= k))
