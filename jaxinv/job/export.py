"""A finished job as one file: .npz, .npy (the latents alone) or .parquet, written in a stream."""

import zipfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from jaxinv.job import durable
from jaxinv.job.inputs import refuse_replacing_inputs_of
from jaxinv.job.job import Job
from jaxinv.job.retry import results
from jaxinv.outcome.status import Status

ARRAYS = ("latent", "status", "residual", "undetermined", "allowed_error", "failed_layer")
# A fixed date, so that the same results are the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)
GROUP = 1 << 14  # rows of a .parquet file that are written together, at least


def export(job: Job, out: Path) -> None:
    """Write every row's result in order; raises ValueError where shards are missing.

    .npz: latent (B, k), status, residual, undetermined, allowed_error, failed_layer. .npy: latent.
    .parquet: the same columns, status as words. Equal results give equal bytes.
    """
    writers: dict[str, Callable[[Job, IO[bytes]], None]] = {
        ".npz": _npz,
        ".npy": _npy,
        ".parquet": _parquet,
    }
    if out.suffix not in writers:
        raise ValueError(f"{out} ends in {out.suffix!r}; expected one of {sorted(writers)}")
    if not out.parent.is_dir():
        raise ValueError(f"{out}: there is no folder {out.parent}")
    refuse_replacing_inputs_of(job, out)
    durable.replace(out, lambda file: writers[out.suffix](job, file))


def _npy(job: Job, file: IO[bytes]) -> None:
    _array(job, file, "latent")


def _npz(job: Job, file: IO[bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in ARRAYS:
            member = zipfile.ZipInfo(f"{name}.npy", _DATE)
            with archive.open(member, "w", force_zip64=True) as part:
                _array(job, part, name)


def _array(job: Job, file: IO[bytes], name: str) -> None:
    field = job.shards.type[name]
    header = {
        "descr": npy.dtype_to_descr(field.base),
        "fortran_order": False,
        "shape": (job.shards.rows, *field.shape),
    }
    npy.write_array_header_1_0(file, header)
    for rows in results(job):
        file.write(np.ascontiguousarray(rows[name]).tobytes())


def _parquet(job: Job, file: IO[bytes]) -> None:
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise ImportError("writing .parquet needs pyarrow: pip install 'jaxinv[export]'") from error
    writer: Any = None
    for table in _tables(job, arrow):
        writer = writer or parquet.ParquetWriter(file, table.schema)
        writer.write_table(table)
    writer.close()


def _tables(job: Job, arrow: Any) -> Iterator[Any]:
    names = np.array([s.name for s in Status])
    for rows in _groups(job):
        flat = arrow.array(np.ascontiguousarray(rows["latent"]).reshape(-1))
        columns = {"latent": arrow.FixedSizeListArray.from_arrays(flat, rows["latent"].shape[1])}
        columns["status"] = arrow.array(names[rows["status"]])
        for name in ARRAYS[2:]:
            columns[name] = arrow.array(np.ascontiguousarray(rows[name]))
        yield arrow.table(columns)


def _groups(job: Job) -> Iterator[np.ndarray]:
    """The results in order, shards put together until they are GROUP rows or more.

    Each becomes a group of rows in the file, whose description every reader takes into memory.
    """
    waiting: list[np.ndarray] = []
    count = 0
    for rows in results(job):
        waiting.append(rows)
        count += len(rows)
        if count >= GROUP:
            yield np.concatenate(waiting)
            waiting, count = [], 0
    if waiting:
        yield np.concatenate(waiting)
