"""Areas under receiver operating characteristic curves, with intervals and paired differences.

After DeLong, DeLong and Clarke-Pearson (1988): the area is the share of pairs (odd, regular) in
which the odd one scores higher, ties counted half, and its variance is that of each one's share.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata


class Areas(NamedTuple):
    """area: (M,) of M scores of the same images. covariance: (M, M), DeLong's. pairs: the most
    pairs (odd, regular) that share no image."""

    area: np.ndarray
    covariance: np.ndarray
    pairs: int


def areas(odd: np.ndarray, regular: np.ndarray) -> Areas:
    """odd: (M, m) scores, higher for odder, regular: (M, n), both of two images or more."""
    m, n = odd.shape[1], regular.shape[1]
    both = rankdata(np.concatenate([odd, regular], axis=1), axis=1)
    # Of each image the share of the other kind that it is told from.
    of_odd = (both[:, :m] - rankdata(odd, axis=1)) / n
    of_regular = 1.0 - (both[:, m:] - rankdata(regular, axis=1)) / m
    covariance = np.atleast_2d(np.cov(of_odd)) / m + np.atleast_2d(np.cov(of_regular)) / n
    return Areas(of_odd.mean(1), covariance, min(m, n))


def interval(found: Areas, which: int, level: float = 0.95) -> tuple[float, float]:
    """Of one area. An area of 1 has no variance: its end is that of as many pairs, all told."""
    area = float(found.area[which])
    half = ndtri(0.5 + level / 2) * np.sqrt(max(found.covariance[which, which], 0.0))
    if area == 1.0:
        return ((1.0 - level) / 2) ** (1.0 / found.pairs), 1.0
    return max(area - half, 0.0), min(area + half, 1.0)


def difference(
    found: Areas, first: int, second: int, level: float = 0.95
) -> tuple[float, float, float]:
    """The first area less the second, on the same images, and its interval."""
    c = found.covariance
    variance = c[first, first] + c[second, second] - 2.0 * c[first, second]
    half = ndtri(0.5 + level / 2) * np.sqrt(max(variance, 0.0))
    apart = float(found.area[first] - found.area[second])
    return apart, apart - half, apart + half
