"""Jobs from the command line: who computes, who is told, and what a signal does."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from jaxinv.call.in_flight import chosen_devices
from jaxinv.cli.options import Question, Source, byte_count, plain
from jaxinv.cli.prior import prior_of
from jaxinv.cli.progress import Bar, Lines
from jaxinv.cli.source import loaded
from jaxinv.formats.code import Code, is_code
from jaxinv.job import executors
from jaxinv.job.compiled import keep_programs
from jaxinv.job.job import Job
from jaxinv.job.retry import open_retry, results, retries
from jaxinv.job.run import Executors, run
from jaxinv.job.sinks import ENDINGS
from jaxinv.job.summary import status_counts
from jaxinv.outcome.status import Status, unconfirmed

INTERRUPTED = 75
# Endings of files that results are not written to, or not in capitals.
NAMES_OF_FILES = {
    *(*ENDINGS, ".csv", ".tsv", ".txt", ".json", ".h5", ".hdf5", ".mat", ".pkl", ".pt", ".html"),
    *(".png", ".zip", ".gz", ".tar"),
}


class Machines(NamedTuple):
    """Where and how large a job is computed, as the options say.

    cache: compiled programs may be kept, here and by workers.
    """

    chunk: int | None
    memory: str | None
    devices: int | None
    workers: int | None
    cluster: str | None
    interval: float | None
    cache: bool


def begin(
    source: Source,
    observations: str,
    folder: str,
    question: Question,
    shard_rows: int | None,
    machines: Machines,
) -> int:
    """Begin a job, or take up the same one; returns the exit code."""
    _refuse_name_of_file(folder)
    _check(machines)
    keep_programs(machines.cache)
    job = Job.create(
        folder,
        loaded(source),
        observations,
        question.settings,
        name=source.name,
        code=Code.of(source.name) if is_code(source.name) else None,
        mask=question.mask,
        noise=question.noise,
        seed=question.seed,
        shard_rows=shard_rows,
        dataset=question.dataset,
        pixels=question.pixels,
        start=question.start,
        precision=question.precision,
        prior=prior_of(question),
        prior_weight=question.prior_weight,
    )
    return _run(job, job, machines)


def go_on(
    folder: str,
    retry_failed: bool,
    method: str | None,
    seed: int | None,
    machines: Machines,
    allow_code: bool,
) -> int:
    """Compute what is missing, or try again what was not solved; returns the exit code."""
    _check(machines)
    keep_programs(machines.cache)
    job = Job.open(folder, allow_code)
    if not retry_failed:
        return _run(job, job, machines)
    attempt = open_retry(job, method, seed)
    if attempt is None:
        plain(stderr=True).print("No row is left to try again.")
        return _exit_code(_counts(job))
    return _run(job, attempt, machines)


def show(folder: str, console: Console) -> None:
    """A table of rows by status, and how much is left."""
    job = Job.open(folder)
    missing = len(job.shards.missing())
    manifest, layout = job.manifest, job.layout
    console.print(
        f"{manifest.generator_name}, {manifest.method['name']}, "
        f"{manifest.observations.rows} rows in {job.shards.count} shards, "
        + (f"{missing} shards missing" if missing else "complete")
        + (f"; {layout.chunk} rows at a time on {layout.device_kind}" if layout else ""),
    )
    for attempt in retries(job):
        console.print(
            f"{attempt.folder.name}: {attempt.manifest.observations.rows} rows by "
            f"{attempt.manifest.method['name']}, {len(attempt.shards.missing())} shards missing",
        )
    table = Table()
    for heading in ("rows", "status", "meaning"):
        table.add_column(heading, justify="right" if heading == "rows" else "left")
    for status, count in _counts(job).items():
        table.add_row(str(count), status.name, status.sentence)
    console.print(table)


def _run(job: Job, attempt: Job, machines: Machines) -> int:
    console = plain(stderr=True)
    watcher = Bar(console) if console.is_terminal else Lines(console, machines.interval)
    with _signals() as stop:
        complete = run(
            attempt,
            _executors(machines),
            watcher,
            chunk=machines.chunk,
            memory=byte_count(machines.memory),
            devices=machines.devices,
            stop=stop,
            # What cannot be kept here was said; workers need not find out and say it again.
            keep_programs=not keep_programs(machines.cache).refusal,
        )
    if not complete:
        console.print(f"Interrupted. Go on with: jaxinv resume {job.folder}", soft_wrap=True)
        return INTERRUPTED
    counts = _counts(job)
    for status, count in counts.items():
        console.print(f"{count:>9} {status.name}: {status.sentence}")
    return _exit_code(counts)


def _refuse_name_of_file(folder: str) -> None:
    """Refuse what was surely meant to be one file, before a directory of that name is made."""
    ending = Path(folder).suffix.lower()
    if ending in NAMES_OF_FILES and not folder.endswith("/") and not Path(folder).is_dir():
        raise ValueError(
            f"--out {folder}: results in one file end in one of {sorted(ENDINGS)}; for a job in a "
            f"directory of this name write {folder}/"
        )


def _check(machines: Machines) -> None:
    """Refuse what cannot be had, before a job is begun that would wait for it."""
    if machines.cluster and machines.workers:
        raise ValueError("--cluster has its own workers; leave --workers out")
    byte_count(machines.memory)
    if not machines.cluster:  # whose workers have devices of their own
        chosen_devices(machines.devices)


def _executors(machines: Machines) -> Executors:
    if machines.cluster:
        return partial(executors.cluster, machines.cluster)
    if machines.workers:
        return partial(executors.processes, machines.workers)
    return partial(executors.threads, machines.devices)


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """The first SIGINT or SIGTERM lets the shards in flight finish, the second abandons them."""
    stop = threading.Event()

    def answer(number: int, frame: object) -> None:
        if stop.is_set():
            os._exit(INTERRUPTED)
        stop.set()

    before = {s: signal.signal(s, answer) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _counts(job: Job) -> dict[Status, int]:
    if job.shards.missing():
        return {Status(s): n for s, n in status_counts(job).most_common()}
    counts: dict[Status, int] = {}
    for rows in results(job):
        for value in rows["status"].tolist():
            counts[Status(value)] = counts.get(Status(value), 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _exit_code(counts: dict[Status, int]) -> int:
    return 1 if unconfirmed(counts) else 0
