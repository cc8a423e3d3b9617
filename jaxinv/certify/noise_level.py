"""How large the noise is that a misfit shows, were it noise: s^2 = ||W r||^2 / (m - k).

Few degrees of freedom may show far too little of it. What lies SURE of its deviations away from a
noise that is known lies t of those of one that was estimated, t the quantile of Student's
distribution at the same probability.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtr, stdtrit

from jaxinv.linalg.norms import row_norms
from jaxinv.linalg.shared import per_row

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
    level, sure = noise_levels(row_norms(weight * misfit), observed.sum(-1), latent_size)
    return Noise(level, sure[:, None] / np.where(observed, weight, np.inf))


def noise_levels(
    size: Float[np.ndarray, " B"], observed: Int[np.ndarray, " B"], latent_size: int
) -> tuple[Float[np.ndarray, " B"], Float[np.ndarray, " B"]]:
    """s, and t / SURE s, of weighted misfits of these norms. observed: entries that are."""
    freedom = per_row(lambda m: np.maximum(m - latent_size, 1), observed)
    student = per_row(lambda m: np.asarray(stdtrit(m, ndtr(SURE))) / SURE, freedom)
    level = size / np.sqrt(freedom)
    return level, student * level
