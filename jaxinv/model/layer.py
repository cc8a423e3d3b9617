"""One layer phi(W z + b) of a generator, in float64, checked where it comes in."""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.linalg import solve_triangular

from jaxinv.model.activation import Activation


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["weight", "bias"],
    meta_fields=["activation"],
)
@dataclass(frozen=True)
class Layer:
    """One layer, x = phi(W z + b), with W of shape (n_i, n_{i-1}) and b of shape (n_i,).

    >>> layer = jaxinv.Generator.from_layers([(np.eye(4, 2), None, "relu")]).layers[0]
    >>> layer.width, layer.width_in, layer.expansion
    (4, 2, 2.0)
    """

    weight: Float[Array, "n k"]
    bias: Float[Array, " n"]
    activation: Activation

    @property
    def width(self) -> int:
        """n_i, how many values the layer gives."""
        return int(self.weight.shape[0])

    @property
    def width_in(self) -> int:
        """n_{i-1}, how many values the layer takes."""
        return int(self.weight.shape[1])

    @property
    def expansion(self) -> float:
        """n_i / n_{i-1}; the paper asks for 2.1 noiseless and 5 under noise."""
        return self.width / self.width_in

    def preactivation(self, z: Float[Array, "*batch k"]) -> Float[Array, "*batch n"]:
        """u = W z + b.

        >>> import jax
        >>> layer = jaxinv.Generator.from_layers([([[1.0], [-1.0]], [0.5, 0.5], "relu")]).layers[0]
        >>> with jax.enable_x64(True):  # a generator's own call sets it, a layer's does not
        ...     layer.preactivation(np.array([2.0])).tolist(), layer(np.array([2.0])).tolist()
        ([2.5, -1.5], [2.5, -0.0])
        """
        return jnp.matmul(z, self.weight.T, precision="highest") + self.bias

    def __call__(self, z: Float[Array, "*batch k"]) -> Float[Array, "*batch n"]:
        return self.activation(self.preactivation(z))

    @cached_property
    def pseudo_inverse(self) -> Float[np.ndarray, "k n"]:
        """W^+ = R^-1 Q' of W = Q R, computed once and kept; NaN where R is singular."""
        basis, upper = np.linalg.qr(np.asarray(self.weight))
        try:
            inverse: np.ndarray = solve_triangular(upper, basis.T, check_finite=False)
        except np.linalg.LinAlgError:
            inverse = np.full(basis.T.shape, np.nan)
        return inverse

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes in float64, whatever JAX's setting there, and W^+ not at all."""
        return _layer, (np.asarray(self.weight), np.asarray(self.bias), self.activation)


def checked_layer(
    number: int, width_in: int | None, weight: Any, bias: Any, activation: str
) -> Layer:
    """The layer of these arrays; ValueError where they are not one, or do not fit `width_in`."""
    w = _real_array(f"weight of layer {number}", weight)
    if w.ndim != 2 or 0 in w.shape:
        raise ValueError(
            f"weight of layer {number} has shape {w.shape}; expected (n_{number}, n_{number - 1})"
        )
    if width_in is not None and w.shape[1] != width_in:
        hint = "; it looks transposed" if w.shape[0] == width_in else ""
        raise ValueError(
            f"weight of layer {number} has shape {w.shape}, but layer {number - 1} gives "
            f"{width_in} values: expected (n_{number}, {width_in}){hint}"
        )
    b = np.zeros(w.shape[0]) if bias is None else _real_array(f"bias of layer {number}", bias)
    if b.shape != (w.shape[0],):
        raise ValueError(f"bias of layer {number} has shape {b.shape}; expected ({w.shape[0]},)")
    return _layer(w, b, Activation.parse(activation))


def _real_array(what: str, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
            raise TypeError(array.dtype)
        array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} is not an array of real numbers ({error})") from None
    if not np.isfinite(array).all():
        raise ValueError(
            f"{what} holds {int((~np.isfinite(array)).sum())} entries that are NaN or infinite"
        )
    return array


def _layer(weight: np.ndarray, bias: np.ndarray, activation: Activation) -> Layer:
    with jax.enable_x64(True):
        return Layer(jnp.asarray(weight), jnp.asarray(bias), activation)
