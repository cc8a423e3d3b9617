"""Noise of what is counted: photons, and pixels that are on or off."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.special import gammaln, xlogy

from jaxinv.model.likelihood.base import NoiseModel, within

LEAST_RATE = 1e-2  # counts, below which the logarithm of a rate goes on as a straight line
LEAST_CHANCE = 1e-6  # the same of a probability


def _log(p: Array, least: float) -> Array:
    """log p, below `least` its tangent there: finite, and with a slope that leads back."""
    return jnp.log(jnp.maximum(p, least)) + jnp.minimum(p - least, 0.0) / least


@dataclass(frozen=True)
class Poisson(NoiseModel):
    """Counts of photons: x_j ~ Poisson(G(z)_j), in units of counts.

        d(p, x) = 2 (p - x + x log(x / p)).

    A generator of intensities is brought to counts by `operator=`, as lambda p: gain * p + dark. A
    row is explained where sum_j (x_j - p_j)^2 / p_j is at most three standard deviations above what
    counts of these rates give. Raises ValueError (from `invert`) where an observed entry is
    negative or not whole.

    >>> g = jaxinv.Generator.from_layers([(np.ones((4, 1)), None, "identity")])
    >>> r = jaxinv.invert(g, [2.0, 5.0, 4.0, 9.0], noise=jaxinv.Poisson())
    >>> np.round(r.latent, 4).tolist()  # the mean of the counts
    [5.0]
    """

    def deviance(self, p: Array, x: Array) -> Array:
        """d(p, x).

        >>> float(jaxinv.Poisson().deviance(2.0, np.array(2.0)))
        0.0
        """
        own = jnp.where(x > 0, x * jnp.log(jnp.maximum(x, 1.0)), 0.0)
        return 2.0 * (jnp.maximum(p, 0.0) - x + own - x * _log(p, LEAST_RATE))

    def slope(self, p: Array, x: Array) -> Array:
        """1 - x / p.

        >>> float(jaxinv.Poisson().slope(2.0, 4.0))
        -1.0
        """
        return jnp.where(p > 0, 1.0, 0.0) - x / jnp.maximum(p, LEAST_RATE)

    def curvature(self, p: Array, x: Array) -> Array:
        """1 / p, Fisher's information.

        >>> float(jaxinv.Poisson().curvature(2.0, 4.0))
        0.5
        """
        return 1.0 / jnp.maximum(p, LEAST_RATE)

    def peak(self, x: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B n"]:
        """x log x - x - log x!.

        >>> jaxinv.Poisson().peak(np.array([0.0, 1.0])).tolist()
        [0.0, -1.0]
        """
        return xlogy(x, x) - x - gammaln(x + 1.0)

    def check(self, x: Float[np.ndarray, " m"]) -> None:
        """Raise ValueError where an entry is no count.

        >>> jaxinv.Poisson().check(np.array([0.0, 3.0]))
        """
        if (x < 0).any() or (x != np.floor(x)).any():
            bad = x[(x < 0) | (x != np.floor(x))][0]
            raise ValueError(
                f"noise=Poisson() is of counts, and an observation holds {bad:g}; expected whole "
                "numbers of 0 or more, in units of counts"
            )

    def deviation(self, x: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B n"]:
        """sqrt(max(x, 1)).

        >>> jaxinv.Poisson().deviation(np.array([0.0, 9.0])).tolist()
        [1.0, 3.0]
        """
        return np.sqrt(np.maximum(x, 1.0))

    def explains(
        self,
        p: Float[np.ndarray, "B n"],
        x: Float[np.ndarray, "B n"],
        observed: Bool[np.ndarray, "B n"],
    ) -> Bool[np.ndarray, " B"]:
        """Pearson's statistic, whose terms have mean 1 and variance 2 + 1 / p.

        >>> x = np.array([[2.0, 5.0]])
        >>> jaxinv.Poisson().explains(x + 1.0, x, x > 0).tolist()
        [True]
        """
        rate = np.maximum(p, LEAST_RATE)
        return within((x - rate) ** 2 / rate, 1.0, 2.0 + 1.0 / rate, observed)


@dataclass(frozen=True)
class Bernoulli(NoiseModel):
    """Binary images: x_j is 1 with probability G(z)_j and 0 else.

        d(p, x) = -2 (x log p + (1 - x) log(1 - p)).

    The generator makes probabilities, behind a last sigmoid say. A row is explained where its
    deviance is at most three standard deviations above what draws from these probabilities give.
    Raises ValueError (from `invert`) where an observed entry is neither 0 nor 1.

    >>> g = jaxinv.Generator.from_layers([(np.ones((4, 1)), None, "sigmoid")])
    >>> r = jaxinv.invert(g, [1.0, 0.0, 1.0, 1.0], noise=jaxinv.Bernoulli())
    >>> np.round(g(r.latent), 4).tolist()  # the share of ones
    [0.75, 0.75, 0.75, 0.75]
    """

    def deviance(self, p: Array, x: Array) -> Array:
        """d(p, x).

        >>> round(float(jaxinv.Bernoulli().deviance(0.5, 1.0)), 4)
        1.3863
        """
        return -2.0 * (x * _log(p, LEAST_CHANCE) + (1.0 - x) * _log(1.0 - p, LEAST_CHANCE))

    def slope(self, p: Array, x: Array) -> Array:
        """(1 - x) / (1 - p) - x / p.

        >>> float(jaxinv.Bernoulli().slope(0.5, 1.0))
        -2.0
        """
        on, off = jnp.maximum(p, LEAST_CHANCE), jnp.maximum(1.0 - p, LEAST_CHANCE)
        return (1.0 - x) / off - x / on

    def curvature(self, p: Array, x: Array) -> Array:
        """1 / (p (1 - p)), Fisher's information.

        >>> float(jaxinv.Bernoulli().curvature(0.5, 1.0))
        4.0
        """
        return 1.0 / (jnp.maximum(p, LEAST_CHANCE) * jnp.maximum(1.0 - p, LEAST_CHANCE))

    def peak(self, x: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B n"]:
        """0: an entry that is certain.

        >>> jaxinv.Bernoulli().peak(np.ones(2)).tolist()
        [0.0, 0.0]
        """
        return np.zeros(np.shape(x))

    def check(self, x: Float[np.ndarray, " m"]) -> None:
        """Raise ValueError where an entry is neither 0 nor 1.

        >>> jaxinv.Bernoulli().check(np.array([0.0, 1.0]))
        """
        other = x[(x != 0) & (x != 1)]
        if other.size:
            raise ValueError(
                f"noise=Bernoulli() is of binary images, and an observation holds {other[0]:g}; "
                "expected 0 or 1"
            )

    def deviation(self, x: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B n"]:
        """1 / 2, the largest there is.

        >>> jaxinv.Bernoulli().deviation(np.ones(2)).tolist()
        [0.5, 0.5]
        """
        return np.full(x.shape, 0.5)

    @property
    def level_known(self) -> bool:
        """False: pixels that are surely on or off deviate by next to nothing."""
        return False

    def explains(
        self,
        p: Float[np.ndarray, "B n"],
        x: Float[np.ndarray, "B n"],
        observed: Bool[np.ndarray, "B n"],
    ) -> Bool[np.ndarray, " B"]:
        """The deviance, of mean 2 H(p), H the entropy, and variance 4 p (1 - p) log^2(p / (1 - p)).

        >>> x = np.array([[1.0, 0.0]])
        >>> jaxinv.Bernoulli().explains(1.0 - 0.9 * x, x, x >= 0).tolist()
        [False]
        """
        p = np.clip(p, LEAST_CHANCE, 1.0 - LEAST_CHANCE)
        total = np.asarray(self.deviance(jnp.asarray(p), jnp.asarray(x)))
        mean = -2.0 * (xlogy(p, p) + xlogy(1.0 - p, 1.0 - p))
        variance = 4.0 * p * (1.0 - p) * np.log(p / (1.0 - p)) ** 2
        return within(total, mean, variance, observed)
