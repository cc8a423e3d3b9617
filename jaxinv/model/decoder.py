"""What every method that treats all layers at once needs to know of a decoder, and no more.

A chain of layers (`Generator`) is one, a differentiable JAX function (`FunctionGenerator`) another.
What a chain knows besides stands in its `layers`, which a function does not have: solves one layer
at a time, the noise its last layer shows, cells of constant activation pattern, softened ReLUs.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxinv.model.layer import Layer


class Linearization(NamedTuple):
    """G(z) and its Jacobian J there, as the k columns dG/dz_i: each is an observation itself.

    value: (B, n). columns: (B, k, n), J'; the normal matrix J'J is columns @ columns'.
    """

    value: Float[Array, "B n"]
    columns: Float[Array, "B k n"]

    @property
    def jacobian(self) -> Float[Array, "B n k"]:
        """J."""
        return self.columns.mT


@runtime_checkable
class Decoder(Protocol):
    """G: R^k -> R^n, differentiable almost everywhere; a pytree, so that jax.jit takes it.

    `value` and `linearized` are for use inside a traced computation, whose caller sets float64.
    The gradient J'r of a misfit r is the pullback that jax.vjp makes of `value`.
    """

    @property
    def latent_size(self) -> int:
        """k, the length of a latent."""

    @property
    def observation_size(self) -> int:
        """n, the length of an observation."""

    @property
    def is_dense(self) -> bool:
        """Whether G is a chain of matrices: its Jacobian is cheap in double precision."""

    @property
    def scratch(self) -> int:
        """Numbers held at once while one value, or one column of J, is carried through G."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of a chain, first to last; empty where the decoder is none."""

    def __call__(self, latent: Any) -> Float[Array, "*B n"]:
        """G(z) in float64 for one latent (k,) or a batch (B, k), whatever JAX's setting is."""

    def value(self, z: Float[Array, "*B k"]) -> Float[Array, "*B n"]:
        """G(z), in the precision of z."""

    def linearized(self, z: Float[Array, "B k"], precision: DTypeLike) -> Linearization:
        """G(z) in the precision of z, and J there, carried through the layers in `precision`."""


@jax.jit
def linearized_at(decoder: Decoder, z: Float[Array, "B k"]) -> Linearization:
    """G and J' at latents, in double precision, which the caller sets."""
    return decoder.linearized(z, jnp.float64)


def checked_latent(latent: Any, k: int) -> Float[Array, "*B k"]:
    """A latent (k,) or a batch (B, k) in float64, which the caller sets; else a ValueError."""
    z = jnp.asarray(latent, dtype=jnp.float64)
    if z.ndim not in (1, 2) or z.shape[-1] != k:
        raise ValueError(f"latent has shape {z.shape}; expected ({k},) or (B, {k})")
    return z
