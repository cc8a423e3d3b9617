"""What a report needs of a job's results, gathered shard by shard: of one size for any job."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from jaxinv.job.job import Job
from jaxinv.job.report.tally import Tally
from jaxinv.job.retry import so_far
from jaxinv.outcome.notebook import worst_rows
from jaxinv.outcome.status import Status
from jaxinv.outcome.words import NAMED

WORST = 8
TOGETHER = 1 << 12  # rows that are looked at together, at least


def _by_status() -> Tally:
    return Tally(len(Status))


@dataclass
class Found:
    """The results so far.

    counts: rows by status. residual: ||G(z) - x|| and allowed_error: of `Inversion`, by status.
    error: ||z - z*|| / ||z*||, with planted codes. first: the first row numbers of each status.
    layers: rows by status and first failed layer. worst: the rows with a code that are worst, the
    worst first, with their numbers.
    """

    counts: Counter[int] = field(default_factory=Counter)
    residual: Tally = field(default_factory=_by_status)
    allowed_error: Tally = field(default_factory=_by_status)
    error: Tally = field(default_factory=Tally)
    first: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    layers: dict[int, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    worst: list[tuple[int, np.void]] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Rows that have a result."""
        return sum(self.counts.values())

    def of(self, status: Status) -> int:
        """Rows of this status."""
        return self.counts.get(int(status), 0)

    @property
    def bad(self) -> list[Status]:
        """The statuses of rows that nothing confirms nor explains, the most frequent first."""
        return [
            Status(value)
            for value, _ in self.counts.most_common()
            if not Status(value).ok and Status(value) is not Status.UNDERDETERMINED
        ]


def gather(job: Job, planted: np.ndarray | None = None) -> Found:
    """Look at every committed shard once. planted: (B, k) codes that the rows were made from."""
    found = Found()
    for numbers, rows in _together(job):
        status = rows["status"].astype(int)
        found.counts.update(status.tolist())
        found.residual.add(rows["residual"], status)
        found.allowed_error.add(rows["allowed_error"], status)
        for value in np.unique(status).tolist():
            known, here = found.first[value], np.flatnonzero(status == value)
            known += numbers[here[: NAMED - len(known)]].tolist()
            failed = rows["failed_layer"][here]
            found.layers[value].update(failed[failed > 0].tolist())
        if planted is not None:
            codes = np.asarray(planted[numbers])
            with np.errstate(divide="ignore", invalid="ignore"):
                misfit = np.linalg.norm(rows["latent"] - codes, axis=1)
                found.error.add(misfit / np.linalg.norm(codes, axis=1))
        _keep_worst(found, numbers, rows)
    return found


def _together(job: Job) -> Iterator[tuple[Int[np.ndarray, " B"], np.ndarray]]:
    """Row numbers and results, small shards put together: a look costs by the piece."""
    numbers: list[np.ndarray] = []
    held: list[np.ndarray] = []
    count = 0
    for start, rows in so_far(job):
        numbers.append(np.arange(start, start + len(rows)))
        held.append(rows)
        count += len(rows)
        if count >= TOGETHER:
            yield np.concatenate(numbers), np.concatenate(held)
            numbers, held, count = [], [], 0
    if held:
        yield np.concatenate(numbers), np.concatenate(held)


def _keep_worst(found: Found, numbers: Int[np.ndarray, " B"], rows: np.ndarray) -> None:
    coded = np.flatnonzero(np.isfinite(rows["latent"]).all(1))
    chosen = coded[worst_rows(rows["status"][coded], rows["residual"][coded], WORST)]
    both = [*found.worst, *((int(numbers[i]), rows[i].copy()) for i in chosen)]
    status = np.array([row["status"] for _, row in both])
    residual = np.array([row["residual"] for _, row in both])
    found.worst = [both[i] for i in worst_rows(status, residual, WORST)]
