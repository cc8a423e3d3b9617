r"""Whether the entries of a misfit are distributed as Gaussian noise of one level would be.

Anderson and Darling's statistic of the m observed entries of r = W (G(z) - x), their mean and
deviation estimated: with Phi_(j) Gauss's distribution function at the standardized entries in
ascending order,

    A^2 = -m - sum_j (2 j - 1) / m (log Phi_(j) + log(1 - Phi_(m + 1 - j))),
    A*^2 = A^2 (1 + .75 / m + 2.25 / m^2),

is above a with probability exp(1.2937 - 5.709 a + .0186 a^2) where the entries are Gaussian
(Stephens 1986). Photographs leave misfits of few large entries among many small ones.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import log_ndtr

LEVEL = 1e-4
# exp(1.2937 - 5.709 a + .0186 a^2) = LEVEL.
LARGEST = (5.709 - np.sqrt(5.709**2 - 4 * 0.0186 * (1.2937 - np.log(LEVEL)))) / (2 * 0.0186)
FEWEST = 8  # entries from which on the statistic's distribution is known


def not_gaussian(
    misfit: Float[np.ndarray, "B n"], observed: Bool[np.ndarray, "B n"]
) -> Bool[np.ndarray, " B"]:
    """Rows whose weighted misfit is no Gaussian noise of one level, but for a share of LEVEL."""
    m = observed.sum(-1)
    count = np.maximum(m, 1)
    mean = misfit.sum(-1, where=observed) / count
    centred = np.where(observed, misfit - mean[:, None], 0.0)
    # Their size may be beyond what can be squared.
    scale = np.abs(centred).max(-1, initial=0.0)
    centred /= np.where(scale > 0, scale, 1.0)[:, None]
    deviation = np.sqrt((centred**2).sum(-1) / np.maximum(m - 1, 1))
    standard = centred / np.where(deviation > 0, deviation, 1.0)[:, None]
    # Entries that are not observed come last.
    ordered = np.sort(np.where(observed, standard, np.inf), axis=-1)
    j = np.arange(1, ordered.shape[1] + 1)
    kept = j <= m[:, None]
    low = log_ndtr(np.where(kept, ordered, 0.0))
    high = log_ndtr(np.where(kept, -ordered, 0.0))
    # sum_j (2 j - 1) log(1 - Phi_(m + 1 - j)), counted from its other end.
    terms = (2 * j - 1) * low + (2 * (m[:, None] - j) + 1) * high
    square = -m - terms.sum(-1, where=kept) / count
    statistic = square * (1.0 + 0.75 / count + 2.25 / count**2)
    return np.asarray((m >= FEWEST) & ~(statistic <= LARGEST))
