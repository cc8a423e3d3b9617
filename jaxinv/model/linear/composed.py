"""Linear maps made of others: one after the other, or an entrywise factor behind one."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxinv.model.linear.map import LinearMap


@partial(jax.tree_util.register_dataclass, data_fields=["maps"], meta_fields=[])
@dataclass(frozen=True)
class Composition(LinearMap):
    """z -> W_m ... W_2 W_1 z, maps first to last."""

    maps: tuple[LinearMap, ...]

    @property
    def input_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return self.maps[0].input_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.maps[-1].output_shape

    @property
    def operations(self) -> float:
        return sum(linear.operations for linear in self.maps)

    @property
    def scratch(self) -> int:
        return max(linear.scratch for linear in self.maps)

    def __call__(self, z: Float[Array, "*batch k"]) -> Float[Array, "*batch n"]:
        for linear in self.maps:
            z = linear(z)
        return z

    def columns(self) -> Float[Array, "k n"]:
        columns = self.maps[0].columns()
        for linear in self.maps[1:]:
            columns = linear(columns)
        return columns

    def scaled(self, factor: Float[np.ndarray, " n"]) -> "Composition":
        return Composition((*self.maps[:-1], *_parts(scaled(self.maps[-1], factor))))


@partial(jax.tree_util.register_dataclass, data_fields=["factor"], meta_fields=["input_shape"])
@dataclass(frozen=True)
class Scaling(LinearMap):
    """z -> diag(f) z, f of shape (n,)."""

    factor: Float[Array, " n"]
    input_shape: tuple[int, ...]

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.input_shape

    @property
    def operations(self) -> float:
        return float(self.width)

    def __call__(self, z: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        return self.factor * z

    def scaled(self, factor: Float[np.ndarray, " n"]) -> "Scaling":
        return scaling(factor * np.asarray(self.factor), self.input_shape)


def scaling(factor: Float[np.ndarray, " n"], shape: tuple[int, ...]) -> Scaling:
    """diag(factor) on values of that shape."""
    with jax.enable_x64(True):
        return Scaling(jnp.asarray(factor, jnp.float64), shape)


def composed(*maps: LinearMap) -> LinearMap:
    """One map after the other, nested compositions laid out flat; first to last."""
    flat = tuple(part for linear in maps for part in _parts(linear))
    return flat[0] if len(flat) == 1 else Composition(flat)


def scaled(linear: LinearMap, factor: Float[np.ndarray, " n"]) -> LinearMap:
    """diag(factor) W, within the map where its kind can hold the factor, else behind it."""
    within = linear.scaled(factor)
    if within is not None:
        return within
    return Composition((*_parts(linear), scaling(factor, linear.output_shape)))


def _parts(linear: LinearMap) -> tuple[LinearMap, ...]:
    return linear.maps if isinstance(linear, Composition) else (linear,)
