"""Convolutions by XLA's own operator: what accelerators are made for."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

Sizes = Sequence[int]


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
    turned = by_group(kernel, groups).swapaxes(1, 2)
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


def by_group(kernel: Array, groups: int) -> Array:
    """The first axis of a kernel, channels that come in or go out, by groups."""
    return kernel.reshape(groups, -1, *kernel.shape[1:])
