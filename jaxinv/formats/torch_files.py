"""State dicts out of .pt files nobody vouches for: what they name and promise is checked first."""

import pickletools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jaxinv.formats.pickled import read_pickled

# What the pickle inside a state dict may name. Anything else is an object, and objects run code.
_NAMES = {
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "collections OrderedDict",
}
_STORAGES = {f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long")}
_INNER = ("state_dict", "model_state_dict")


def state_dict(path: Path) -> dict[str, np.ndarray]:
    """Tensors by name; the file's promises are checked before any memory is taken."""
    if not zipfile.is_zipfile(path):  # PyTorch before 1.6, or no such file
        held = _tensors(path, read_pickled(path), np.ndarray)
        promised = sum(values.nbytes for values in held.values())
        _check_promise(path, promised)
        return {name: np.array(values, np.float64) for name, values in held.items()}
    _check_archive(path)
    try:
        # On the meta device nothing is read: what the tensors would take is known first.
        meta = torch.load(path, map_location="meta", weights_only=True)
        planned = _tensors(path, meta, torch.Tensor)
        _check_promise(path, sum(t.numel() * t.element_size() for t in planned.values()))
        whole = torch.load(path, map_location="cpu", weights_only=True)
        loaded = _tensors(path, whole, torch.Tensor)
    except ValueError:
        raise
    except Exception as error:  # torch raises many kinds for damaged archives
        raise ValueError(f"{path} is not a readable state dict: {error}") from None
    return {name: t.detach().to(torch.float64).numpy() for name, t in loaded.items()}


def _check_promise(path: Path, promised: int) -> None:
    if promised > path.stat().st_size:
        raise ValueError(f"{path} promises {promised} bytes of tensors, more than it holds")


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            stored = all(m.compress_type == zipfile.ZIP_STORED for m in members)
            if not stored or sum(m.file_size for m in members) > path.stat().st_size:
                raise ValueError(f"{path} is compressed or damaged; torch.save stores plainly")
            pickles = [m for m in members if m.filename.endswith("data.pkl")]
            names = {n for m in pickles for n in _pickled_names(archive.read(m))}
    except ValueError as error:
        raise ValueError(f"{path}: {error}" if str(path) not in str(error) else error) from None
    except Exception as error:
        raise ValueError(f"{path} is not a file of torch.save: {error}") from None
    refused = sorted(names - _NAMES - _STORAGES)
    if refused:
        raise ValueError(
            f"{path} holds {refused[0].replace(' ', '.')}, which is not a plain tensor and could "
            "run code when loaded; save module.state_dict() and pass layers="
        )


def _pickled_names(data: bytes) -> set[str]:
    """The globals a pickle names, by reading its opcodes; nothing is executed."""
    found = set()
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name == "GLOBAL":
            found.add(str(argument))
        elif opcode.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
            found.add(f"the pickle opcode {opcode.name}")
    return found


def _tensors(path: Path, loaded: Any, kind: type) -> dict[str, Any]:
    if isinstance(loaded, dict):
        inner = next((loaded[key] for key in _INNER if isinstance(loaded.get(key), dict)), loaded)
        if inner and all(isinstance(n, str) and isinstance(t, kind) for n, t in inner.items()):
            return inner
    raise ValueError(f"{path} does not hold a state dict (tensors by name)")
