r"""Convolutions and transposed convolutions of images, in PyTorch's layouts.

    convolution              y[o, i] = sum_{c, a} kernel[o, c, a] x[c, s i + d a - p]
    transposed convolution   y[o, j] = sum_{c, i, a : s i + d a - p = j} kernel[c, o, a] x[c, i]

with stride s, padding p, dilation d, along each axis of the image. Per second of a CPU, GFLOP:

                                              float32            float64
                                          product   XLA      product   XLA
    transposed, 32 to 32, 4x4, stride 2     28       16         14       2
    transposed, 64 to 3, 4x4, stride 2      15       14          7       3
    plain, 32 to 32, 3x3                     5       29          2      17
    plain, 64 to 3, 3x3                     20       10          7       4

So there a transposed convolution is one matrix product and moves of its operands, and so is a plain
one with few outputs; all others, and those on other devices, are XLA's.
"""

from itertools import product
from math import prod

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxinv.linalg.convolve_by_xla import Sizes, by_group, convolution_by_xla, transposed_by_xla


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
    few = all(s == 1 for s in stride) and 8 * kernel.shape[0] <= kernel.shape[1] * groups
    # XLA's simplifier for CPUs ends the process (0.10) in some pullbacks of these.
    unsound = groups > 1 or len(set(stride)) > 1 or len(stride) > 2
    rule = convolution_by_product if _on_cpu() and (few or unsound) else convolution_by_xla
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
    if prod(x.shape[2:]) == groups == prod(dilation) == 1:
        y = _of_one_pixel(x, kernel, padding, output_padding)
    else:
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
        swapped = by_group(kernel, groups).swapaxes(1, 2).reshape(channels, -1, *taps)
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
    y = _rows_product(stacked, kernel.reshape(groups, outputs // groups, -1).swapaxes(1, 2))
    return y.swapaxes(2, 3).reshape(len(x), outputs, *out)


def transposed_by_product(
    x: Array,
    kernel: Array,
    stride: Sizes,
    padding: Sizes,
    output_padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> Array:
    """The cheaper of two products: by phases, or of every pixel with all taps, which are summed.

    Where neither is bounded by its multiplications, what is moved decides: patches of x, or pieces
    of y. Few outputs, as in the last layer of a decoder, are the case for pieces.
    """
    taps, space = kernel.shape[2:], x.shape[2:]
    reach = [-(-k // s) for k, s in zip(taps, stride, strict=True)]
    if all(d == 1 for d in dilation) and kernel.shape[0] * prod(reach) <= (
        groups * kernel.shape[1] * prod(taps)
    ):
        return _by_phases(x, kernel, stride, padding, output_padding, groups)
    rows = x.reshape(len(x), groups, -1, prod(space))
    y = _group_product(rows, by_group(kernel, groups).reshape(groups, x.shape[1] // groups, -1))
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


def _of_one_pixel(
    x: Array, kernel: Array, padding: Sizes, output_padding: Sizes
) -> Float[Array, "B o *space"]:
    """The first layer of many a decoder: the kernel itself, channels summed, its edges cut."""
    y = jnp.matmul(x.reshape(len(x), -1), kernel.reshape(len(kernel), -1), precision="highest")
    edges = [(-p, extra - p, 0) for p, extra in zip(padding, output_padding, strict=True)]
    none = (0, 0, 0)
    return lax.pad(
        y.reshape(len(x), *kernel.shape[1:]), jnp.zeros((), y.dtype), [none, none, *edges]
    )


def _by_phases(
    x: Array, kernel: Array, stride: Sizes, padding: Sizes, output_padding: Sizes, groups: int
) -> Array:
    """A plain convolution that makes all s outputs between two pixels at once, as channels.

    With j = s i + r and a = s b + r, each phase r is y[s i + r] = sum_b kernel[s b + r] x[i - b]:
    all phases see the same patches.
    """
    axes, taps, space = range(len(stride)), kernel.shape[2:], x.shape[2:]
    reach = [-(-k // s) for k, s in zip(taps, stride, strict=True)]
    out = [
        (n - 1) * s - 2 * p + k + more
        for n, s, p, k, more in zip(space, stride, padding, taps, output_padding, strict=True)
    ]
    first = [p // s for p, s in zip(padding, stride, strict=True)]
    # Pixels i of the wider grid whose outputs are not cut away.
    pixels = [
        (p + m - 1) // s - f + 1 for p, m, s, f in zip(padding, out, stride, first, strict=True)
    ]
    for i in axes:
        x = _placed(x, 2 + i, reach[i] - 1 - first[i], first[i] + pixels[i] - space[i])
        kernel = _placed(kernel, 2 + i, 0, reach[i] * stride[i] - taps[i])
    patches = jnp.stack(
        [
            x[
                (
                    ...,
                    *(
                        slice(r - 1 - b, r - 1 - b + m)
                        for r, b, m in zip(reach, at, pixels, strict=True)
                    ),
                )
            ]
            for at in product(*map(range, reach))
        ],
        axis=2,
    ).reshape(len(x), groups, -1, prod(pixels))
    split = [size for pair in zip(reach, stride, strict=True) for size in pair]
    weight = kernel.reshape(groups, kernel.shape[0] // groups, -1, *split)
    phases = [4 + 2 * i for i in axes]
    weight = weight.transpose(0, 1, *(3 + 2 * i for i in axes), 2, *phases)
    y = _rows_product(patches, weight.reshape(groups, patches.shape[2], -1))
    y = y.reshape(len(x), groups, *pixels, -1, *stride)
    n = len(axes)
    interleaved = [axis for i in axes for axis in (2 + i, 3 + n + i)]
    y = y.transpose(0, 1, 2 + n, *interleaved)
    y = y.reshape(len(x), -1, *(m * s for m, s in zip(pixels, stride, strict=True)))
    for i in axes:
        cut = padding[i] - first[i] * stride[i]
        y = lax.slice_in_dim(y, cut, cut + out[i], axis=2 + i)
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


def _group_product(x: Array, weight: Array) -> Array:
    """y[b, g, m, p] = sum_i weight[g, i, m] x[b, g, i, p]."""
    if len(weight) == 1:
        # A product of two matrices; a batch of one is taken a matrix at a time.
        y = lax.dot_general(weight[0], x[:, 0], (((0,), (1,)), ((), ())), precision="highest")
        return y.swapaxes(0, 1)[:, None]
    return jnp.einsum("gim,bgip->bgmp", weight, x, precision="highest")


def _rows_product(x: Array, weight: Array) -> Array:
    """y[b, g, p, m] = sum_i weight[g, i, m] x[b, g, i, p], pixels before outputs."""
    if len(weight) == 1:
        y = lax.dot_general(x[:, 0], weight[0], (((1,), (0,)), ((), ())), precision="highest")
        return y[:, None]
    return jnp.einsum("bgip,gim->bgpm", x, weight, precision="highest")


def _prepared(x: Array, kernel: Array) -> tuple[Array, Array, tuple[int, ...]]:
    """x as (B, c, *space) and the kernel in one precision, and the leading axes of x."""
    dtype = jnp.promote_types(x.dtype, kernel.dtype)
    lead = x.ndim - kernel.ndim + 1
    flat = x.reshape(prod(x.shape[:lead]), *x.shape[lead:])
    return flat.astype(dtype), kernel.astype(dtype), x.shape[:lead]


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"
