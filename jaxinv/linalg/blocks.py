"""Rows block by block, in blocks of one shape.

An instance's last bits depend on the shape of the batch that it is computed in: the last block
repeats some of its rows, so that no answer depends on how many rows there are.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

VECTOR = 8  # doubles that a processor takes at once


def blocks(
    rows: Int[np.ndarray, " T"], size: int
) -> Iterator[tuple[Int[np.ndarray, " some"], Int[np.ndarray, " size"]]]:
    """At most `size` of these rows at a time, and the same repeated until they are as many."""
    for first in range(0, len(rows), size):
        some = rows[first : first + size]
        yield some, np.resize(some, size)


def in_whole_vectors(rows: int) -> int:
    """A number of rows, at least so many, of which none stands alone at the end.

    Compilers may compute the rows beyond the last whole vector in another order, and so give them
    other last bits than the same rows elsewhere in the batch.
    """
    return 1 << (rows - 1).bit_length() if rows <= VECTOR else -(-rows // VECTOR) * VECTOR
