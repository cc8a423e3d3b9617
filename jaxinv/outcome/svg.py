"""Plots as inline SVG: bars, histograms on a logarithmic axis, a line over time; images as PNG."""

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from jaxtyping import Float
from PIL import Image

WIDTH, HEIGHT = 560, 220
NARROW = 340  # on a telephone its words are as large as the text around it
LEFT, BOTTOM, TOP, RIGHT = 64, 40, 12, 12
BLUE, RED, GREY = "#3b6ea5", "#b5442e", "#888"
LARGEST_SIDE = 160  # pixels of an image in a page


def bars(labels: Sequence[str], counts: Sequence[int], colours: Sequence[str], told: str) -> str:
    """Horizontal bars, one a label, with its count and share. told: the drawing in words."""
    total, largest = max(sum(counts), 1), max([*counts, 1])
    row, left = 26, 170
    parts = []
    for i, (label, count, colour) in enumerate(zip(labels, counts, colours, strict=True)):
        length = (WIDTH - left - 130) * count / largest
        y = i * row
        parts.append(
            f'<text x="{left - 8}" y="{y + 17}" text-anchor="end">{escape(label)}</text>'
            f'<rect x="{left}" y="{y + 4}" width="{max(length, 1):.1f}" height="18" '
            f'fill="{colour}"/>'
            f'<text x="{left + length + 8:.1f}" y="{y + 17}">{count:,} ({count / total:.2%})</text>'
        )
    return drawing("".join(parts), WIDTH, row * len(labels) + 4, told)


def histogram(values: Float[np.ndarray, " B"], axis: str, told: str, bins: int = 40) -> str:
    """How many values lie in each bin of a logarithmic axis; zeros stand in the first bin.

    told: the drawing in words.
    """
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    if not positive.size:
        return f"<p>{escape(axis)}: {finite.size} values, none above zero.</p>"
    low, high = np.floor(np.log10(positive.min())), np.ceil(np.log10(positive.max()))
    high = max(high, low + 1)
    # Not the logarithm of a lower limit: 10^low is 0 where the least value is a denormal number.
    logs = np.where(finite > 0, np.log10(np.where(finite > 0, finite, 1.0)), low)
    counts, _ = np.histogram(logs, bins=bins, range=(low, high))
    inner = (WIDTH - LEFT - RIGHT) / bins
    top = counts.max()
    parts = []
    for i, count in enumerate(counts):
        # A single row among millions must still be seen.
        height = max((HEIGHT - TOP - BOTTOM) * count / top, 2.0 if count else 0.0)
        parts.append(
            f'<rect x="{LEFT + i * inner:.1f}" y="{HEIGHT - BOTTOM - height:.1f}" '
            f'width="{inner - 1:.1f}" height="{height:.1f}" fill="{BLUE}"/>'
        )
    step = max(1, int(np.ceil((high - low) / 8)))
    for exponent in range(int(low), int(high) + 1, step):
        x = LEFT + (WIDTH - LEFT - RIGHT) * (exponent - low) / (high - low)
        parts.append(text(x, HEIGHT - BOTTOM + 16, f"1e{exponent}", "middle"))
    return drawing("".join(parts) + _frame(axis, "rows", f"{top:,}", WIDTH), WIDTH, HEIGHT, told)


def line(
    x: Float[np.ndarray, " T"], y: Float[np.ndarray, " T"], across: str, up: str, told: str
) -> str:
    """y over x, both from zero. told: the drawing in words."""
    if len(x) < 2 or not (x.max() > 0 and y.max() > 0):
        return f"<p>{escape(up)}: too few shards to draw.</p>"
    across_scale, up_scale = (NARROW - LEFT - RIGHT) / x.max(), (HEIGHT - TOP - BOTTOM) / y.max()
    points = " ".join(
        f"{LEFT + a * across_scale:.1f},{HEIGHT - BOTTOM - b * up_scale:.1f}"
        for a, b in zip(x, y, strict=True)
    )
    drawn = f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.5"/>'
    drawn += text(NARROW - RIGHT, HEIGHT - BOTTOM + 16, f"{x.max():.4g}", "end")
    frame = _frame(across, up, f"{y.max():,.4g}", NARROW)
    return drawing(drawn + frame, NARROW, HEIGHT, told)


def picture(values: Float[np.ndarray, "h w"] | Float[np.ndarray, "h w 3"], alt: str) -> str:
    """An image from values in [0, 1], as it stands in a page; a large one is made smaller."""
    image = Image.fromarray((255 * np.clip(np.nan_to_num(values), 0, 1)).round().astype(np.uint8))
    image = image.reduce(-(-max(image.size) // LARGEST_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    size = f'width="{image.width}" height="{image.height}"'
    return f'<img src="data:image/png;base64,{data}" {size} alt="{escape(alt)}">'


def drawing(inner: str, width: int, height: int, told: str) -> str:
    """An SVG of its own in a page. told: in words, for those who do not see it."""
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(told)}">{inner}</svg>'
    )


def text(x: float, y: float, text: str, anchor: str = "start") -> str:
    """Words at a point."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def rule(x: float, y: float, to_x: float, to_y: float) -> str:
    """A thin grey line."""
    return f'<path d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}" stroke="{GREY}"/>'


def _frame(across: str, up: str, top: str, width: int) -> str:
    corner = f"M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{width - RIGHT}"
    return (
        f'<path d="{corner}" fill="none" stroke="{GREY}"/>'
        + text((LEFT + width - RIGHT) / 2, HEIGHT - 6, across, "middle")
        + text(LEFT - 6, TOP + 10, top, "end")
        + text(LEFT - 6, HEIGHT - BOTTOM, "0", "end")
        + text(LEFT + 6, TOP - 2, up, "start")
    )
