"""How a job went: the time it took, and what it was asked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxinv.job.job import Job
from jaxinv.job.log import Log
from jaxinv.job.report import page
from jaxinv.job.retry import retries
from jaxinv.linalg.double_precision import policy
from jaxinv.outcome import svg
from jaxinv.outcome.words import rows, seconds

COMPILED = "Computing includes compiling."
MARKS = 200  # points of the line over time, at most


@dataclass(frozen=True)
class Course:
    """A job's log in numbers: seconds are summed over shards, elapsed is from first to last.

    done: rows behind each of the moments at, seconds since the first shard began.
    """

    at: np.ndarray
    done: np.ndarray
    workers: int
    computing: float
    reading: float
    committing: float

    @classmethod
    def of(cls, job: Job) -> "Course | None":
        """None where the log tells of no shard."""
        shards = [entry for entry in Log(job.folder / "log.jsonl") if _whole(entry)]
        if not shards:
            return None
        shards.sort(key=lambda entry: entry["finished"])
        begun = min(entry["begun"] for entry in shards)
        return cls(
            at=np.array([entry["finished"] - begun for entry in shards]),
            done=np.cumsum([float(sum(entry["counts"].values())) for entry in shards]),
            workers=len({entry["worker"] for entry in shards}),
            computing=sum(e["computed"] - e["begun"] - e["read"] for e in shards),
            reading=sum(e["read"] for e in shards),
            committing=sum(e["finished"] - e["computed"] for e in shards),
        )

    @property
    def per_row(self) -> float:
        """Seconds of computing a row, all workers together."""
        return self.computing / max(float(self.done[-1]), 1.0)


def _whole(entry: dict[str, Any]) -> bool:
    """Whether a line tells of a shard; a damaged one tells nothing, its rows still count."""
    times = (entry.get(name) for name in ("begun", "read", "computed", "finished"))
    told = all(isinstance(time, int | float) for time in times) and "worker" in entry
    return entry["event"] == "shard" and told and isinstance(entry.get("counts"), dict)


def timing(job: Job) -> str:
    """Rows over time, and what the time went into."""
    course = Course.of(job)
    if course is None:
        return "<p>The log holds no shards.</p>"
    shards, elapsed = len(course.at), float(course.at[-1])
    some = np.unique(np.linspace(0, shards - 1, min(shards, MARKS)).astype(int))
    told = f"Rows done over time: {rows(int(course.done[-1]))} after {seconds(elapsed)}"
    drawn = svg.line(
        course.at[some], course.done[some], "seconds since the first shard", "rows done", told
    )
    return (
        f"{drawn}<p>{rows(int(course.done[-1]))} in {seconds(elapsed)}, "
        f"{shards:,} shard{'' if shards == 1 else 's'}, {course.workers} at work; summed over "
        f"shards {seconds(course.computing)} computing ({seconds(course.per_row)} a row), "
        f"{seconds(course.reading)} reading, {seconds(course.committing)} committing. "
        f"{COMPILED}</p>"
    )


def asked(job: Job) -> dict[str, str]:
    """What a job was asked, by name."""
    m = job.manifest
    facts = {
        "generator": f"{m.generator_name}, widths {'-'.join(map(str, m.widths))}",
        "observations": f"{Path(m.observations.spec['path']).name}, "
        f"{rows(m.observations.rows)}, SHA-256 {m.observations.sha256}",
        "method": _settings(m.method["name"], m.method),
        "noise": "not stated" if m.noise is None else f"{m.noise:g}",
        "mask": "none" if m.mask is None else Path(m.mask.spec["path"]).name,
        "starting points": "none" if m.start is None else Path(m.start.spec["path"]).name,
        "prior": "none" if m.prior is None else str(m.prior),
        "prior weight": "none" if m.prior_weight is None else f"{m.prior_weight:g}",
        "precision": "as the file's dtype says" if m.precision is None else str(m.precision),
        "seed": str(m.seed),
        "retries": ", ".join(
            f"{rows(a.manifest.observations.rows)} by {a.manifest.method['name']}"
            for a in retries(job)
        )
        or "none",
    }
    layout = job.layout
    if layout is not None:
        facts["rows at a time"] = f"{layout.chunk} on {layout.device_kind}"
        facts["computed in"] = policy(layout.platform, layout.device_kind)
        facts["versions"] = ", ".join(f"{k} {v}" for k, v in layout.versions.items())
    return facts


def _settings(name: str, record: dict[str, Any]) -> str:
    """A method or a solver, and what is set of it."""
    told = [
        f"{field} {_settings(value['class'], value) if isinstance(value, dict) else value}"
        for field, value in record.items()
        if field not in ("name", "class") and value is not None
    ]
    return f"{name} ({', '.join(told)})" if told else name


def computed(job: Job) -> str:
    """A table of all that the numbers depend on."""
    return page.facts(asked(job))
