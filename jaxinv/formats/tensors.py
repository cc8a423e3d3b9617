"""The names that every file of a generator uses: W0, b0, W1, b1, ..., b absent where zero.

A layer that is no matrix is described by one entry of a JSON list, null for the others:

    {"kind": "transposed convolution", "input_shape": [8, 7, 7], "stride": [2, 2], ...}    kernel W0
    {"kind": "separable", "input_shape": [8, 7, 7]}                   a matrix an axis: W0.0, W0.1
    {"kind": "scaling", "input_shape": [8, 7, 7]}                     its entries: W0
    {"kind": "rearrangement", "input_shape": ..., "split": ..., "order": ..., "output_shape": ...}
    {"kind": "composition", "maps": [{...}, {"kind": "dense"}]}       arrays W0.0, W0.1, ...

and its bias is saved as one number a channel where it is constant on each. What a file says is
checked before memory is taken for it.
"""

import json
from collections.abc import Mapping
from itertools import pairwise
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinv.formats.folding import LARGEST_VALUE, check_size
from jaxinv.model.generator import Generator
from jaxinv.model.layer import kind
from jaxinv.model.linear.composed import Composition, Scaling, scaling
from jaxinv.model.linear.convolution import Convolution, TransposedConvolution
from jaxinv.model.linear.dense import Dense
from jaxinv.model.linear.map import LinearMap, per_channel
from jaxinv.model.linear.resampling import Rearrangement, Separable, separable

MOST_MAPS, MOST_AXES = 64, 8
_KERNELS: dict[str, Any] = {
    "convolution": Convolution,
    "transposed convolution": TransposedConvolution,
}
_SPACES = ("stride", "padding", "dilation")

Tensors = Mapping[str, np.ndarray]


def from_tensors(
    source: str, tensors: Tensors, activations: list[str], described: str | None = None
) -> Generator:
    """Build the generator, naming the source in whatever does not fit."""
    depth = len(activations)
    entries = [None] * depth if described is None else _entries(source, described, depth)
    known = {f"b{i}" for i in range(depth)}
    for i, entry in enumerate(entries):
        known |= {f"W{i}"} if entry is None else _names(f"{source}, layer {i + 1}", f"W{i}", entry)
    missing = sorted(name for name in known - set(tensors) if not name.startswith("b"))
    unknown = sorted(set(tensors) - known)
    if missing or unknown:
        raise ValueError(
            f"{source} names {depth} activations, for which W0 to W{depth - 1} are expected; "
            f"missing {missing or 'none'}, not understood {unknown or 'none'}"
        )
    weights = [
        tensors[f"W{i}"]
        if entry is None
        else _map(f"{source}, layer {i + 1}", tensors, f"W{i}", entry)
        for i, entry in enumerate(entries)
    ]
    try:
        return Generator.from_layers(
            (weights[i], tensors.get(f"b{i}"), name) for i, name in enumerate(activations)
        )
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def to_tensors(generator: Generator) -> tuple[dict[str, np.ndarray], list[str], str | None]:
    """Arrays by name, activations, and the description of the layers where not all are dense."""
    tensors: dict[str, np.ndarray] = {}
    entries: list[dict[str, Any] | None] = []
    for i, layer in enumerate(generator.layers):
        entry = _described(layer.linear, f"W{i}", tensors)
        entries.append(None if layer.is_dense else entry)
        bias = np.asarray(layer.bias)
        if bias.any():
            channels = None if layer.is_dense else per_channel(bias, layer.linear.output_shape)
            tensors[f"b{i}"] = bias if channels is None else channels.copy()
    described = None if generator.is_dense else json.dumps(entries)
    return tensors, [str(layer.activation) for layer in generator.layers], described


