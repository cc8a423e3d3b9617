"""Arrays of one row an observation all of whose rows are one: that one is computed with and sent.

A mask, or weights, that hold for a whole batch come as `np.broadcast_to` makes them, of one row in
memory. Computed anew for each observation they would cost as much as the observations themselves.
"""

from collections.abc import Callable

import numpy as np


def shared(part: np.ndarray) -> np.ndarray:
    """The one row (1, ...) of an array whose rows share their memory, and any other as it is."""
    return part[:1] if part.strides[0] == 0 else part


def per_row(function: Callable[[np.ndarray], np.ndarray], part: np.ndarray) -> np.ndarray:
    """What a function makes of every row by itself, once where all are the same (read-only then).

    function: (B, ...) -> (B, ...).
    """
    made = function(shared(part))
    return np.broadcast_to(made, (len(part), *made.shape[1:]))
