"""How a job stands: rows by status, rates, and how much of the time nothing was computed."""

import json
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from jaxinv.job import durable
from jaxinv.job.job import Job
from jaxinv.job.work import Done
from jaxinv.outcome.status import Status, unconfirmed


@dataclass
class Run:
    """One run so far: when it began, and the shards it has computed."""

    begun: float
    done: list[Done] = field(default_factory=list)
    ended: float | None = None

    @property
    def seconds(self) -> float:
        return (self.ended or time.time()) - self.begun


def status_counts(job: Job) -> Counter[int]:
    """Rows by status over the committed shards, read from the shards themselves."""
    total: Counter[int] = Counter()
    for number in job.shards.committed():
        total.update(job.shards.read(number)["status"].tolist())
    return total


def summarize(job: Job, current: Run) -> dict[str, Any]:
    """Write summary.json and return what it says."""
    current.ended = current.ended or time.time()
    counts = status_counts(job)
    rows = sum(counts.values())
    summary = {
        "rows": job.manifest.observations.rows,
        "finished": rows,
        "complete": rows == job.manifest.observations.rows,
        "not_solved": unconfirmed(counts),
        "status": {Status(s).name: n for s, n in counts.most_common()},
        "shards": job.shards.count,
        "last_run": _last_run(job, current),
    }
    data = json.dumps(summary, indent=1).encode()
    durable.replace(job.folder / "summary.json", lambda file: file.write(data))
    return summary


def _last_run(job: Job, current: Run) -> dict[str, Any]:
    done = [d for d in current.done if d.committed]
    rows = sum(sum(d.counts.values()) for d in done)
    if not done:
        return {"seconds": round(current.seconds, 3), "shards": 0}
    busy = covered([(d.begun + d.read, d.computed) for d in done])
    span = max(d.finished for d in done) - min(d.begun for d in done)
    return {
        "seconds": round(current.seconds, 3),
        "shards": len(done),
        "rows_per_second": round(rows / current.seconds, 3),
        "workers": len({d.worker for d in done}),
        "reading_seconds": round(sum(d.read for d in done), 3),
        "computing_seconds": round(sum(d.computed - d.begun - d.read for d in done), 3),
        "committing_seconds": round(sum(d.finished - d.computed for d in done), 3),
        # Of the time from the first shard's begin to the last one's end.
        "idle_share": round(1.0 - busy / span, 4) if span > 0 else 0.0,
        "processor_share": _processor_share(done, span),
    }


def covered(intervals: list[tuple[float, float]]) -> float:
    """Length of the union of intervals: the time during which at least one was open."""
    total, until = 0.0, -float("inf")
    for start, stop in sorted(intervals):
        total += max(0.0, stop - max(start, until))
        until = max(until, stop)
    return total


def _processor_share(done: list[Done], span: float) -> float | None:
    """Processor time between each worker's first and last shard, over all of this machine's."""
    host = os.uname().nodename
    if span <= 0 or not all(d.worker.startswith(f"{host}-") for d in done):
        return None
    spent = 0.0
    for worker in {d.worker for d in done}:
        times = [d.cpu for d in done if d.worker == worker]
        spent += max(times) - min(times)
    return round(spent / (span * (os.cpu_count() or 1)), 4)
