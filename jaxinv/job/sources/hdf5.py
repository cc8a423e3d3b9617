"""Rows of one HDF5 dataset."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxinv.job.place import Place
from jaxinv.job.sources.rows import Rows, check_shape

try:
    import h5py
except ImportError as error:
    raise ImportError("reading HDF5 needs h5py: pip install 'jaxinv[images]'") from error

LARGEST_CHUNK = 1 << 28  # bytes


@dataclass(frozen=True)
class Hdf5Rows:
    path: Place
    dataset: str
    count: int
    width: int
    dtype: np.dtype

    @property
    def spec(self) -> dict[str, Any]:
        return {"path": str(self.path), "dataset": self.dataset}

    def read(self, start: int, stop: int) -> np.ndarray:
        try:
            with _file(self.path) as file:
                dataset = file[self.dataset]
                rows = dataset[start:stop] if dataset.ndim > 1 else dataset[...][None]
        except (OSError, KeyError, RuntimeError) as error:
            raise ValueError(f"{self.path}, {self.dataset!r} cannot be read: {error}") from None
        return np.asarray(rows).reshape(stop - start, self.width)


def open_hdf5(path: Place, dataset: str | None) -> Rows:
    """The file's only dataset, or the one named; data kept in other files are refused."""
    try:
        with _file(path) as file:
            names: list[str] = []
            file.visititems(lambda name, item: names.append(name) if _is_dataset(item) else None)
            if dataset is None and len(names) != 1:
                raise ValueError(f"{path} holds the datasets {names}; choose one by --dataset")
            name = dataset or names[0]
            # Only what visititems finds is inside this file: it follows no external link.
            if name.strip("/") not in names:
                raise ValueError(f"{path} has no dataset {name!r}; it holds {names}")
            chosen = file[name]
            where = f"{path}, dataset {name!r}"
            if chosen.is_virtual or chosen.external:
                raise ValueError(f"{where} keeps its data in other files; copy them into one")
            chunk = int(np.prod(chosen.chunks or (0,), dtype=object)) * chosen.dtype.itemsize
            if chunk > LARGEST_CHUNK:
                raise ValueError(f"{where} has chunks of {chunk} bytes; rechunk it to less")
            size = check_shape(where, chosen.shape, chosen.dtype)
            return Hdf5Rows(path, name, *size, chosen.dtype)
    except ValueError:
        raise
    except Exception as error:  # h5py raises many kinds for damaged files
        raise ValueError(f"{path} is not a readable HDF5 file: {error}") from None


@contextmanager
def _file(at: Place) -> Iterator[Any]:
    if isinstance(at, Path):
        with h5py.File(at, "r") as file:
            yield file
        return
    with at.open("rb") as stored, h5py.File(stored, "r") as file:
        yield file


def _is_dataset(item: Any) -> bool:
    return isinstance(item, h5py.Dataset)
