"""Two jobs on the same observations, row by row: statuses crossed, residuals compared."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from jaxinv.job.job import Job
from jaxinv.job.report.rows import observed
from jaxinv.job.report.tally import Tally
from jaxinv.job.retry import rank, so_far
from jaxinv.outcome.status import Status

ALIKE = 1e-2  # relative difference of residuals that counts as none
KEPT = 4  # rows named on each side
STEP = 1e4  # of a status, beside a logarithm of residuals
REPRODUCED, LOOKED_AT = 1e-6, 64  # relative residual, as methods have it; rows that say its scale


@dataclass
class Crossing:
    """What two jobs made of the rows that both have done.

    table: (statuses, statuses) rows by status in A and in B. ratio: of B's residual to A's, where
    both have a code. better: rows of which A, and B, found more: a status that says more, or the
    same and a residual lower by more than ALIKE. kept: for A and for B, the rows where it is better
    by most, (gain, number, A's record, B's), the most first.
    """

    table: Int[np.ndarray, "s s"] = field(
        default_factory=lambda: np.zeros((len(Status), len(Status)), np.int64)
    )
    ratio: Tally = field(default_factory=Tally)
    better: list[int] = field(default_factory=lambda: [0, 0])
    kept: list[list[tuple[float, int, np.void, np.void]]] = field(default_factory=lambda: [[], []])

    @property
    def rows(self) -> int:
        """Rows that both jobs have done."""
        return int(self.table.sum())


def refuse_unlike(a: Job, b: Job) -> None:
    """Raise ValueError where row i of one job is not row i of the other."""
    if a.folder.resolve() == b.folder.resolve():
        raise ValueError(f"{a.folder} and {b.folder} are the same job; name two")
    mine, its = a.manifest.observations, b.manifest.observations
    if mine.sha256 != its.sha256:
        raise ValueError(
            f"{a.folder} and {b.folder} were given other observations: {mine.rows} rows of "
            f"{mine.width} from {mine.spec['path']}, and {its.rows} rows of {its.width} from "
            f"{its.spec['path']}, with other values; rows are compared by number, so give both "
            "jobs the same"
        )


def crossed(a: Job, b: Job, floor: float = 0.0) -> Crossing:
    """Look at every row that both jobs have done, once. floor: a residual that is none."""
    found = Crossing()
    for start, left, right in _side_by_side(a, b):
        status = left["status"].astype(int), right["status"].astype(int)
        np.add.at(found.table, status, 1)
        residual = (np.maximum(rows["residual"], floor) for rows in (left, right))
        with np.errstate(divide="ignore"):
            size = [np.log(np.maximum(values, np.finfo(float).tiny)) for values in residual]
        with np.errstate(invalid="ignore", over="ignore"):
            lower = size[0] - size[1]
            found.ratio.add(np.exp(-lower))
        # Statuses first: a rank is worth more than any residual.
        lower = np.clip(np.nan_to_num(lower), -STEP / 4, STEP / 4)
        gain = lower + STEP * (rank(status[0]) - rank(status[1]))
        for side, gained in enumerate((-gain, gain)):
            ahead = np.flatnonzero(gained > ALIKE)
            found.better[side] += len(ahead)
            most = ahead[np.argsort(-gained[ahead], kind="stable")[:KEPT]]
            new = [
                (float(gained[i]), start + int(i), left[i].copy(), right[i].copy()) for i in most
            ]
            ordered = sorted([*found.kept[side], *new], key=lambda kept: (-kept[0], kept[1]))
            found.kept[side] = ordered[:KEPT]
    return found


def none_below(job: Job) -> float:
    """A residual that is none: REPRODUCED of the norm of a typical observation, 0 if not known."""
    rows = job.shards.rows
    some = np.unique(np.linspace(0, rows - 1, min(rows, LOOKED_AT)).astype(int)).tolist()
    seen = observed(job, some)
    if isinstance(seen, str):
        return 0.0
    with np.errstate(over="ignore"):
        norm = np.linalg.norm(seen.x, axis=1)
    norm = norm[np.isfinite(norm)]
    return REPRODUCED * float(np.median(norm)) if norm.size else 0.0


def _side_by_side(a: Job, b: Job) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Rows that both have, in pieces; the jobs' shards may be of different lengths."""
    parts = so_far(a), so_far(b)
    held = [next(part, None) for part in parts]
    while held[0] is not None and held[1] is not None:
        (first, left), (second, right) = held[0], held[1]
        ends = first + len(left), second + len(right)
        start, stop = max(first, second), min(ends)
        if start < stop:
            yield start, left[start - first : stop - first], right[start - second : stop - second]
        side = int(ends[1] < ends[0])
        held[side] = next(parts[side], None)
