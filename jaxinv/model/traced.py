"""A function read once into a program of JAX, the arrays that it captures kept beside it.

Arrays that jax.jit finds in a closure become constants of what it compiles: with 38 MB of them, ten
steps of gradient descent took 2.3 to 2.5 times as long to compile as with the same arrays as
arguments, and each compiled method holds a copy. jax.make_jaxpr, which is public, tells them apart
from the program, for closures and objects alike, so a weight need not be a leaf to be found. Where
a version of JAX leaves some of them in the program, they are constants as before.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun
from jax.typing import DTypeLike
from jaxtyping import Array, Float

_SINGLE = {"float64": jnp.float32, "complex128": jnp.complex64}


@dataclass(frozen=True, eq=False)
class Traced:
    """f at one precision. shape: of its output; captured: where its arrays stand in the list."""

    program: Jaxpr
    captured: tuple[int, ...]
    dtype: DTypeLike
    shape: tuple[int, ...]

    @property
    def scratch(self) -> int:
        """Entries of the largest array that the program makes on its way."""
        made = (v.aval for equation in self.program.eqns for v in equation.outvars)
        return max((prod(a.shape) for a in made if hasattr(a, "shape")), default=1)

    def __call__(self, arrays: Sequence[Array], z: Float[Array, " k"]) -> Float[Array, " n"]:
        constants = [_at_most(arrays[i], self.dtype) for i in self.captured]
        program = ClosedJaxpr(self.program, constants)
        (y,) = jaxpr_as_fun(program)(z.astype(self.dtype))
        return y.reshape(-1)


def traced(
    f: Callable[[Any], Any],
    size: int,
    dtype: DTypeLike,
    arrays: list[Array],
    name: str = "f",
    argument: str = "latent",
) -> Traced:
    """Read f at vectors of one precision; what it captures is added to `arrays`, once each.

    name, argument: what the caller calls the function, and what it takes, in sentences.

    Raises ValueError where f raises, or does not return one array of real floating-point numbers.
    """
    double = dtype == jnp.float64
    # A float32 program is read without x64, so that an untyped jnp.zeros in f does not promote it.
    with jax.enable_x64(double), warnings.catch_warnings():
        # Said of float64 arrays that f captures, which this program is meant to take for float32.
        warnings.filterwarnings("ignore", "Explicitly requested dtype", UserWarning)
        try:
            program, output = jax.make_jaxpr(f, return_shape=True)(
                jax.ShapeDtypeStruct((size,), dtype)
            )
        except Exception as error:  # f is the caller's: it may raise anything
            raise ValueError(_refusal(error, size, name, argument)) from error
    if not isinstance(output, jax.ShapeDtypeStruct):
        raise ValueError(
            f"{name} returns a {type(output).__name__}; expected one array: stack or concatenate "
            "parts"
        )
    if not jnp.issubdtype(output.dtype, jnp.floating):
        raise ValueError(
            f"{name} returns {output.dtype} entries; expected real floating-point numbers, which "
            "have a derivative (of complex ones, stack the real and imaginary parts)"
        )
    if 0 in output.shape:
        raise ValueError(f"{name} returns an empty array, of shape {output.shape}")
    with jax.enable_x64(True):
        captured = tuple(_place(array, arrays) for array in program.consts)
    return Traced(program.jaxpr, captured, dtype, tuple(output.shape))


def _place(captured: Any, arrays: list[Array]) -> int:
    """Where an array stands in the list; both precisions capture the same ones."""
    array = jnp.asarray(captured)
    for i, known in enumerate(arrays):
        if known is captured or (
            (known.shape, known.dtype) == (array.shape, array.dtype)
            and not jnp.issubdtype(array.dtype, jax.dtypes.extended)
            and np.asarray(known).tobytes() == np.asarray(array).tobytes()
        ):
            return i
    arrays.append(array)
    return len(arrays) - 1


def _at_most(array: Array, dtype: DTypeLike) -> Array:
    """Without x64, a program takes float64 arrays for float32."""
    if dtype == jnp.float64:
        return array
    return array.astype(_SINGLE.get(array.dtype.name, array.dtype))


def _refusal(error: Exception, size: int, name: str, argument: str) -> str:
    said = next(iter(str(error).strip().splitlines()), "")
    advice = f"expected a JAX function of one {argument}, written with jax.numpy, without branches"
    return f"{name} raises {type(error).__name__} on an array of shape ({size},): {said}; {advice}"
