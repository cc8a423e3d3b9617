"""A decoder's value and Jacobian at a batch of latents, with ReLUs softened on request."""

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from jaxinv.model import walk
from jaxinv.model.decoder import Decoder, Linearization


def has_relu(decoder: Decoder) -> bool:
    """Whether there is anything to soften."""
    return any(layer.activation.kind == "relu" for layer in decoder.layers)


def softened_value(
    decoder: Decoder,
    z: Float[Array, "S k"],
    softness: Float[Array, " S"],
    kept_on: Bool[Array, "S n"],
) -> Float[Array, "S n"]:
    """G as `linearize` evaluates it."""
    if not has_relu(decoder):
        return decoder.value(z)
    rules = walk.softened_below(decoder.layers, softness, kept_on)
    return walk.walk(decoder.layers, z, rules).value


def linearize(
    decoder: Decoder,
    z: Float[Array, "S k"],
    softness: Float[Array, " S"],
    kept_on: Bool[Array, "S n"],
    precision: DTypeLike = jnp.float64,
) -> Linearization:
    """Evaluate G and J, where a ReLU's dead side has slope `softness` instead of 0.

    kept_on: outputs that a softened ReLU leaves linear: those known to be active. With softness 0
    this is G itself and kept_on has no effect; nor has either where no layers are known. J is
    carried through the layers in `precision`. For use inside a traced computation.
    """
    if not has_relu(decoder):
        return decoder.linearized(z, precision)
    rules = walk.softened_below(decoder.layers, softness, kept_on)
    walked = walk.walk(decoder.layers, z, rules)
    return Linearization(walked.value, walk.columns(decoder.layers, walked.slopes, precision))
