r"""How likely a random net can be inverted at all, one layer at a time (Lemma 1, Theorem 2).

A row of a bias-free ReLU layer with weights symmetric about 0 is active at a fixed z != 0 with
probability 1/2, independently of the other rows; continuous weights give m >= n_{i-1} active rows
full rank almost surely. Least squares over the active rows therefore determines the input of
layer i exactly when Bin(n_i, 1/2) >= n_{i-1}. Given z_{i-1} != 0 the count does not depend on
z_{i-1}, and the layers' weights are independent, so the probabilities multiply. (z_{i-1} = 0 has no
active row at layer i - 1, where the count has failed already.)

This is for one fixed code. "For all codes at once", as injective would mean, needs n / k of about
6.7. Where fewer rows are active, the inequalities of the others may still pin a hidden layer.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import rel_entr


@dataclass(frozen=True)
class RecoveryProbability:
    """The probability that least squares inverts a random ReLU net at a fixed code (Theorem 2).

    value: exact, the product of `layers`. layers: P(Bin(n_i, 1/2) >= n_{i-1}), first layer first.
    exponential: what an exponential tail proves, 1 - sum_i exp(-n_i KL((n_{i-1} - 1) / n_i | 1/2)),
    cut at 0: the form 1 - exp(-Omega(k)) of the theorem with the best exponent there is. It says
    little or, at 0, nothing for small k.

    >>> from jaxinv.certify import recovery_probability
    >>> odds = recovery_probability((20, 42, 200))
    >>> [round(layer, 2) for layer in odds.layers], odds.exponential < odds.value
    ([0.68, 1.0], True)
    """

    value: float
    layers: tuple[float, ...]
    exponential: float


def recovery_probability(widths: Iterable[int]) -> RecoveryProbability:
    """The success probability of a random ReLU net with widths (k, n_1, ..., n_d) (Theorem 2).

    Weights independent, symmetric and continuous, no biases. Raises ValueError for fewer than two
    widths or a width below 1.

    >>> from jaxinv.certify import recovery_probability
    >>> round(recovery_probability((1, 3)).value, 6)  # not all three rows off: 1 - 1/8
    0.875
    """
    from scipy.stats import binom  # slow to import, as in every function here

    sizes = tuple(widths)
    if len(sizes) < 2 or any(int(n) != n or n < 1 for n in sizes):
        raise ValueError(f"widths {sizes} must be two or more positive whole numbers, k first")
    layers = tuple(float(binom.sf(inputs - 1, width, 0.5)) for inputs, width in pairwise(sizes))
    tails = (_tail(inputs, width) for inputs, width in pairwise(sizes))
    return RecoveryProbability(float(np.prod(layers)), layers, max(0.0, 1.0 - sum(tails)))


def width_for_recovery(inputs: int, probability: float) -> int:
    """The smallest n with P(Bin(n, 1/2) >= inputs) >= probability: how far a layer must expand.

    Raises ValueError for inputs below 1 or a probability outside (0, 1).

    >>> from jaxinv.certify import width_for_recovery
    >>> width_for_recovery(1, 0.875), width_for_recovery(20, 0.99)
    (3, 57)
    """
    from scipy.stats import binom

    if int(inputs) != inputs or inputs < 1:
        raise ValueError(f"inputs={inputs} must be a positive whole number")
    if not 0.0 < probability < 1.0:
        raise ValueError(f"probability={probability} must lie strictly between 0 and 1")
    low, high = int(inputs) - 1, 2 * int(inputs)
    while binom.sf(inputs - 1, high, 0.5) < probability:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        enough = binom.sf(inputs - 1, middle, 0.5) >= probability
        low, high = (low, middle) if enough else (middle, high)
    return high


def _tail(inputs: int, width: int) -> float:
    """Chernoff: P(Bin(n, 1/2) <= m) <= exp(-n KL(m/n | 1/2)) for m = inputs - 1 <= n/2, else 1."""
    share = (inputs - 1) / width
    if share >= 0.5:
        return 1.0
    divergence = rel_entr(share, 0.5) + rel_entr(1.0 - share, 0.5)
    return float(np.exp(-width * divergence))
