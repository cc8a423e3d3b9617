"""Rows that were not solved, tried again as jobs of their own: retry-001, retry-002, ...

A retry lies inside the directory of the job it belongs to and has a manifest and shards like any
other; what it found takes a row's place where it is better. Nothing committed is changed.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxinv.formats.arrays import read_npy
from jaxinv.job import durable, settings
from jaxinv.job.job import Job
from jaxinv.job.manifest import Input
from jaxinv.job.sources.subset import open_subset
from jaxinv.outcome.status import Status
from jaxinv.settings import Method, resolve

INDEX = "rows.npy"
# What no further attempt is made at.
SETTLED = tuple(status for status in Status if status.ok or status is Status.BAD_INPUT)


def retries(job: Job) -> list[Job]:
    """The retries begun so far, oldest first."""
    return [
        Job.open(p.parent, job.allow_code) for p in sorted(job.folder.glob("retry-*/manifest.json"))
    ]


def results(job: Job) -> Iterator[np.ndarray]:
    """Every shard's rows in order, each row as its last successful attempt left it."""
    job.shards.refuse_missing()
    return (rows for _, rows in so_far(job))


def so_far(job: Job) -> Iterator[tuple[int, np.ndarray]]:
    """The same of the shards that are committed, each with the number of its first row."""
    attempts = [(a, read_npy(a.folder / INDEX)) for a in retries(job) if not a.shards.missing()]
    for number in job.shards.committed():
        rows, (start, stop) = job.shards.read(number), job.shards.span(number)
        for attempt, index in attempts:
            low, high = np.searchsorted(index, [start, stop])
            if high > low:
                _take_better(rows, index[low:high] - start, attempt.shards.between(low, high))
        yield start, rows


def open_retry(job: Job, method: str | Method | None, seed: int | None) -> Job | None:
    """The retry that is not finished, or a new one of the rows not solved; None without such rows.

    method, seed: of the new attempt, None for the job's own. Rows of bad input are left out. A
    retry with the method and seed of the job itself is refused: it would find the same.
    """
    before = retries(job)
    if before and before[-1].shards.missing():
        return before[-1]
    record = job.manifest.method if method is None else settings.to_record(resolve(method))
    wanted_seed = job.manifest.seed if seed is None else seed
    for attempt in (job, *before):
        if (attempt.manifest.method, attempt.manifest.seed) == (record, wanted_seed):
            raise ValueError(
                f"{attempt.folder} has tried {record['name']} with seed {wanted_seed} already and "
                "would find the same again; choose another --method or --seed"
            )
    numbers = _unsolved(job)
    if not len(numbers):
        return None
    folder = job.folder / f"retry-{len(before) + 1:03d}"
    folder.mkdir(exist_ok=True)
    durable.replace(folder / INDEX, lambda file: np.save(file, numbers))
    manifest = replace(
        job.manifest,
        observations=_some_rows(job.manifest.observations, folder / INDEX),
        mask=job.manifest.mask and _some_rows(job.manifest.mask, folder / INDEX),
        start=job.manifest.start and _some_rows(job.manifest.start, folder / INDEX),
        method=record,
        seed=wanted_seed,
    )
    return Job.begin(folder, manifest, job.generator)


def _unsolved(job: Job) -> np.ndarray:
    """Numbers of the rows that could be solved and are not."""
    found = [np.zeros(0, np.int64)]
    for number, rows in enumerate(results(job)):
        found.append(job.shards.span(number)[0] + np.flatnonzero(~np.isin(rows["status"], SETTLED)))
    return np.concatenate(found)


def _some_rows(whole: Input, index: Path) -> Input:
    if whole.rows == 1:
        return whole
    return Input.of(open_subset(whole.open(), index.resolve()))


def _take_better(rows: np.ndarray, places: np.ndarray, found: np.ndarray) -> None:
    better = rank(found["status"]) < rank(rows["status"][places])
    rows[places[better]] = found[better]


def rank(status: np.ndarray) -> np.ndarray:
    """0 where solved, 1 where confirmed, 2 where there is a latent all the same, else 3."""
    kinds = [np.isin(status, [int(s) for s in some]) for some in _RANKS]
    return np.select(kinds, list(range(len(_RANKS))), len(_RANKS))


_RANKS = ([Status.SOLVED], [s for s in Status if s.ok], [s for s in Status if s.has_latent])
