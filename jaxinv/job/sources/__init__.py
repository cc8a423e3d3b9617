"""Observations from where they lie, a few rows at a time: one file a format."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxinv.job.sources import arrays, images, subset
from jaxinv.job.sources.rows import Rows

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


def open_rows(path: str | Path, dataset: str | None = None, pixels: str = "unit") -> Rows:
    """Open a file or folder of observations without reading them.

    .npy; .npz (one array, or the one named by `dataset`, or "observations"); .h5 and .hdf5; .zarr;
    a folder of images, whose pixels become [0, 1] ("unit") or [-1, 1] ("signed"). Raises ValueError
    where the file is damaged, holds no row, or anything but rows of real numbers.
    """
    rows = _opened(Path(path), dataset, pixels)
    if rows.count < 1:
        raise ValueError(f"{path} holds no rows; expected at least one")
    return rows


def _opened(path: Path, dataset: str | None, pixels: str) -> Rows:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a file or folder of observations")
    if path.suffix == ".npy":
        return arrays.open_npy(path)
    if path.suffix == ".npz":
        return arrays.open_npz(path, dataset)
    if path.suffix in _HDF5:
        # h5py and zarr are extras, imported when such a file comes.
        from jaxinv.job.sources import hdf5

        return hdf5.open_hdf5(path, dataset)
    if path.suffix == ".zarr" or (path / "zarr.json").exists() or (path / ".zarray").exists():
        from jaxinv.job.sources import zarr

        return zarr.open_zarr(path, dataset)
    if path.is_dir():
        return images.open_folder(path, pixels)
    raise ValueError(
        f"{path} ends in {path.suffix!r}; expected .npy, .npz, .h5, .hdf5, .zarr or a folder"
    )


def precision_of(rows: Rows, stated: str | float | None) -> str | float | None:
    """What is stated, or else the step between two values where the source knows it.

    None where the dtype says it all.
    """
    if stated is not None:
        return stated
    whole = rows.whole if isinstance(rows, subset.SubsetRows) else rows
    return whole.step if isinstance(whole, images.ImageRows) else None


def open_mask(path: str | Path, rows: int, width: int, dataset: str | None = None) -> Rows:
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


def open_start(path: str | Path, rows: int, k: int) -> Rows:
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
