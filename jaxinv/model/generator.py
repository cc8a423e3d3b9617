"""Feed-forward generators G(z) = phi_d(W_d ... phi_1(W_1 z + b_1) ... + b_d), in float64."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxinv.model import walk
from jaxinv.model.decoder import Linearization, checked_latent
from jaxinv.model.layer import Layer, checked_layer, dense_layer, kind


@partial(jax.tree_util.register_dataclass, data_fields=["layers"], meta_fields=[])
@dataclass(frozen=True)
class Generator:
    """A stack of layers, first to last; `g(z)` maps latents (k,) or (B, k) to (n,) or (B, n).

    >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
    >>> g
    Generator(2 -> 8 relu, 20 relu)
    >>> g([0.5, -1.0]).shape, g(np.zeros((3, 2))).shape
    ((20,), (3, 20))
    """

    layers: tuple[Layer, ...]

    @classmethod
    def from_layers(cls, layers: Iterable[tuple[Any, Any, str]]) -> "Generator":
        """Build a generator from (W, b, activation) triples, first layer first.

        W has shape (n_i, n_{i-1}), or is a linear map such as `TransposedConvolution`; b has shape
        (n_i,), or one entry a channel of images, or is None. Images are flattened channels first.
        Squashing activations (sigmoid,
        tanh) and the identity may stand anywhere. Raises ValueError where shapes do not chain or
        an entry is not a finite real number.

        >>> layers = [([[1.0], [-1.0]], None, "leaky_relu:0.1"), ([[1.0, 1.0]], [2.0], "tanh")]
        >>> jaxinv.Generator.from_layers(layers).widths
        (1, 2, 1)
        """
        built: list[Layer] = []
        for number, triple in enumerate(layers, start=1):
            if not isinstance(triple, (tuple, list)) or len(triple) != 3:
                raise ValueError(f"layer {number} is not a (weight, bias, activation) triple")
            built.append(checked_layer(number, built[-1].width if built else None, *triple))
        if not built:
            raise ValueError("a generator needs at least one layer; the list of layers is empty")
        return cls(tuple(built))

    @classmethod
    def random(cls, widths: Iterable[int], seed: int = 0, activation: str = "relu") -> "Generator":
        """Draw W_i with entries N(0, 1/n_i) and no bias, widths = (k, n_1, ..., n_d).

        >>> jaxinv.Generator.random((2, 8, 20), seed=0, activation="leaky_relu:0.1").depth
        2
        """
        widths = tuple(int(n) for n in widths)
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(f"widths {widths} must be two or more positive numbers, k first")
        rng = np.random.default_rng(seed)
        return cls.from_layers(
            (rng.standard_normal((n, k)) / np.sqrt(n), None, activation)
            for k, n in pairwise(widths)
        )

    @classmethod
    def from_torch(cls, module: Any) -> "Generator":
        """Build a generator from a live torch.nn module in eval mode; see `formats.torch`.

        >>> from torch import nn
        >>> module = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 20))
        >>> jaxinv.Generator.from_torch(module.eval())
        Generator(2 -> 8 relu, 20 identity)
        """
        # torch and onnx are extras: their readers are imported when they are asked for.
        return import_module("jaxinv.formats.torch").from_torch(module)

    @classmethod
    def from_onnx(cls, path: Any) -> "Generator":
        """Build a generator from an .onnx file; see `formats.onnx`.

        >>> from onnx import helper, numpy_helper, save_model
        >>> weight = numpy_helper.from_array(np.ones((20, 2), np.float32), "W")
        >>> names = [helper.make_tensor_value_info(name, 1, None) for name in ("z", "x")]
        >>> gemm = helper.make_node("Gemm", ["z", "W"], ["u"], transB=1)
        >>> relu = helper.make_node("Relu", ["u"], ["x"])
        >>> graph = helper.make_graph([gemm, relu], "net", names[:1], names[1:], [weight])
        >>> save_model(helper.make_model(graph), "net.onnx")
        >>> jaxinv.Generator.from_onnx("net.onnx")
        Generator(2 -> 20 relu)
        """
        return import_module("jaxinv.formats.onnx").load(path)

    @property
    def widths(self) -> tuple[int, ...]:
        """(k, n_1, ..., n_d)."""
        return (self.layers[0].width_in, *(layer.width for layer in self.layers))

    @property
    def latent_size(self) -> int:
        """k, the length of a latent."""
        return self.widths[0]

    @property
    def observation_size(self) -> int:
        """n, the length of an observation."""
        return self.widths[-1]

    @property
    def depth(self) -> int:
        """d, the number of layers."""
        return len(self.layers)

    def __call__(self, latent: Any) -> Array:
        """G(z) in float64, for one latent (k,) or a batch (B, k)."""
        with jax.enable_x64(True):
            z = checked_latent(latent, self.latent_size)
            if not z.size:  # convolutions gather patches, and those of no image have no size
                return jnp.zeros((*z.shape[:-1], self.observation_size))
            return _forward(self, z)

    def outputs(self, latent: Any) -> tuple[Array, ...]:
        """The outputs of every layer, first to last; the last one is G(z).

        >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
        >>> [output.shape for output in g.outputs(np.ones(2))]
        [(8,), (20,)]
        """
        with jax.enable_x64(True):
            return _outputs(self, checked_latent(latent, self.latent_size))

    def jacobian(self, latent: Any) -> Array:
        """J = D_d W_d ... D_1 W_1 at z, D_i = diag(phi_i'(u_i)): (n, k) or, batched, (B, n, k).

        >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
        >>> z = np.ones(2)
        >>> np.allclose(np.asarray(g.jacobian(z)) @ z, g(z))  # piecewise linear, without biases
        True
        """
        with jax.enable_x64(True):
            return _jacobian(self, checked_latent(latent, self.latent_size))

    def value(self, z: Float[Array, "*B k"]) -> Float[Array, "*B n"]:
        """G(z) in the precision of z, for use inside a traced computation.

        >>> import jax.numpy as jnp
        >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
        >>> g.value(jnp.ones((3, 2), jnp.float32)).dtype
        dtype('float32')
        """
        return walk.value(self.layers, z)

    def linearized(self, z: Float[Array, "B k"], precision: DTypeLike) -> Linearization:
        """G(z) in the precision of z and J' in `precision`, for use in a traced computation.

        >>> import jax
        >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
        >>> with jax.enable_x64(True):
        ...     g.linearized(jax.numpy.ones((3, 2)), jax.numpy.float32).columns.shape
        (3, 2, 20)
        """
        walked = walk.walk(self.layers, z)
        return Linearization(walked.value, walk.columns(self.layers, walked.slopes, precision))

    @property
    def scratch(self) -> int:
        """Numbers held at once while one value, or one column of J, is carried through a layer."""
        return max(layer.linear.scratch for layer in self.layers)

    @property
    def is_dense(self) -> bool:
        """Whether every layer is a matrix."""
        return all(layer.is_dense for layer in self.layers)

    def dense(self, largest_matrix: int) -> "Generator":
        """The same generator with every layer written out as a matrix.

        Raises ValueError, naming the layer, where one has more than largest_matrix entries.

        >>> conv = jaxinv.Convolution(np.ones((2, 1, 3)), input_shape=(1, 5))
        >>> jaxinv.Generator.from_layers([(conv, None, "relu")]).dense(100).layers[0].is_dense
        True
        """
        for number, layer in enumerate(self.layers, start=1):
            entries = layer.width * layer.width_in
            if not layer.is_dense and entries > largest_matrix:
                raise ValueError(
                    f"layer {number}, a {kind(layer.linear)} from {layer.linear.input_shape} to "
                    f"{layer.linear.output_shape}, is a matrix of {layer.width} x "
                    f"{layer.width_in} entries, above largest_matrix={largest_matrix}; methods "
                    "that go layer by layer need it, 'auto', 'lm' and 'gd' do not"
                )
        return self if self.is_dense else Generator(tuple(map(dense_layer, self.layers)))

    def __repr__(self) -> str:
        layers = ", ".join(f"{_size(layer)} {layer.activation}" for layer in self.layers)
        return f"Generator({self.latent_size} -> {layers})"


def undone_by_layers(decoder: Any, what: str, instead: str) -> Generator:
    """The decoder as a chain whose layers can be undone one by one, as `what` does.

    Raises ValueError, with what to do `instead`, where it is none.
    """
    if not isinstance(decoder, Generator):
        raise ValueError(
            f"{what} goes layer by layer, and a {type(decoder).__name__} has none: it has no "
            f"layers to go by; {instead}"
        )
    for number, layer in enumerate(decoder.layers, start=1):
        if not layer.activation.layerwise:
            raise ValueError(
                f"{what} goes layer by layer and cannot undo layer {number}'s activation, "
                f"{layer.activation}; {instead}"
            )
    return decoder


def _size(layer: Layer) -> str:
    """The width of a layer, or the shape of the images it makes."""
    return "x".join(map(str, layer.linear.output_shape))


@jax.jit
def _forward(generator: Generator, z: Array) -> Array:
    return generator.value(z)


@jax.jit
def _outputs(generator: Generator, z: Array) -> tuple[Array, ...]:
    return walk.outputs(generator.layers, z)


@jax.jit
def _jacobian(generator: Generator, z: Array) -> Array:
    return generator.linearized(z, jnp.float64).columns.mT
