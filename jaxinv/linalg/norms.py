"""Euclidean norms of rows whose squares may overflow or underflow."""

from typing import Any

import numpy as np
from jaxtyping import Float


def row_norms(rows: Float[Any, "B n"], xp: Any = np) -> Any:
    """||x||_2 of each row, max|x| ||x / max|x| ||_2: right wherever it can be represented.

    xp: `numpy`, or `jax.numpy` inside a traced computation.
    """
    largest = xp.abs(rows).max(axis=-1, initial=0.0)
    scale = xp.where((largest > 0) & xp.isfinite(largest), largest, 1.0)
    with np.errstate(over="ignore"):
        return scale * xp.linalg.norm(rows / scale[:, None], axis=-1)
