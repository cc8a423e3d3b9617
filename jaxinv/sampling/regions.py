r"""The latent space cut into one region a mode, and how much of the posterior lies in each.

A latent belongs to the mode under whose Laplace approximation N(m_i, S_i S_i') it is most likely.
Of draws from the density p = exp(-U) of one region, and others from a normal distribution q fitted
to it, Meng and Wong's bridge (1996) gives the region's part Z = int p: the fixed point of

    Z = mean_q[ p / (n_p p / Z + n_q q) ] / mean_p[ q / (n_p p / Z + n_q q) ],

p being 0 outside of the region.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.special import logsumexp

ROUNDS = 100  # of the bridge's iteration
CLOSE = 1e-8  # of log Z, between two rounds


class Regions(NamedTuple):
    """Of some rows, on the host or the device.

    centre: (..., M, k), m_i. inverse: (..., M, k, k), S_i^-1. height: (..., M), -log det S_i, -inf
    where there is no such mode.
    """

    centre: Any
    inverse: Any
    height: Any

    def at(self, row: Any) -> "Regions":
        """Those of one row, or of a row each."""
        return Regions(self.centre[row], self.inverse[row], self.height[row])

    def of(self, z: Array) -> Array:
        """Which mode a latent (k,) belongs to, for use inside a traced computation."""
        apart = jnp.einsum("mij,mj->mi", self.inverse, z - self.centre, precision="highest")
        return (self.height - 0.5 * (apart**2).sum(-1)).argmax()

    def of_all(self, z: Float[np.ndarray, "N k"]) -> Int[np.ndarray, " N"]:
        """The same of many latents of one row."""
        apart = np.einsum("mij,nmj->nmi", self.inverse, z[:, None] - self.centre)
        return np.asarray((self.height - 0.5 * (apart**2).sum(-1)).argmax(-1))


class Normal(NamedTuple):
    """q. mean: (k,). root: (k, k), lower, of the covariance."""

    mean: Float[np.ndarray, " k"]
    root: Float[np.ndarray, "k k"]

    @classmethod
    def fitted(cls, z: Float[np.ndarray, "N k"]) -> "Normal":
        """The one of the draws' mean and covariance."""
        covariance = np.atleast_2d(np.cov(z, rowvar=False))
        # Draws of a chain that stood still span less than the space.
        floor = 1e-9 * np.trace(covariance) + 1e-300
        return cls(z.mean(0), np.linalg.cholesky(covariance + floor * np.eye(z.shape[1])))

    def draw(self, rng: np.random.Generator, count: int) -> Float[np.ndarray, "N k"]:
        """Independent draws."""
        return self.mean + rng.standard_normal((count, len(self.mean))) @ self.root.T

    def log_density(self, z: Float[np.ndarray, "N k"]) -> Float[np.ndarray, " N"]:
        """log q."""
        apart = np.linalg.solve(self.root, (z - self.mean).T)
        k = len(self.mean)
        constant = -0.5 * k * np.log(2 * np.pi) - np.log(np.diag(self.root)).sum()
        return np.asarray(constant - 0.5 * (apart**2).sum(0))


def log_part(
    drawn: Float[np.ndarray, " P"],
    drawn_normal: Float[np.ndarray, " P"],
    proposed: Float[np.ndarray, " Q"],
    proposed_normal: Float[np.ndarray, " Q"],
) -> float:
    """log Z of one region. drawn, drawn_normal: log p and log q of draws from p; proposed,
    proposed_normal: of draws from q, where log p is -inf outside of the region.
    """
    ratio, proposed_ratio = drawn - drawn_normal, proposed - proposed_normal
    share = np.log(len(ratio)) - np.log(len(ratio) + len(proposed_ratio))
    other = np.log1p(-np.exp(share))
    found = float(np.median(ratio))
    for _ in range(ROUNDS):
        above = proposed_ratio - np.logaddexp(share + proposed_ratio - found, other)
        below = -np.logaddexp(share + ratio - found, other)
        new = float(logsumexp(above) - np.log(len(above)) - logsumexp(below) + np.log(len(below)))
        if not np.isfinite(new):
            return -np.inf
        if abs(new - found) <= CLOSE:
            return new
        found = new
    return found
