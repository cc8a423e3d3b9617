"""What is written: the same rows as arrays and as tables, a block at a time."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

CREATOR = "jaxinv"


class Results(NamedTuple):
    """rows: how many. arrays, tables: begin anew with the first block whenever they are called.

    arrays: NumPy arrays by name, statuses as numbers, for .npz, .npy and .zarr. tables: tables of
    Arrow, statuses as words, for .parquet and .arrow. Blocks but the last have one length.
    """

    rows: int
    arrays: Callable[[], Iterator[Mapping[str, np.ndarray]]]
    tables: Callable[[], Iterator[Any]]
