"""Linear measurements y = A G(z): a generator followed by A is a generator with another layer.

Where A merges exactly into the last layer it does: A (W z + b) = (A W) z + A b after a linear last
layer, and a choice of entries (a mask, a subsampling) chooses rows of any last layer, scaled by
positive numbers if the activation is a (leaky) ReLU.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float
from scipy import sparse

from jaxinv.model.activation import Activation
from jaxinv.model.decoder import Decoder, Linearization
from jaxinv.model.generator import Generator
from jaxinv.model.given import real_array
from jaxinv.model.layer import Layer
from jaxinv.model.linear.dense import Dense
from jaxinv.model.linear.map import LinearMap
from jaxinv.model.linear.selection import Selection

SEED = 20_190_617
ADJOINT_TOLERANCE = 1e-6  # relative: float32 operators pass, a wrong adjoint does not


def operator_matrix(operator: Any, n: int, m: int) -> Float[np.ndarray, "m n"]:
    """A as a dense matrix (m, n), from a matrix, a scipy sparse one, or (forward, adjoint).

    A pair is tested, <A u, v> = <u, A' v> for random u and v, and then applied to unit vectors.
    Raises ValueError where the shape or the adjoint does not match, or an entry is not finite.
    """
    if isinstance(operator, tuple) and len(operator) == 2 and all(map(callable, operator)):
        matrix = _materialised(*operator, n, m)
    else:
        dense = cast(Any, operator).toarray() if sparse.issparse(operator) else operator
        try:
            matrix = real_array("operator", dense)
        except ValueError as error:
            raise ValueError(
                f"{error}; expected a matrix, a scipy sparse matrix, or a pair of callables "
                "(forward, adjoint)"
            ) from None
    if matrix.shape != (m, n):
        raise ValueError(
            f"operator has shape {matrix.shape}; expected ({m}, {n}): from the generator's "
            f"{n} outputs to the observations' {m} entries"
        )
    if not np.isfinite(matrix).all():
        raise ValueError("operator holds entries that are NaN or infinite")
    return matrix


@partial(jax.tree_util.register_dataclass, data_fields=["decoder", "matrix"], meta_fields=[])
@dataclass(frozen=True)
class Measured:
    """z -> A G(z) for a decoder G of which no layers are known."""

    decoder: Decoder
    matrix: LinearMap

    layers: ClassVar[tuple[Layer, ...]] = ()
    is_dense: ClassVar[bool] = False

    @property
    def latent_size(self) -> int:
        return self.decoder.latent_size

    @property
    def observation_size(self) -> int:
        return self.matrix.width

    @property
    def scratch(self) -> int:
        return max(self.decoder.scratch, self.matrix.width)

    def value(self, z: Float[Array, "*B k"]) -> Float[Array, "*B m"]:
        return self.matrix.astype(z.dtype)(self.decoder.value(z))

    def linearized(self, z: Float[Array, "B k"], precision: DTypeLike) -> Linearization:
        value, columns = self.decoder.linearized(z, precision)
        return Linearization(self.matrix(value), self.matrix.astype(precision)(columns))

    def __call__(self, latent: Any) -> Array:
        with jax.enable_x64(True):
            return self.matrix(self.decoder(latent))


def measured(decoder: Decoder, matrix: Float[np.ndarray, "m n"]) -> Decoder:
    """The decoder z -> A G(z), with A merged into the last layer where that is exact."""
    with jax.enable_x64(True):
        if not decoder.layers:
            return Measured(decoder, Dense(jnp.asarray(matrix)))
        *head, last = decoder.layers
        merges = last.activation.kind == "identity" or _chooses_entries(matrix, last.activation)
        if last.is_dense and merges:
            weight, bias = (matrix @ np.asarray(part) for part in (last.weight, last.bias))
            merged = Layer(Dense(jnp.asarray(weight)), jnp.asarray(bias), last.activation)
            return Generator((*head, merged))
        return measured_through(decoder, Dense(jnp.asarray(matrix)))


def measured_through(decoder: Decoder, linear: LinearMap) -> Decoder:
    """The decoder z -> A G(z), with A kept as the map that it is: another layer of a chain.

    A selection of entries is one of the last layer's rows, whatever its activation.
    """
    with jax.enable_x64(True):
        if not decoder.layers:
            return Measured(decoder, linear)
        *head, last = decoder.layers
        if isinstance(linear, Selection) and last.is_dense:
            weight, bias = last.weight[linear.index], last.bias[linear.index]
            return Generator((*head, Layer(Dense(weight), bias, last.activation)))
        identity = Activation.parse("identity")
        return Generator((*decoder.layers, Layer(linear, jnp.zeros(linear.width), identity)))


def _chooses_entries(matrix: np.ndarray, activation: Activation) -> bool:
    """Whether A phi(u) = phi(A u): one entry a row, one where phi is not homogeneous."""
    one_a_row = bool(((matrix != 0).sum(1) == 1).all())
    chosen = matrix.max(axis=1, initial=0.0)
    homogeneous = not activation.squashing
    return one_a_row and bool((chosen > 0).all() if homogeneous else (chosen == 1).all())


def _materialised(
    forward: Callable[[Any], Any], adjoint: Callable[[Any], Any], n: int, m: int
) -> np.ndarray:
    rng = np.random.default_rng(SEED)
    u, v = rng.standard_normal(n), rng.standard_normal(m)
    image, back = _applied("forward", forward, u, m), _applied("adjoint", adjoint, v, n)
    left, right = image @ v, u @ back
    size = np.linalg.norm(image) * np.linalg.norm(v) + np.linalg.norm(u) * np.linalg.norm(back)
    if not abs(left - right) <= ADJOINT_TOLERANCE * size:
        raise ValueError(
            f"operator's adjoint does not match: <A u, v> = {left:.6g} but <u, A' v> = "
            f"{right:.6g} for random u and v"
        )
    if m < n:
        return np.stack([_applied("adjoint", adjoint, unit, n) for unit in np.eye(m)])
    return np.stack([_applied("forward", forward, unit, m) for unit in np.eye(n)], axis=1)


def _applied(name: str, function: Callable[[Any], Any], v: np.ndarray, size: int) -> np.ndarray:
    result = real_array(f"what operator's {name} returns", function(v))
    if result.shape != (size,):
        raise ValueError(
            f"operator's {name} maps shape {v.shape} to {result.shape}; expected ({size},)"
        )
    return result
