"""Core ATen operators that act entry by entry, and reductions, as functions of JAX.

Arguments have PyTorch's names and order. At kinks the derivatives are PyTorch's, and where a
branch is not taken its derivative is finite, so that no 0 * inf becomes NaN.
"""

from collections.abc import Callable
from math import inf
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array

Axes = int | tuple[int, ...] | None


def _same(x: Array, *_: Any, **__: Any) -> Array:
    return x


def _add(x: Any, y: Any, alpha: float = 1) -> Array:
    return jnp.add(x, y if alpha == 1 else alpha * y)


def _subtract(x: Any, y: Any, alpha: float = 1) -> Array:
    return jnp.subtract(x, y if alpha == 1 else alpha * y)


def _reverse_subtract(x: Any, y: Any, alpha: float = 1) -> Array:
    return _subtract(y, x, alpha)


def _divide(x: Any, y: Any, rounding_mode: str | None = None) -> Array:
    if rounding_mode == "floor":
        return jnp.floor_divide(x, y)
    quotient = jnp.true_divide(x, y)
    return jnp.trunc(quotient) if rounding_mode == "trunc" else quotient


def _clamp(x: Array, min: Any = None, max: Any = None) -> Array:  # noqa: A002
    # A clamped entry on its bound keeps its derivative, which jnp.clip halves.
    x = x if min is None else jnp.where(x < min, min, x)
    return x if max is None else jnp.where(x > max, max, x)


