"""Results as a zarr group, version 3 of the format: one array a name, chunked along the rows."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxinv.job.sinks.results import CREATOR, Results
from jaxinv.outcome.status import Status

try:
    import zarr
except ImportError as error:
    raise ImportError("writing .zarr needs zarr: pip install 'jaxinv[images]'") from error


def write_zarr(results: Results, folder: Path) -> None:
    """One chunk a block; the array of statuses has the words of its numbers as an attribute.

    Every chunk is a file. One that is lost reads as NaN, or as -1, which is no status.
    """
    group = zarr.create_group(
        str(folder), zarr_format=3, overwrite=True, attributes={"creator": CREATOR}
    )
    made: dict[str, Any] = {}
    start = 0
    for block in results.arrays():
        for name, part in block.items():
            if name not in made:
                made[name] = group.create_array(
                    name,
                    shape=(results.rows, *part.shape[1:]),
                    chunks=part.shape,
                    dtype=part.dtype,
                    fill_value=np.nan if part.dtype.kind == "f" else -1,
                    config={"write_empty_chunks": True},
                    attributes=_attributes(name),
                )
            made[name][start : start + len(part)] = part
        start += len(next(iter(block.values())))


def _attributes(name: str) -> dict[str, Any]:
    return {"words": {str(int(s)): s.name for s in Status}} if name == "status" else {}
