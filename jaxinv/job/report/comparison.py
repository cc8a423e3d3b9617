"""Two jobs on the same observations in one HTML file: which found more, where, how fast."""

from html import escape
from pathlib import Path

import numpy as np

from jaxinv.job import durable
from jaxinv.job.job import Job
from jaxinv.job.report import page
from jaxinv.job.report.course import COMPILED, Course, asked
from jaxinv.job.report.crossing import ALIKE, Crossing, crossed, none_below, refuse_unlike
from jaxinv.job.report.destination import destination
from jaxinv.job.report.outcome import distribution
from jaxinv.job.report.rows import observed, triple
from jaxinv.job.report.strips import Strip
from jaxinv.outcome.status import Status
from jaxinv.outcome.words import number, rows, seconds, share


def write_comparison(a: Job, b: Job, out: str | Path) -> Path:
    """Write the comparison of two jobs on the same rows, and return its path.

    out: a path that ends in .html. Raises ValueError where the rows are not the same, for a URL,
    and where something else lies in the report's place.
    """
    path = destination(out)
    refuse_unlike(a, b)
    floor = none_below(a)
    found = crossed(a, b, floor)
    sections = [("Statuses", _crossed(a, b, found))]
    if found.rows:
        sections.append(("Residuals", _ratios(found, floor)))
        for side, letter in enumerate("BA"):
            sections.append((f"Where {letter} is better", _ahead(a, b, found, 1 - side)))
    sections += [("Time", _times(a, b)), ("What differs", _differences(a, b))]
    title = f"jaxinv: A {a.folder.resolve().name}, B {b.folder.resolve().name}"
    made = page.page(title, _lead(a, b, found), sections)
    durable.replace(path, lambda file: file.write(made))
    return path


def _lead(a: Job, b: Job, found: Crossing) -> list[str]:
    told = [
        f"<strong>A</strong> is {page.code(str(a.folder))}, {escape(_named(a))}; "
        f"<strong>B</strong> is {page.code(str(b.folder))}, {escape(_named(b))}."
    ]
    if found.rows < a.shards.rows:
        told.append(
            f"{found.rows:,} of {rows(a.shards.rows)} {'is' if found.rows == 1 else 'are'} done in "
            "both; the others are left out."
        )
    if not found.rows:
        return told
    return [f"<strong>{_verdict(found)}</strong>", *told, _confirmed(found), *_price(a, b)]


def _named(job: Job) -> str:
    effort = job.manifest.method.get("effort", "default")
    effort = "" if effort == "default" else f" --effort {effort}"
    return f"{job.manifest.generator_name} by {job.manifest.method['name']}{effort}"


def _verdict(found: Crossing) -> str:
    """Which is better, and on how many rows."""
    a, b = found.better
    alike = found.rows - a - b
    if not a and not b:
        return f"A and B are alike on all {rows(found.rows)}."
    others = f"the other {rows(alike)} are alike" if alike else "no row is alike"
    if not a or not b:
        winner, count = ("A", a) if a else ("B", b)
        return f"{winner} is better on {rows(count)} and worse on none; {others}."
    if a == b:
        return f"Neither is better: each is ahead on {rows(a)}; {others}."
    winner, loser = ("A", "B") if a > b else ("B", "A")
    return f"{winner} is better on {rows(max(a, b))}, {loser} on {min(a, b):,}; {others}."


def _confirmed(found: Crossing) -> str:
    ok = np.array([status.ok for status in Status])
    only_a = int(found.table[np.ix_(ok, ~ok)].sum())
    only_b = int(found.table[np.ix_(~ok, ok)].sum())
    both = int(found.table[np.ix_(ok, ok)].sum())
    return (
        f"Confirmed codes (SOLVED or CLOSEST): {both:,} in both "
        f"({share(both, found.rows)}), {only_a:,} in A alone, {only_b:,} in B alone."
    )


def _price(a: Job, b: Job) -> list[str]:
    times = Course.of(a), Course.of(b)
    if times[0] is None or times[1] is None:
        return []
    mine, its = (time.per_row for time in times if time is not None)
    if not mine > 0 or not its > 0:
        return []
    dearer, factor = ("A", mine / its) if mine > its else ("B", its / mine)
    if factor < 1.1:
        return [f"A row took about as long in both, {seconds(mine)}."]
    return [
        f"A row took {factor:.2g} times as long in {dearer}: {seconds(mine)} in A, "
        f"{seconds(its)} in B."
    ]


