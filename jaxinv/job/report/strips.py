"""Histograms of several kinds above each other, on one logarithmic axis."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxinv.job.report.tally import PER_DECADE, Shown
from jaxinv.outcome import svg

WIDTH = svg.NARROW
SIDE, HEIGHT, TITLE, FOOT = 8, 46, 20, 40
TICKS = 5


class Strip(NamedTuple):
    """kind: its line of the counts. label: above it. colour: of SVG, such as var(--good)."""

    kind: int
    label: str
    colour: str


def strips(shown: Shown, drawn: Sequence[Strip], axis: str, told: str) -> str:
    """One strip a kind, each scaled to its own tallest bar. told: the drawing in words."""
    bars = shown.counts.shape[1]
    inner = (WIDTH - 2 * SIDE) / bars
    parts = []
    for place, strip in enumerate(drawn):
        foot = (place + 1) * (HEIGHT + TITLE)
        counts = shown.counts[strip.kind]
        top = max(int(counts.max()), 1)
        parts.append(svg.text(SIDE, foot - HEIGHT - 6, strip.label))
        for i, count in enumerate(counts.tolist()):
            if count:
                # A single row among millions must still be seen.
                height = max((HEIGHT - 4) * count / top, 2.0)
                parts.append(
                    f'<rect x="{SIDE + i * inner:.1f}" y="{foot - height:.1f}" '
                    f'width="{max(inner - 0.6, 1.0):.1f}" height="{height:.1f}" '
                    f'fill="{strip.colour}"/>'
                )
        parts.append(svg.rule(SIDE, foot, WIDTH - SIDE, foot))
    foot = len(drawn) * (HEIGHT + TITLE)
    # Whole decades, so many of them at a time that the words have room.
    step = max(1, -(-round(shown.high - shown.low) // TICKS))
    decade = step * int(np.ceil(shown.low / step))
    # The axis ends half a bin before a power of ten.
    while decade <= shown.high + 1.0 / PER_DECADE:
        x = SIDE + (WIDTH - 2 * SIDE) * (decade - shown.low) / (shown.high - shown.low)
        anchor = "start" if x < 3 * SIDE else "end" if x > WIDTH - 3 * SIDE else "middle"
        parts.append(svg.rule(x, foot, x, foot + 4))
        parts.append(svg.text(x, foot + 17, f"1e{decade}", anchor))
        decade += step
    parts.append(svg.text(WIDTH / 2, foot + FOOT - 6, axis, "middle"))
    return svg.drawing("".join(parts), WIDTH, foot + FOOT, told)