def _hard_tanh(x: Array, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    inside = (x > min_val) & (x < max_val)
    return jnp.where(inside, x, jnp.where(x <= min_val, min_val, max_val).astype(x.dtype))


def _leaky_relu(x: Array, negative_slope: float = 0.01) -> Array:
    return jnp.where(x > 0, x, negative_slope * x)


def _prelu(x: Array, weight: Array) -> Array:
    slopes = weight.reshape(-1, *(1,) * max(x.ndim - 2, 0)) if weight.size > 1 else weight
    return jnp.where(x > 0, x, slopes * x)


def _elu(x: Array, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Array:
    below = alpha * jnp.expm1(input_scale * jnp.minimum(x, 0))
    return scale * jnp.where(x > 0, x, below)


def _softplus(x: Array, beta: float = 1, threshold: float = 20) -> Array:
    # PyTorch is linear above the threshold, an error of exp(-threshold) that parity would show.
    linear = beta * x > threshold
    return jnp.where(linear, x, jax.nn.softplus(beta * jnp.where(linear, 0, x)) / beta)


def _gelu(x: Array, approximate: str = "none") -> Array:
    if approximate == "tanh":
        return jax.nn.gelu(x, approximate=True)
    return 0.5 * x * (1 + jax.lax.erf(x * 0.5**0.5))


def _mish(x: Array) -> Array:
    return x * jnp.tanh(jax.nn.softplus(x))


def _hard_sigmoid(x: Array) -> Array:
    return _hard_tanh(x + 3, 0, 6) / 6


def _log_sigmoid(x: Array) -> tuple[Array, None]:
    return -jax.nn.softplus(-x), None


def _to_copy(x: Array, dtype: DTypeLike | None = None, **_: Any) -> Array:
    return x if dtype is None else jnp.asarray(x).astype(dtype)


def _power(x: Any, y: Any) -> Array:
    # A whole exponent is one of products, which has derivatives at zero and below.
    return jnp.power(x, int(y) if isinstance(y, float) and y.is_integer() else y)


def _mean(x: Array, dim: Axes = None, keepdim: bool = False, dtype: Any = None) -> Array:
    return jnp.mean(x, _axes(dim), dtype, keepdims=keepdim)


def _sum(x: Array, dim: Axes = None, keepdim: bool = False, dtype: Any = None) -> Array:
    return jnp.sum(x, _axes(dim), dtype, keepdims=keepdim)


def _product(x: Array, dim: Axes = None, keepdim: bool = False, dtype: Any = None) -> Array:
    return jnp.prod(x, _axes(dim), dtype, keepdims=keepdim)


def _variance(
    x: Array, dim: Axes = None, correction: float | None = None, keepdim: bool = False
) -> Array:
    freedom = 1 if correction is None else int(correction)
    return jnp.var(x, _axes(dim), ddof=freedom, keepdims=keepdim)


def _variance_mean(
    x: Array, dim: Axes = None, correction: float | None = None, keepdim: bool = False
) -> tuple[Array, Array]:
    return _variance(x, dim, correction, keepdim), _mean(x, dim, keepdim)


def _largest(x: Array, dim: Axes = None, keepdim: bool = False) -> Array:
    return jnp.max(x, _axes(dim), keepdims=keepdim)


def _smallest(x: Array, dim: Axes = None, keepdim: bool = False) -> Array:
    return jnp.min(x, _axes(dim), keepdims=keepdim)


def _largest_and_where(x: Array, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
    where = jnp.argmax(x, dim, keepdims=True)
    return _taken(x, where, dim, keepdim)


def _smallest_and_where(x: Array, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
    where = jnp.argmin(x, dim, keepdims=True)
    return _taken(x, where, dim, keepdim)


def _taken(x: Array, where: Array, dim: int, keepdim: bool) -> tuple[Array, Array]:
    value = jnp.take_along_axis(x, where, dim)
    return (value, where) if keepdim else (value.squeeze(dim), where.squeeze(dim))


def _any(x: Array, dim: Axes = None, keepdim: bool = False) -> Array:
    return jnp.any(x, _axes(dim), keepdims=keepdim)


def _all(x: Array, dim: Axes = None, keepdim: bool = False) -> Array:
    return jnp.all(x, _axes(dim), keepdims=keepdim)


def _argmax(x: Array, dim: int | None = None, keepdim: bool = False) -> Array:
    return jnp.argmax(x, dim, keepdims=keepdim)


def _argmin(x: Array, dim: int | None = None, keepdim: bool = False) -> Array:
    return jnp.argmin(x, dim, keepdims=keepdim)


def _vector_norm(
    x: Array, order: float = 2, dim: Axes = None, keepdim: bool = False, dtype: Any = None
) -> Array:
    axes = _axes(dim)
    if order in (inf, -inf):
        extreme = jnp.max if order > 0 else jnp.min
        return extreme(jnp.abs(x), axes, keepdims=keepdim)
    if order == 0:
        return jnp.sum(x != 0, axes, keepdims=keepdim).astype(x.dtype)
    if order == 1:
        return jnp.sum(jnp.abs(x), axes, keepdims=keepdim)
    # The derivative at zero is taken to be zero, as PyTorch does; x / ||x|| is NaN there.
    powers = jnp.sum(x * x if order == 2 else jnp.abs(x) ** order, axes, keepdims=keepdim)
    zero = powers == 0
    return jnp.where(zero, 0, jnp.where(zero, 1, powers) ** (1 / order))


def _axes(dim: Axes) -> int | tuple[int, ...] | None:
    """PyTorch reduces all axes where it is given an empty list of them."""
    return None if dim is None or dim == () else dim


POINTWISE: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(
        ("alias", "clone", "detach", "contiguous", "lift_fresh_copy", "_assert_tensor_metadata"),
        _same,
    ),
    "abs": jnp.abs,
    "acos": jnp.arccos,
    "acosh": jnp.arccosh,
    "add": _add,
    "all": _all,
    "amax": _largest,
    "amin": _smallest,
    "any": _any,
    "argmax": _argmax,
    "argmin": _argmin,
    "asin": jnp.arcsin,
    "asinh": jnp.arcsinh,
    "atan": jnp.arctan,
    "atan2": jnp.arctan2,
    "atanh": jnp.arctanh,
    "bitwise_and": jnp.bitwise_and,
    "bitwise_not": jnp.bitwise_not,
    "bitwise_or": jnp.bitwise_or,
    "bitwise_xor": jnp.bitwise_xor,
    "ceil": jnp.ceil,
    "clamp": _clamp,
    "clamp_max": lambda x, max: _clamp(x, None, max),  # noqa: A006
    "clamp_min": _clamp,
    "cos": jnp.cos,
    "cosh": jnp.cosh,
    "div": _divide,
    "elu": _elu,
    "eq": jnp.equal,
    "erf": jax.scipy.special.erf,
    "erfc": jax.scipy.special.erfc,
    "exp": jnp.exp,
    "exp2": jnp.exp2,
    "expm1": jnp.expm1,
    "floor": jnp.floor,
    "fmod": jnp.fmod,
    "ge": jnp.greater_equal,
    "gelu": _gelu,
    "gt": jnp.greater,
    "hardsigmoid": _hard_sigmoid,
    "hardswish": lambda x: x * _hard_sigmoid(x),
    "hardtanh": _hard_tanh,
    "isinf": jnp.isinf,
    "isnan": jnp.isnan,
    "le": jnp.less_equal,
    "leaky_relu": _leaky_relu,
    "linalg_vector_norm": _vector_norm,
    "log": jnp.log,
    "log10": jnp.log10,
    "log1p": jnp.log1p,
    "log2": jnp.log2,
    "log_sigmoid_forward": _log_sigmoid,
    "logical_and": jnp.logical_and,
    "logical_not": jnp.logical_not,
    "logical_or": jnp.logical_or,
    "logical_xor": jnp.logical_xor,
    "lt": jnp.less,
    "max": _largest,
    "max.dim": _largest_and_where,
    "maximum": jnp.maximum,
    "mean": _mean,
    "min": _smallest,
    "min.dim": _smallest_and_where,
    "minimum": jnp.minimum,
    "mish": _mish,
    "mul": jnp.multiply,
    "ne": jnp.not_equal,
    "neg": jnp.negative,
    "pow": _power,
    "prelu": _prelu,
    "prod": _product,
    "reciprocal": jnp.reciprocal,
    "relu": jax.nn.relu,
    "remainder": jnp.remainder,
    "round": jnp.round,
    "rsqrt": jax.lax.rsqrt,
    "rsub": _reverse_subtract,
    "sigmoid": jax.nn.sigmoid,
    "sign": jnp.sign,
    "silu": jax.nn.silu,
    "sin": jnp.sin,
    "sinh": jnp.sinh,
    "softplus": _softplus,
    "sqrt": jnp.sqrt,
    "square": jnp.square,
    "sub": _subtract,
    "sum": _sum,
    "tan": jnp.tan,
    "tanh": jnp.tanh,
    "trunc": jnp.trunc,
    "var.correction": _variance,
    "var_mean.correction": _variance_mean,
    "where": jnp.where,
    "_to_copy": _to_copy,
}