def _crossed(a: Job, b: Job, found: Crossing) -> str:
    """A's statuses by B's."""
    if not found.rows:
        return "<p>No row is done in both.</p>"
    present = [[status for status in Status if found.table.sum(axis)[status]] for axis in (1, 0)]
    head = ("A, down; B, across", *(status.name for status in present[1]), "all in A")
    lines = [
        (
            f"A: {status.name}",
            *(f"{found.table[status, other]:,}" for other in present[1]),
            f"{found.table[status].sum():,}",
        )
        for status in present[0]
    ]
    last = ("all in B", *(f"{found.table[:, s].sum():,}" for s in present[1]), f"{found.rows:,}")
    names = {job.manifest.method["name"] for job in (a, b)}
    note = "<p>What SOLVED confirms depends on the method.</p>" if len(names) > 1 else ""
    return page.table("Statuses of A by those of B", head, [*lines, last]) + note


def _ratios(found: Crossing, floor: float) -> str:
    count = found.ratio.total()
    if not count:
        return "<p>No row has a code in both.</p>"
    drawn = [Strip(0, rows(count), "var(--good)")]
    told = distribution(found.ratio, drawn, "residual in B / residual in A")
    none = f" Residuals below {number(floor)} are rounding, and count as that." if floor else ""
    return f"{told}<p>Below 1 B comes nearer to the observation, above 1 A does.{none}</p>"


def _ahead(a: Job, b: Job, found: Crossing, side: int) -> str:
    """The rows where one of the two is ahead by most."""
    kept = found.kept[side]
    if not kept:
        return "<p>Nowhere.</p>"
    told = (
        f"<p>{rows(found.better[side])}: a status that says more, or the same and a residual lower "
        f"by more than {ALIKE:.0%}. Those that gain most:</p>"
    )
    seen = observed(a, [row for _, row, _, _ in kept])
    articles = []
    for place, (_, row, left, right) in enumerate(kept):
        words = (
            f"A {Status(int(left['status'])).name}, residual {left['residual']:.3g}; "
            f"B {Status(int(right['status'])).name}, residual {right['residual']:.3g}"
        )
        pictures = ""
        if not isinstance(seen, str) and seen.shape is not None:
            made = {
                f"{letter}'s G(z)": _made(job, record["latent"])
                for letter, job, record in (("A", a, left), ("B", b, right))
            }
            pictures = triple(row, seen.shape, seen.x[place], made, None, 0.0)
        articles.append(
            f'<article class="row"><h3>Row {row:,}</h3><p>{escape(words)}</p>{pictures}</article>'
        )
    return f'{told}<div class="rows">{"".join(articles)}</div>'


def _made(job: Job, latent: np.ndarray) -> np.ndarray:
    if not np.isfinite(latent).all():
        return np.full(job.generator.observation_size, np.nan)
    return np.asarray(job.generator(latent))


def _times(a: Job, b: Job) -> str:
    lines = []
    for letter, job in (("A", a), ("B", b)):
        course = Course.of(job)
        if course is None:
            lines.append((letter, "no shard in its log", "", "", ""))
            continue
        lines.append(
            (
                letter,
                seconds(float(course.at[-1])),
                seconds(course.computing),
                seconds(course.per_row),
                f"{course.workers}",
            )
        )
    head = ("job", "first to last shard", "computing", "a row", "workers")
    return page.table("Time", head, lines) + f"<p>{COMPILED}</p>"


def _differences(a: Job, b: Job) -> str:
    mine, its = asked(a), asked(b)
    mine["generator's SHA-256"], its["generator's SHA-256"] = (
        job.manifest.generator for job in (a, b)
    )
    names = [name for name in {**mine, **its} if mine.get(name) != its.get(name)]
    if not names:
        return "<p>Nothing: both were asked the same.</p>"
    lines = ((name, mine.get(name, "-"), its.get(name, "-")) for name in names)
    return page.table("What differs", ("", "A", "B"), lines)
