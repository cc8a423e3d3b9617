r"""Confidence intervals of a latent under Gaussian noise of unknown size, in the cell found.

With r = x - G(z), m observed entries and weights w_j proportional to 1 / sd_j:

    sigma^2 = ||w r||^2 / (m - k),    covariance = sigma^2 (J' W^2 J)^-1,

and z_i +- t sqrt(covariance_ii), t the quantile of Student's distribution with m - k degrees of
freedom. This is the statistics of the one cell of constant activation pattern that z lies in: noise
that could have put z into another cell is not accounted for, and the intervals then cover less.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from jaxinv.certify.identifiability import observed_rows
from jaxinv.model.activation import Activation
from jaxinv.model.generator import Generator
from jaxinv.outcome.inversion import Inversion

# Share of hidden units within two standard deviations of their kink: beyond it intervals that
# should cover 95% were seen to cover less than 93%.
MOST_AMBIGUOUS = 0.1


class UnderCoverage(UserWarning):
    """Intervals that probably cover less than their level."""


@dataclass(frozen=True)
class Confidence:
    """Intervals of a batch of latents (or of one, without the batch axis).

    noise: (B,) standard deviation estimated from the residual, of an entry of weight one.
    covariance: (B, k, k). low, high: (B, k). ambiguous: (B,) share of hidden units whose activity
    the noise leaves open. reliable: (B,) False where that share is too large for the level to be
    believed, or where J lacks full rank (the intervals are then infinite).

    >>> g = jaxinv.Generator.from_layers([(np.ones((50, 1)), None, "identity")])
    >>> x = 3.0 + 0.1 * np.random.default_rng(0).standard_normal(50)
    >>> c = jaxinv.confidence(g, x, jaxinv.invert(g, x))
    >>> c.low.round(2).tolist(), c.high.round(2).tolist(), c.noise.round(2).item()
    ([2.99], [3.04], 0.09)
    """

    noise: Float[np.ndarray, "*batch"]
    covariance: Float[np.ndarray, "*batch k k"]
    low: Float[np.ndarray, "*batch k"]
    high: Float[np.ndarray, "*batch k"]
    ambiguous: Float[np.ndarray, "*batch"]
    reliable: Bool[np.ndarray, "*batch"]


def confidence(
    generator: Generator,
    observations: Any,
    inversion: Inversion,
    level: float = 0.95,
    mask: Any = None,
    weights: Any = None,
) -> Confidence:
    """Intervals around `inversion.latent`, a least-squares estimate ("auto", "lm", refine="lm").

    observations: (B, n) or (n,), those that were inverted; mask, weights: as they were given to
    `invert`. Warns (UnderCoverage) where rows are not reliable. Raises ValueError where shapes do
    not fit, the level is not in (0, 1), or an observation has no more observed entries than k.

    >>> g = jaxinv.Generator.random((2, 8, 200), seed=0)
    >>> noise = 1e-3 * np.random.default_rng(0).standard_normal(200)
    >>> x = np.asarray(g(np.ones(2))) + noise
    >>> c = jaxinv.confidence(g, x, jaxinv.invert(g, x))
    >>> ((c.low < 1.0) & (1.0 < c.high)).tolist(), c.reliable.item()
    ([True, True], True)
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level} must be in (0, 1)")
    x = np.asarray(observations, dtype=np.float64)
    rows, latent = np.atleast_2d(x), np.atleast_2d(np.asarray(inversion.latent))
    n, k = generator.observation_size, generator.latent_size
    if rows.shape != (len(latent), n) or latent.shape[1] != k:
        raise ValueError(
            f"observations have shape {x.shape} and latents {latent.shape}; "
            f"expected (B, {n}) and (B, {k})"
        )
    observed = observed_rows(mask, rows.shape)
    if (observed.sum(-1) <= k).any():
        raise ValueError(f"fewer than {k + 1} observed entries leave nothing to estimate noise by")
    weight = np.broadcast_to(1.0 if weights is None else np.asarray(weights), rows.shape)
    weight = np.where(observed, weight, 0.0)
    quantile = np.asarray(stats.t.ppf(0.5 + level / 2, observed.sum(-1) - k))
    parts = [_one(generator, *row) for row in zip(rows, latent, weight, quantile, strict=True)]
    noise, covariance, low, high, ambiguous, reliable = (
        np.array(part) for part in zip(*parts, strict=True)
    )
    if not reliable.all():
        warnings.warn(
            f"{(~reliable).sum()} of {len(rows)} intervals probably cover less than {level:.0%}: "
            "the noise leaves too many hidden units' activity open, or the latent is not "
            "determined; see `reliable`",
            UnderCoverage,
            stacklevel=2,
        )
    answer = (noise, covariance, low, high, ambiguous, reliable)
    return Confidence(*(part[0] if x.ndim == 1 else part for part in answer))


def _one(
    generator: Generator, x: np.ndarray, z: np.ndarray, weight: np.ndarray, quantile: float
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, float, bool]:
    k = len(z)
    seen = weight > 0
    if not np.isfinite(z).all():
        nothing = np.full(k, np.nan)
        return np.nan, np.full((k, k), np.nan), nothing, nothing, np.nan, False
    slopes, units, value, jacobian = _cell(generator, z)
    residual = (weight * (np.where(seen, x, 0.0) - value))[seen]
    noise = float(np.linalg.norm(residual) / np.sqrt(seen.sum() - k))
    _, singular, right = np.linalg.svd((weight[:, None] * jacobian)[seen], full_matrices=False)
    if singular[-1] <= 1e-10 * singular[0]:
        covariance = np.full((k, k), np.inf)
        return noise, covariance, np.full(k, -np.inf), np.full(k, np.inf), 1.0, False
    root = noise * right.T / singular
    covariance = root @ root.T
    half = quantile * np.sqrt(np.diag(covariance))
    near = [
        np.abs(u) <= 2.0 * np.linalg.norm(gradient @ root, axis=1)
        for u, gradient in zip(slopes, units, strict=True)
    ]
    ambiguous = float(np.concatenate(near).mean()) if near else 0.0
    return noise, covariance, z - half, z + half, ambiguous, ambiguous <= MOST_AMBIGUOUS


def _cell(
    generator: Generator, z: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, np.ndarray]:
    """Pre-activations of every unit with a kink and their gradients; G(z) and its Jacobian."""
    values, gradients = [], []
    product, point = np.eye(len(z)), z
    for layer, output in zip(generator.layers, generator.outputs(z), strict=True):
        weight = np.asarray(layer.weight)
        u, product = weight @ point + np.asarray(layer.bias), weight @ product
        if layer.activation.kind in ("relu", "leaky_relu"):
            values.append(u)
            gradients.append(product)
            slope = np.where(u > 0, 1.0, layer.activation.slope)
        else:
            slope = _smooth_slope(layer.activation, np.asarray(output))
        product, point = slope[:, None] * product, np.asarray(output)
    return values, gradients, point, product


def _smooth_slope(activation: Activation, output: np.ndarray) -> np.ndarray:
    """phi' as a function of phi for the activations without a kink."""
    return activation.slope_of_output(output) if activation.squashing else np.ones_like(output)
