"""Generators as .safetensors: tensors W0, b0, W1, ..., and metadata "activations", a JSON list.

The metadata's "layers", JSON as well, describes the layers that are no matrices; see `tensors`.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as encode

from jaxinv.formats.state_dict import from_state_dict
from jaxinv.formats.tensors import from_tensors, to_tensors
from jaxinv.model.generator import Generator


def load(path: Path, layers: Sequence[str] | None, prefix: str = "") -> Generator:
    tensors: dict[str, np.ndarray] = {}
    try:
        # The library checks the header's length and every offset against the file's size.
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            for name in file.keys():  # noqa: SIM118 - not a mapping
                tensors[name] = file.get_tensor(name)
    except (SafetensorError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a readable .safetensors file: {error}") from None
    if layers is not None:
        return from_state_dict(str(path), tensors, layers, prefix)
    try:
        names = json.loads(metadata["activations"])
    except KeyError:
        raise ValueError(
            f"{path} has no metadata entry 'activations'; pass layers=[\"relu\", ...]"
        ) from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: metadata 'activations' is not JSON ({error})") from None
    if not isinstance(names, list):
        raise ValueError(f"{path}: metadata 'activations' is {names!r}; expected a JSON list")
    return from_tensors(str(path), tensors, names, metadata.get("layers"))


def save(generator: Generator, path: Path) -> None:
    path.write_bytes(encoded(generator))


def encoded(generator: Generator) -> bytes:
    """The bytes of the file."""
    tensors, names, described = to_tensors(generator)
    metadata = {"format": "jaxinv", "activations": json.dumps(names)}
    return encode(tensors, metadata if described is None else metadata | {"layers": described})
