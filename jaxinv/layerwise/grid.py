"""The tolerances of Algorithms 1 to 3: eps_t = eps_0 alpha^t, up to the observation's size."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

# s* <= eps is decided up to the accuracy to which s* is certified.
ACCEPT = 1.0 + 1e-7


@dataclass(frozen=True)
class Grid:
    """eps_t = start growth^t, t = 0 .. last, one start an observation; eps_last >= max|x|."""

    start: Float[np.ndarray, " B"]
    growth: float
    last: Int[np.ndarray, " B"]

    @classmethod
    def up_to(cls, start: np.ndarray, growth: float, size: np.ndarray) -> "Grid":
        steps = np.ceil(np.log(np.maximum(size / start, 1.0)) / np.log(growth))
        return cls(start, growth, steps.astype(np.int64) + 1)

    @classmethod
    def single(cls, tolerance: np.ndarray) -> "Grid":
        """One tolerance and no other."""
        return cls(tolerance, 2.0, np.zeros(len(tolerance), np.int64))

    def tolerance(self, which: np.ndarray, t: np.ndarray) -> np.ndarray:
        return self.start[which] * self.growth**t

    def first_at_least(self, which: np.ndarray, value: np.ndarray) -> np.ndarray:
        """The first grid step whose tolerance accepts a slack of this value."""
        ratio = np.maximum(value / (ACCEPT * self.start[which]), 1e-300)
        guess = np.maximum(np.ceil(np.log(ratio) / np.log(self.growth)), 0).astype(np.int64)
        # The logarithm may be one step off where the value is a grid point.
        guess = np.maximum(guess - 1, 0)
        for _ in range(2):
            guess += value > ACCEPT * self.tolerance(which, guess)
        return guess
