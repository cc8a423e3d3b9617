"""Some rows of another source, by their numbers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxinv.formats.arrays import read_npy
from jaxinv.job.sources.rows import Rows


@dataclass(frozen=True)
class SubsetRows:
    """The rows `numbers` (ascending) of a source."""

    whole: Rows
    index: Path
    numbers: Int[np.ndarray, " B"]

    @property
    def count(self) -> int:
        return len(self.numbers)

    @property
    def width(self) -> int:
        return self.whole.width

    @property
    def dtype(self) -> np.dtype:
        return self.whole.dtype

    @property
    def spec(self) -> dict[str, Any]:
        return {**self.whole.spec, "index": str(self.index)}

    def read(self, start: int, stop: int) -> np.ndarray:
        wanted = self.numbers[start:stop]
        # Neighbours are read together.
        runs = np.split(wanted, np.flatnonzero(np.diff(wanted) != 1) + 1)
        parts = [self.whole.read(int(run[0]), int(run[-1]) + 1) for run in runs if len(run)]
        return np.concatenate(parts)


def open_subset(whole: Rows, index: Path) -> Rows:
    numbers = np.array(read_npy(index))
    if numbers.ndim != 1 or numbers.dtype.kind != "i" or not np.all(np.diff(numbers) > 0):
        raise ValueError(f"{index} does not hold ascending row numbers")
    return SubsetRows(whole, index, numbers)
