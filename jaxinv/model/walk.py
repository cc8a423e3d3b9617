"""One walk through the layers of a chain, and what is carried along it.

At each layer u_i = W_i z_{i-1} + b_i, and a rule says what becomes of it: the output z_i and the
slopes on the diagonal of D_i. With the slopes of one walk,

    columns:   J' = W_1' D_1 W_2' D_2 ... W_d' D_d, one image of each latent entry, first to last;
    along:     J v = D_d W_d ... D_1 W_1 v;
    gradients: W_i D_{i-1} W_{i-1} ... D_1 W_1, how every pre-activation depends on the latent.

All of it is for use inside a traced computation, or on NumPy arrays where a caller has set float64.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from jaxinv.model.layer import Layer

# A ReLU unit closer to its kink than this, relative to its layer, counts as off: an inverter that
# ends on the boundary of a polytope of preimages leaves rounding there.
AT_KINK = 1e-7
COLUMN_BYTES = 1 << 30  # what the columns of all Jacobians may take in a layer together


class Passage(NamedTuple):
    """What a rule makes of a layer's pre-activation u: its output and the slopes there."""

    output: Float[Array, "*B n_i"]
    slope: Float[Array, "*B n_i"]


Rule = Callable[[Layer, Float[Array, "*B n_i"]], Passage]


class Walked(NamedTuple):
    """The last layer's output and, layer by layer, pre-activations and slopes."""

    value: Float[Array, "*B n"]
    preactivations: tuple[Float[Array, "*B n_i"], ...]
    slopes: tuple[Float[Array, "*B n_i"], ...]


def as_it_is(layer: Layer, u: Float[Array, "*B n_i"]) -> Passage:
    """phi(u) and phi'(u)."""
    return Passage(layer.activation(u), layer.activation.derivative(u))


def off_kinks(layer: Layer, u: Float[Array, "*B n_i"]) -> Passage:
    """The same, with every ReLU unit that is at its kink switched off."""
    output, slope = as_it_is(layer, u)
    if layer.activation.kind == "relu":
        size = jnp.max(jnp.abs(u), axis=-1, keepdims=True)
        slope = jnp.where(u > AT_KINK * size, 1.0, 0.0)
    return Passage(output, slope)


def softened(dead: Float[Array, "B _"]) -> Rule:
    """ReLUs whose dead side has the slope `dead` instead of 0, one an observation or an entry."""

    def rule(layer: Layer, u: Float[Array, "B n_i"]) -> Passage:
        if layer.activation.kind != "relu":
            return as_it_is(layer, u)
        slope = jnp.where(u > 0, 1.0, dead)
        return Passage(slope * u, slope)

    return rule


def softened_below(
    layers: Sequence[Layer], softness: Float[Array, " B"], kept_on: Bool[Array, "B n"]
) -> tuple[Rule, ...]:
    """The rules of a softened chain whose last ReLU leaves the outputs kept_on linear.

    kept_on: those known to be active. Without softness they have no effect.
    """
    dead = softness[:, None]
    last = jnp.where(kept_on & (dead > 0), 1.0, dead)
    return (*[softened(dead)] * (len(layers) - 1), softened(last))


def walk(
    layers: Sequence[Layer], z: Float[Array, "*B k"], rules: Rule | Sequence[Rule] = as_it_is
) -> Walked:
    """Go through the layers, first to last, by one rule for all or one for each."""
    each = [rules] * len(layers) if callable(rules) else rules
    preactivations, slopes = [], []
    for layer, rule in zip(layers, each, strict=True):
        u = layer.preactivation(z)
        z, slope = rule(layer, u)
        preactivations.append(u)
        slopes.append(slope)
    return Walked(z, tuple(preactivations), tuple(slopes))


def outputs(layers: Sequence[Layer], z: Float[Array, "*B k"]) -> tuple[Array, ...]:
    """Every layer's output."""
    values = []
    for layer in layers:
        z = layer(z)
        values.append(z)
    return tuple(values)


def value(layers: Sequence[Layer], z: Float[Array, "*B k"]) -> Float[Array, "*B n"]:
    """The last layer's output, in the precision of z."""
    for layer in layers:
        z = layer(z)
    return z


def columns(
    layers: Sequence[Layer], slopes: Sequence[Array], precision: DTypeLike = jnp.float64
) -> Float[Array, "*B k n"]:
    """J' from the slopes (*B, n_i) of a walk; so many columns at a time as COLUMN_BYTES hold."""
    steep = [slope.astype(precision)[..., None, :] for slope in slopes]
    first = steep[0] * layers[0].linear.astype(precision).columns()

    def carried(product: Array) -> Array:
        for layer, slope in zip(layers[1:], steep[1:], strict=True):
            product = slope * layer.linear.astype(precision)(product)
        return product

    *batch, k, width = first.shape
    scratch = max(layer.linear.scratch for layer in layers)
    groups = -(-int(np.prod(batch)) * k * scratch * first.dtype.itemsize // COLUMN_BYTES)
    if groups == 1:
        return carried(first)
    size = -(-k // groups)
    padded = jnp.pad(first, [*[(0, 0)] * len(batch), (0, groups * size - k), (0, 0)])
    parts = jnp.moveaxis(padded.reshape(*batch, groups, size, width), -3, 0)
    whole = jnp.moveaxis(jax.lax.map(carried, parts), 0, -3)
    return whole.reshape(*batch, groups * size, -1)[..., :k, :]


def along(
    layers: Sequence[Layer], slopes: Sequence[Array], direction: Float[Array, "*B k"]
) -> Float[Array, "*B n"]:
    """J v of the slopes of a walk, in the precision of the direction v."""
    for layer, slope in zip(layers, slopes, strict=True):
        direction = slope * layer.linear(direction)
    return direction


def gradients(
    layers: Sequence[Layer], slopes: Sequence[Array], precision: DTypeLike = jnp.float64
) -> Iterator[Float[Array, "*B k n_i"]]:
    """(W_i D_{i-1} ... D_1 W_1)', layer by layer: (k, n_1) first, and (*B, k, n_i) then."""
    product: Array | None = None
    for layer, slope in zip(layers, slopes, strict=True):
        linear = layer.linear.astype(precision)
        gradient = linear.columns() if product is None else linear(product)
        yield gradient
        product = slope.astype(precision)[..., None, :] * gradient
