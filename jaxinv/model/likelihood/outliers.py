"""Noise with outliers."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.special import digamma, gammaln, ndtr, polygamma

from jaxinv.model.likelihood.base import EXCESS, NoiseModel, within


@dataclass(frozen=True)
class StudentT(NoiseModel):
    """Noise with outliers, as Student's distribution has them.

        d(p, x) = (dof + 1) log(1 + t^2 / dof),    t = (p - x) / scale.

    dof: degrees of freedom, positive; the fewer, the more outliers. scale: in units of the
    observation, positive. A row is explained where its deviance is at most three standard
    deviations above the distribution's own.

    >>> g = jaxinv.Generator.from_layers([(np.ones((5, 1)), None, "identity")])
    >>> noise = jaxinv.StudentT(dof=2.0, scale=0.1)
    >>> r = jaxinv.invert(g, [1.0, 1.1, 0.9, 1.0, 50.0], noise=noise)
    >>> np.round(r.latent, 3).tolist()
    [1.0]
    """

    dof: float
    scale: float

    def __post_init__(self) -> None:
        _check_positive("StudentT", "dof", self.dof)
        _check_positive("StudentT", "scale", self.scale)

    def deviance(self, p: Array, x: Array) -> Array:
        """d(p, x).

        >>> float(jaxinv.StudentT(3.0, 1.0).deviance(2.0, 2.0))
        0.0
        """
        t = (p - x) / self.scale
        return (self.dof + 1.0) * jnp.log1p(t**2 / self.dof)

    def slope(self, p: Array, x: Array) -> Array:
        """(dof + 1) t / (dof + t^2) / scale.

        >>> float(jaxinv.StudentT(3.0, 1.0).slope(1.0, 0.0))
        1.0
        """
        return self.curvature(p, x) * (p - x)

    def curvature(self, p: Array, x: Array) -> Array:
        """(dof + 1) / (dof + t^2) / scale^2, the weight of an entry.

        >>> float(jaxinv.StudentT(3.0, 1.0).curvature(1.0, 0.0))
        1.0
        """
        t = (p - x) / self.scale
        return (self.dof + 1.0) / (self.dof + t**2) / self.scale**2

    def peak(self, x: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B n"]:
        """The logarithm of Student's density at its centre.

        >>> np.exp(jaxinv.StudentT(1.0, 1.0).peak(np.zeros(1)) + np.log(np.pi)).round(6).tolist()
        [1.0]
        """
        half = self.dof / 2.0
        mass = gammaln(half + 0.5) - gammaln(half) - 0.5 * np.log(self.dof * np.pi)
        return np.full(np.shape(x), mass - np.log(self.scale))

    def deviation(self, x: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B n"]:
        """The scale.

        >>> jaxinv.StudentT(3.0, 0.5).deviation(np.ones(2)).tolist()
        [0.5, 0.5]
        """
        return np.full(x.shape, float(self.scale))

    def explains(
        self,
        p: Float[np.ndarray, "B n"],
        x: Float[np.ndarray, "B n"],
        observed: Bool[np.ndarray, "B n"],
    ) -> Bool[np.ndarray, " B"]:
        """The deviance, of an entry (dof + 1) times minus the logarithm of a beta variable.

        >>> x = np.zeros((1, 9))
        >>> jaxinv.StudentT(3.0, 0.5).explains(x + 9.0, x, x == 0).tolist()
        [False]
        """
        half, more = self.dof / 2.0, (self.dof + 1.0) / 2.0
        mean = 2.0 * more * (digamma(more) - digamma(half))
        variance = (2.0 * more) ** 2 * (polygamma(1, half) - polygamma(1, more))
        total = np.asarray(self.deviance(jnp.asarray(p), jnp.asarray(x)))
        return within(total, float(mean), float(variance), observed)


@dataclass(frozen=True)
class Huber(NoiseModel):
    """Gaussian noise with outliers of any size, by Huber's loss (Huber 1964).

        d(p, x) = t^2 where |t| <= threshold, threshold (2 |t| - threshold) beyond,

    t = (p - x) / scale. scale: deviation of the entries that are no outliers, positive. threshold:
    1.345 leaves 95% of the efficiency of least squares where there are none. A row is explained
    where the median of |t| is what Gaussian noise with one outlier in five leaves, as far as three
    standard deviations of a median let it differ.

    >>> g = jaxinv.Generator.from_layers([(np.ones((5, 1)), None, "identity")])
    >>> r = jaxinv.invert(g, [1.0, 1.1, 0.9, 1.0, 50.0], noise=jaxinv.Huber(0.1))
    >>> np.round(r.latent, 3).tolist()  # 1 + .1 x 1.345 / 4, where the mean is 10.8
    [1.034]
    """

    scale: float
    threshold: float = 1.345

    def __post_init__(self) -> None:
        _check_positive("Huber", "scale", self.scale)
        _check_positive("Huber", "threshold", self.threshold)

    def deviance(self, p: Array, x: Array) -> Array:
        """d(p, x).

        >>> float(jaxinv.Huber(1.0, threshold=1.0).deviance(3.0, 0.0))
        5.0
        """
        t = jnp.abs(p - x) / self.scale
        inner = jnp.minimum(t, self.threshold)
        return inner * (2.0 * t - inner)

    def slope(self, p: Array, x: Array) -> Array:
        """t / scale up to the threshold, which it keeps beyond.

        >>> float(jaxinv.Huber(1.0, threshold=1.0).slope(3.0, 0.0))
        1.0
        """
        return jnp.clip((p - x) / self.scale, -self.threshold, self.threshold) / self.scale

    def curvature(self, p: Array, x: Array) -> Array:
        """min(1, threshold / |t|) / scale^2, the weight of an entry.

        >>> float(jaxinv.Huber(1.0, threshold=1.0).curvature(4.0, 0.0))
        0.25
        """
        t = jnp.abs(p - x) / self.scale
        return self.threshold / jnp.maximum(t, self.threshold) / self.scale**2

    def peak(self, x: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B n"]:
        """The logarithm of 1 / (scale integral of exp(-d / 2)), a Gaussian's with heavier ends.

        >>> huge = jaxinv.Huber(1.0, threshold=30.0).peak(np.zeros(1))
        >>> np.exp(-2.0 * huge).round(6).tolist() == [round(2.0 * np.pi, 6)]
        True
        """
        t = self.threshold
        ends = 2.0 * np.exp(-0.5 * t**2) / t
        mass = np.sqrt(2.0 * np.pi) * (2.0 * ndtr(t) - 1.0) + ends
        return np.full(np.shape(x), -np.log(self.scale * mass))

    def deviation(self, x: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B n"]:
        """The scale.

        >>> jaxinv.Huber(0.5).deviation(np.ones(2)).tolist()
        [0.5, 0.5]
        """
        return np.full(x.shape, float(self.scale))

    def explains(
        self,
        p: Float[np.ndarray, "B n"],
        x: Float[np.ndarray, "B n"],
        observed: Bool[np.ndarray, "B n"],
    ) -> Bool[np.ndarray, " B"]:
        """The median of |t|: .887 at the quantile .5 / (1 - 1/5) of a half-normal distribution.

        Its deviation is 1 / (2 f sqrt(m)), f = 2 phi(.887) = .538 the density there.

        >>> x = np.zeros((1, 9))
        >>> jaxinv.Huber(0.5).explains(x + 9.0, x, x == 0).tolist()
        [False]
        """
        size = np.where(observed, np.abs(p - x) / self.scale, np.nan)
        count = np.maximum(observed.sum(-1), 1)
        size = np.where(observed.any(-1, keepdims=True), size, 0.0)
        return np.asarray(np.nanmedian(size, axis=-1) <= 0.887 + EXCESS * 0.93 / np.sqrt(count))


def _check_positive(model: str, name: str, value: float) -> None:
    try:
        known = float(value)
    except (TypeError, ValueError):
        known = np.nan
    if not 0 < known < np.inf:
        raise ValueError(f"{model}'s {name}={value!r} must be a positive, finite number")
