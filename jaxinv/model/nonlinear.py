"""Nonlinear measurements y = f(G(z)), f any differentiable JAX function of one output.

f is read once in each precision, as a function that is a decoder is: arrays that it captures become
leaves of a pytree. What has been read is kept for the last few functions, by identity, so that a
second call with the same one compiles nothing anew.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache, partial
from math import prod
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxinv.model.decoder import Decoder, Linearization, checked_latent
from jaxinv.model.function import check_values
from jaxinv.model.layer import Layer
from jaxinv.model.traced import Traced, traced

KEPT = 16  # functions whose programs are kept


@dataclass(frozen=True, eq=False)
class _Programs:
    """f at both precisions; compared by identity, so nothing is compiled twice."""

    single: Traced
    double: Traced


@partial(
    jax.tree_util.register_dataclass, data_fields=["decoder", "arrays"], meta_fields=["programs"]
)
@dataclass(frozen=True)
class MeasuredBy:
    """z -> f(G(z)). arrays: what f captures. programs: f as it was read."""

    decoder: Decoder
    arrays: tuple[Array, ...]
    programs: _Programs

    layers: ClassVar[tuple[Layer, ...]] = ()
    is_dense: ClassVar[bool] = False

    @property
    def latent_size(self) -> int:
        return self.decoder.latent_size

    @property
    def observation_size(self) -> int:
        return prod(self.programs.double.shape)

    @property
    def scratch(self) -> int:
        return max(self.decoder.scratch, self.programs.double.scratch)

    def _one(self, x: Float[Array, " n"]) -> Float[Array, " m"]:
        program = self.programs.double if x.dtype == jnp.float64 else self.programs.single
        return program(self.arrays, x).astype(x.dtype)

    def value(self, z: Float[Array, "*B k"]) -> Float[Array, "*B m"]:
        x = self.decoder.value(z)
        measured = jax.vmap(self._one)(x.reshape(-1, x.shape[-1]))
        return measured.reshape(*x.shape[:-1], self.observation_size)

    def linearized(self, z: Float[Array, "B k"], precision: DTypeLike) -> Linearization:
        x, columns = self.decoder.linearized(z, precision)

        def pushed(one: Array, directions: Array) -> Array:
            _, push = jax.linearize(self._one, one)
            return jax.vmap(push)(directions)

        value = jax.vmap(self._one)(x)
        return Linearization(value, jax.vmap(pushed)(x.astype(precision), columns))

    def __call__(self, latent: Any) -> Array:
        with jax.enable_x64(True):
            return _value(self, checked_latent(latent, self.latent_size))


def measured_by(decoder: Decoder, f: Callable[[Any], Any]) -> MeasuredBy:
    """The decoder z -> f(G(z)), f: (n,) -> (m,).

    Raises ValueError where f is no such function, or not finite or differentiable anywhere.
    """
    read = _read if isinstance(f, Hashable) else _read.__wrapped__
    arrays, programs = read(f, decoder.observation_size)
    measured = MeasuredBy(decoder, arrays, programs)
    check_values(measured, "operator")
    return measured


@lru_cache(maxsize=KEPT)
def _read(f: Callable[[Any], Any], n: int) -> tuple[tuple[Array, ...], _Programs]:
    arrays: list[Array] = []
    name, argument = "operator", "output of the generator"
    double = traced(f, n, jnp.float64, arrays, name, argument)
    try:
        single = traced(f, n, jnp.float32, arrays, name, argument)
    except ValueError:
        # Such as a product with a complex matrix, which JAX does not narrow: slower, and as right.
        single = double
    if single.shape != double.shape:
        raise ValueError(
            f"operator returns the shape {double.shape} in float64 and {single.shape} in float32; "
            "a measurement's shape must not change"
        )
    return tuple(arrays), _Programs(single, double)


@jax.jit
def _value(measured: MeasuredBy, z: Array) -> Array:
    return measured.value(z)
