r"""Noise models: what an observation x says of the output p = G(z) that it was made from.

A model is the negative logarithm of its likelihood, counted twice and up to what depends on x
alone: the deviance d(p, x), entry by entry, with

    slope      d'(p, x) / 2,
    curvature  the expected d''(p, x) / 2 (Fisher), or that of a parabola that lies above d and
               touches it at p (iterated weights),

so that Gaussian noise of deviation s has d = (p - x)^2 / s^2, slope (p - x) / s^2 and curvature
1 / s^2: weights say that much, and it needs no model here.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

EXCESS = 3.0  # standard deviations above its mean that a deviance of nothing but noise may have


@dataclass(frozen=True)
class NoiseModel:
    """Settings of a noise model, without arrays; all arguments are entries of one shape."""

    def deviance(self, p: Array, x: Array) -> Array:
        """d(p, x)."""
        raise NotImplementedError

    def slope(self, p: Array, x: Array) -> Array:
        """d'(p, x) / 2."""
        raise NotImplementedError

    def curvature(self, p: Array, x: Array) -> Array:
        """0 or more, 1 / s^2 of the Gaussian that takes the model's place at p."""
        raise NotImplementedError

    def peak(self, x: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B n"]:
        """log p(x | p) at p = x, where it is largest: what depends on x alone."""
        raise NotImplementedError

    def log_density(
        self, p: Float[np.ndarray, "B n"], x: Float[np.ndarray, "B n"]
    ) -> Float[np.ndarray, "B n"]:
        """log p(x | p) = peak(x) - d(p, x) / 2 of each entry, in nats.

        >>> round(float(jaxinv.Bernoulli().log_density(np.array(0.25), np.array(1.0))), 4)
        -1.3863
        """
        return self.peak(x) - 0.5 * np.asarray(self.deviance(jnp.asarray(p), jnp.asarray(x)))

    def check(self, x: Float[np.ndarray, " m"]) -> None:
        """Raise ValueError where these entries, finite and observed, are none of the model's."""

    def deviation(self, x: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B n"]:
        """Of each entry, as the observation alone tells it: what a first fit is weighted by."""
        raise NotImplementedError

    @property
    def level_known(self) -> bool:
        """Whether `deviation` tells how large a misfit may be."""
        return True

    def explains(
        self,
        p: Float[np.ndarray, "B n"],
        x: Float[np.ndarray, "B n"],
        observed: Bool[np.ndarray, "B n"],
    ) -> Bool[np.ndarray, " B"]:
        """Whether the misfit of each row is what such noise leaves."""
        raise NotImplementedError


def within(
    total: Float[np.ndarray, "B n"],
    mean: Float[np.ndarray, "B n"] | float,
    variance: Float[np.ndarray, "B n"] | float,
    observed: Bool[np.ndarray, "B n"],
) -> Bool[np.ndarray, " B"]:
    """Whether a sum over the observed entries is at most EXCESS deviations above its mean."""
    sums = (np.where(observed, part, 0.0).sum(-1) for part in (total, mean, variance))
    found, expected, spread = sums
    return np.asarray(found <= expected + EXCESS * np.sqrt(spread))


@dataclass(frozen=True)
class Cell(NoiseModel):
    """Entries known up to a cell: d(p, x) = max(|p - x| - half, 0)^2."""

    half: float

    def deviance(self, p: Array, x: Array) -> Array:
        return self.slope(p, x) ** 2

    def slope(self, p: Array, x: Array) -> Array:
        return p - x - jnp.clip(p - x, -self.half, self.half)

    def curvature(self, p: Array, x: Array) -> Array:
        return jnp.where(jnp.abs(p - x) > self.half, 1.0, 0.0)
