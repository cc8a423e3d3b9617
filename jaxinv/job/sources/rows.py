"""What every source of observations can do: say its size, and read a few of its rows."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from uuid import uuid4

import numpy as np
from jaxtyping import Shaped

from jaxinv.job.place import Place, Stored, stored_stamp

# Rows are fingerprinted this many bytes at a time.
BLOCK = 1 << 24


class Rows(Protocol):
    """Rows (count, width) of one dtype; `spec` reopens them elsewhere."""

    @property
    def count(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def spec(self) -> dict[str, Any]: ...

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "B n"]:
        """The rows from start to stop; raises ValueError where they cannot be read."""
        ...


@runtime_checkable
class Rounded(Protocol):
    """Rows whose dtype does not say how exactly they are known; `step` between values does."""

    @property
    def step(self) -> float | None: ...


def fingerprint(rows: Rows) -> str:
    """SHA-256 over shape, dtype and every row: the same whatever the file's format."""
    digest = hashlib.sha256(f"{rows.count} {rows.width} {rows.dtype.str}".encode())
    for block in _blocks(rows):
        digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()


def stamps(at: Place) -> list[list[Any]]:
    """Name, size and time of change of a file, or of every file of a folder."""
    files = _stored_files(at) if isinstance(at, Stored) else _files(at)
    if len(files) > 1:
        digest = hashlib.sha256()
        for name, stamp in files:
            digest.update(repr((name, *stamp)).encode())
        return [[len(files), digest.hexdigest()]]
    return [[name, *stamp] for name, stamp in files]


def check_shape(where: str, shape: tuple[int, ...], dtype: np.dtype) -> tuple[int, int]:
    """(count, width) of an array of real numbers; images (B, ...) become rows, (n,) is one row."""
    if dtype.kind not in "fiub":
        raise ValueError(f"{where} has dtype {dtype}; expected real numbers")
    if len(shape) < 1 or 0 in shape[1:] or (len(shape) == 1 and shape[0] == 0):
        raise ValueError(f"{where} holds an array of shape {shape}; expected (B, n)")
    if len(shape) == 1:
        return 1, int(shape[0])
    return int(shape[0]), int(np.prod(shape[1:], dtype=object))


def _blocks(rows: Rows) -> Iterator[np.ndarray]:
    step = max(1, BLOCK // (rows.width * rows.dtype.itemsize))
    for start in range(0, rows.count, step):
        yield rows.read(start, min(start + step, rows.count))


def _files(path: Path) -> list[tuple[str, tuple[int, int]]]:
    if not path.is_dir():
        return [(path.name, _stamp(path))]
    files = sorted(p for p in path.rglob("*") if p.is_file())
    if len(files) == 1:
        return [(files[0].name, _stamp(files[0]))]
    return [(str(file.relative_to(path)), _stamp(file)) for file in files]


def _stored_files(at: Stored) -> list[tuple[str, tuple[Any, ...]]]:
    facts = at.facts() or {}
    if facts.get("type") != "directory":
        found = {at.name: facts}
    else:
        fs, path = at.store
        found = fs.find(path, detail=True)
    told = [(name, stored_stamp(entry)) for name, entry in sorted(found.items())]
    # A store that says nothing of a file's version: it is never taken for untouched.
    return [(name, (size, mark or uuid4().hex)) for name, (size, mark) in told]


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns
