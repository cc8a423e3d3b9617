"""Values counted on a logarithmic axis as they pass: of one size however many there are."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

# Bins, about whole powers of ten among others, so that 1 is told as 1: a quantile is known to 2%.
PER_DECADE = 64
LOWEST, HIGHEST = -324, 309  # decades that float64 has
BARS = 48  # that a histogram is drawn with, at most


class Shown(NamedTuple):
    """A part of the axis, cut into equal bars.

    counts: (kinds, bars). low, high: decimal logarithms of its ends.
    """

    counts: Int[np.ndarray, "kinds bars"]
    low: float
    high: float


class Tally:
    """How many values of each kind there are, by size; NaN is no value.

    zero, infinite: (kinds,) values that have no place on the axis; no value is negative.
    """

    def __init__(self, kinds: int = 1) -> None:
        self.counts = np.zeros((kinds, (HIGHEST - LOWEST) * PER_DECADE), np.int64)
        self.zero, self.infinite = np.zeros(kinds, np.int64), np.zeros(kinds, np.int64)

    def add(self, value: Float[np.ndarray, " B"], kind: Int[np.ndarray, " B"] | int = 0) -> None:
        """Count these values, each of its kind."""
        kind = np.broadcast_to(kind, value.shape)
        placed = (value > 0) & np.isfinite(value)
        place = np.rint((np.log10(value[placed]) - LOWEST) * PER_DECADE).astype(np.int64)
        np.add.at(self.counts, (kind[placed], place), 1)
        np.add.at(self.zero, kind[value == 0], 1)
        np.add.at(self.infinite, kind[np.isposinf(value)], 1)

    def total(self, kinds: Sequence[int] | slice = slice(None)) -> int:
        """How many values of these kinds were counted."""
        counted = self.counts[kinds].sum() + self.zero[kinds].sum() + self.infinite[kinds].sum()
        return int(counted)

    def quantile(self, share: float, kinds: Sequence[int] | slice = slice(None)) -> float:
        """The value below which this share of them lies, to a bin's width; NaN where none is."""
        steps = [self.zero[kinds].sum(), *self.counts[kinds].sum(0), self.infinite[kinds].sum()]
        passed = np.cumsum(steps)
        if not passed[-1]:
            return float("nan")
        # The first bin at which the share is reached, not the empty ones before it.
        bin_ = int(np.searchsorted(passed, max(share * passed[-1], 1.0)))
        if bin_ == 0:
            return 0.0
        if bin_ == len(steps) - 1:
            return float("inf")
        return float(10.0 ** (LOWEST + (bin_ - 1) / PER_DECADE))

    def shown(self) -> Shown | None:
        """The decades that hold values, in BARS bars at most; None where none has a place."""
        used = np.flatnonzero(self.counts.any(0))
        if not used.size:
            return None
        # What lies on a power of ten has a decade on either side: a row of ratios of one, say.
        first, last = max(used[0] - 1, 0) // PER_DECADE, used[-1] // PER_DECADE + 1
        together = 1
        while (last - first) * PER_DECADE > BARS * together:
            together *= 2
        stop = first * PER_DECADE + -(-(last - first) * PER_DECADE // together) * together
        counts = self.counts[:, first * PER_DECADE : stop]
        # The last bar may reach beyond the axis of float64.
        missing = stop - first * PER_DECADE - counts.shape[1]
        counts = np.pad(counts, ((0, 0), (0, missing)))
        low, high = (LOWEST + (end - 0.5) / PER_DECADE for end in (first * PER_DECADE, stop))
        return Shown(counts.reshape(len(counts), -1, together).sum(-1), low, high)
