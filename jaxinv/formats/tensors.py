"""The names that every file of a generator uses: W0, b0, W1, b1, ..., b absent where zero."""

from collections.abc import Mapping

import numpy as np

from jaxinv.model.generator import Generator


def from_tensors(
    source: str, tensors: Mapping[str, np.ndarray], activations: list[str]
) -> Generator:
    """Build the generator, naming the source in whatever does not fit."""
    depth = len(activations)
    known = {f"{kind}{i}" for kind in "Wb" for i in range(depth)}
    missing = [f"W{i}" for i in range(depth) if f"W{i}" not in tensors]
    unknown = sorted(set(tensors) - known)
    if missing or unknown:
        raise ValueError(
            f"{source} names {depth} activations, for which W0 to W{depth - 1} are expected; "
            f"missing {missing or 'none'}, not understood {unknown or 'none'}"
        )
    try:
        return Generator.from_layers(
            (tensors[f"W{i}"], tensors.get(f"b{i}"), name) for i, name in enumerate(activations)
        )
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def to_tensors(generator: Generator) -> tuple[dict[str, np.ndarray], list[str]]:
    tensors: dict[str, np.ndarray] = {}
    for i, layer in enumerate(generator.layers):
        tensors[f"W{i}"] = np.asarray(layer.weight)
        if np.asarray(layer.bias).any():
            tensors[f"b{i}"] = np.asarray(layer.bias)
    return tensors, [str(layer.activation) for layer in generator.layers]
