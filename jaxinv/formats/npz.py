"""Generators as .npz: arrays W0, b0, W1, ..., and "activations", an array of strings.

"layers", a string of JSON, describes the layers that are no matrices; see `tensors`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxinv.formats.arrays import read_npz
from jaxinv.formats.state_dict import from_state_dict
from jaxinv.formats.tensors import from_tensors, to_tensors
from jaxinv.model.generator import Generator


def load(path: Path, layers: Sequence[str] | None, prefix: str = "") -> Generator:
    arrays = read_npz(path)
    if layers is not None:
        return from_state_dict(str(path), arrays, layers, prefix)
    if "activations" not in arrays:
        raise ValueError(
            f"{path} has no array 'activations'; pass layers=; it holds {sorted(arrays)}"
        )
    names = [str(name) for name in np.atleast_1d(arrays.pop("activations"))]
    described = arrays.pop("layers", None)
    return from_tensors(str(path), arrays, names, None if described is None else str(described))


def save(generator: Generator, path: Path) -> None:
    tensors, names, described = to_tensors(generator)
    extra = {} if described is None else {"layers": np.array(described)}
    with open(path, "wb") as file:
        np.savez(file, allow_pickle=False, activations=np.array(names), **extra, **tensors)
