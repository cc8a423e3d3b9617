"""`jaxinv invert`: a file of observations in, a file of codes out, a bar in between."""

import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from jaxinv.call.invert import default_chunk, invert_stream
from jaxinv.cli.options import Question, Source
from jaxinv.cli.prior import prior_of
from jaxinv.cli.source import file_of, loaded
from jaxinv.job import sinks
from jaxinv.job.inputs import refuse_replacing
from jaxinv.job.place import place
from jaxinv.job.sources import open_mask, open_rows, open_start, precision_of, starting_points
from jaxinv.outcome.inversion import Inversion, concatenate

NAMES = ("latent", "status", "residual", "undetermined", "allowed_error")
PRIOR_NAMES = ("objective", "prior_pull")


def run(
    source: Source,
    observations: str,
    out: str,
    question: Question,
    chunk: int | None,
    memory: int | None,
    console: Console,
) -> bool:
    """Invert the file; returns whether any row was neither SOLVED nor CLOSEST."""
    target = place(out)
    sinks.check(target)
    inputs = {
        "observations": observations,
        "mask": question.mask,
        "starting points": question.start,
    }
    read = {word: None if text is None else place(text) for word, text in inputs.items()}
    refuse_replacing(target, {"generator": file_of(source), **read})
    sinks.probe(target)
    mask, start, method = question.mask, question.start, question.settings
    generator = loaded(source)
    rows = open_rows(observations, question.dataset, question.pixels)
    size = min(chunk or default_chunk(generator, method, memory), max(rows.count, 1))
    seen = None
    if mask is not None:
        given = open_mask(mask, rows.count, rows.width)
        if given.count > 1:
            raise ValueError("a mask for each row needs a job: --out a directory")
        seen = given.read(0, 1)[0]
    pieces = (
        rows.read(start, min(start + size, rows.count))
        for start in range(0, max(rows.count, 1), size)
    )
    begun = None
    if start is not None:
        points = open_start(start, rows.count, generator.latent_size)
        begun = (
            starting_points(points, first, min(first + size, rows.count), generator.latent_size)
            for first in range(0, max(rows.count, 1), size)
        )
    parts: list[Inversion] = []
    with _progress(console) as progress:
        bar = progress.add_task(question.method, total=rows.count)
        for part in invert_stream(
            generator,
            pieces,
            method,
            mask=seen,
            noise=question.noise,
            seed=question.seed,
            chunk=size,
            start=begun,
            precision=precision_of(rows, question.precision),
            prior=prior_of(question),
            prior_weight=question.prior_weight,
        ):
            parts.append(part)
            progress.advance(bar, len(part.status))
    inversion = concatenate(parts)
    arrays = {
        name: np.asarray(getattr(inversion, name))
        for name in (*NAMES, *PRIOR_NAMES)
        if getattr(inversion, name) is not None
    }
    results = sinks.Results(
        rows.count, lambda: iter([arrays]), lambda: iter([inversion.to_arrow()])
    )
    sinks.write(results, target, Path(tempfile.gettempdir()))
    for status, count in inversion.counts().items():
        console.print(f"{count:>8} {status.name}: {status.sentence}", highlight=False)
    return not bool(np.asarray(inversion.ok).all())


class RateColumn(ProgressColumn):
    """Rows per second since the start: chunks are too few for a rate of the last moments."""

    def render(self, task: Task) -> Text:
        if not task.completed or not task.elapsed:
            return Text("- rows/s")
        return Text(f"{task.completed / task.elapsed:.3g} rows/s")


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        console=console,
    )
