r"""Confidence intervals of a latent under Gaussian noise of unknown size, in the cell found.

With r = x - G(z), m observed entries and weights w_j proportional to 1 / sd_j:

    sigma^2 = ||w r||^2 / (m - k),    covariance = sigma^2 (J' W^2 J)^-1,

and z_i +- t sqrt(covariance_ii), t the quantile of Student's distribution with m - k degrees of
freedom. This is the statistics of the one cell of constant activation pattern that z lies in: noise
that could have put z into another cell is not accounted for, and the intervals then cover less.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy import stats

from jaxinv.certify.identifiability import observed_rows
from jaxinv.certify.local_rank import BLOCK, BLOCK_BYTES
from jaxinv.model import walk
from jaxinv.model.decoder import Decoder
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


class _Cell(NamedTuple):
    """Of every unit with a kink its pre-activation and the gradient of that; G(z) and J'.

    Each (B, ...) for a block of latents, or without that axis for one.
    """

    preactivations: tuple[Array, ...]
    gradients: tuple[Array, ...]
    value: Array
    columns: Array


def confidence(
    generator: Decoder,
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
    cells = (cell for block in _blocks(generator, latent) for cell in block)
    parts = [_one(*row) for row in zip(cells, rows, latent, weight, quantile, strict=True)]
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
    cell: _Cell, x: np.ndarray, z: np.ndarray, weight: np.ndarray, quantile: float
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, float, bool]:
    k = len(z)
    seen = weight > 0
    if not np.isfinite(z).all():
        nothing = np.full(k, np.nan)
        return np.nan, np.full((k, k), np.nan), nothing, nothing, np.nan, False
    residual = (weight * (np.where(seen, x, 0.0) - cell.value))[seen]
    noise = float(np.linalg.norm(residual) / np.sqrt(seen.sum() - k))
    _, singular, right = np.linalg.svd((weight * cell.columns).T[seen], full_matrices=False)
    if singular[-1] <= 1e-10 * singular[0]:
        covariance = np.full((k, k), np.inf)
        return noise, covariance, np.full(k, -np.inf), np.full(k, np.inf), 1.0, False
    root = noise * right.T / singular
    covariance = root @ root.T
    half = quantile * np.sqrt(np.diag(covariance))
    near = [
        np.abs(u) <= 2.0 * np.linalg.norm(root.T @ gradient, axis=0)
        for u, gradient in zip(cell.preactivations, cell.gradients, strict=True)
    ]
    ambiguous = float(np.concatenate(near).mean()) if near else 0.0
    return noise, covariance, z - half, z + half, ambiguous, ambiguous <= MOST_AMBIGUOUS


@jax.jit
def _cells(decoder: Decoder, z: Float[Array, "B k"]) -> _Cell:
    layers = decoder.layers
    if not layers:
        value, columns = decoder.linearized(z, jnp.float64)
        return _Cell((), (), value, columns)
    walked = walk.walk(layers, z)
    gradients = [
        jnp.broadcast_to(gradient, (len(z), *gradient.shape[-2:]))
        for gradient in walk.gradients(layers, walked.slopes)
    ]
    columns = walked.slopes[-1][:, None, :] * gradients[-1]
    kinked = [i for i, layer in enumerate(layers) if layer.activation.has_kink]
    preactivations = tuple(walked.preactivations[i] for i in kinked)
    return _Cell(preactivations, tuple(gradients[i] for i in kinked), walked.value, columns)


def _blocks(decoder: Decoder, latent: Float[np.ndarray, "B k"]) -> Iterator[Iterator[_Cell]]:
    """The cells around the latents, as many in memory together as BLOCK_BYTES hold."""
    fit = BLOCK_BYTES // (8 * decoder.latent_size * decoder.scratch * max(len(decoder.layers), 1))
    block = int(np.clip(fit, 1, min(BLOCK, max(len(latent), 1))))
    points = np.where(np.isfinite(latent), latent, 0.0)
    for start in range(0, len(latent), block):
        some = points[start : start + block]
        padded = np.zeros((block, latent.shape[1]))
        padded[: len(some)] = some
        with jax.enable_x64(True):
            cells = jax.tree.map(np.asarray, _cells(decoder, jnp.asarray(padded)))
        yield (jax.tree.map(lambda part, i=i: part[i], cells) for i in range(len(some)))
