"""Single rows in a report: what was observed, what the generator makes of the code, and between."""

from html import escape
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxinv.job.job import Job
from jaxinv.job.report import page
from jaxinv.job.report.found import Found
from jaxinv.job.report.pixels import grey, signed
from jaxinv.model.image import as_image, image_shape
from jaxinv.outcome import svg
from jaxinv.outcome.status import Status
from jaxinv.outcome.words import listed, number, rows

NAMED = 3  # entries with the largest differences, where there is no image


class Seen(NamedTuple):
    """Rows as they were given. x: (R, n), NaN where nothing was observed."""

    x: Float[np.ndarray, "R n"]
    shape: tuple[int, ...] | None


def worst(job: Job, found: Found) -> str:
    """The rows with a code that are worst, those that nothing confirms first."""
    if not found.worst:
        return "<p>No row has a code.</p>"
    numbers = [row for row, _ in found.worst]
    latent = np.array([record["latent"] for _, record in found.worst])
    made = np.asarray(job.generator(latent))
    seen = observed(job, numbers)
    if isinstance(seen, str):
        return f"<p>{escape(seen)}</p>{_table(found)}"
    with np.errstate(over="ignore", invalid="ignore"):
        difference = made - seen.x
    if seen.shape is None:
        entries = (
            _entries(row, record, *values)
            for (row, record), *values in zip(found.worst, seen.x, made, difference, strict=True)
        )
        return f'<div class="rows">{"".join(entries)}</div>'
    least, most = _ends(difference)
    largest = max(-least, most)
    shown = (
        _article(
            heading(row, Status(int(record["status"])), record["residual"]),
            triple(row, seen.shape, x, {"G(z)": g}, d, largest),
        )
        for (row, record), x, g, d in zip(found.worst, seen.x, made, difference, strict=True)
    )
    note = (
        f"Differences G(z) - x: blue is too little, red too much, at full colour "
        f"{number(largest)}, the same in every row. Sand-coloured is what was not observed."
    )
    return f'<div class="rows">{"".join(shown)}</div><p class="quiet">{note}</p>'


def failures(found: Found) -> str:
    """Rows without a code."""
    statuses = [Status(s) for s in found.counts if not Status(s).has_latent]
    if not statuses:
        return "<p>None: every row has a code.</p>"
    lines = (
        f"<p><strong>{status.name}</strong>: {rows(found.of(status))}, "
        f"{listed(found.first[status], found.of(status))}.</p>"
        for status in statuses
    )
    return "".join(lines)


def observed(job: Job, numbers: list[int]) -> Seen | str:
    """These rows of the observations, or a sentence that says why they cannot be shown."""
    m = job.manifest
    try:
        source, mask = m.observations.open(), m.open_mask()
        x = np.concatenate([np.asarray(source.read(n, n + 1), np.float64) for n in numbers])
        if mask is not None:
            places = [0 if mask.count == 1 else n for n in numbers]
            kept = np.concatenate([mask.read(place, place + 1) for place in places])
            x = np.where(kept, x, np.nan)
    except (OSError, ValueError) as error:
        return f"The observations cannot be shown: {error}"
    return Seen(x, image_shape(job.generator))


def heading(row: int, status: Status, residual: float) -> str:
    """A row's number and what was found."""
    return f"Row {row:,}: {status.name}, residual {residual:.3g}"


def triple(
    row: int,
    shape: tuple[int, ...],
    x: Float[np.ndarray, " n"],
    made: dict[str, Float[np.ndarray, " n"]],
    difference: Float[np.ndarray, " n"] | None,
    largest: float,
) -> str:
    """Pictures beside each other: the observation, what is made of it by name, the difference."""
    low, high = _ends(np.stack([x, *made.values()]))
    size = " by ".join(map(str, shape[-2:]))
    pictures = [
        (name, f"{name} of row {row}, {size} pixels", grey(as_image(values, shape), low, high))
        for name, values in {"observation": x, **made}.items()
    ]
    if difference is not None:
        least, most = _ends(difference)
        told = f"G(z) - x of row {row}, from {least:.2g} (blue) to {most:.2g} (red)"
        pictures.append(("difference", told, signed(as_image(difference, shape), largest)))
    figures = (page.figure(svg.picture(image, told), caption) for caption, told, image in pictures)
    return f'<div class="pictures">{"".join(figures)}</div>'


def _ends(values: np.ndarray) -> tuple[float, float]:
    """The least and the largest finite value, 0 being one of them."""
    finite = values[np.isfinite(values)]
    return float(finite.min(initial=0.0)), float(finite.max(initial=0.0))


def _article(title: str, content: str) -> str:
    return f'<article class="row"><h3>{escape(title)}</h3>{content}</article>'


def _entries(
    row: int,
    record: np.void,
    x: Float[np.ndarray, " n"],
    made: Float[np.ndarray, " n"],
    difference: Float[np.ndarray, " n"],
) -> str:
    """Where the difference is largest, of what is no image."""
    size = np.where(np.isfinite(difference), np.abs(difference), -1.0)
    order = np.argsort(-size)[:NAMED]
    told = "; ".join(
        f"entry {place:,}: {x[place]:.4g} observed, {made[place]:.4g} made"
        for place in order.tolist()
        if size[place] >= 0
    )
    title = heading(row, Status(int(record["status"])), record["residual"])
    return _article(title, f"<p>Largest differences: {told or 'none'}.</p>")


def _table(found: Found) -> str:
    lines = (
        (f"{row:,}", Status(int(record["status"])).name, f"{record['residual']:.3g}")
        for row, record in found.worst
    )
    return page.table("Worst rows", ("row", "status", "residual"), lines)
