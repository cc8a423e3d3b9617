"""One run: hand out the shards that are missing until none is, or until it is told to stop."""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol

from jaxinv.call.invert import default_chunk
from jaxinv.job.executors import worker_count
from jaxinv.job.job import Job
from jaxinv.job.lock import exclusive
from jaxinv.job.log import Log
from jaxinv.job.summary import Run, summarize
from jaxinv.job.work import Done, Work, compute_shard

# Workers may die this often without a single shard being finished in between.
PATIENCE = 3
POLL_SECONDS = 0.2


class Watcher(Protocol):
    """Somebody who is told how far a run has come."""

    def begin(self, rows: int, done: int) -> None: ...

    def advance(self, done: Done, rows: int) -> None: ...

    def end(self) -> None: ...


Executors = Callable[[], AbstractContextManager[Executor]]


@dataclass
class _Flight:
    """Shards waiting and in flight, and how often workers died since the last one finished."""

    waiting: deque[int]
    futures: dict[Future[Done], int] = field(default_factory=dict)
    deaths: int = 0


def run(
    job: Job,
    executors: Executors,
    watcher: Watcher,
    *,
    chunk: int | None = None,
    memory: int | None = None,
    devices: int | None = None,
    stop: threading.Event | None = None,
    keep_programs: bool = False,
) -> bool:
    """Compute every missing shard; returns whether the job is complete.

    executors: makes the executor, and makes it anew when its workers died. chunk: rows computed
    together; None takes as many as `memory` bytes hold, and where that is None as the device holds.
    Both count for the first shard only: what it needed is frozen. stop: set it to finish the shards
    in flight and return. keep_programs: the processes that compute keep their compiled programs for
    later ones. Raises ValueError where the directory is in use, an input has changed, or a shard
    cannot be computed.
    """
    stop = stop or threading.Event()
    with exclusive(job.folder / "lock"):
        job.sweep()
        job.shards.check()
        job.manifest.observations.open()
        job.manifest.open_mask()
        job.manifest.open_start()
        work = replace(_first_work(job, chunk, memory, devices), keep_programs=keep_programs)
        log = Log(job.folder / "log.jsonl")
        flight = _Flight(deque(job.shards.missing()))
        done_rows = sum(_length(job, n) for n in job.shards.committed())
        log.write("begin", missing=len(flight.waiting), shards=job.shards.count)
        watcher.begin(job.manifest.observations.rows, done_rows)
        current = Run(time.time())
        try:
            while flight.waiting and not stop.is_set():
                with executors() as executor:
                    _serve(job, executor, work, flight, current, log, watcher, stop)
        finally:
            watcher.end()
        current.ended = time.time()
        complete = not job.shards.missing()
        log.write("end" if complete else "stopped", seconds=round(current.seconds, 3))
        if current.done or not (job.folder / "summary.json").exists():
            summarize(job, current)
        # Rows that were read after a change would belong to another file.
        job.manifest.observations.open()
    return complete


def _serve(
    job: Job,
    executor: Executor,
    work: Work,
    flight: _Flight,
    current: Run,
    log: Log,
    watcher: Watcher,
    stop: threading.Event,
) -> None:
    """Keep one executor busy until nothing is left, its workers died, or it is time to stop."""
    failure: Exception | None = None
    broken = False
    while flight.futures or (flight.waiting and not (stop.is_set() or failure or broken)):
        if not (stop.is_set() or failure or broken):
            _submit(job, executor, work, flight)
        finished, _ = wait(flight.futures, POLL_SECONDS, FIRST_COMPLETED)
        for future in finished:
            number = flight.futures.pop(future)
            try:
                done = future.result()
            except BaseException as error:
                flight.waiting.appendleft(number)
                if _worker_died(error):
                    broken = True
                elif not isinstance(error, Exception):
                    raise
                else:
                    failure = failure or error
                with suppress(ValueError):  # a full disk is told by the shard that met it
                    log.write("failed", shard=number, error=f"{type(error).__name__}: {error}")
                continue
            flight.deaths = 0
            current.done.append(done)
            log.write("shard", **asdict(done))
            watcher.advance(done, _length(job, number))
    if failure is not None:
        raise failure
    if broken:
        flight.deaths += 1
        if flight.deaths >= PATIENCE:
            raise ValueError(
                f"workers died {PATIENCE} times without finishing shard {min(flight.waiting)}; "
                f"look into {log.path}, and give workers more memory or shards fewer rows"
            )


def _submit(job: Job, executor: Executor, work: Work, flight: _Flight) -> None:
    # Until the first shard has frozen the batch shape, it has the machine for itself.
    room = 2 * worker_count(executor) if job.layout is not None else 1
    while flight.waiting and len(flight.futures) < room:
        number = flight.waiting.popleft()
        try:
            future = executor.submit(compute_shard, replace(work, number=number))
        except BrokenExecutor:
            flight.waiting.appendleft(number)
            if not flight.futures:
                raise
            return
        flight.futures[future] = number


def _worker_died(error: BaseException) -> bool:
    # Dask's own word for it, without importing Dask.
    return isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker"


def _first_work(job: Job, chunk: int | None, memory: int | None, devices: int | None) -> Work:
    layout = job.layout
    if layout is not None and chunk not in (None, layout.chunk):
        raise ValueError(
            f"{job.folder} computes {layout.chunk} rows at a time, not {chunk}: rows' last bits "
            "depend on it; leave --chunk out, or start a new directory"
        )
    rows = min(chunk or default_chunk(job.generator, job.method, memory), job.manifest.shard_rows)
    return Work(str(job.folder.resolve()), 0, rows, devices, job.allow_code)


def _length(job: Job, number: int) -> int:
    start, stop = job.shards.span(number)
    return stop - start
