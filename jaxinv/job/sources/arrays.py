"""Rows of .npy and .npz files: read where they lie, never loaded whole.

The bytes are read rather than memory-mapped: a file that shrinks while it is mapped kills the
process, and mapped pages count as memory.
"""

import threading
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from jaxinv.formats.arrays import (
    LARGEST_EXPANSION,
    Layout,
    check_member,
    read_header,
    whole_layout,
)
from jaxinv.job.place import Place, byte_size, read_spans
from jaxinv.job.sources.rows import Rows, check_shape

_LOCAL_HEADER = 30


@dataclass(frozen=True)
class StoredRows:
    """Rows that lie uncompressed in a file."""

    path: Place
    layout: Layout
    count: int
    width: int
    dataset: str | None = None

    @property
    def dtype(self) -> np.dtype:
        return self.layout.dtype

    @property
    def spec(self) -> dict[str, Any]:
        return {"path": str(self.path), "dataset": self.dataset}

    def read(self, start: int, stop: int) -> np.ndarray:
        if not self.layout.fortran:
            (block,) = self._pieces([start * self.width], (stop - start) * self.width)
            return block.reshape(stop - start, self.width)
        # Each of a Fortran array's columns is contiguous; axes behind the first are flattened
        # as C does.
        axes = self.layout.shape[1:]
        columns = np.arange(self.width).reshape(axes, order="F").reshape(-1)
        offsets = [int(column) * self.count + start for column in columns]
        return np.stack(self._pieces(offsets, stop - start), axis=1)

    def _pieces(self, offsets: list[int], entries: int) -> list[np.ndarray]:
        """So many entries from each of these on."""
        begins = [self.layout.start + offset * self.dtype.itemsize for offset in offsets]
        size = entries * self.dtype.itemsize
        pieces = read_spans(self.path, [(begin, begin + size) for begin in begins])
        if any(len(piece) != size for piece in pieces):
            raise ValueError(f"{self.path} ends too early; it was truncated")
        return [np.frombuffer(piece, self.dtype) for piece in pieces]


@dataclass
class DeflatedRows:
    """Rows of a compressed .npz member, decompressed from the front and never held whole.

    Each thread has its own place in the file: a job's threads read forwards, and reading
    backwards begins anew.
    """

    path: Place
    member: str
    layout: Layout
    count: int
    width: int
    _local: threading.local = field(default_factory=threading.local)

    @property
    def dtype(self) -> np.dtype:
        return self.layout.dtype

    @property
    def spec(self) -> dict[str, Any]:
        return {"path": str(self.path), "dataset": self.member.removesuffix(".npy")}

    def read(self, start: int, stop: int) -> np.ndarray:
        row = self.width * self.dtype.itemsize
        try:
            if not hasattr(self._local, "stream"):
                path = self.path
                archive = zipfile.ZipFile(path if isinstance(path, Path) else path.open())
                self._local.stream = archive.open(self.member)
            self._local.stream.seek(self.layout.start + start * row)
            data = self._local.stream.read((stop - start) * row)
        except Exception as error:  # zipfile, zlib and stores raise their own kinds
            raise ValueError(f"{self.path} cannot be decompressed: {error}") from None
        if len(data) != (stop - start) * row:
            raise ValueError(f"{self.path} ends too early; it was truncated")
        return np.frombuffer(data, self.dtype).reshape(stop - start, self.width)


def open_npy(path: Place) -> Rows:
    with path.open("rb") as file:
        layout = whole_layout(file, byte_size(path), str(path))
    return StoredRows(path, layout, *check_shape(str(path), layout.shape, layout.dtype))


def open_npz(path: Place, dataset: str | None) -> Rows:
    try:
        with path.open("rb") as stored, zipfile.ZipFile(stored) as archive:
            member = _chosen(path, archive, dataset)
            where = f"{path}, array {member.filename[:-4]!r}"
            if member.file_size > LARGEST_EXPANSION * max(member.compress_size, 1):
                raise ValueError(f"{where} promises {member.file_size} bytes; it is damaged")
            with archive.open(member) as file:
                layout = read_header(file, where)
            check_member(where, member, layout)
            size = check_shape(where, layout.shape, layout.dtype)
            name = member.filename.removesuffix(".npy")
            if member.compress_type != zipfile.ZIP_STORED:
                if layout.fortran and len(layout.shape) > 1:
                    raise ValueError(f"{where} is compressed in Fortran order; save it in C order")
                return DeflatedRows(path, member.filename, layout, *size)
            begin = _data_start(path, stored, member)
            return StoredRows(path, layout._replace(start=begin + layout.start), *size, name)
    except ValueError:
        raise
    except Exception as error:  # zipfile raises many kinds for damaged archives
        raise ValueError(f"{path} is not a readable .npz file: {error}") from None


def _chosen(path: Place, archive: zipfile.ZipFile, dataset: str | None) -> zipfile.ZipInfo:
    members = {m.filename[:-4]: m for m in archive.infolist() if m.filename.endswith(".npy")}
    name = dataset or ("observations" if "observations" in members else None)
    if name is None and len(members) == 1:
        return next(iter(members.values()))
    if name not in members:
        raise ValueError(
            f"{path} holds {sorted(members)}; expected one array, one named 'observations', "
            "or one chosen by --dataset"
        )
    return members[name]


def _data_start(path: Place, file: IO[bytes], member: zipfile.ZipInfo) -> int:
    """Where a stored member's bytes begin: behind its local header, whose extras have a length."""
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER)
    name, extra = (int.from_bytes(header[i : i + 2], "little") for i in (26, 28))
    start = member.header_offset + _LOCAL_HEADER + name + extra
    if start + member.file_size > byte_size(path):
        raise ValueError(f"{path} ends too early; it was truncated")
    return start
