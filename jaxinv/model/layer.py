"""One layer phi(W z + b) of a generator, in float64, checked where it comes in."""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.linalg import solve_triangular

from jaxinv.linalg.on_device import on_device, on_host
from jaxinv.model.activation import Activation
from jaxinv.model.given import real_array
from jaxinv.model.linear.dense import Dense
from jaxinv.model.linear.map import LinearMap

LARGEST_MATRIX = 1 << 25  # entries written out without being asked for by name: 268 MB


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["linear", "bias"],
    meta_fields=["activation"],
)
@dataclass(frozen=True)
class Layer:
    """One layer, x = phi(W z + b), W a linear map (n_i values from n_{i-1}), b of shape (n_i,).

    linear: W as what it is: a matrix (`Dense`), a convolution, a resampling, or one after another.

    >>> layer = jaxinv.Generator.from_layers([(np.eye(4, 2), None, "relu")]).layers[0]
    >>> layer.width, layer.width_in, layer.expansion
    (4, 2, 2.0)
    """

    linear: LinearMap
    bias: Float[Array, " n"]
    activation: Activation

    @property
    def width(self) -> int:
        """n_i, how many values the layer gives."""
        return self.linear.width

    @property
    def width_in(self) -> int:
        """n_{i-1}, how many values the layer takes."""
        return self.linear.width_in

    @property
    def expansion(self) -> float:
        """n_i / n_{i-1}; the paper asks for 2.1 noiseless and 5 under noise."""
        return self.width / self.width_in

    @property
    def is_dense(self) -> bool:
        """Whether W is a matrix, rather than a convolution or the like."""
        return isinstance(self.linear, Dense)

    @property
    def weight(self) -> Float[Array, "n k"]:
        """W as a matrix; written out where it is none, up to LARGEST_MATRIX entries.

        >>> conv = jaxinv.Convolution(np.ones((1, 1, 3)), input_shape=(1, 5))
        >>> jaxinv.Generator.from_layers([(conv, None, "relu")]).layers[0].weight.shape
        (3, 5)
        """
        if isinstance(self.linear, Dense):
            return self.linear.weight
        return self._written_out

    @cached_property
    def _written_out(self) -> Float[Array, "n k"]:
        if self.width * self.width_in > LARGEST_MATRIX:
            raise ValueError(
                f"a {kind(self.linear)} from {self.linear.input_shape} to "
                f"{self.linear.output_shape} is a matrix of {self.width} x {self.width_in} "
                f"entries, above the limit of {LARGEST_MATRIX}; layer.linear applies it as it is"
            )
        with jax.enable_x64(True):
            return jnp.asarray(self.linear.matrix())

    def preactivation(self, z: Float[Array, "*batch k"]) -> Float[Array, "*batch n"]:
        """u = W z + b, in the precision of z.

        >>> import jax
        >>> layer = jaxinv.Generator.from_layers([([[1.0], [-1.0]], [0.5, 0.5], "relu")]).layers[0]
        >>> with jax.enable_x64(True):  # a generator's own call sets it, a layer's does not
        ...     layer.preactivation(np.array([2.0])).tolist(), layer(np.array([2.0])).tolist()
        ([2.5, -1.5], [2.5, -0.0])
        """
        z = jnp.asarray(z)
        precision = jnp.result_type(z, float)
        return self.linear.astype(precision)(z) + self.bias.astype(precision)

    def __call__(self, z: Float[Array, "*batch k"]) -> Float[Array, "*batch n"]:
        return self.activation(self.preactivation(z))

    @cached_property
    def on_host(self) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, " n"]]:
        """W and b as NumPy's arrays, fetched once and kept."""
        weight, bias = on_host((self.weight, self.bias))
        return weight, bias

    @cached_property
    def pseudo_inverse(self) -> Float[Array, "k n"]:
        """W^+ = R^-1 Q' of W = Q R, computed once and kept; NaN where R is singular."""
        basis, upper = np.linalg.qr(self.on_host[0])
        try:
            inverse: np.ndarray = solve_triangular(upper, basis.T, check_finite=False)
        except np.linalg.LinAlgError:
            inverse = np.full(basis.T.shape, np.nan)
        with jax.enable_x64(True):
            return on_device(inverse)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes in float64, whatever JAX's setting there, and W^+ not at all."""
        linear = jax.tree.map(np.asarray, self.linear)
        return _arrived, (linear, np.asarray(self.bias), self.activation)


def dense_layer(layer: Layer) -> Layer:
    """The same layer with W written out as a matrix."""
    if layer.is_dense:
        return layer
    with jax.enable_x64(True):
        return Layer(Dense(jnp.asarray(layer.linear.matrix())), layer.bias, layer.activation)


def kind(linear: LinearMap) -> str:
    """What to call a map in a sentence.

    >>> from jaxinv.model.layer import kind
    >>> kind(jaxinv.Convolution(np.ones((1, 1, 3)), input_shape=(1, 5)))
    'convolution'
    """
    words = type(linear).__name__
    return "".join(f" {c.lower()}" if c.isupper() else c for c in words).strip()


def checked_layer(
    number: int, width_in: int | None, weight: Any, bias: Any, activation: str
) -> Layer:
    """The layer of these arrays; ValueError where they are not one, or do not fit `width_in`.

    weight: a matrix, or a linear map of `jaxinv.model.linear`. bias: one entry an output, or one a
    channel where the outputs are images.
    """
    linear = _checked_map(number, width_in, weight)
    phi = Activation.parse(activation)
    b = np.zeros(linear.width) if bias is None else _finite_array(f"bias of layer {number}", bias)
    channels, *sizes = linear.output_shape
    if sizes and b.shape == (channels,):
        b = np.repeat(b, linear.width // channels)
    if b.shape != (linear.width,):
        expected = f"({linear.width},)" + (f" or one a channel, ({channels},)" if sizes else "")
        raise ValueError(f"bias of layer {number} has shape {b.shape}; expected {expected}")
    with jax.enable_x64(True):
        return Layer(linear, jnp.asarray(b), phi)


def _checked_map(number: int, width_in: int | None, weight: Any) -> LinearMap:
    if isinstance(weight, LinearMap):
        if width_in is not None and weight.width_in != width_in:
            raise ValueError(
                f"layer {number} is a {kind(weight)} that takes {weight.input_shape}, "
                f"{weight.width_in} values, but layer {number - 1} gives {width_in}"
            )
        if not all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(weight)):
            raise ValueError(f"layer {number}, a {kind(weight)}, holds NaN or infinity")
        return weight
    w = _finite_array(f"weight of layer {number}", weight)
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
    with jax.enable_x64(True):
        return Dense(jnp.asarray(w))


def _finite_array(what: str, values: Any) -> np.ndarray:
    array = real_array(what, values)
    if not np.isfinite(array).all():
        raise ValueError(
            f"{what} holds {int((~np.isfinite(array)).sum())} entries that are NaN or infinite"
        )
    return array


def _arrived(linear: LinearMap, bias: np.ndarray, activation: Activation) -> Layer:
    with jax.enable_x64(True):
        return Layer(jax.tree.map(jnp.asarray, linear), jnp.asarray(bias), activation)
