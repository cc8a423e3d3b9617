"""A generator's value and Jacobian at a batch of latents, with ReLUs softened on request."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxinv.model.generator import Generator, chained


class Linearization(NamedTuple):
    """G(z) (S, n) and J = D_d W_d ... D_1 W_1 (S, n, k) there."""

    value: Float[Array, "S n"]
    jacobian: Float[Array, "S n k"]


def linearize(
    generator: Generator,
    z: Float[Array, "S k"],
    softness: Float[Array, " S"],
    kept_on: Bool[Array, "S n"],
) -> Linearization:
    """Evaluate G and J, where a ReLU's dead side has slope `softness` instead of 0.

    kept_on: outputs that a softened ReLU leaves linear: those known to be active. With softness 0
    this is G itself and kept_on has no effect. For use inside a traced computation.
    """
    slopes = []
    for number, layer in enumerate(generator.layers, start=1):
        u = layer.preactivation(z)
        activation = layer.activation
        if activation.kind == "relu":
            soft = jnp.broadcast_to(softness[:, None], u.shape)
            if number == generator.depth:
                soft = jnp.where(kept_on & (soft > 0), 1.0, soft)
            slopes.append(jnp.where(u > 0, 1.0, soft))
            z = slopes[-1] * u
        else:
            slopes.append(activation.derivative(u))
            z = activation(u)
    return Linearization(z, chained(generator, slopes))
