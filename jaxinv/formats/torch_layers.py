"""What each PyTorch module and function does to a chain of layers.

A function is the module of the same arguments: F.leaky_relu(x, 0.2) is nn.LeakyReLU(0.2).
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional

from jaxinv.formats import images
from jaxinv.formats.folding import WAY_OUT, Chain, leaky, row

Add = Callable[..., None]


def _linear(chain: Chain, what: str, layer: Any) -> None:
    # A Linear takes the last axis; on images it would act row by row.
    if chain.shape is not None and len(chain.shape) > 1:
        raise ValueError(f"{what} acts on values of shape {chain.shape}; put a Flatten before it")
    chain.affine(what, layer.weight.numpy(), _numpy(layer.bias))


def _batch_norm(chain: Chain, what: str, layer: Any) -> None:
    if layer.running_mean is None:
        raise ValueError(f"{what} keeps no running statistics, so rows depend on each other")
    mean, variance = layer.running_mean.numpy(), layer.running_var.numpy()
    chain.batch_norm(what, mean, variance, _numpy(layer.weight), _numpy(layer.bias), layer.eps)


def _convolution(chain: Chain, what: str, layer: Any) -> None:
    spread = zip(layer.dilation, layer.kernel_size, strict=True)
    if layer.padding == "same":
        # What cannot be halved is one more behind.
        totals = [d * (taps - 1) for d, taps in spread]
        padding = tuple((t // 2, t - t // 2) for t in totals)
    elif layer.padding == "valid":
        padding = tuple((0, 0) for _ in spread)
    else:
        padding = tuple((p, p) for p in layer.padding)
    mode = layer.padding_mode.replace("zeros", "constant")
    geometry = images.Geometry(
        layer.stride, padding, layer.dilation, layer.groups, layer.output_padding
    )
    kernel, bias = layer.weight.numpy(), _numpy(layer.bias)
    images.convolve(chain, what, kernel, bias, geometry, layer.transposed, mode)


def _upsample(chain: Chain, what: str, layer: Any) -> None:
    axes = len(images.spaces(chain, what))
    factor = layer.scale_factor
    scales = None if factor is None else [float(s) for s in _each(factor, axes)]
    sizes = None if layer.size is None else [int(n) for n in _each(layer.size, axes)]
    if layer.recompute_scale_factor and scales is not None:
        before = images.spaces(chain, what)
        sizes, scales = [int(n * s) for n, s in zip(before, scales, strict=True)], None
    images.resize(chain, what, layer.mode, sizes, scales, bool(layer.align_corners))


def _pool(chain: Chain, what: str, layer: Any) -> None:
    if layer.ceil_mode or getattr(layer, "divisor_override", None):
        raise ValueError(f"{what} rounds up, or divides by another number; {WAY_OUT}")
    axes = len(images.spaces(chain, what))
    stride = layer.kernel_size if layer.stride is None else layer.stride
    window, every, padding = (
        _each(size, axes) for size in (layer.kernel_size, stride, layer.padding)
    )
    images.pool(chain, what, window, every, padding, layer.count_include_pad)


def _adaptive_pool(chain: Chain, what: str, layer: Any) -> None:
    sizes = _each(layer.output_size, len(images.spaces(chain, what)))
    images.adaptive_pool(chain, what, sizes)


def _pad(
    chain: Chain, what: str, amounts: Any, mode: str = "constant", value: float | None = None
) -> None:
    if value:
        raise ValueError(f"{what} pads with {value}; only zeros can be represented; {WAY_OUT}")
    axes = len(images.spaces(chain, what))
    flat = [int(n) for n in _each(amounts, 2 * axes)] if isinstance(amounts, int) else amounts
    # Last axis first, one amount before and one after.
    pairs = [(int(b), int(a)) for b, a in zip(flat[::2], flat[1::2], strict=True)][::-1]
    if any(any(pair) for pair in pairs[: max(len(pairs) - axes, 0)]):
        raise ValueError(f"{what} pads channels; {WAY_OUT}")
    pairs = [(0, 0)] * (axes - len(pairs)) + pairs[-axes:]
    images.pad(chain, what, pairs, mode)


def _flatten(chain: Chain, what: str, start_dim: int = 0, end_dim: int = -1) -> None:
    shape = chain.shape or (-1,)
    start, end = start_dim % (len(shape) + 1), end_dim % (len(shape) + 1)
    if not 1 <= start <= end:
        raise ValueError(f"{what} flattens axes {start_dim} to {end_dim}; rows must stay first")
    chain.reshape(what, (*shape[: start - 1], prod(shape[start - 1 : end]), *shape[end:]))


def _unflatten(chain: Chain, what: str, dim: int, sizes: Sequence[int]) -> None:
    shape = chain.shape or (-1,)
    axis = dim % (len(shape) + 1)
    if axis == 0:
        raise ValueError(f"{what} unflattens the rows")
    chain.reshape(what, (*shape[: axis - 1], *(int(n) for n in sizes), *shape[axis:]))


def _view(chain: Chain, what: str, *given: Any) -> None:
    sizes = tuple(given[0]) if isinstance(given[0], tuple | list) else given
    if not all(isinstance(n, int) for n in sizes) or not sizes or sizes[0] != -1:
        raise ValueError(
            f"{what} reshapes to {tuple(sizes)}; expected (-1, ...) or (x.size(0), ...) with "
            "fixed sizes"
        )
    chain.reshape(what, sizes[1:] or (-1,))


def _unsqueeze(chain: Chain, what: str, dim: int) -> None:
    shape = chain.shape or (-1,)
    axis = dim % (len(shape) + 2)
    if axis == 0:
        raise ValueError(f"{what} puts an axis before the rows")
    chain.reshape(what, (*shape[: axis - 1], 1, *shape[axis - 1 :]))


def _permute(chain: Chain, what: str, *given: Any) -> None:
    order = tuple(given[0]) if isinstance(given[0], tuple | list) else given
    axes = len(chain.shape or ()) + 1
    images.transpose(chain, what, [int(n) % axes for n in order])


def _named(name: str) -> Add:
    return lambda chain, what, _: chain.activation(what, name)


def _with(name: str, **settings: Any) -> Add:
    """An activation that is known for one setting alone."""

    def add(chain: Chain, what: str, layer: Any) -> None:
        for key, value in settings.items():
            if getattr(layer, key) != value:
                raise ValueError(
                    f"{what} has {key}={getattr(layer, key)!r}; only {key}={value!r} can "
                    f"be represented; {WAY_OUT}"
                )
        chain.activation(what, name)

    return add


def _dropout(chain: Chain, what: str, p: float = 0.5, training: bool = True, **_: Any) -> None:
    if training:
        raise ValueError(f"{what} is random; pass training=self.training and call module.eval()")


def _nothing(chain: Chain, what: str, *_: Any, **__: Any) -> None:
    """Identity, and dropout in evaluation mode."""


def arithmetic(chain: Chain, node: fx.Node, constants: Mapping[fx.Node, np.ndarray]) -> None:
    """x + c, x - c, c - x, x * c and x / c."""
    kind, what = ARITHMETIC[node.target], node.name
    if len(node.args) != 2 or node.kwargs.get("alpha", 1) != 1:
        raise ValueError(
            f"{what} is not arithmetic of the layer's values and a constant; {WAY_OUT}"
        )
    values: list[Any] = [constants.get(a) if isinstance(a, fx.Node) else a for a in node.args]
    left = values[0] is not None
    constant = np.asarray(values[0] if left else values[1], np.float64)
    if constant.size > 1 and chain.width is None:
        raise ValueError(f"{what} comes first; a generator begins with a linear layer")
    given = row(what, constant, chain.shape if constant.ndim else None)
    one, zero = np.ones(1), np.zeros(1)
    if kind == "div":
        if left or not given.all():
            raise ValueError(f"{what} divides by the layer's values, or by zero; {WAY_OUT}")
        chain.scale(what, 1.0 / given, zero)
    elif kind == "mul":
        chain.scale(what, given, zero)
    elif kind == "sub":
        chain.scale(what, -one if left else one, given if left else -given)
    else:
        chain.scale(what, one, given)


ARITHMETIC: dict[Any, str] = {
    **dict.fromkeys((operator.add, torch.add, "add", "add_"), "add"),
    **dict.fromkeys((operator.sub, torch.sub, "sub", "sub_"), "sub"),
    **dict.fromkeys((operator.mul, torch.mul, "mul", "mul_"), "mul"),
    **dict.fromkeys((operator.truediv, torch.div, "div", "div_"), "div"),
}

_DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
MODAL = (*_DROPOUT, *_NORMS)


def _kinds(name: str) -> tuple[Any, ...]:
    return tuple(getattr(nn, f"{name}{axes}d") for axes in (1, 2, 3))


_MODULES: dict[Any, Add] = {
    nn.Linear: _linear,
    **dict.fromkeys((*_kinds("Conv"), *_kinds("ConvTranspose")), _convolution),
    **dict.fromkeys(_NORMS, _batch_norm),
    nn.ReLU: _named("relu"),
    nn.LeakyReLU: lambda c, what, m: c.activation(what, leaky(what, m.negative_slope)),
    nn.ELU: _with("elu", alpha=1.0),
    nn.Softplus: _with("softplus", beta=1.0),
    nn.SiLU: _named("silu"),
    nn.GELU: _with("gelu", approximate="none"),
    nn.Sigmoid: _named("sigmoid"),
    nn.Tanh: _named("tanh"),
    nn.PixelShuffle: lambda c, what, m: images.shuffle(c, what, m.upscale_factor),
    **dict.fromkeys((nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d), _upsample),
    **dict.fromkeys(_kinds("AvgPool"), _pool),
    **dict.fromkeys(_kinds("AdaptiveAvgPool"), _adaptive_pool),
    **dict.fromkeys(_kinds("ZeroPad"), lambda c, what, m: _pad(c, what, m.padding)),
    **dict.fromkeys(
        _kinds("ConstantPad"), lambda c, what, m: _pad(c, what, m.padding, "constant", m.value)
    ),
    **dict.fromkeys(
        _kinds("ReflectionPad"), lambda c, what, m: _pad(c, what, m.padding, "reflect")
    ),
    **dict.fromkeys(
        _kinds("ReplicationPad"), lambda c, what, m: _pad(c, what, m.padding, "replicate")
    ),
    **dict.fromkeys(_kinds("CircularPad"), lambda c, what, m: _pad(c, what, m.padding, "circular")),
    nn.Flatten: lambda c, what, m: _flatten(c, what, m.start_dim, m.end_dim),
    nn.Unflatten: lambda c, what, m: _unflatten(c, what, m.dim, m.unflattened_size),
    **dict.fromkeys((nn.Identity, *_DROPOUT), _nothing),
}


def _as_module(kind: Any) -> Add:
    return lambda chain, what, *a, **k: _MODULES[kind](chain, what, kind(*a, **k))


def _interpolate(
    chain: Chain, what: str, *given: Any, antialias: bool = False, **more: Any
) -> None:
    if antialias:
        raise ValueError(f"{what} smooths (antialias); {WAY_OUT}")
    _upsample(chain, what, nn.Upsample(*given, **more))


_SAME = {
    nn.ReLU: (functional.relu, torch.relu, torch.relu_, "relu", "relu_"),
    nn.LeakyReLU: (functional.leaky_relu,),
    nn.ELU: (functional.elu,),
    nn.Softplus: (functional.softplus,),
    nn.SiLU: (functional.silu,),
    nn.GELU: (functional.gelu,),
    nn.Sigmoid: (functional.sigmoid, torch.sigmoid, "sigmoid", "sigmoid_"),
    nn.Tanh: (functional.tanh, torch.tanh, "tanh", "tanh_"),
    nn.PixelShuffle: (functional.pixel_shuffle,),
    nn.AvgPool1d: (functional.avg_pool1d,),
    nn.AvgPool2d: (functional.avg_pool2d,),
    nn.AvgPool3d: (functional.avg_pool3d,),
    nn.AdaptiveAvgPool1d: (functional.adaptive_avg_pool1d,),
    nn.AdaptiveAvgPool2d: (functional.adaptive_avg_pool2d,),
    nn.AdaptiveAvgPool3d: (functional.adaptive_avg_pool3d,),
}
_FUNCTIONS: dict[Any, Add] = {
    **{function: _as_module(kind) for kind, same in _SAME.items() for function in same},
    functional.interpolate: _interpolate,
    functional.pad: _pad,
    **dict.fromkeys((functional.dropout, functional.dropout2d), _dropout),
    **dict.fromkeys((torch.flatten, "flatten"), _flatten),
    **dict.fromkeys((torch.unflatten, "unflatten"), _unflatten),
    **dict.fromkeys((torch.reshape, "view", "reshape"), _view),
    **dict.fromkeys((torch.unsqueeze, "unsqueeze"), _unsqueeze),
    **dict.fromkeys((torch.permute, "permute"), _permute),
    **dict.fromkeys(("contiguous", "clone"), _nothing),
}


def layer_of(target: Any) -> Add:
    """What adds such a module (by its class), function or method (by its name) to a chain."""
    classes = target.__mro__ if isinstance(target, type) else ()
    add = next((_MODULES[c] for c in classes if c in _MODULES), None) or _FUNCTIONS.get(target)

    def refuse(chain: Chain, what: str, *_: Any, **__: Any) -> None:
        raise ValueError(f"{what}, {target}, cannot be represented as phi(W z + b); {WAY_OUT}")

    return add or refuse


def _each(value: Any, axes: int) -> Any:
    return tuple(value) if isinstance(value, tuple | list) else (value,) * axes


def _numpy(tensor: Any) -> np.ndarray | None:
    return None if tensor is None else tensor.detach().numpy()
