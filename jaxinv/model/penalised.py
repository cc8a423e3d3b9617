r"""A prior as further entries of a decoder: what descends a misfit descends a penalty as well.

With z = mean + L u, u ~ N(0, I) in place of z ~ N(mean, L L'),

    u -> [G(mean + L u); u],    observed as [x; 0] with the weights [w; omega],

has the weighted misfit ||W (G(z) - x)||^2 + omega^2 ||L^-1 (z - mean)||^2, and starting points
drawn from N(0, I) are drawn from the prior.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxinv.model.decoder import Decoder, Linearization, checked_latent
from jaxinv.model.layer import Layer


@partial(
    jax.tree_util.register_dataclass, data_fields=["decoder", "mean", "factor"], meta_fields=[]
)
@dataclass(frozen=True)
class Penalised:
    """u -> [G(mean + L u); u]. mean: (k,). factor: L, (k, k)."""

    decoder: Decoder
    mean: Float[Array, " k"]
    factor: Float[Array, "k k"]

    layers: ClassVar[tuple[Layer, ...]] = ()
    is_dense: ClassVar[bool] = False

    @property
    def latent_size(self) -> int:
        return self.decoder.latent_size

    @property
    def observation_size(self) -> int:
        return self.decoder.observation_size + self.latent_size

    @property
    def scratch(self) -> int:
        return self.decoder.scratch + self.latent_size

    def _latent(self, u: Float[Array, "*B k"]) -> Float[Array, "*B k"]:
        product = jnp.matmul(u, self.factor.T.astype(u.dtype), precision="highest")
        return self.mean.astype(u.dtype) + product

    def value(self, u: Float[Array, "*B k"]) -> Float[Array, "*B m"]:
        return jnp.concatenate([self.decoder.value(self._latent(u)), u], axis=-1)

    def linearized(self, u: Float[Array, "B k"], precision: DTypeLike) -> Linearization:
        value, columns = self.decoder.linearized(self._latent(u), precision)
        factor = self.factor.T.astype(precision)
        columns = jnp.matmul(factor, columns, precision="highest")
        own = jnp.broadcast_to(jnp.eye(self.latent_size, dtype=precision), (len(u), *factor.shape))
        both = jnp.concatenate([columns, own], axis=-1)
        return Linearization(jnp.concatenate([value, u], axis=-1), both)

    def __call__(self, latent: Any) -> Array:
        with jax.enable_x64(True):
            return _value(self, checked_latent(latent, self.latent_size))


@jax.jit
def _value(penalised: Penalised, u: Array) -> Array:
    return penalised.value(u)
