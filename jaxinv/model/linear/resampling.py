"""Linear maps that act on each channel, one axis after the other, or only move values.

Upsampling (nearest, bilinear), average pooling, padding (zeros, reflection, replication) and
cropping are separable: y = (A_1 x A_2 x ...) x with one small matrix an axis. A pixel shuffle, a
transposition and a flattening of channels that stand last are rearrangements.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxinv.model.linear.map import LinearMap


@partial(jax.tree_util.register_dataclass, data_fields=["along"], meta_fields=["input_shape"])
@dataclass(frozen=True)
class Separable(LinearMap):
    """y[c, i, j, ...] = sum_{a, b, ...} A_1[i, a] A_2[j, b] ... x[c, a, b, ...].

    along: one matrix (size out, size in) for each axis after the channels.
    """

    along: tuple[Float[Array, "_ _"], ...]
    input_shape: tuple[int, ...]

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.input_shape[0], *(int(matrix.shape[0]) for matrix in self.along))

    @property
    def operations(self) -> float:
        shape, total = list(self.input_shape), 0.0
        for axis, matrix in enumerate(self.along, start=1):
            shape[axis] = int(matrix.shape[0])
            total += 2.0 * float(np.prod(shape)) * matrix.shape[1]
        return total

    def __call__(self, z: Float[Array, "*batch k"]) -> Float[Array, "*batch n"]:
        y = z.reshape(*z.shape[:-1], *self.input_shape)
        for axis, matrix in enumerate(self.along):
            place = axis - len(self.along)
            moved = jnp.matmul(jnp.moveaxis(y, place, -1), matrix.T, precision="highest")
            y = jnp.moveaxis(moved, -1, place)
        return y.reshape(*z.shape[:-1], -1)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=[],
    meta_fields=["input_shape", "split", "order", "shape"],
)
@dataclass(frozen=True)
class Rearrangement(LinearMap):
    """The same values in another order: reshape to `split`, transpose by `order`, to `shape`."""

    input_shape: tuple[int, ...]
    split: tuple[int, ...]
    order: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.shape

    def __call__(self, z: Float[Array, "*batch k"]) -> Float[Array, "*batch n"]:
        batch = z.shape[:-1]
        order = (*range(len(batch)), *(len(batch) + axis for axis in self.order))
        return z.reshape(*batch, *self.split).transpose(order).reshape(*batch, -1)


def pixel_shuffle(factor: int, input_shape: Sequence[int]) -> Rearrangement:
    """(c r^2, h, w) -> (c, r h, r w) for r = factor, as torch.nn.PixelShuffle.

    >>> jaxinv.pixel_shuffle(2, (12, 4, 4)).output_shape
    (3, 8, 8)
    """
    channels, height, width = input_shape
    if factor < 1 or channels % factor**2:
        raise ValueError(
            f"pixel shuffle by {factor} needs a multiple of {factor**2} channels; input_shape is "
            f"{tuple(input_shape)}"
        )
    c = channels // factor**2
    split = (c, factor, factor, height, width)
    output = (c, factor * height, factor * width)
    return Rearrangement(tuple(input_shape), split, (0, 3, 1, 4, 2), output)


def pixel_shuffle_by_block(factor: int, input_shape: Sequence[int]) -> Rearrangement:
    """The same with channels (r, r, c) where torch has (c, r, r), as ONNX' DepthToSpace of DCR."""
    crd = pixel_shuffle(factor, input_shape)
    c, _, _, height, width = crd.split
    split = (factor, factor, c, height, width)
    return Rearrangement(crd.input_shape, split, (2, 3, 0, 4, 1), crd.output_shape)


def transposed(input_shape: Sequence[int], order: Sequence[int]) -> Rearrangement:
    """Axes in another order: axis i of the output is axis order[i] of the input."""
    shape = tuple(input_shape)
    if sorted(order) != list(range(len(shape))):
        raise ValueError(f"{tuple(order)} is no order of the axes of {shape}")
    return Rearrangement(shape, shape, tuple(order), tuple(shape[axis] for axis in order))


def separable(along: Sequence[np.ndarray], input_shape: Sequence[int]) -> Separable:
    """A map of one matrix an axis; raises ValueError where their sizes do not fit the image."""
    shape = tuple(int(n) for n in input_shape)
    sizes = tuple(matrix.shape[1] for matrix in along)
    if sizes != shape[1:]:
        raise ValueError(f"matrices for axes of {sizes} do not fit images of shape {shape}")
    with jax.enable_x64(True):
        return Separable(tuple(jnp.asarray(m, jnp.float64) for m in along), shape)


def nearest(size: int, size_out: int, scale: float | None = None) -> Float[np.ndarray, "m n"]:
    """Upsampling of one axis by the nearest value: y_i = x_floor(i / scale)."""
    index = np.arange(size_out)
    # In whole numbers where no scale is given: 49 * (2 / 98) must not round to just below 1.
    source = index * size // size_out if scale is None else np.floor(index / scale).astype(int)
    return np.eye(size)[np.minimum(source, size - 1)]


def linear(
    size: int, size_out: int, align_corners: bool = False, scale: float | None = None
) -> Float[np.ndarray, "m n"]:
    """Linear interpolation of one axis, its ends or (by default) its cells' outlines aligned."""
    index = np.arange(size_out)
    if align_corners:
        place = index * ((size - 1) / (size_out - 1) if size_out > 1 else 0.0)
    else:
        ratio = size / size_out if scale is None else 1.0 / scale
        place = np.maximum((index + 0.5) * ratio - 0.5, 0.0)
    low = np.minimum(np.floor(place).astype(int), size - 1)
    high = np.minimum(low + 1, size - 1)
    share = (place - low)[:, None]
    unit = np.eye(size)
    return (1.0 - share) * unit[low] + share * unit[high]


def average(
    size: int, window: int, stride: int, padding: int = 0, count_padding: bool = True
) -> Float[np.ndarray, "m n"]:
    """Average pooling of one axis, over `window` values every `stride`."""
    size_out = (size + 2 * padding - window) // stride + 1
    first = stride * np.arange(size_out)[:, None] - padding
    inside = (np.arange(size) >= first) & (np.arange(size) < first + window)
    shares = inside / (window if count_padding else np.maximum(inside.sum(1, keepdims=True), 1))
    return np.asarray(shares, np.float64)


def adaptive_average(size: int, size_out: int) -> Float[np.ndarray, "m n"]:
    """Averages over size_out windows that cover an axis, each wherever its share reaches."""
    index = np.arange(size_out)[:, None]
    first, last = index * size // size_out, -((-(index + 1) * size) // size_out)
    inside = (np.arange(size) >= first) & (np.arange(size) < last)
    return np.asarray(inside / inside.sum(1, keepdims=True), np.float64)


PADDINGS = {
    "constant": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}


def padded(size: int, before: int, after: int, mode: str = "constant") -> Float[np.ndarray, "m n"]:
    """Padding of one axis by zeros or by its own values; negative amounts crop it."""
    rows = np.eye(size)[max(-before, 0) : size - max(-after, 0)]
    amounts = (max(before, 0), max(after, 0))
    if mode == "constant":
        return np.pad(rows, (amounts, (0, 0)))
    # Row i of the matrix picks a source: padding the list of sources pads the axis.
    source = np.pad(rows.argmax(1), amounts, PADDINGS[mode])  # type: ignore[call-overload]
    return np.eye(size)[source]
