"""Core ATen operators that are layers: products, convolutions, normalisation, pooling, resizing."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxinv.linalg.convolve import convolution, transposed_convolution

Sizes = Sequence[int]
_matmul = partial(jnp.matmul, precision="highest")


def _addmm(bias: Array, x: Array, y: Array, beta: float = 1, alpha: float = 1) -> Array:
    return beta * bias + alpha * _matmul(x, y)


def _convolution(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    transposed: bool,
    output_padding: Sizes,
    groups: int,
) -> Array:
    axes = weight.ndim - 2
    # A single entry holds for every axis.
    stride, padding, dilation, more = (
        tuple(n) * axes if len(n) == 1 else tuple(n)
        for n in (stride, padding, dilation, output_padding)
    )
    if transposed:
        y = transposed_convolution(x, weight, stride, padding, more, dilation, groups)
    else:
        y = convolution(x, weight, stride, padding, dilation, groups)
    return y if bias is None else y + bias.reshape(-1, *(1,) * axes)


def _affine(x: Array, weight: Array | None, bias: Array | None, shape: Sizes) -> Array:
    """x * weight + bias, each given `shape`, where there are such."""
    x = x if weight is None else x * weight.reshape(shape)
    return x if bias is None else x + bias.reshape(shape)


def _normalised(x: Array, axes: Sizes, eps: float) -> tuple[Array, Array, Array]:
    """(x - mean) / sqrt(var + eps) over some axes, the mean, and 1 / sqrt(var + eps)."""
    mean = x.mean(tuple(axes), keepdims=True)
    scale = lax.rsqrt(((x - mean) ** 2).mean(tuple(axes), keepdims=True) + eps)
    return (x - mean) * scale, mean, scale


def _batch_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    variance: Array,
    momentum: float,
    eps: float,
) -> tuple[Array, None, None]:
    shape = (-1, *(1,) * (x.ndim - 2))
    y = (x - mean.reshape(shape)) * lax.rsqrt(variance + eps).reshape(shape)
    return _affine(y, weight, bias, shape), None, None


def _instance_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Array, None, None]:
    # PyTorch writes instance normalisation as that of a batch of one with all rows as channels.
    y, _, _ = _normalised(x, (0, *range(2, x.ndim)), eps)
    return _affine(y, weight, bias, (-1, *(1,) * (x.ndim - 2))), None, None


def _group_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    rows: int,
    channels: int,
    pixels: int,
    groups: int,
    eps: float,
) -> tuple[Array, Array, Array]:
    y, mean, scale = _normalised(x.reshape(rows, groups, -1), (2,), eps)
    y = _affine(y.reshape(x.shape), weight, bias, (-1, *(1,) * (x.ndim - 2)))
    return y, mean[..., 0], scale[..., 0]


def _layer_norm(
    x: Array, shape: Sizes, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    y, mean, scale = _normalised(x, range(x.ndim - len(shape), x.ndim), eps)
    return _affine(y, weight, bias, shape), mean, scale


def _softmax(x: Array, dim: int, half_to_float: bool) -> Array:
    return jax.nn.softmax(x, dim)


def _log_softmax(x: Array, dim: int, half_to_float: bool) -> Array:
    return jax.nn.log_softmax(x, dim)


def _along(x: Array, axis: int, matrix: Float[np.ndarray, "out in"]) -> Array:
    """The product of a matrix with one axis of x."""
    y = jnp.matmul(jnp.moveaxis(x, axis, -1), jnp.asarray(matrix.T, x.dtype), precision="highest")
    return jnp.moveaxis(y, -1, axis)


def _sizes(x: Array, size: Sizes | None, factors: Sequence[float] | None) -> list[int]:
    axes = x.shape[2:]
    if size is not None:
        return list(size)
    return [int(n * s) for n, s in zip(axes, factors or (), strict=True)]


def _nearest(x: Array, size: Sizes | None, factors: Sequence[float] | None = None) -> Array:
    for axis, out in enumerate(_sizes(x, size, factors), start=2):
        pixels = x.shape[axis]
        step = 1 / factors[axis - 2] if factors else pixels / out
        # PyTorch rounds this product to float32, whatever the image's precision.
        place = np.arange(out, dtype=np.float32) * np.float32(step)
        source = np.minimum(place.astype(int), pixels - 1)
        x = jnp.take(x, source, axis)
    return x


def _bilinear(
    x: Array, size: Sizes | None, align_corners: bool, factors: Sequence[float] | None = None
) -> Array:
    for axis, out in enumerate(_sizes(x, size, factors), start=2):
        pixels = x.shape[axis]
        if align_corners:
            place = np.arange(out) * ((pixels - 1) / (out - 1) if out > 1 else 0.0)
        else:
            step = 1 / factors[axis - 2] if factors else pixels / out
            place = np.maximum((np.arange(out) + 0.5) * step - 0.5, 0)
        below = np.minimum(place.astype(int), pixels - 1)
        above, part = np.minimum(below + 1, pixels - 1), place - below
        matrix = np.zeros((out, pixels))
        np.add.at(matrix, (np.arange(out), below), 1 - part)
        np.add.at(matrix, (np.arange(out), above), part)
        x = _along(x, axis, matrix)
    return x


def _adaptive_average(x: Array, size: Sizes) -> Array:
    first = x.ndim - len(size)
    for axis, out in enumerate(size, start=first):
        pixels = x.shape[axis]
        matrix = np.zeros((out, pixels))
        for i in range(out):
            begin, end = i * pixels // out, -(-(i + 1) * pixels // out)
            matrix[i, begin:end] = 1 / (end - begin)
        x = _along(x, axis, matrix)
    return x


def _windows(
    x: Array, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, up: bool, fill: float
) -> list[Array]:
    """What each tap of a sliding window sees, one array a tap; `up` keeps windows cut short."""
    first = x.ndim - len(size)
    widths, steps = [(0, 0, 0)] * first, []
    for n, k, s, p, d in zip(x.shape[first:], size, stride, padding, dilation, strict=True):
        rest = n + 2 * p - d * (k - 1) - 1
        out = (-(-rest // s) if up else rest // s) + 1
        out -= up and (out - 1) * s >= n + p
        steps.append(out)
        widths.append((p, max((out - 1) * s + d * (k - 1) + 1 - n - p, 0), 0))
    x = lax.pad(x, jnp.asarray(fill, x.dtype), widths)
    taps = []
    for tap in product(*map(range, size)):
        begin = [a * d for a, d in zip(tap, dilation, strict=True)]
        end = [b + (m - 1) * s + 1 for b, m, s in zip(begin, steps, stride, strict=True)]
        whole = x.shape[:first]
        taps.append(lax.slice(x, (*(0,) * first, *begin), (*whole, *end), (*(1,) * first, *stride)))
    return taps


def _wide(sizes: Sizes, axes: int) -> Sizes:
    return tuple(sizes) * axes if len(sizes) == 1 else sizes


def _average_pool(
    x: Array,
    kernel_size: Sizes,
    stride: Sizes = (),
    padding: Sizes = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    axes: int = 2,
) -> Array:
    size = _wide(kernel_size, axes)
    shape = (_wide(stride, axes) or size, _wide(padding, axes))
    ones = (1,) * axes
    total = sum(_windows(x, size, *shape, ones, ceil_mode, 0))
    if divisor_override:
        return jnp.divide(total, divisor_override)
    inside = jnp.ones(x.shape[-axes:], x.dtype)
    if count_include_pad:
        # The pixels of the padding count, those that complete a window cut short do not.
        inside = jnp.pad(inside, [(p, p) for p in shape[1]], constant_values=1)
        shape = (shape[0], (0,) * axes)
        steps = jnp.asarray(total).shape[-axes:]
        counts = [
            c[tuple(map(slice, steps))] for c in _windows(inside, size, *shape, ones, ceil_mode, 0)
        ]
    else:
        counts = _windows(inside, size, *shape, ones, ceil_mode, 0)
    return jnp.divide(total, sum(counts))


def _max_pool(
    x: Array,
    kernel_size: Sizes,
    stride: Sizes = (),
    padding: Sizes = (0,),
    dilation: Sizes = (1,),
    ceil_mode: bool = False,
    axes: int = 2,
) -> tuple[Array, None]:
    size = _wide(kernel_size, axes)
    shape = (_wide(stride, axes) or size, _wide(padding, axes), _wide(dilation, axes))
    return jnp.stack(_windows(x, size, *shape, ceil_mode, -jnp.inf)).max(0), None


LAYERS: dict[str, Callable[..., Any]] = {
    **{f"avg_pool{n}d": partial(_average_pool, axes=n) for n in (1, 2, 3)},
    **{f"max_pool{n}d_with_indices": partial(_max_pool, axes=n) for n in (1, 2, 3)},
    **{f"_adaptive_avg_pool{n}d": _adaptive_average for n in (2, 3)},
    **{f"upsample_nearest{n}d.vec": _nearest for n in (1, 2, 3)},
    **{f"upsample_{way}.vec": _bilinear for way in ("linear1d", "bilinear2d", "trilinear3d")},
    **dict.fromkeys(("mm", "bmm", "matmul", "mv", "dot"), _matmul),
    "_log_softmax": _log_softmax,
    "_native_batch_norm_legit.no_stats": _instance_norm,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "_softmax": _softmax,
    "adaptive_avg_pool1d": _adaptive_average,
    "addmm": _addmm,
    "convolution": _convolution,
    "native_group_norm": _group_norm,
    "native_layer_norm": _layer_norm,
}
