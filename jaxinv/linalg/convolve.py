r"""Convolutions and transposed convolutions of images, in PyTorch's layouts.

    convolution              y[o, i] = sum_{c, a} kernel[o, c, a] x[c, s i + d a - p]
    transposed convolution   y[o, j] = sum_{c, i, a : s i + d a - p = j} kernel[c, o, a] x[c, i]

with stride s, padding p, dilation d, along each axis of the image. On a CPU both are one matrix
product and moves of its operands: XLA's own transposed convolutions, and most of its convolutions
in float64, are 3 to 50 times slower there. On other devices they are XLA's.
"""

from collections.abc import Sequence
from itertools import product
from math import prod

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Sizes = Sequence[int]


def convolution(
    x: Array,
    kernel: Float[Array, "o cg *taps"],
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int = 1,
) -> Array:
    """The convolution of x, (*batch, c, *space), with a kernel (o, c / groups, *taps).

    stride, padding, dilation: one integer an axis of the image; padding with zeros, on both sides.
    """
    x, kernel, batch = _prepared(x, kernel)
    rule = convolution_by_product if _on_cpu() else convolution_by_xla
    y = rule(x, kernel, stride, padding, dilation, groups)
    return y.reshape(*batch, *y.shape[1:])


def transposed_convolution(
    x: Array,
    kernel: Float[Array, "c og *taps"],
    stride: Sizes,
    padding: Sizes,
    output_padding: Sizes,
    dilation: Sizes,
    groups: int = 1,
) -> Array:
    """The transposed convolution of x, (*batch, c, *space), with a kernel (c, o / groups, *taps).

    Each axis becomes (space - 1) stride - 2 padding + dilation (taps - 1) + output_padding + 1.
    """
    x, kernel, batch = _prepared(x, kernel)
    rule = transposed_by_product if _on_cpu() else transposed_by_xla
    y = rule(x, kernel, stride, padding, output_padding, dilation, groups)
    return y.reshape(*batch, *y.shape[1:])


