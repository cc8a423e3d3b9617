"""An inversion in a notebook: counts by status, a histogram of residuals, the worst rows.

It is HTML without scripts, and of one size however many rows there are. An inversion holds neither
generator nor observations, so that it has no images: `jaxinv.plots` draws these from all three.
"""

from collections.abc import Iterable, Mapping
from html import escape

import numpy as np

from jaxinv.outcome import svg
from jaxinv.outcome.status import Status

WORST = 8
# Text in the notebook's own colour, which in a dark one is light.
STYLE = "font:12px/1.4 system-ui,sans-serif;fill:currentColor;overflow-x:auto"
MEASURES = {
    "residual": "||G(z) - x||",
    "allowed_error": "may be off by",
    "undetermined": "free directions",
}


def summary(
    latent: tuple[int, ...], counts: Mapping[Status, int], measures: Mapping[str, np.ndarray]
) -> str:
    """HTML on an inversion. latent: its shape. measures: status and MEASURES, (B,) or ()."""
    columns = {name: np.atleast_1d(values) for name, values in measures.items()}
    batch = latent[0] if len(latent) > 1 else 1
    entries = f"{latent[-1]} {'entry' if latent[-1] == 1 else 'entries'}"
    observations = f"{batch:,} observation{'' if batch == 1 else 's'}"
    head = f"<b>Inversion</b> of {observations}, latents of {entries}"
    parts = [f"<p>{head}{'' if batch else ': no rows'}</p>"]
    if batch > 1:
        parts += [_outcome(counts), _residuals(columns["residual"])]
    if batch:
        parts += [_sentences(counts), _worst(columns)]
    return f'<div style="{STYLE}">{"".join(parts)}</div>'


def _outcome(counts: Mapping[Status, int]) -> str:
    colours = [svg.BLUE if status.ok else svg.RED for status in counts]
    told = ", ".join(f"{count} {status.name}" for status, count in counts.items())
    names = [status.name for status in counts]
    return svg.bars(names, [*counts.values()], colours, f"Observations by status: {told}")


def _residuals(residual: np.ndarray) -> str:
    finite = np.isfinite(residual)
    if not finite.any():
        return "<p>No row has a residual.</p>"
    least, median, most = np.quantile(residual[finite], [0, 0.5, 1])
    told = f"Histogram of residuals: {least:.3g} to {most:.3g}, median {median:.3g}"
    return svg.histogram(residual, "||G(z) - x||, rows with a latent", told)


def _sentences(counts: Mapping[Status, int]) -> str:
    lines = (f"<dt>{status.name}</dt><dd>{escape(status.sentence)}</dd>" for status in counts)
    return f'<dl style="margin:.5em 0">{"".join(lines)}</dl>'


def _worst(columns: Mapping[str, np.ndarray]) -> str:
    rows = worst_rows(columns["status"], columns["residual"])
    head = _line("th", ("row", "status", *MEASURES.values()))
    lines = (
        _line(
            "td",
            (
                f"{row:,}",
                Status(int(columns["status"][row])).name,
                *(_number(columns[name][row]) for name in MEASURES),
            ),
        )
        for row in rows
    )
    title = f"The worst of {len(columns['status']):,} rows" if len(rows) > 1 else ""
    caption = f'<caption style="text-align:left">{title}</caption>' if title else ""
    body = f"<thead>{head}</thead><tbody>{''.join(lines)}</tbody>"
    return f'<table style="font:inherit">{caption}{body}</table>'


def worst_rows(status: np.ndarray, residual: np.ndarray, most: int = WORST) -> list[int]:
    """Rows without a latent, then those that nothing confirms, then others; by residual in each."""
    confirmed = np.isin(status, [value for value in Status if value.ok])
    without = np.isnan(residual)
    found: list[int] = []
    for group in (without, ~without & ~confirmed, ~without & confirmed):
        rows = np.flatnonzero(group)
        order = np.argsort(-residual[rows], kind="stable")[: most - len(found)]
        found += rows[order].tolist()
    return found


def _line(cell: str, words: Iterable[str]) -> str:
    style = ' style="text-align:right;padding:.1em .8em"'
    return f"<tr>{''.join(f'<{cell}{style}>{escape(word)}</{cell}>' for word in words)}</tr>"


def _number(value: float) -> str:
    return "none" if np.isnan(value) else f"{value:.3g}"