def _described(linear: LinearMap, name: str, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """The entry that describes a map, whose arrays are added under `name`."""
    entry: dict[str, Any] = {"kind": kind(linear), "input_shape": linear.input_shape}
    if isinstance(linear, Dense):
        tensors[name] = np.asarray(linear.weight)
        return {"kind": "dense"}
    if isinstance(linear, Composition):
        parts = enumerate(linear.maps)
        maps = [_described(part, f"{name}.{i}", tensors) for i, part in parts]
        return {"kind": "composition", "maps": maps}
    if isinstance(linear, Convolution | TransposedConvolution):
        tensors[name] = np.asarray(linear.kernel)
        entry |= {space: getattr(linear, space) for space in (*_SPACES, "groups")}
        if isinstance(linear, TransposedConvolution):
            entry["output_padding"] = linear.output_padding
    elif isinstance(linear, Separable):
        tensors |= {f"{name}.{i}": np.asarray(matrix) for i, matrix in enumerate(linear.along)}
    elif isinstance(linear, Scaling):
        tensors[name] = np.asarray(linear.factor)
    elif isinstance(linear, Rearrangement):
        rest = ("split", "order", "output_shape")
        entry |= {name: getattr(linear, name) for name in rest}
    else:
        raise ValueError(f"a {kind(linear)} cannot be saved")
    return entry


def _entries(source: str, described: str, depth: int) -> list[Any]:
    try:
        entries = json.loads(described)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{source}: 'layers' is not JSON ({error})") from None
    if not isinstance(entries, list) or len(entries) != depth:
        raise ValueError(f"{source}: 'layers' must list {depth} layers, null for a matrix")
    return entries


def _names(where: str, name: str, entry: Any, within: bool = False) -> set[str]:
    """The arrays that an entry needs."""
    kinds = ("composition", "separable", "scaling", "rearrangement", *_KERNELS)
    if not isinstance(entry, dict) or entry.get("kind") not in (*kinds, *["dense"] * within):
        raise ValueError(f"{where}: {str(entry)[:80]!r} is none of the kinds {kinds}")
    if entry["kind"] == "composition":
        maps = entry.get("maps")
        if within or not isinstance(maps, list) or not 1 <= len(maps) <= MOST_MAPS:
            raise ValueError(f"{where}: a composition has 1 to {MOST_MAPS} maps, none composed")
        return {n for i, part in enumerate(maps) for n in _names(where, f"{name}.{i}", part, True)}
    if entry["kind"] == "separable":
        axes = len(_whole(where, entry, "input_shape", least=1)) - 1
        return {f"{name}.{i}" for i in range(axes)}
    return set() if entry["kind"] == "rearrangement" else {name}


def _map(where: str, tensors: Tensors, name: str, entry: dict[str, Any]) -> LinearMap:
    """The map of an entry that `_names` has seen."""
    what = f"{where}, {entry['kind']}"
    if entry["kind"] == "composition":
        parts = enumerate(entry["maps"])
        maps = tuple(_map(where, tensors, f"{name}.{i}", part) for i, part in parts)
        for before, after in pairwise(maps):
            if before.width != after.width_in:
                raise ValueError(f"{what}: {before.width} values for a map of {after.width_in}")
        return Composition(maps)
    shape = () if entry["kind"] == "dense" else _whole(where, entry, "input_shape", least=1)
    try:
        linear = _built(where, tensors, name, entry, shape)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None
    check_size(what, linear)
    return linear


def _built(
    where: str, tensors: Tensors, name: str, entry: dict[str, Any], shape: tuple[int, ...]
) -> LinearMap:
    if entry["kind"] == "rearrangement":
        split, order, out = (
            _whole(where, entry, part, least=part != "order")
            for part in ("split", "order", "output_shape")
        )
        if {prod(shape), prod(split), prod(out)} != {prod(shape)}:
            raise ValueError(f"{shape}, {split} and {out} are not as many values")
        if sorted(order) != list(range(len(split))):
            raise ValueError(f"{order} is no order of {len(split)} axes")
        return Rearrangement(shape, split, order, out)
    if entry["kind"] == "separable":
        along = [_numbers(tensors[f"{name}.{i}"]) for i in range(len(shape) - 1)]
        if not along or any(matrix.ndim != 2 or 0 in matrix.shape for matrix in along):
            raise ValueError("it needs one matrix an axis")
        return separable(along, shape)
    values = _numbers(tensors[name])
    if entry["kind"] == "scaling":
        if values.shape != (prod(shape),):
            raise ValueError(f"{values.shape} factors for values of shape {shape}")
        return scaling(values, shape)
    if entry["kind"] == "dense":
        if values.ndim != 2 or 0 in values.shape:
            raise ValueError(f"a matrix has shape {values.shape}")
        with jax.enable_x64(True):
            return Dense(jnp.asarray(values))
    spaces = {space: _whole(where, entry, space, least=space != "padding") for space in _SPACES}
    if entry["kind"] == "transposed convolution":
        spaces["output_padding"] = _whole(where, entry, "output_padding", least=0)
    (groups,) = _whole(where, {"groups": [entry.get("groups")]}, "groups", least=1)
    return _KERNELS[entry["kind"]](values, shape, groups=groups, **spaces)


def _numbers(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "fiu" and values.dtype.name != "bfloat16":
        raise ValueError(f"an array of {values.dtype} holds no real numbers")
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError("an array holds NaN or infinity")
    return numbers


def _whole(where: str, entry: dict[str, Any], name: str, least: int) -> tuple[int, ...]:
    """A list of whole numbers, each from `least` to the largest that an image can need."""
    given = entry.get(name)
    if (
        not isinstance(given, list)
        or not 1 <= len(given) <= MOST_AXES
        or not all(type(n) is int and int(least) <= n <= LARGEST_VALUE for n in given)
    ):
        raise ValueError(
            f"{where}: {name} is {str(given)[:80]}; expected 1 to {MOST_AXES} whole numbers"
        )
    return tuple(given)
