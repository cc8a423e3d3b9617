r"""Confidence intervals of a latent under Gaussian noise of unknown size.

With r = x - G(z), m observed entries and weights w_j proportional to 1 / sd_j:

    sigma^2 = ||w r||^2 / (m - k),    covariance = sigma^2 (J' W^2 J)^-1,

and z_i +- t sqrt(covariance_ii), t the quantile of Student's distribution with m - k degrees of
freedom. This is the statistics of the one cell of constant activation pattern that z lies in. The
noise may have put z there out of a neighbouring one: with the slopes on the flatter side of every
kink that it leaves open (`local_rank`), J_sure gives wider intervals. Where they are wider by a
share of WIDER at most the cell's own are given, and called reliable; elsewhere those of J_sure,
infinite where they do not determine an entry.

Where deviations s_j are stated they take the place of sigma / w_j, and Gauss's distribution that of
Student's. With a Gaussian prior of covariance L L', around the most probable latent,

    covariance = (J' S^-2 J + (L L')^-1)^-1

(Laplace's approximation; exact where G is affine): the prior is k entries more, of Jacobian L^-1
and deviation one, that are never in doubt.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from jaxinv.certify.identifiability import observed_rows
from jaxinv.certify.local_rank import RANK_TOLERANCE, block_size, surroundings
from jaxinv.certify.noise_level import noise_of
from jaxinv.linalg.blocks import blocks
from jaxinv.model.decoder import Decoder
from jaxinv.model.given import observed_array, positive_weights, real_array
from jaxinv.model.prior import GaussianPrior
from jaxinv.outcome.inversion import Inversion

# By this factor: intervals of 95% were seen to cover 93 to 97 below it, down to 69 above.
WIDER = 1.2
NOT_DETERMINED = 1e-6  # of an entry's direction, in the null space of J_sure


class UnderCoverage(UserWarning):
    """Intervals that probably cover less than their level."""


@dataclass(frozen=True)
class Confidence:
    """Intervals of a batch of latents (or of one, without the batch axis).

    noise: (B,) standard deviation estimated from the residual, of an entry of weight one; 1 where
    deviations were stated, in units of which entries are then counted. covariance: (B, k, k), of
    the cell found. low, high: (B, k). ambiguous: (B,) share of units with a kink whose side the
    noise leaves open. reliable: (B,) False where so much hangs on them that the level is not to be
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
    generator: Decoder,
    observations: Any,
    inversion: Inversion,
    level: float = 0.95,
    mask: Any = None,
    weights: Any = None,
    prior: GaussianPrior | None = None,
    noise: Any = None,
) -> Confidence:
    """Intervals around `inversion.latent`, a least-squares estimate ("auto", "lm", refine="lm").

    observations: (B, n) or (n,), those that were inverted; mask, weights: as they were given to
    `invert`. prior, noise: likewise; the intervals are then the posterior distribution's by
    Laplace's approximation. noise: standard deviation of each entry, one for all, (n,) or (B, n);
    estimated from the residual where it is not stated. Warns (UnderCoverage) where rows are not
    reliable. Raises ValueError where shapes do not fit, the level is not in (0, 1), a deviation is
    not positive, or no noise is stated and an observation has no more observed entries than k.

    >>> g = jaxinv.Generator.random((2, 8, 200), seed=0)
    >>> noise = 1e-3 * np.random.default_rng(0).standard_normal(200)
    >>> x = np.asarray(g(np.ones(2))) + noise
    >>> c = jaxinv.confidence(g, x, jaxinv.invert(g, x))
    >>> ((c.low < 1.0) & (1.0 < c.high)).tolist(), c.reliable.item()
    ([True, True], True)
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level} must be in (0, 1)")
    given = observed_array("observations", observations)
    x, hidden = given.values, given.hidden
    rows, latent = np.atleast_2d(x), np.atleast_2d(np.asarray(inversion.latent))
    n, k = generator.observation_size, generator.latent_size
    if rows.shape != (len(latent), n) or latent.shape[1] != k:
        raise ValueError(
            f"observations have shape {x.shape} and latents {latent.shape}; "
            f"expected (B, {n}) and (B, {k})"
        )
    observed = observed_rows(mask, rows.shape)
    if hidden is not None:
        observed = observed & ~np.atleast_2d(hidden)
    if noise is None and (observed.sum(-1) <= k).any():
        raise ValueError(f"fewer than {k + 1} observed entries leave nothing to estimate noise by")
    if noise is None:
        weight = np.where(observed, _importance(weights, rows.shape), 0.0)
        quantile = np.asarray(stats.t.ppf(0.5 + level / 2, observed.sum(-1) - k))
    elif weights is None:
        weight = np.where(observed, 1.0 / _stated(noise, rows.shape), 0.0)
        quantile = np.full(len(rows), stats.norm.ppf(0.5 + level / 2))
    else:
        raise ValueError("noise= says how entries weigh; leave weights= out")
    own = None if prior is None else np.linalg.inv(prior.of_size(k)[1])
    around = _around(generator, rows, latent, weight, quantile, noise is not None)
    parts = [_one(*row, own) for row in around]
    shapes = (), (k, k), (k,), (k,), (), ()
    noise, covariance, low, high, ambiguous, reliable = (
        np.array([part[i] for part in parts], bool if i == 5 else float).reshape(-1, *shape)
        for i, shape in enumerate(shapes)
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


def _around(
    decoder: Decoder,
    x: Float[np.ndarray, "B n"],
    latent: Float[np.ndarray, "B k"],
    weight: Float[np.ndarray, "B n"],
    quantile: Float[np.ndarray, " B"],
    stated: bool,
) -> Iterator[tuple[np.ndarray, float, np.ndarray, np.ndarray, float, float]]:
    """Of each row: latent, noise, J and J_sure weighted, the share of open units, the quantile."""
    there = np.isfinite(latent).all(-1)
    points, observed = np.where(there[:, None], latent, 0.0), weight > 0
    misfit = np.where(there[:, None] & observed, x - np.asarray(decoder(points)), 0.0)
    noise, deviation = noise_of(misfit, weight, latent.shape[1])
    if stated:
        noise, deviation = np.ones(len(x)), 1.0 / np.where(observed, weight, np.inf)
    block = block_size(decoder, len(x), True)
    for rows, padded in blocks(np.arange(len(x)), block):
        with jax.enable_x64(True):
            data = points[padded], observed[padded], deviation[padded]
            around = surroundings(decoder, *(jnp.asarray(part) for part in data))
        both = np.asarray(around.columns), np.asarray(around.sure)
        share = np.asarray(around.open)
        for place, row in enumerate(rows):
            seen = observed[row]
            own, wider = ((weight[row] * part[place]).T[seen] for part in both)
            yield latent[row], noise[row], own, wider, float(share[place]), quantile[row]


def _stated(noise: Any, shape: tuple[int, ...]) -> Float[np.ndarray, "B n"]:
    given = real_array("noise", noise)
    if given.shape not in (shape, shape[1:], ()):
        raise ValueError(f"noise has shape {given.shape}; expected {shape[1:]} or {shape}")
    if not (np.isfinite(given) & (given > 0)).all():
        raise ValueError("noise must be positive and finite, a standard deviation")
    return np.broadcast_to(given, shape)


def _importance(weights: Any, shape: tuple[int, ...]) -> Float[np.ndarray, "B n"]:
    given = positive_weights(real_array("weights", 1.0 if weights is None else weights))
    if given.shape not in (shape, shape[1:], ()):
        raise ValueError(f"weights has shape {given.shape}; expected {shape[1:]} or {shape}")
    return np.broadcast_to(given, shape)


def _one(
    z: np.ndarray,
    noise: float,
    jacobian: np.ndarray,
    sure: np.ndarray,
    ambiguous: float,
    quantile: float,
    prior: np.ndarray | None,
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, float, bool]:
    k = len(z)
    if not np.isfinite(z).all():
        nothing = np.full(k, np.nan)
        return np.nan, np.full((k, k), np.nan), nothing, nothing, np.nan, False
    told = noise
    if prior is not None:
        # In units of each entry's deviation, the prior's among them.
        unit = max(noise, np.finfo(float).tiny)
        jacobian, sure = (np.concatenate([part / unit, prior]) for part in (jacobian, sure))
        told = 1.0
    covariance, half = _spread(jacobian, told)
    _, wider = _spread(sure, told)
    with np.errstate(invalid="ignore"):
        reliable = bool(np.isfinite(wider).all() and (wider <= WIDER * half).all())
    half = quantile * (half if reliable else np.maximum(half, wider))
    return noise, covariance, z - half, z + half, ambiguous, reliable


def _spread(jacobian: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Covariance (k, k) and deviations (k,), infinite where the Jacobian leaves an entry free."""
    k = jacobian.shape[1]
    _, singular, right = np.linalg.svd(jacobian, full_matrices=len(jacobian) < k)
    singular = np.pad(singular, (0, k - len(singular)))
    told = singular > RANK_TOLERANCE * singular[0]
    root = noise * right[told].T / singular[told]
    free = (np.abs(right[~told]) > NOT_DETERMINED).any(0)
    if free.any():
        deviation = np.sqrt((root**2).sum(-1))
        return np.full((k, k), np.inf), np.where(free, np.inf, deviation)
    covariance = root @ root.T
    return covariance, np.sqrt(np.diag(covariance))
