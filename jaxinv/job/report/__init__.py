"""One HTML file on a job, readable without a network: what was found, what to do, and why."""

from pathlib import Path

import numpy as np

from jaxinv.formats.arrays import read_npy
from jaxinv.job import durable
from jaxinv.job.inputs import refuse_replacing
from jaxinv.job.job import Job
from jaxinv.job.place import local_file
from jaxinv.job.report import page
from jaxinv.job.report.course import computed, timing
from jaxinv.job.report.destination import destination
from jaxinv.job.report.found import gather
from jaxinv.job.report.lead import lead
from jaxinv.job.report.outcome import distribution, residuals, statuses
from jaxinv.job.report.rows import failures, worst
from jaxinv.job.report.strips import Strip
from jaxinv.outcome.words import rows


def write(job: Job, out: str | Path, truth: str | Path | None = None) -> Path:
    """Write the report of what is done so far, and return its path.

    out: a path that ends in .html. truth: the path of planted codes (B, k), an .npy file. Raises
    ValueError for a URL, and where something else lies in the report's place.
    """
    path = destination(out)
    truth = None if truth is None else local_file(truth, "a file of true codes")
    refuse_replacing(path, {"planted codes": truth})
    found = gather(job, None if truth is None else _planted(job, truth))
    sections = [("Rows by status", statuses(job, found))]
    if found.done:
        sections.append(("Residuals", residuals(found)))
        if truth is not None:
            drawn = [Strip(0, rows(found.error.total()), "var(--good)")]
            told = distribution(found.error, drawn, "||z - z*|| / ||z*||")
            sections.append(("Recovery errors", told))
        sections += [("Worst rows", worst(job, found)), ("Rows without a code", failures(found))]
    sections += [("Time", timing(job)), ("What was computed", computed(job))]
    made = page.page(f"jaxinv: {job.folder.resolve().name}", lead(job, found), sections)
    durable.replace(path, lambda file: file.write(made))
    return path


def _planted(job: Job, truth: Path) -> np.ndarray:
    codes = read_npy(truth)
    expected = (job.shards.rows, job.manifest.widths[0])
    if codes.shape != expected:
        raise ValueError(f"{truth} has shape {codes.shape}; expected {expected}")
    return codes
