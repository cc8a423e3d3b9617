"""Core ATen operators that make, move, pick and join entries, as functions of JAX."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array

Sizes = Sequence[int]


def _view(x: Array, size: Sizes) -> Array:
    return x.reshape(size)


def _expand(x: Array, size: Sizes, implicit: bool = False) -> Array:
    own = (1,) * (len(size) - x.ndim) + x.shape
    return jnp.broadcast_to(x, [a if n == -1 else n for a, n in zip(own, size, strict=True)])


def _squeeze(x: Array, dim: int | Sizes | None = None) -> Array:
    axes = range(x.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    # PyTorch lets an axis stand that is longer than one.
    return x.squeeze(tuple(axis for axis in axes if x.shape[axis] == 1))


def _select(x: Array, dim: int, index: int) -> Array:
    return lax.index_in_dim(x, index, dim, keepdims=False)


def _window(x: Array, dim: int, start: int | None, end: int | None, step: int) -> Any:
    window = slice(start, end, step)
    axis = dim % x.ndim
    return (*(slice(None),) * axis, window)


def _slice(
    x: Array, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Array:
    return x[_window(x, dim, start, end, step)]


def _slice_scatter(
    x: Array,
    source: Array,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Array:
    return x.at[_window(x, dim, start, end, step)].set(source)


def _select_scatter(x: Array, source: Array, dim: int, index: int) -> Array:
    return x.at[(*(slice(None),) * (dim % x.ndim), index)].set(source)


def _copy(x: Array, source: Array, non_blocking: bool = False) -> Array:
    return jnp.broadcast_to(source, x.shape).astype(x.dtype)


def _cat(parts: Sequence[Array], dim: int = 0) -> Array:
    # Empty tensors of one axis are a way of PyTorch to begin with nothing.
    return jnp.concatenate([part for part in parts if part.shape != (0,)], axis=dim)


def _split_with_sizes(x: Array, sizes: Sizes, dim: int = 0) -> list[Array]:
    return jnp.split(x, np.cumsum(sizes)[:-1].tolist(), axis=dim)


def _split(x: Array, size: int, dim: int = 0) -> list[Array]:
    return jnp.split(x, list(range(size, x.shape[dim], size)), axis=dim)


def _unbind(x: Array, dim: int = 0) -> list[Array]:
    return [_select(x, dim, i) for i in range(x.shape[dim])]


def _repeat(x: Array, repeats: Sizes) -> Array:
    return jnp.tile(x, tuple(repeats))


def _unfold(x: Array, dim: int, size: int, step: int) -> Array:
    starts = range(0, x.shape[dim] - size + 1, step)
    return jnp.stack(
        [jnp.moveaxis(lax.slice_in_dim(x, i, i + size, axis=dim), dim, -1) for i in starts],
        axis=dim % x.ndim,
    )


def _indices(indices: Sequence[Array | None]) -> tuple[Any, ...]:
    return tuple(slice(None) if index is None else index for index in indices)


def _index(x: Array, indices: Sequence[Array | None]) -> Array:
    return x[_indices(indices)]


def _index_put(
    x: Array, indices: Sequence[Array | None], values: Array, accumulate: bool = False
) -> Array:
    place = x.at[_indices(indices)]
    return place.add(values) if accumulate else place.set(values)


def _gather(x: Array, dim: int, index: Array, sparse_grad: bool = False) -> Array:
    whole = tuple(slice(n) if i != dim % x.ndim else slice(None) for i, n in enumerate(index.shape))
    return jnp.take_along_axis(x[whole], index, dim)


def _embedding(weight: Array, index: Array, *_: Any, **__: Any) -> Array:
    return weight[index]


def _as_strided(x: Array, size: Sizes, stride: Sizes, offset: int | None = None) -> Array:
    entries = np.full(tuple(size), offset or 0)
    for axis, (n, step) in enumerate(zip(size, stride, strict=True)):
        entries += (np.arange(n) * step).reshape(-1, *(1,) * (len(size) - axis - 1))
    return x.reshape(-1)[entries]


def _pads(x: Array, padding: Sizes) -> list[tuple[int, int]]:
    """PyTorch lists the pads of the last axis first."""
    last_first = list(zip(padding[::2], padding[1::2], strict=True))
    return [(0, 0)] * (x.ndim - len(last_first)) + last_first[::-1]


def _pad(x: Array, padding: Sizes, value: float = 0) -> Array:
    widths = [(before, after, 0) for before, after in _pads(x, padding)]
    return lax.pad(x, jnp.asarray(value, x.dtype), widths)


def _pad_like(mode: str) -> Callable[[Array, Sizes], Array]:
    return lambda x, padding: jnp.pad(x, _pads(x, padding), mode=mode)


def _full(size: Sizes, value: float, dtype: DTypeLike | None = None) -> Array:
    return jnp.full(tuple(size), value, dtype)


def _full_like(x: Array, value: float, dtype: DTypeLike | None = None) -> Array:
    return jnp.full_like(x, value, dtype)


def _scalar(value: float, dtype: DTypeLike | None = None) -> Array:
    return jnp.asarray(value, dtype)


def _cumulative_sum(x: Array, dim: int, dtype: DTypeLike | None = None) -> Array:
    return jnp.cumsum(x, dim, dtype)


def _diagonal(x: Array, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Array:
    return jnp.diagonal(x, offset, dim1, dim2)


def _sort(x: Array, dim: int = -1, descending: bool = False) -> tuple[Array, Array]:
    order = jnp.argsort(x, axis=dim, descending=descending)
    return jnp.take_along_axis(x, order, dim), order


SHAPES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("view", "reshape", "_unsafe_view"), _view),
    **{f"reflection_pad{n}d": _pad_like("reflect") for n in (1, 2, 3)},
    **{f"replication_pad{n}d": _pad_like("edge") for n in (1, 2, 3)},
    "arange": jnp.arange,
    "as_strided": _as_strided,
    "cat": _cat,
    "constant_pad_nd": _pad,
    "copy": _copy,
    "cumsum": _cumulative_sum,
    "diagonal": _diagonal,
    "embedding": _embedding,
    "expand": _expand,
    "flip": jnp.flip,
    "full": _full,
    "full_like": _full_like,
    "gather": _gather,
    "getitem": lambda values, i: values[i],
    "index": _index,
    "index_put": _index_put,
    "index_select": lambda x, dim, index: jnp.take(x, index, dim),
    "permute": jnp.transpose,
    "repeat": _repeat,
    "scalar_tensor": _scalar,
    "select": _select,
    "select_scatter": _select_scatter,
    "slice": _slice,
    "slice_scatter": _slice_scatter,
    "sort": _sort,
    "split": _split,
    "split_with_sizes": _split_with_sizes,
    "squeeze": _squeeze,
    "transpose": jnp.swapaxes,
    "unbind": _unbind,
    "unfold": _unfold,
    "unsqueeze": jnp.expand_dims,
}
