"""Euclidean norms of rows whose squares may overflow or underflow."""

import numpy as np
from jaxtyping import Float


def row_norms(rows: Float[np.ndarray, "B n"]) -> Float[np.ndarray, " B"]:
    """||x||_2 of each row, max|x| ||x / max|x| ||_2: right wherever it can be represented."""
    largest = np.abs(rows).max(axis=-1, initial=0.0)
    scale = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
    with np.errstate(over="ignore"):
        norms: Float[np.ndarray, " B"] = scale * np.linalg.norm(rows / scale[:, None], axis=-1)
    return norms
