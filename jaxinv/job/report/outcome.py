"""Rows by status: how many, what it means, why, what to do; and their residuals."""

from html import escape

from jaxinv.job.job import Job
from jaxinv.job.report import page
from jaxinv.job.report.found import Found
from jaxinv.job.report.remedy import remedy
from jaxinv.job.report.strips import Strip, strips
from jaxinv.job.report.tally import Tally
from jaxinv.outcome.status import Status
from jaxinv.outcome.words import listed, number, rows, share


def statuses(job: Job, found: Found) -> str:
    """Every status that occurred, the most frequent first."""
    if not found.done:
        return "<p>No row is done yet.</p>"
    items = (_item(job, found, Status(value)) for value, _ in found.counts.most_common())
    return f'<ul class="statuses">{"".join(items)}</ul>'


def _item(job: Job, found: Found, status: Status) -> str:
    count, done = found.of(status), found.done
    first = found.first[status]
    which = "" if status.ok else f'<p class="quiet">{listed(first, count).capitalize()}</p>'
    return (
        f"<li><h3>{status.name}: {count:,} ({share(count, done)})</h3>"
        f'<div class="bar"><span class="{page.colour(status)}" '
        f'style="width:{100 * count / done:.3f}%"></span></div>'
        f"{which}<p>{escape(status.sentence)}</p>{_why(found, status)}"
        f"<p><strong>What to do:</strong> {remedy(status, job)}</p></li>"
    )


def _why(found: Found, status: Status) -> str:
    """Where it failed, and how far off its codes may be."""
    told = []
    layers = found.layers[status].most_common()
    if layers and not status.ok:
        named = ", ".join(f"layer {layer} ({rows(count)})" for layer, count in layers[:4])
        told.append(f"The first layer that failed, from the output on: {named}.")
    error = found.allowed_error.quantile(0.5, [int(status)])
    if status in (Status.SOLVED, Status.CLOSEST) and 0 < error < float("inf"):
        told.append(
            f"Under errors of the size that is left, half of these codes may be off by up to "
            f"{number(error)}, where the generator is about linear."
        )
    return f"<p>{' '.join(told)}</p>" if told else ""


def residuals(found: Found) -> str:
    """The distribution of residuals, one strip a status on one axis."""
    present = [Status(value) for value, _ in found.counts.most_common()]
    drawn = [
        Strip(int(status), f"{status.name}, {rows(count)}", f"var(--{page.colour(status)})")
        for status in present
        if (count := found.residual.total([int(status)]))
    ]
    if not drawn:
        return "<p>No row has a residual.</p>"
    return distribution(found.residual, drawn, "||G(z) - x||")


def distribution(tally: Tally, drawn: list[Strip], axis: str) -> str:
    """A figure of strips, and the quantiles that it shows in words."""
    told = "; ".join(_quantiles(tally, strip) for strip in drawn)
    placed = tally.shown()
    if placed is None:
        return f"<p>{escape(f'{axis}: {told}.')}</p>"
    picture = strips(placed, drawn, axis, f"Histograms of {axis}. {told}.")
    note = "Each strip has its own height; a row alone is seen as well."
    return page.figure(picture, f"{axis}, on a logarithmic axis. {told}. {note}")


def _quantiles(tally: Tally, strip: Strip) -> str:
    least, half, most = (tally.quantile(q, [strip.kind]) for q in (0.05, 0.5, 0.95))
    zero, infinite = int(tally.zero[strip.kind]), int(tally.infinite[strip.kind])
    ends = f", {zero:,} at zero" if zero else ""
    ends += f", {infinite:,} infinite" if infinite else ""
    return (
        f"{strip.label}: median {number(half)}, 5% below {number(least)}, 5% above "
        f"{number(most)}{ends}"
    )
