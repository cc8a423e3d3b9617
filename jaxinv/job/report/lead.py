"""The head of a report: how many, how good, which are bad and why, what to do."""

from html import escape

import numpy as np

from jaxinv.job.job import Job
from jaxinv.job.report import page
from jaxinv.job.report.found import Found
from jaxinv.job.report.remedy import REASON, TRIED_AGAIN, Commands, remedy
from jaxinv.job.retry import SETTLED
from jaxinv.outcome.status import Status
from jaxinv.outcome.words import listed, number, rows, share


def lead(job: Job, found: Found) -> list[str]:
    """Paragraphs of HTML."""
    total = job.shards.rows
    told = []
    if found.done < total:
        told.append(
            f"Not finished: {found.done:,} of {rows(total)} {'is' if found.done == 1 else 'are'} "
            f"done. Go on with {page.code(Commands.of(job).resume)}."
        )
    if found.done:
        told += [_how_many(found), *_how_good(job, found), _bad(found), *_to_do(job, found)]
    return told


def entries(job: Job) -> int | None:
    """Observed entries of a row; None where each row has a mask of its own."""
    mask = job.manifest.mask
    if mask is None:
        return job.manifest.observations.width
    if mask.rows > 1:
        return None
    try:
        return int(np.asarray(mask.open().read(0, 1)).sum())
    except (OSError, ValueError):  # moved or changed since
        return None


def _how_many(found: Found) -> str:
    done, solved = found.done, found.of(Status.SOLVED)
    if not solved:
        first = f"None of {rows(done)} is reproduced to rounding or noise."
    elif solved == done:
        every = "The one row" if done == 1 else f"All {rows(done)}"
        first = f"{every} {'is' if done == 1 else 'are'} reproduced to rounding or noise."
    else:
        is_ = "is" if solved == 1 else "are"
        first = (
            f"{solved:,} of {rows(done)} ({share(solved, done)}) {is_} reproduced to rounding or "
            "noise."
        )
    told = [f"<strong>{first}</strong>"]
    near, free = found.of(Status.CLOSEST), found.of(Status.UNDERDETERMINED)
    if near:
        told.append(
            f"{rows(near)} ({share(near, done)}) {'has' if near == 1 else 'have'} the nearest code "
            "there is, and a misfit that is no noise."
        )
    if free:
        told.append(f"{rows(free)} ({share(free, done)}) could have many codes.")
    return " ".join(told)


def _how_good(job: Job, found: Found) -> list[str]:
    if not found.residual.total():
        return []
    half, most = (found.residual.quantile(q) for q in (0.5, 0.95))
    seen = entries(job)
    if seen:
        half, most = half / np.sqrt(seen), most / np.sqrt(seen)
        measure = "an entry (root mean square)"
    else:
        measure = "in ||G(z) - x||"
    noise = "" if job.manifest.noise is None else f"; the stated noise is {job.manifest.noise:g}"
    return [
        f"Half of the rows with a code miss their observation by {number(half)} {measure} or less, "
        f"95% by {number(most)} or less{noise}."
    ]


def _bad(found: Found) -> str:
    bad = found.bad
    if not bad:
        return "No row is bad."
    count = sum(found.of(status) for status in bad)
    parts = [
        f"{found.of(status):,} {status.name}: {REASON[status]} "
        f"({listed(found.first[status], found.of(status))})"
        for status in bad
    ]
    return (
        f"<strong>{rows(count)} {'is' if count == 1 else 'are'} bad.</strong> "
        f"{escape('; '.join(parts))}."
    )


def _to_do(job: Job, found: Found) -> list[str]:
    told = []
    again = sum(found.of(status) for status in Status if status not in SETTLED)
    lost = any(found.of(status) for status in TRIED_AGAIN)
    # A retry takes up what is not solved of a job that is whole.
    if lost and found.done == job.shards.rows:
        told.append(
            f"Try the {rows(again)} again that are not settled; the others stay as they are:"
            f"{page.command(Commands.of(job).again)}"
        )
    if found.of(Status.BAD_INPUT):
        told.append(f"BAD_INPUT: {remedy(Status.BAD_INPUT, job)}")
    return told