def convolution_by_product(
    x: Array, kernel: Array, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Array:
    """One product of the kernel with the patches that it meets; x (B, c, *space)."""
    taps = kernel.shape[2:]
    outputs, channels = kernel.shape[0], kernel.shape[1] * groups
    if outputs < channels and all(s == 1 for s in stride):
        # As many pieces of fewer channels: a transposed convolution multiplies before it moves.
        axes = range(2, kernel.ndim)
        swapped = _by_group(kernel, groups).swapaxes(1, 2).reshape(channels, -1, *taps)
        reach = [d * (k - 1) - p for d, k, p in zip(dilation, taps, padding, strict=True)]
        none = [0] * len(taps)
        return transposed_by_product(
            x, jnp.flip(swapped, axes), stride, reach, none, dilation, groups
        )
    padded = jnp.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)])
    span = [d * (k - 1) for d, k in zip(dilation, taps, strict=True)]
    out = [(n - r - 1) // s + 1 for n, r, s in zip(padded.shape[2:], span, stride, strict=True)]
    patches = []
    for tap in product(*map(range, taps)):
        first = [a * d for a, d in zip(tap, dilation, strict=True)]
        last = [f + (m - 1) * s + 1 for f, m, s in zip(first, out, stride, strict=True)]
        patches.append(
            lax.slice(padded, (0, 0, *first), (*padded.shape[:2], *last), (1, 1, *stride))
        )
    stacked = jnp.stack(patches, axis=2).reshape(len(x), groups, -1, prod(out))
    y = _group_product(stacked, kernel.reshape(groups, outputs // groups, -1).swapaxes(1, 2))
    return y.reshape(len(x), outputs, *out)


def transposed_by_product(
    x: Array,
    kernel: Array,
    stride: Sizes,
    padding: Sizes,
    output_padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> Array:
    """One product that sends every pixel to all taps, then their sum, an axis at a time."""
    taps, space = kernel.shape[2:], x.shape[2:]
    rows = x.reshape(len(x), groups, -1, prod(space))
    y = _group_product(rows, _by_group(kernel, groups).reshape(groups, x.shape[1] // groups, -1))
    y = y.reshape(len(x), -1, *taps, *space)
    axes = len(taps)
    for i in reversed(range(axes)):
        # The taps of axis i stand last of those left, its pixels i places after the last taps.
        y = _overlapped(
            jnp.moveaxis(y, 2 + i, 0),
            2 + 2 * i,
            stride[i],
            padding[i],
            output_padding[i],
            dilation[i],
        )
    return y


def _overlapped(
    pieces: Array, axis: int, stride: int, padding: int, output_padding: int, dilation: int
) -> Array:
    """y[j] = sum of pieces[a][i] with s i + d a - p = j along one axis of the pieces.

    Written by the remainder of d a after s, a phase of the output each: within a phase pieces move
    by whole pixels, and phases interleave by a change of shape.
    """
    pixels = pieces.shape[1 + axis]
    span = dilation * (len(pieces) - 1)
    out = (pixels - 1) * stride - 2 * padding + span + output_padding + 1
    shifts = 1 + span // stride
    phases: list[Array | None] = [None] * stride
    for a, piece in enumerate(pieces):
        shift, phase = divmod(a * dilation, stride)
        moved = _placed(piece, axis, shift, shifts - 1 - shift)
        before = phases[phase]
        phases[phase] = moved if before is None else before + moved
    filled = [p for p in phases if p is not None]
    whole = [jnp.zeros_like(filled[0]) if p is None else p for p in phases]
    y = whole[0]
    if stride > 1:
        y = jnp.stack(whole, axis=axis + 1)
        y = y.reshape(*y.shape[:axis], -1, *y.shape[axis + 2 :])
    return _placed(y, axis, -padding, out + padding - y.shape[axis])


def _placed(y: Array, axis: int, before: int, after: int) -> Array:
    """y with zeros before and after along an axis; where negative, entries are cut."""
    if before == after == 0:
        return y
    widths = [(0, 0, 0)] * y.ndim
    widths[axis] = (before, after, 0)
    return lax.pad(y, jnp.zeros((), y.dtype), widths)


def convolution_by_xla(
    x: Array, kernel: Array, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Array:
    """XLA's own convolution of x (B, c, *space)."""
    return lax.conv_general_dilated(
        x,
        kernel,
        tuple(stride),
        [(p, p) for p in padding],
        rhs_dilation=tuple(dilation),
        feature_group_count=groups,
        precision="highest",
    )


def transposed_by_xla(
    x: Array,
    kernel: Array,
    stride: Sizes,
    padding: Sizes,
    output_padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> Array:
    """XLA's convolution of x, its pixels `stride` apart, with the kernel turned around."""
    taps = kernel.shape[2:]
    turned = _by_group(kernel, groups).swapaxes(1, 2)
    turned = turned.reshape(-1, x.shape[1] // groups, *taps)
    reach = [d * (k - 1) - p for d, k, p in zip(dilation, taps, padding, strict=True)]
    return lax.conv_general_dilated(
        x,
        jnp.flip(turned, range(2, kernel.ndim)),
        (1,) * len(taps),
        [(r, r + more) for r, more in zip(reach, output_padding, strict=True)],
        lhs_dilation=tuple(stride),
        rhs_dilation=tuple(dilation),
        feature_group_count=groups,
        precision="highest",
    )


def _by_group(kernel: Array, groups: int) -> Array:
    """The first axis of a kernel, channels that come in or go out, by groups."""
    return kernel.reshape(groups, -1, *kernel.shape[1:])


def _group_product(x: Array, weight: Array) -> Array:
    """y[b, g, m, p] = sum_i weight[g, i, m] x[b, g, i, p]."""
    if len(weight) == 1:
        # A product of two matrices; a batch of one is taken a matrix at a time.
        y = lax.dot_general(weight[0], x[:, 0], (((0,), (1,)), ((), ())), precision="highest")
        return y.swapaxes(0, 1)[:, None]
    return jnp.einsum("gim,bgip->bgmp", weight, x, precision="highest")


def _prepared(x: Array, kernel: Array) -> tuple[Array, Array, tuple[int, ...]]:
    """x as (B, c, *space) and the kernel in one precision, and the leading axes of x."""
    dtype = jnp.promote_types(x.dtype, kernel.dtype)
    lead = x.ndim - kernel.ndim + 1
    flat = x.reshape(prod(x.shape[:lead]), *x.shape[lead:])
    return flat.astype(dtype), kernel.astype(dtype), x.shape[:lead]


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"
