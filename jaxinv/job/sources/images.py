"""Rows from a folder of images, in the order of their names."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxinv.job.place import Place, Stored, children, fetched
from jaxinv.job.sources.rows import Rows

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
PIXELS = ("unit", "signed")
LARGEST_IMAGE = 1 << 26  # entries
# Pillow's modes: grey of 8 bits, grey of 16, and what has 32 bits of an unknown range.
GREY = ("1", "L", "LA")
DEEP = ("I;16", "I;16L", "I;16B", "I;16N")
WIDE = ("I", "F")


@dataclass(frozen=True)
class ImageRows:
    """Images of one size as rows: grey (h w), or colour with its channels first (3 h w).

    mode: "L", "RGB", or "I;16" for grey of 16 bits. An image that cannot be read, or has another
    size or depth, is a row of NaN: it becomes BAD_INPUT.
    """

    path: Place
    files: tuple[Place, ...]
    mode: str
    size: tuple[int, int]
    pixels: str

    @property
    def count(self) -> int:
        return len(self.files)

    @property
    def width(self) -> int:
        return self.size[0] * self.size[1] * (3 if self.mode == "RGB" else 1)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float64)

    @property
    def step(self) -> float:
        """The distance of neighbouring pixel values."""
        return (2.0 if self.pixels == "signed" else 1.0) / self._largest

    @property
    def _largest(self) -> float:
        return 65535.0 if self.mode == DEEP[0] else 255.0

    def _of_my_depth(self, image: Image.Image) -> bool:
        mode = _mode(image)
        return mode == self.mode or {mode, self.mode} == {"L", "RGB"}

    @property
    def spec(self) -> dict[str, Any]:
        return {"path": str(self.path), "pixels": self.pixels}

    def read(self, start: int, stop: int) -> np.ndarray:
        rows = [self._row(file) for file in _openable(self.files[start:stop])]
        return np.stack(rows) if rows else np.zeros((0, self.width))

    def _row(self, file: Path | BytesIO) -> np.ndarray:
        try:
            with Image.open(file) as image:
                if image.size != self.size or not self._of_my_depth(image):
                    return np.full(self.width, np.nan)
                # Pillow would clip what has 16 bits to 8.
                whole = image if self.mode == DEEP[0] else image.convert(self.mode)
                values = np.asarray(whole, np.float64) / self._largest
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return np.full(self.width, np.nan)
        if self.mode == "RGB":
            values = values.transpose(2, 0, 1)
        return (2.0 * values - 1.0 if self.pixels == "signed" else values).reshape(-1)


def open_folder(path: Place, pixels: str) -> Rows:
    """All images of a folder; the first one says their size, and whether they have colours."""
    if pixels not in PIXELS:
        raise ValueError(f"pixels={pixels!r} is not known; expected one of {PIXELS}")
    files = tuple(p for p in children(path) if p.suffix.lower() in ENDINGS)
    if not files:
        raise ValueError(f"{path} holds no images ({', '.join(sorted(ENDINGS))})")
    try:
        with Image.open(_openable(files[:1])[0]) as image:
            size, mode = image.size, _mode(image)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError(f"{files[0]} is not a readable image: {error}") from None
    if mode in WIDE:
        raise ValueError(f"{files[0]} has 32 bits a pixel, of an unknown range; save it as .npy")
    if size[0] * size[1] > LARGEST_IMAGE:
        raise ValueError(f"{files[0]} has {size[0]} x {size[1]} pixels, too many for one row")
    return ImageRows(path, files, mode, size, pixels)


def _mode(image: Image.Image) -> str:
    if image.mode in DEEP:
        return DEEP[0]
    return image.mode if image.mode in WIDE else "L" if image.mode in GREY else "RGB"


def _openable(files: tuple[Place, ...]) -> list[Path | BytesIO]:
    """Files as Pillow opens them; those of a store are fetched, empty ones where they cannot be."""
    stored = [file for file in files if isinstance(file, Stored)]
    if stored:
        return [BytesIO(data or b"") for data in fetched(stored)]
    return [file for file in files if isinstance(file, Path)]
