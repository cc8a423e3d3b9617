"""Rows of one zarr array."""

import json
import math
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxinv.job.place import Place, told
from jaxinv.job.sources.rows import Rows, check_shape

try:
    import zarr
except ImportError as error:
    raise ImportError("reading zarr needs zarr: pip install 'jaxinv[images]'") from error

# 0/1 and 0.1 in version 2, c/0/1 and c.0.1 in version 3: the name behind the last slash.
_CHUNK = re.compile(r"(c\.)?\d+(\.\d+)*")
LARGEST_CHUNK = 1 << 28  # bytes
_METADATA = ("zarr.json", ".zarray")
# Codecs that only transform bytes. "pickle" is one too: it would run code, and others may follow.
_CODECS = {
    *("bytes", "transpose", "sharding_indexed", "crc32c", "crc32", "blosc", "zstd", "gzip"),
    *("zlib", "lz4", "bz2", "lzma", "shuffle", "delta", "adler32"),
}


@dataclass(frozen=True)
class ZarrRows:
    path: Place
    dataset: str | None
    count: int
    width: int
    dtype: np.dtype

    @property
    def spec(self) -> dict[str, Any]:
        return {"path": str(self.path), "dataset": self.dataset}

    def read(self, start: int, stop: int) -> np.ndarray:
        try:
            array = _open(self.path, self.dataset)
            rows = array[start:stop] if array.ndim > 1 else array[:][None]
        except Exception as error:  # codecs raise their own kinds
            raise ValueError(f"{self.path} cannot be read: {error}") from None
        return np.asarray(rows).reshape(stop - start, self.width)


def open_zarr(path: Place, dataset: str | None) -> Rows:
    """The array at the path, or the one named inside a group.

    A chunk that has no file is all fill value, or lost. Nothing says which, so that it is told in a
    warning, unless the fill value is NaN, which is no observation.
    """
    where = f"{path}, array {dataset!r}" if dataset else str(path)
    folder = path / dataset if dataset else path
    if not path.is_dir() or not _inside(path, folder):
        raise ValueError(f"{where} is not a folder of a zarr array")
    _check_metadata(where, folder)
    try:
        array = _open(path, dataset)
        shape, dtype, chunks = array.shape, np.dtype(array.dtype), array.chunks
        # Of chunks that are put together in shards, a shard is the file.
        cut = zip(shape, array.shards or chunks, strict=True)
        fill, files = array.fill_value, math.prod(-(-size // part) for size, part in cut)
    except Exception as error:  # zarr raises many kinds for damaged metadata
        raise ValueError(f"{where} is not a readable zarr array: {error}") from None
    chunk = int(np.prod(chunks, dtype=object)) * dtype.itemsize
    if chunk > LARGEST_CHUNK:
        raise ValueError(f"{where} has chunks of {chunk} bytes; rechunk it to less")
    size = check_shape(where, shape, dtype)
    fill = 0 if fill is None else fill  # which version 2 may leave open, and zarr reads so
    # zarr can count them as well, by looking each up in a list of all.
    lacking = files - _stored_chunks(folder)
    if lacking > 0 and fill == fill:
        warnings.warn(
            f"{where} lacks {lacking} of {files} files of chunks; they are read as {fill}, its "
            "fill value. Where that is not what was written, they are lost: write the array again",
            stacklevel=2,
        )
    return ZarrRows(path, dataset, *size, dtype)


def _stored_chunks(folder: Place) -> int:
    """How many files of chunks there are."""
    if isinstance(folder, Path):
        names = [entry.name for entry in folder.rglob("*") if entry.is_file()]
    else:
        fs, path = folder.store
        with told(folder.url, "listed"):
            names = [Path(name).name for name in fs.find(path)]
    return sum(_CHUNK.fullmatch(name) is not None for name in names)


def _open(path: Place, dataset: str | None) -> Any:
    return zarr.open_array(str(path), mode="r", path=dataset or "")


def _inside(path: Place, folder: Place) -> bool:
    if isinstance(path, Path) and isinstance(folder, Path):
        return folder.resolve().is_relative_to(path.resolve())
    return ".." not in str(folder).split("/")


def _check_metadata(where: str, folder: Place) -> None:
    """Refuse codecs that are not known to be harmless, before zarr sees the file."""
    found = next((folder / name for name in _METADATA if (folder / name).is_file()), None)
    if found is None:
        raise ValueError(f"{where} has no {' or '.join(_METADATA)}; choose an array by --dataset")
    try:
        metadata = json.loads(found.read_text())
        codecs, group = _codecs(metadata), metadata.get("node_type") == "group"
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{found} is not zarr metadata: {error}") from None
    if group:
        raise ValueError(f"{where} is a zarr group; choose one of its arrays by --dataset")
    refused = sorted(codecs - _CODECS)
    if refused:
        raise ValueError(f"{where} is encoded with {refused}; codecs read are {sorted(_CODECS)}")


def _codecs(metadata: dict[str, Any]) -> set[str]:
    entries = [*(metadata.get("codecs") or []), *(metadata.get("filters") or [])]
    entries += [metadata["compressor"]] if metadata.get("compressor") else []
    names = set()
    for entry in entries:
        names.add(str(entry.get("id", entry.get("name"))))
        names |= _codecs(entry.get("configuration") or {})
    return names
