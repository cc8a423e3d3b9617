"""How large the noise is that a misfit shows, were it noise: s^2 = ||W r||^2 / (m - k)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxinv.linalg.norms import row_norms


class Noise(NamedTuple):
    """level: (B,), s, the deviation of an entry of weight one. deviation: (B, n), s / w_j of each.

    The deviation is 0 where an entry is not observed.
    """

    level: Float[np.ndarray, " B"]
    deviation: Float[np.ndarray, "B n"]


def noise_of(
    misfit: Float[np.ndarray, "B n"], weight: Float[np.ndarray, "B n"], latent_size: int
) -> Noise:
    """The noise of m observed entries behind k latent ones. weight: 0 where not observed."""
    observed = weight > 0
    freedom = np.maximum(observed.sum(-1) - latent_size, 1)
    level = row_norms(weight * misfit) / np.sqrt(freedom)
    return Noise(level, level[:, None] / np.where(observed, weight, np.inf))
