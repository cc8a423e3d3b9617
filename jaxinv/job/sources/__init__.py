"""Observations from where they lie, a few rows at a time: one file a format."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxinv.job.place import Place, place
from jaxinv.job.sources import arrays, images, subset
from jaxinv.job.sources.rows import Rounded, Rows

__all__ = [
    "Rows",
    "open_mask",
    "open_rows",
    "open_start",
    "precision_of",
    "reopen",
    "starting_points",
]

_HDF5 = (".h5", ".hdf5")
_IPC = (".arrow", ".feather")


def open_rows(path: str | Place, dataset: str | None = None, pixels: str = "unit") -> Rows:
    """Open a file or folder of observations, or one at a URL that fsspec knows, without reading it.

    .npy; .npz (one array, or the one named by `dataset`, or "observations"); .h5 and .hdf5; .zarr;
    .parquet, .arrow and .feather (a column of lists or tensors of one length, named by `dataset` or
    the only one; or columns of numbers, all or those of a pattern such as "pixel*"; null is NaN);
    a folder of images, whose pixels become [0, 1] ("unit") or [-1, 1] ("signed"). Raises ValueError
    where the file is damaged, holds no row, or anything but rows of real numbers.
    """
    rows = _opened(place(path), dataset, pixels)
    if rows.count < 1:
        raise ValueError(f"{path} holds no rows; expected at least one")
    return rows


def _opened(path: Place, dataset: str | None, pixels: str) -> Rows:
    if not path.exists():
        reached = "" if isinstance(path, Path) else " or cannot be reached"
        raise FileNotFoundError(
            f"{path} does not exist{reached}; expected a file or folder of observations"
        )
    if path.suffix == ".npy":
        return arrays.open_npy(path)
    if path.suffix == ".npz":
        return arrays.open_npz(path, dataset)
    if path.suffix in _HDF5:
        # h5py, pyarrow and zarr are extras, imported when such a file comes.
        from jaxinv.job.sources import hdf5

        return hdf5.open_hdf5(path, dataset)
    if path.suffix in (".parquet", *_IPC):
        if path.is_dir():
            raise ValueError(f"{path} is a folder; give one of its files")
        from jaxinv.job.sources import arrow

        return (arrow.open_ipc if path.suffix in _IPC else arrow.open_parquet)(path, dataset)
    if path.suffix == ".zarr" or (path / "zarr.json").exists() or (path / ".zarray").exists():
        from jaxinv.job.sources import zarr

        return zarr.open_zarr(path, dataset)
    if path.is_dir():
        return images.open_folder(path, pixels)
    raise ValueError(
        f"{path} ends in {path.suffix!r}; expected .npy, .npz, .h5, .hdf5, .zarr, .parquet, "
        ".arrow, .feather or a folder of images"
    )


def precision_of(rows: Rows, stated: str | float | None) -> str | float | None:
    """What is stated, or else the step between two values where the source knows it.

    None where the dtype says it all.
    """
    if stated is not None:
        return stated
    whole = rows.whole if isinstance(rows, subset.SubsetRows) else rows
    return whole.step if isinstance(whole, Rounded) else None


def open_mask(path: str | Place, rows: int, width: int, dataset: str | None = None) -> Rows:
    """Open a mask (n,) or (B, n) of booleans, True where observed, that fits the observations."""
    mask = open_rows(path, dataset)
    if mask.dtype != np.dtype(bool):
        raise ValueError(f"{path} has dtype {mask.dtype}; expected bool, True where observed")
    if mask.width != width or mask.count not in (1, rows):
        raise ValueError(
            f"{path} has shape ({mask.count}, {mask.width}); "
            f"expected ({width},) or ({rows}, {width})"
        )
    return mask


def open_start(path: str | Place, rows: int, k: int) -> Rows:
    """Open starting points (k,), (B, k) or (B, s, k), B the number of observations."""
    start = open_rows(path)
    if start.width % k or start.count not in (1, rows):
        raise ValueError(
            f"{path} holds {start.count} rows of {start.width} numbers; expected starting points "
            f"of shape ({k},), ({rows}, {k}) or ({rows}, s, {k})"
        )
    return start


def starting_points(start: Rows, first: int, last: int, k: int) -> Float[np.ndarray, "B s k"]:
    """Those of the observations from first to last."""
    rows = start.read(0, 1) if start.count == 1 else start.read(first, last)
    return np.broadcast_to(rows, (last - first, start.width)).reshape(last - first, -1, k)


def reopen(spec: dict[str, Any]) -> Rows:
    """Open what `Rows.spec` describes."""
    whole = open_rows(**{name: value for name, value in spec.items() if name != "index"})
    return subset.open_subset(whole, Path(spec["index"])) if "index" in spec else whole
