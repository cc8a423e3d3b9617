"""The unit of work: read a shard's rows, invert them, commit. Whoever is asked may do it."""

import os
import time
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxinv.call.chunk import invert_chunk
from jaxinv.call.in_flight import chosen_devices
from jaxinv.call.memory import MEMORY_ERRORS, memory_ended
from jaxinv.call.request import Data, Options, Request, checked
from jaxinv.job.compiled import keep_programs
from jaxinv.job.job import Job
from jaxinv.job.layout import Layout
from jaxinv.job.place import place, stamp
from jaxinv.job.prior import from_record as prior_of
from jaxinv.job.shards import pack
from jaxinv.job.sources import precision_of, starting_points
from jaxinv.job.sources.rows import Rows
from jaxinv.model.decoder import Decoder
from jaxinv.model.precision import rounding_of

# Seconds to wait for memory that another shard holds.
PAUSES = (1.0, 5.0, 25.0)


@dataclass(frozen=True)
class Work:
    """What a worker is told: the directory, the shard, and how to start if it is the first.

    chunk: rows computed together, unless the layout is frozen already. devices: how many of the
    worker's devices to use, None for all. allow_code: code that the job names may be run.
    keep_programs: the worker's process keeps its compiled programs for later ones.
    """

    folder: str
    number: int
    chunk: int
    devices: int | None = None
    allow_code: bool = False
    keep_programs: bool = False


@dataclass(frozen=True)
class Done:
    """One shard's story: times are seconds since the epoch, on the worker's clock.

    committed: False where another worker had committed it before. counts: rows by status.
    cpu: seconds of processor time of the worker's process so far.
    """

    number: int
    committed: bool
    counts: dict[int, int]
    chunk: int
    worker: str
    begun: float
    read: float
    computed: float
    finished: float
    cpu: float


@dataclass(frozen=True)
class Opened:
    """A job as one worker keeps it open: what it reads, and the generator on each device."""

    job: Job
    observations: Rows
    mask: Rows | None
    start: Rows | None
    generators: tuple[Decoder, ...]


def compute_shard(work: Work) -> Done:
    """Compute and commit one shard; a shard that is committed already is left alone."""
    begun = time.time()
    if work.keep_programs:
        keep_programs()
    opened = _open(work)
    job, shards = opened.job, opened.job.shards
    if shards.path(work.number).exists():
        return _told(work, False, shards.read(work.number), work.chunk, begun, 0.0, begun)
    frozen = job.layout
    chunk = frozen.chunk if frozen else work.chunk
    rows, read = _inverted(opened, work, chunk)
    pauses = iter(PAUSES)
    while rows is None:
        frozen = job.layout
        if frozen and frozen.chunk == chunk:
            # The shape fitted once: a shard beside this one may hold the memory for a while.
            pause = next(pauses, None)
            if pause is None:
                raise _too_large(work, chunk)
            time.sleep(pause)
        elif chunk == 1:
            raise _too_large(work, chunk)
        else:
            chunk = frozen.chunk if frozen else chunk // 2
        rows, read = _inverted(opened, work, chunk)
    frozen = Layout.here(chunk).freeze(job.layout_path)
    frozen.refuse_other(job.folder)
    if frozen.chunk != chunk:
        # Another worker froze a batch shape first: a row's last bits depend on it.
        return compute_shard(work)
    computed = time.time()
    committed = shards.commit(work.number, rows)
    return _told(work, committed, rows, chunk, begun, read, computed)


def _too_large(work: Work, chunk: int) -> ValueError:
    return ValueError(
        f"shard {work.number} does not fit into memory with {chunk} rows at a time; "
        "free memory, or start a new directory with a smaller --chunk"
    )


def _inverted(opened: Opened, work: Work, chunk: int) -> tuple[np.ndarray | None, float]:
    """The shard's rows, None where memory did not suffice; and the seconds spent on reading."""
    start, stop = opened.job.shards.span(work.number)
    device = work.number % len(opened.generators)
    parts: list[np.ndarray] = []
    reading = 0.0
    try:
        with jax.default_device(jax.local_devices()[device]):
            for first in range(start, stop, chunk):
                began = time.time()
                last = min(first + chunk, stop)
                request, data = _request(opened, opened.generators[device], first, last)
                reading += time.time() - began
                parts.append(pack(invert_chunk(request, data, chunk, first)))
                if first == start and not opened.job.layout_path.exists():
                    # One chunk has shown that the shape fits: others may start.
                    Layout.here(chunk).freeze(opened.job.layout_path)
    except MEMORY_ERRORS as error:
        if not memory_ended(error):
            raise ValueError(
                f"the device failed at shard {work.number} ({_first_line(error)}). What was "
                f"committed is safe: see to the device, then run jaxinv resume {work.folder}"
            ) from error
        return None, reading
    return np.concatenate(parts), reading


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _request(opened: Opened, generator: Decoder, first: int, last: int) -> tuple[Request, Data]:
    manifest = opened.job.manifest
    arrived = opened.observations.read(first, last)
    rows = np.asarray(arrived, np.float64)
    mask = opened.mask
    seen = None
    if mask is not None:
        seen = mask.read(0, 1) if mask.count == 1 else mask.read(first, last)
        # A row of which nothing is seen is bad input, not a bad call.
        hidden = np.broadcast_to(~seen.any(-1), last - first)
        rows[hidden], seen = np.nan, seen | ~seen.any(-1, keepdims=True)
        seen = np.broadcast_to(seen, rows.shape)
    start = None
    if opened.start is not None:
        start = starting_points(opened.start, first, last, manifest.widths[0])
    options = Options(
        mask=seen,
        noise=manifest.noise,
        seed=manifest.seed,
        start=start,
        prior=prior_of(manifest.prior),
        prior_weight=manifest.prior_weight,
    )
    rounding = rounding_of(arrived, precision_of(opened.observations, manifest.precision))
    return checked(generator, rows, opened.job.method, options, rounding)


def _told(
    work: Work,
    committed: bool,
    rows: np.ndarray,
    chunk: int,
    begun: float,
    read: float,
    computed: float,
) -> Done:
    counts = {int(s): int(n) for s, n in Counter(rows["status"].tolist()).items()}
    worker = f"{os.uname().nodename}-{os.getpid()}"
    return Done(
        number=work.number,
        committed=committed,
        counts=counts,
        chunk=chunk,
        worker=worker,
        begun=begun,
        read=read,
        computed=computed,
        finished=time.time(),
        cpu=time.process_time(),
    )


def _open(work: Work) -> Opened:
    """Open the job once; anew where its directory or its observations are no longer the same."""
    manifest = Path(work.folder) / "manifest.json"
    observations = place(Job.open(work.folder).manifest.observations.spec["path"])
    now = (stamp(manifest), stamp(observations))
    return _opened(work.folder, work.devices, work.allow_code, now)


@cache
def _opened(
    folder: str, devices: int | None, allow_code: bool, now: tuple[tuple[Any, ...], ...]
) -> Opened:
    job = Job.open(folder, allow_code)
    layout = job.layout
    if layout is not None:
        layout.refuse_other(job.folder)
    observations = job.manifest.observations.open()
    mask = job.manifest.open_mask()
    generator = job.generator
    with jax.enable_x64(True):
        copies = tuple(jax.device_put(generator, device) for device in chosen_devices(devices))
    return Opened(job, observations, mask, job.manifest.open_start(), copies)
