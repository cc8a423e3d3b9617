"""A PyTorch program of core ATen operators, computed by JAX.

The program is data: arrays, and steps that each name an operator and its arguments. Nothing here
imports PyTorch, so that what was read from a module can be pickled and used without it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxinv.formats.aten_layers import LAYERS
from jaxinv.formats.aten_pointwise import POINTWISE
from jaxinv.formats.aten_shapes import SHAPES

# By the name of an operator, or of one overload of it where that takes other arguments.
OPERATORS: dict[str, Callable[..., Any]] = {**POINTWISE, **SHAPES, **LAYERS}


@dataclass(frozen=True)
class Value:
    """The result of an earlier step, or an array, by its name."""

    name: str


@dataclass(frozen=True)
class Kind:
    """A dtype: "float" (that of the latent), "int" or "bool"."""

    name: str

    def dtype(self, floating: DTypeLike) -> DTypeLike:
        return {"float": floating, "int": jnp.int32, "bool": jnp.bool_}[self.name]


@dataclass(frozen=True)
class Step:
    """name = operator(*arguments, **keywords); `item` picks one of several results."""

    name: str
    operator: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


@dataclass(frozen=True, eq=False)
class AtenProgram:
    """f(z) = module(z[None])[0], the steps of a module that was exported for a batch of one.

    source: the module's name. arrays: parameters, buffers and constants by name, in their own
    precision; all floating-point ones take that of z. latent, output: the names of z and f(z).
    """

    source: str
    latent: str
    output: str
    arrays: dict[str, np.ndarray]
    steps: tuple[Step, ...]

    @property
    def __name__(self) -> str:
        return self.source

    def __call__(self, z: Float[Array, " k"]) -> Array:
        values: dict[str, Any] = {self.latent: z[None]}
        for name, array in self.arrays.items():
            value = jnp.asarray(array)
            floating = jnp.issubdtype(value.dtype, jnp.floating)
            values[name] = value.astype(z.dtype) if floating else value

        def given(argument: Any) -> Any:
            if isinstance(argument, Value):
                return values[argument.name]
            if isinstance(argument, Kind):
                return argument.dtype(z.dtype)
            if isinstance(argument, tuple):
                return tuple(map(given, argument))
            return argument

        for step in self.steps:
            values[step.name] = OPERATORS[step.operator](
                *map(given, step.arguments), **{k: given(v) for k, v in step.keywords.items()}
            )
        return values[self.output][0]


def known(operator: str) -> str | None:
    """The entry of OPERATORS for "add.Tensor": that of the overload, or else of all of them."""
    return next((n for n in (operator, operator.partition(".")[0]) if n in OPERATORS), None)
