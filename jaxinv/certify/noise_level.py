"""How large the noise is that a misfit shows, were it noise: s^2 = ||W r||^2 / (m - k).

Few degrees of freedom may show far too little of it. What lies SURE of its deviations away from a
noise that is known lies t of those of one that was estimated, t the quantile of Student's
distribution at the same probability.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, stdtrit

from jaxinv.linalg.norms import row_norms

SURE = 3.0  # standard deviations


class Noise(NamedTuple):
    """level: (B,), s, the deviation of an entry of weight one. deviation: (B, n), t / SURE s / w_j.

    SURE of the latter are as sure as of a noise that is known; 0 where an entry is not observed.
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
    student = np.asarray(stdtrit(freedom, ndtr(SURE))) / SURE
    return Noise(level, (student * level)[:, None] / np.where(observed, weight, np.inf))
