"""Rows block by block, in blocks of one shape.

An instance's last bits depend on the shape of the batch that it is computed in: the last block
repeats some of its rows, so that no answer depends on how many rows there are.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int


def blocks(
    rows: Int[np.ndarray, " T"], size: int
) -> Iterator[tuple[Int[np.ndarray, " some"], Int[np.ndarray, " size"]]]:
    """At most `size` of these rows at a time, and the same repeated until they are as many."""
    for first in range(0, len(rows), size):
        some = rows[first : first + size]
        yield some, np.resize(some, size)
