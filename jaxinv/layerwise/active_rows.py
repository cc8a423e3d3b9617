"""Which rows of a layer fix its pre-activation, and to what value: signs and thresholds."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxinv.model.layer import Layer


class LinearRows(NamedTuple):
    """Rows on which w_j . z = target_j holds, with the weight of each in least squares.

    active: (B, n). target: (B, n), x_j - b_j after inverting the activation, 0 on inactive rows.
    weight: (B, n), 0 on inactive rows, at most 1.
    """

    active: Bool[Array, "B n"]
    target: Float[Array, "B n"]
    weight: Float[Array, "B n"]


def linear_rows(
    layer: Layer,
    x: Float[Array, "B n"],
    row_weight: Float[Array, "B n"],
    threshold: Float[Array, " B"],
    noise: float,
) -> LinearRows:
    """Read the pre-activation off the layer's output x, row by row (Section 3, Remark 1).

    ReLU: rows with x_j > threshold. LeakyReLU: every row, x_j < 0 divided by the slope c and
    weighted by c, since noise on it is multiplied by 1/c. Sigmoid, tanh: rows strictly inside the
    range, by the inverse g; an error of noise + eps |x| in x moves g(x) by that over phi'(g(x)),
    and the weight is the reciprocal. row_weight: the caller's weights, 0 where not observed.
    """
    kind, slope = layer.activation.kind, layer.activation.slope
    weight = jnp.ones_like(x)
    if kind == "relu":
        active, u = x > threshold[:, None], x
    elif kind == "leaky_relu":
        active = jnp.ones(x.shape, bool)
        u = jnp.where(x < 0, x / slope, x)
        weight = jnp.where(x < 0, slope, 1.0)
    elif kind == "identity":
        active, u = jnp.ones(x.shape, bool), x
    else:
        low, high = layer.activation.range
        active = (x > low) & (x < high)
        inside = jnp.where(active, x, (low + high) / 2)
        u = layer.activation.inverse(inside, jnp)
        # Rounding of an output near zero is relative to it; near one it is not.
        error = noise + jnp.finfo(x.dtype).eps * jnp.abs(inside)
        weight = layer.activation.slope_of_output(inside, jnp) / error
        weight /= jnp.max(jnp.where(active, weight, 0.0), axis=-1, keepdims=True, initial=1e-300)
    active &= row_weight > 0
    return LinearRows(
        active,
        jnp.where(active, u - layer.bias, 0.0),
        jnp.where(active, weight * row_weight, 0.0),
    )
