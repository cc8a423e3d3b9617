"""A finished job as one file or zarr group, here or in a store, written in a stream."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from jaxinv.job import sinks
from jaxinv.job.inputs import refuse_replacing_inputs_of
from jaxinv.job.job import Job
from jaxinv.job.place import Place, place
from jaxinv.job.retry import results
from jaxinv.outcome.status import Status
from jaxinv.outcome.table import arrow_table

ARRAYS = ("latent", "status", "residual", "undetermined", "allowed_error", "failed_layer")
# Rows that are written together: a group of a .parquet file, whose description every reader takes
# into memory, a chunk of a .zarr array.
GROUP, GROUP_BYTES = 1 << 14, 1 << 26
_OK = [int(s) for s in Status if s.ok]
_EXPLAINED = [int(Status.SOLVED), int(Status.UNDERDETERMINED)]


def export(job: Job, out: str | Place) -> None:
    """Write every row's result in order, to a path or a URL; ValueError where shards are missing.

    .npz, .zarr (version 3): latent (B, k), status, residual, undetermined, allowed_error,
    failed_layer. .npy: latent. .parquet, .arrow, .feather: the same columns and `ok` and
    `explained`, named as in `Inversion.to_arrow`, status as words. Equal results give equal bytes.
    """
    out = place(out)
    sinks.check(out)
    refuse_replacing_inputs_of(job, out)
    found = sinks.Results(job.shards.rows, partial(_arrays, job), partial(_tables, job))
    sinks.write(found, out, job.folder)


def _arrays(job: Job) -> Iterator[dict[str, np.ndarray]]:
    for rows in _groups(job):
        yield {name: rows[name] for name in ARRAYS}


def _tables(job: Job) -> Iterator[object]:
    for columns in _arrays(job):
        status = columns["status"]
        told = {"ok": np.isin(status, _OK), "explained": np.isin(status, _EXPLAINED)}
        named = {name: columns[name] for name in ("latent", "status")} | told | columns
        # As wide as an inversion's, so that tables of both can be put under each other.
        named["undetermined"] = columns["undetermined"].astype(np.int64)
        yield arrow_table({n: np.ascontiguousarray(part) for n, part in named.items()})


def _groups(job: Job) -> Iterator[np.ndarray]:
    """The results in order, shards put together and cut to groups of one length."""
    length = max(1, min(GROUP, GROUP_BYTES // job.shards.type.itemsize))
    waiting: list[np.ndarray] = []
    count = 0
    for rows in results(job):
        waiting.append(rows)
        count += len(rows)
        if count < length:
            continue
        whole = np.concatenate(waiting)
        cut = count - count % length
        yield from np.split(whole[:cut], range(length, cut, length))
        waiting, count = [whole[cut:]], count - cut
    if count:
        yield np.concatenate(waiting)
