"""Peel the outer layers off: least squares on the rows that are active beyond the noise.

A start for the joint methods, never an answer: each layer's input is a least-squares point, its
ReLU rows thresholded at the largest negative excursion, which only noise can cause.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Bool, Float, Int

from jaxinv.layerwise.active_rows import LinearRows, linear_rows
from jaxinv.layerwise.least_squares import Centre, centre
from jaxinv.linalg.blocks import blocks
from jaxinv.linalg.on_device import on_device
from jaxinv.model.decoder import Decoder
from jaxinv.model.layer import Layer

ROUNDING = 1e-9  # of max|x|: entries this small count as zero whatever the noise
# Relative misfit up to which a last layer makes something like x, and the steps to find out.
RESEMBLING, ITERATIONS = 0.2, 30
BLOCK = 32  # rows peeled together
FLOOR = 1e-7  # of the largest pre-activation: an error of this size does no harm to a start


class Peeled(NamedTuple):
    """What is left after peeling.

    inputs[i]: (B, n_i), the estimated input of layer i + 1 (inputs[0] estimates z), for the layers
    that were peeled; a contractive layer stops it for every row. depth: (B,) layers that remain
    below the outermost layer whose active rows lack full column rank, that layer included; 0 where
    every layer is identifiable.
    """

    inputs: dict[int, Float[np.ndarray, "B n_i"]]
    depth: Int[np.ndarray, " B"]


def peel_rows(
    generator: Decoder,
    x: Float[np.ndarray, "B n"],
    entry_weight: Float[np.ndarray, "B n"],
    which: Bool[np.ndarray, " B"],
) -> Peeled:
    """Peel these rows, in blocks of one shape; zeros, and depth 0, for all others."""
    rows, size = np.flatnonzero(which), min(BLOCK, len(x))
    inputs: dict[int, np.ndarray] = {}
    depth = np.zeros(len(x), np.int64)
    for some, padded in blocks(rows, size):
        part = peel(generator, x[padded], entry_weight[padded])
        depth[some] = part.depth[: len(some)]
        for number, found in part.inputs.items():
            whole = inputs.setdefault(number, np.zeros((len(x), found.shape[1])))
            whole[some] = found[: len(some)]
    return Peeled(inputs, depth)


def peel(
    generator: Decoder, x: Float[np.ndarray, "B n"], entry_weight: Float[np.ndarray, "B n"]
) -> Peeled:
    """Estimate every layer's input, last layer first, and see how far the estimates are unique."""
    inputs: dict[int, np.ndarray] = {}
    depth = np.zeros(len(x), np.int64)
    for number in reversed(range(len(generator.layers))):
        layer = generator.layers[number]
        if layer.width < layer.width_in:
            depth = np.where(depth == 0, number + 1, depth)
            break
        data = on_device(x), on_device(entry_weight)
        latent, full_rank = (np.asarray(part) for part in _active(layer, *data))
        if layer.activation.squashing and not full_rank.all():
            evened, more = (np.asarray(part) for part in _evened(layer, *data))
            latent = np.where((more & ~full_rank)[:, None], evened, latent)
            full_rank = full_rank | more
        depth = np.where((depth == 0) & ~full_rank, number + 1, depth)
        x = np.nan_to_num(latent, posinf=0.0, neginf=0.0)
        entry_weight = np.ones_like(x)
        inputs[number] = x
    return Peeled(inputs, depth)


@jax.jit
def plausible(
    layer: Layer, x: Float[Array, "B n"], entry_weight: Float[Array, "B n"]
) -> Bool[Array, " B"]:
    """Whether some input of the last layer makes it resemble x; where none does, peeling is vain.

    The input is a least-squares point of the rows that x fixes, errors of x all counting alike, by
    ITERATIONS of conjugate gradients: far cheaper than a layer's peeling, and less exact.
    """
    rows = _active_rows(layer, x, entry_weight)
    weight = rows.weight
    if layer.activation.squashing:
        inside = jnp.where(rows.active, x, sum(layer.activation.range) / 2.0)
        weight = jnp.where(rows.active, layer.activation.slope_of_output(inside, jnp), 0.0)
        weight *= entry_weight
    weight /= jnp.maximum(weight.max(-1, keepdims=True), 1e-300)

    def one(square: Array, target: Array) -> Array:
        def normal(h: Array) -> Array:
            return (square * (layer.weight @ h)) @ layer.weight

        return cg(normal, (square * target) @ layer.weight, maxiter=ITERATIONS)[0]

    latent = jax.vmap(one)(weight**2, rows.target)
    misfit = jnp.where(entry_weight > 0, layer(latent) - x, 0.0)
    misfit, size = (jnp.linalg.norm(entry_weight * part, axis=-1) for part in (misfit, x))
    return misfit <= RESEMBLING * size


def _active_rows(layer: Layer, x: Array, entry_weight: Array) -> LinearRows:
    size = jnp.max(jnp.where(entry_weight > 0, jnp.abs(x), 0.0), axis=-1)
    noise = jnp.max(jnp.where(entry_weight > 0, -x, 0.0), axis=-1)
    return linear_rows(layer, x, entry_weight, jnp.maximum(ROUNDING * size, noise), 0.0)


@jax.jit
def _active(layer: Layer, x: Float[Array, "B n"], entry_weight: Float[Array, "B n"]) -> Centre:
    """Least squares on the rows that are active beyond the noise."""
    return centre(layer.weight, _active_rows(layer, x, entry_weight))


@jax.jit
def _evened(layer: Layer, x: Float[Array, "B n"], entry_weight: Float[Array, "B n"]) -> Centre:
    """The same from weights that span fewer orders of magnitude.

    Near saturation phi' falls to 1e-16, and weights that follow it make the normal matrix of an
    exact image singular to rounding. An error of noise + eps in x moves the pre-activation u by
    that over phi'(u); below FLOOR max|u| no row is trusted more for being exact. The noise is the
    largest excursion out of the range, which only noise can cause.
    """
    rows = _active_rows(layer, x, entry_weight)
    low, high = layer.activation.range
    outside = jnp.maximum(x - high, low - x)
    noise = jnp.max(jnp.where(entry_weight > 0, outside, 0.0), -1, keepdims=True, initial=0.0)
    u = jnp.where(rows.active, rows.target + layer.bias, 0.0)
    error = (noise + jnp.finfo(x.dtype).eps) / layer.activation.derivative(u)
    error += FLOOR * jnp.abs(u).max(axis=-1, keepdims=True)
    weight = jnp.where(rows.active, entry_weight / error, 0.0)
    weight /= jnp.maximum(weight.max(-1, keepdims=True), 1e-300)
    return centre(layer.weight, rows._replace(weight=weight))


def operations(generator: Decoder) -> float:
    """Floating-point operations of peeling one row: a normal matrix and its inverse a layer."""
    widths = ((layer.width, layer.width_in) for layer in generator.layers)
    return float(sum(n * k**2 + 2 * k**3 for n, k in widths if n >= k))
