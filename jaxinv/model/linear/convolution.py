"""Convolutions and transposed convolutions of 1, 2 and 3 dimensions, on flattened images.

With a kernel K, stride s, padding p, dilation d and groups g (as in PyTorch, whose layouts these
are), for each axis,

    convolution              y[o, i]            = sum_{c, a} K[o, c, a] x[c, s i - p + d a],
    transposed convolution   y[o, s i - p + d a] += sum_c    K[c, o, a] x[c, i].

The second is the first one's adjoint with inputs and outputs exchanged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxinv.linalg.convolve import convolution, transposed_convolution
from jaxinv.model.linear.map import LinearMap, per_channel


class _Kernel(LinearMap):
    """A map whose one array is a kernel; as a pytree it is rebuilt without being checked again.

    Under jax.jit the kernel is a tracer, of which nothing but its shape can be asked.
    """

    def tree_flatten(self) -> tuple[tuple[Any], tuple[tuple[str, Any], ...]]:
        settings = {name: value for name, value in vars(self).items() if name != "kernel"}
        return (vars(self)["kernel"],), tuple(sorted(settings.items()))

    @classmethod
    def tree_unflatten(cls, settings: tuple[tuple[str, Any], ...], arrays: tuple[Any]) -> Any:
        linear = object.__new__(cls)
        for name, value in (("kernel", arrays[0]), *settings):
            object.__setattr__(linear, name, value)
        return linear


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True, init=False)
class Convolution(_Kernel):
    """A convolution of images of shape input_shape = (c, *sizes), as torch.nn.Conv1d to Conv3d.

    kernel: (out, c / groups, *taps). stride, padding, dilation: one number, or one an axis. Raises
    ValueError where the kernel's channels do not fit the input's, or nothing would come out.

    >>> conv = jaxinv.Convolution(np.ones((4, 1, 3, 3)), input_shape=(1, 8, 8), padding=1)
    >>> conv.output_shape, conv.matrix().shape
    ((4, 8, 8), (256, 64))
    """

    kernel: Float[Array, "o c *taps"]
    input_shape: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def __init__(
        self,
        kernel: Any,
        input_shape: Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
    ) -> None:
        settings = (stride, padding, dilation)
        _initialise(self, "convolution", kernel, input_shape, settings, groups)
        into = self.kernel.shape[1] * groups
        if into != self.input_shape[0] or self.kernel.shape[0] % groups:
            raise ValueError(
                f"convolution: a kernel of shape {self.kernel.shape} with groups={groups} takes "
                f"{into} channels (out, in / groups, *taps); input_shape {self.input_shape} has "
                f"{self.input_shape[0]}"
            )
        _check_output(self)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """(channels, *sizes) of the images that come out."""
        spaces = zip(
            self.input_shape[1:],
            self.kernel.shape[2:],
            self.stride,
            self.padding,
            self.dilation,
            strict=True,
        )
        sizes = ((n + 2 * p - d * (taps - 1) - 1) // s + 1 for n, taps, s, p, d in spaces)
        return (int(self.kernel.shape[0]), *sizes)

    @property
    def operations(self) -> float:
        """Floating-point operations of one application: one product an output and tap, and sum."""
        return 2.0 * self.width * float(np.prod(self.kernel.shape[1:]))

    @property
    def scratch(self) -> int:
        """Numbers held at once while the map is applied to one image."""
        # Every output's patch of the input stands side by side before the product.
        patches = np.prod(self.output_shape[1:]) * np.prod(self.kernel.shape[2:])
        return int(patches) * self.input_shape[0] + self.width_in

    def __call__(self, z: Float[Array, "*batch k"]) -> Float[Array, "*batch n"]:
        images = z.reshape(*z.shape[:-1], *self.input_shape)
        y = convolution(images, self.kernel, self.stride, self.padding, self.dilation, self.groups)
        return y.reshape(*z.shape[:-1], -1)

    def scaled(self, factor: Float[np.ndarray, " n"]) -> "Convolution | None":
        """diag(factor) W as such a map, where the factor is one number a channel; else None.

        >>> conv = jaxinv.Convolution(np.ones((2, 1, 3)), input_shape=(1, 5))
        >>> doubled = conv.scaled(np.repeat([2.0, 1.0], 3))
        >>> doubled.kernel[:, 0, 0].tolist(), conv.scaled(np.arange(6.0))
        ([2.0, 1.0], None)
        """
        channels = per_channel(factor, self.output_shape)
        if channels is None:
            return None
        lifted = channels.reshape(-1, *[1] * (self.kernel.ndim - 1))
        kernel = lifted * np.asarray(self.kernel)
        return Convolution(
            kernel, self.input_shape, self.stride, self.padding, self.dilation, self.groups
        )


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True, init=False)
class TransposedConvolution(_Kernel):
    """A transposed convolution, as torch.nn.ConvTranspose1d to ConvTranspose3d.

    kernel: (c, out / groups, *taps), for images of shape input_shape = (c, *sizes). stride,
    padding, output_padding, dilation: one number, or one an axis. Raises ValueError as
    `Convolution` does.

    >>> kernel = np.ones((8, 3, 4, 4))
    >>> conv = jaxinv.TransposedConvolution(kernel, input_shape=(8, 7, 7), stride=2, padding=1)
    >>> conv.output_shape
    (3, 14, 14)
    """

    kernel: Float[Array, "c o *taps"]
    input_shape: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    output_padding: tuple[int, ...]

    def __init__(
        self,
        kernel: Any,
        input_shape: Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
    ) -> None:
        what = "transposed convolution"
        _initialise(self, what, kernel, input_shape, (stride, padding, dilation), groups)
        extra = _per_axis(what, "output_padding", output_padding, len(self.stride), 0)
        object.__setattr__(self, "output_padding", extra)
        if self.kernel.shape[0] != self.input_shape[0] or self.kernel.shape[0] % groups:
            raise ValueError(
                f"{what}: a kernel of shape {self.kernel.shape} takes {self.kernel.shape[0]} "
                f"channels (in, out / groups, *taps), in groups={groups}; input_shape "
                f"{self.input_shape} has {self.input_shape[0]}"
            )
        _check_output(self)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """(channels, *sizes) of the images that come out."""
        spaces = zip(
            self.input_shape[1:],
            self.kernel.shape[2:],
            self.stride,
            self.padding,
            self.dilation,
            self.output_padding,
            strict=True,
        )
        sizes = (
            (n - 1) * s - 2 * p + d * (taps - 1) + 1 + extra for n, taps, s, p, d, extra in spaces
        )
        return (int(self.kernel.shape[1]) * self.groups, *sizes)

    @property
    def operations(self) -> float:
        """Floating-point operations of one application: one product an output and tap, and sum."""
        return 2.0 * self.width_in * float(np.prod(self.kernel.shape[1:]))

    @property
    def scratch(self) -> int:
        """Numbers held at once while the map is applied to one image."""
        # What every input adds to its patch of the output stands side by side before it is summed.
        patches = np.prod(self.input_shape[1:]) * np.prod(self.kernel.shape[1:]) * self.groups
        return int(patches) + self.width

    def __call__(self, z: Float[Array, "*batch k"]) -> Float[Array, "*batch n"]:
        images = z.reshape(*z.shape[:-1], *self.input_shape)
        y = transposed_convolution(
            images,
            self.kernel,
            self.stride,
            self.padding,
            self.output_padding,
            self.dilation,
            self.groups,
        )
        return y.reshape(*z.shape[:-1], -1)

    def scaled(self, factor: Float[np.ndarray, " n"]) -> "TransposedConvolution | None":
        """diag(factor) W as such a map, where the factor is one number a channel; else None.

        >>> conv = jaxinv.TransposedConvolution(np.ones((1, 2, 3)), input_shape=(1, 5), stride=2)
        >>> doubled = conv.scaled(np.repeat([2.0, 1.0], 11))
        >>> doubled.kernel[0, :, 0].tolist()
        [2.0, 1.0]
        """
        channels = per_channel(factor, self.output_shape)
        if channels is None:
            return None
        # Outputs of group i are made by the i-th part of the input channels alone.
        grouped = np.asarray(self.kernel).reshape(self.groups, -1, *self.kernel.shape[1:])
        lifted = channels.reshape(self.groups, 1, -1, *[1] * (self.kernel.ndim - 2))
        kernel = (lifted * grouped).reshape(self.kernel.shape)
        spaces = (self.stride, self.padding, self.output_padding, self.dilation, self.groups)
        return TransposedConvolution(kernel, self.input_shape, *spaces)


def _initialise(
    linear: Any,
    what: str,
    kernel: Any,
    input_shape: Sequence[int],
    settings: tuple[int | Sequence[int], ...],
    groups: int,
) -> None:
    """Set the fields that both kinds share, checked."""
    array = np.asarray(kernel, np.float64)
    axes = array.ndim - 2
    if not 1 <= axes <= 3 or 0 in array.shape:
        raise ValueError(
            f"{what}: kernel has shape {array.shape}; expected two axes of channels and one to "
            "three of taps"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{what}: kernel holds NaN or infinity")
    shape = tuple(int(n) for n in input_shape)
    if len(shape) != axes + 1 or min(shape) < 1:
        raise ValueError(
            f"{what}: input_shape is {shape}; expected channels and {axes} sizes, as the kernel "
            f"of shape {array.shape} has {axes} axes of taps"
        )
    if not isinstance(groups, int) or groups < 1:
        raise ValueError(f"{what}: groups={groups!r} must be a whole number, at least 1")
    with jax.enable_x64(True):
        object.__setattr__(linear, "kernel", jnp.asarray(array))
    object.__setattr__(linear, "input_shape", shape)
    object.__setattr__(linear, "groups", groups)
    least = {"stride": 1, "padding": 0, "dilation": 1}
    for (name, smallest), value in zip(least.items(), settings, strict=True):
        object.__setattr__(linear, name, _per_axis(what, name, value, axes, smallest))


def _per_axis(
    what: str, name: str, value: int | Sequence[int], axes: int, least: int
) -> tuple[int, ...]:
    values = (value,) * axes if isinstance(value, int) else tuple(int(v) for v in value)
    if len(values) != axes or min(values) < least:
        raise ValueError(
            f"{what}: {name}={value!r} must be one number of at least {least}, or {axes} of them"
        )
    return values


def _check_output(linear: LinearMap) -> None:
    if min(linear.output_shape) < 1:
        raise ValueError(
            f"{type(linear).__name__}: images of shape {linear.input_shape} come out as "
            f"{linear.output_shape}; the kernel is larger than the padded image"
        )
