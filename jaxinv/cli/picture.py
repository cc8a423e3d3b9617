"""Panels of digits, one for each generator and input, with a line of images for each kind."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

SIDE, SHOWN, SCALE = 28, 8, 2
PER_LINE = 2
MARGIN, TITLE = 52, 16  # pixels for the names of the lines, and for a panel's name


class Panel(NamedTuple):
    """Images (B, 784) by what they are called, under one title."""

    title: str
    images: dict[str, np.ndarray]


def draw(panels: list[Panel], out: Path) -> None:
    """Write the panels, PER_LINE beside each other, as a greyscale picture.

    Values outside [0, 1] are clipped.
    """
    size = SIDE * SCALE
    lines = [panels[first : first + PER_LINE] for first in range(0, len(panels), PER_LINE)]
    heights = [TITLE + size * max(len(panel.images) for panel in line) for line in lines]
    width = MARGIN + SHOWN * size
    picture = Image.new("L", (width * len(lines[0]), sum(heights)), 255)
    pen = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        for column, panel in enumerate(line):
            left, top = column * width, sum(heights[:row])
            pen.text((left + MARGIN, top + 2), panel.title, fill=0)
            for kind, (name, images) in enumerate(panel.images.items()):
                y = top + TITLE + kind * size
                pen.text((left + 2, y + size // 2 - 6), name, fill=0)
                picture.paste(_strip(images), (left + MARGIN, y))
    picture.save(out)


def _strip(images: np.ndarray) -> Image.Image:
    shown = np.clip(images[:SHOWN], 0, 1).reshape(-1, SIDE, SIDE)
    pixels = (255 * np.concatenate(shown, axis=1)).astype(np.uint8)
    strip = Image.fromarray(pixels)
    return strip.resize((strip.width * SCALE, strip.height * SCALE), Image.Resampling.NEAREST)
