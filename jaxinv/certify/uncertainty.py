r"""Confidence intervals of a latent under Gaussian noise of unknown size.

With r = x - G(z), m observed entries and weights w_j proportional to 1 / sd_j:

    sigma^2 = ||w r||^2 / (m - k),    covariance = sigma^2 (J' W^2 J)^-1,

and z_i +- t sqrt(covariance_ii), t the quantile of Student's distribution with m - k degrees of
freedom. This is the statistics of the one cell of constant activation pattern that z lies in. The
noise may have put z there out of a neighbouring one: with the slopes on the flatter side of every
kink that it leaves open (`local_rank`), J_sure gives wider intervals. Where they are wider by a
share of WIDER at most the cell's own are given, and called reliable; elsewhere those of J_sure,
infinite where they do not determine an entry.

They are those of the tangent to G at z: where G leaves it by a share of BENT within the noise
(`curvature`), or where the misfit is not explained as noise, they are not reliable either. The
noise is not taken for less than the rounding of the observations.

Where deviations s_j are stated they take the place of sigma / w_j, and Gauss's distribution that of
Student's. With a Gaussian prior of covariance L L', around the most probable latent,

    covariance = (J' S^-2 J + (L L')^-1)^-1

(Laplace's approximation; exact where G is affine): the prior is k entries more, of Jacobian L^-1
and deviation one, that are never in doubt.
"""

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float
from scipy.special import ndtri, stdtrit

from jaxinv.certify.curvature import curvature
from jaxinv.certify.identifiability import observed_rows
from jaxinv.certify.local_rank import RANK_TOLERANCE
from jaxinv.certify.noise_level import noise_of
from jaxinv.certify.surroundings import block_size, surroundings
from jaxinv.linalg.blocks import blocks
from jaxinv.linalg.norms import row_norms
from jaxinv.linalg.on_device import on_device
from jaxinv.model.decoder import Decoder
from jaxinv.model.given import observed_array, positive_weights, real_array
from jaxinv.model.precision import entry_rounding, rounding_of
from jaxinv.model.prior import GaussianPrior
from jaxinv.outcome.inversion import Inversion
from jaxinv.outcome.status import Status

# By this factor: intervals of 95% were seen to cover 93 to 97 below it, down to 69 above.
WIDER = 1.2
BENT = 0.3
EXPLAINED = [int(Status.SOLVED), int(Status.UNDERDETERMINED)]
NOT_DETERMINED = 1e-6  # of an entry's direction, in the null space of J_sure


class UnderCoverage(UserWarning):
    """Intervals that probably cover less than their level."""


@dataclass(frozen=True)
class Confidence:
    """Intervals of a batch of latents (or of one, without the batch axis).

    noise: (B,) standard deviation estimated from the residual, of an entry of weight one; 1 where
    deviations were stated, in units of which entries are then counted. covariance: (B, k, k), of
    the cell found. low, high: (B, k). ambiguous: (B,) share of units with a kink whose side the
    noise leaves open. reliable: (B,) False where so much hangs on them, or G bends so much within
    the noise, that the level is not to be believed, where J lacks full rank (the intervals are then
    infinite), and where nothing says that the misfit is noise (`Inversion.explained`).

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
    precision: str | float | None = None,
    prior: GaussianPrior | None = None,
    noise: Any = None,
) -> Confidence:
    """Intervals around `inversion.latent`, a least-squares estimate ("auto", "lm", refine="lm").

    observations: (B, n) or (n,), those that were inverted; mask, weights, precision: as they were
    given to `invert`. prior, noise: likewise; the intervals are then the posterior distribution's
    by Laplace's approximation. noise: standard deviation of each entry, one for all, (n,) or
    (B, n); estimated from the residual where it is not stated. Warns (UnderCoverage) where rows are
    not reliable. Raises ValueError where shapes do not fit, the level is not in (0, 1), a deviation
    is not positive, or no noise is stated and an observation has no more observed entries than k.

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
    elif weights is None:
        weight = np.where(observed, 1.0 / _stated(noise, rows.shape), 0.0)
        quantile = np.full(len(rows), ndtri(0.5 + level / 2))
    else:
        raise ValueError("noise= says how entries weigh; leave weights= out")
    own = None if prior is None else np.linalg.inv(prior.of_size(k)[1])
    rounding = entry_rounding(rounding_of(given, precision), rows, weight, generator)
    there = np.isfinite(latent).all(-1)
    points = np.where(there[:, None], latent, 0.0)
    telling = np.ones(len(rows), bool)
    if noise is None:
        # Outputs that are off, as observed, would show no noise: they leave none to estimate it by.
        weight = np.where(_off(generator, points, rows, rounding), 0.0, weight)
        told = (weight > 0).sum(-1)
        telling = told > k
        quantile = np.asarray(stdtrit(np.maximum(told - k, 1), 0.5 + level / 2))
    cell = _cell(generator, rows, points, weight, rounding, noise is not None, own)
    bent = curvature(generator, points, cell.root, weight, cell.noise, own)
    explained = np.isin(np.atleast_1d(np.asarray(inversion.status)), EXPLAINED)
    close = np.isfinite(cell.wider).all(-1) & (cell.wider <= WIDER * cell.deviation).all(-1)
    reliable = there & telling & explained & close & (bent <= BENT)
    deviation = np.where(close[:, None], cell.deviation, np.maximum(cell.deviation, cell.wider))
    half = quantile[:, None] * deviation
    with np.errstate(over="ignore"):
        covariance = cell.root @ cell.root.mT
    covariance[~np.isfinite(cell.deviation).all(-1)] = np.inf
    if not reliable.all():
        warnings.warn(
            f"{(~reliable).sum()} of {len(rows)} intervals probably cover less than {level:.0%}: "
            "the noise leaves too many hidden units' activity open, the decoder bends within it, "
            "the latent is not determined, or nothing shows its misfit to be noise; see `reliable`",
            UnderCoverage,
            stacklevel=2,
        )
    parts = cell.noise, covariance, latent - half, latent + half, cell.ambiguous
    known = [np.where(there.reshape(-1, *[1] * (p.ndim - 1)), p, np.nan) for p in parts]
    return Confidence(*(p[0] if x.ndim == 1 else p for p in (*known, reliable)))


class _Cell(NamedTuple):
    """What the cell of each latent says.

    noise: (B,), s. root: (B, k, k), C^(1/2) of the directions that J determines. deviation, wider:
    (B, k), of each entry by J and by J_sure, infinite where it leaves the entry free. ambiguous:
    (B,) share of units whose side is open.
    """

    noise: Float[np.ndarray, " B"]
    root: Float[np.ndarray, "B k k"]
    deviation: Float[np.ndarray, "B k"]
    wider: Float[np.ndarray, "B k"]
    ambiguous: Float[np.ndarray, " B"]


def _cell(
    decoder: Decoder,
    x: Float[np.ndarray, "B n"],
    latent: Float[np.ndarray, "B k"],
    weight: Float[np.ndarray, "B n"],
    rounding: Float[np.ndarray, "B n"],
    stated: bool,
    prior: Float[np.ndarray, "k k"] | None,
) -> _Cell:
    """Around each latent. rounding: of each entry, the least noise it can have.

    stated: whether the weights are 1 / s_j of deviations that are known. prior: L^-1.
    """
    observed = weight > 0
    misfit = np.where(observed, x - np.asarray(decoder(latent)), 0.0)
    noise, deviation = noise_of(misfit, weight, latent.shape[1])
    if stated:
        noise, deviation = np.ones(len(x)), 1.0 / np.where(observed, weight, np.inf)
    else:
        least = row_norms(weight * rounding) / np.sqrt(np.maximum(observed.sum(-1), 1))
        noise, deviation = np.maximum(noise, least), np.maximum(deviation, rounding)
    batch, k = latent.shape
    cell = _Cell(
        noise,
        np.zeros((batch, k, k)),
        np.zeros((batch, k)),
        np.zeros((batch, k)),
        np.zeros(batch),
    )
    block = block_size(decoder, batch, True)
    for rows, padded in blocks(np.arange(batch), block):
        with jax.enable_x64(True):
            data = latent[padded], observed[padded], deviation[padded]
            around = surroundings(decoder, *(on_device(part) for part in data))
        both = np.asarray(around.columns), np.asarray(around.sure)
        cell.ambiguous[rows] = np.asarray(around.open)[: len(rows)]
        for place, row in enumerate(rows):
            seen = observed[row]
            own, sure = ((weight[row] * part[place]).T[seen] for part in both)
            if prior is not None:
                own, sure = (np.concatenate([part, noise[row] * prior]) for part in (own, sure))
            cell.root[row], cell.deviation[row] = _spread(own, noise[row])
            cell.wider[row] = _spread(sure, noise[row])[1]
    return cell


def _off(
    decoder: Decoder,
    latent: Float[np.ndarray, "B k"],
    x: Float[np.ndarray, "B n"],
    rounding: Float[np.ndarray, "B n"],
) -> Bool[np.ndarray, "B n"]:
    """Outputs of a last ReLU that are 0, and are observed so."""
    if not decoder.layers or decoder.layers[-1].activation.kind != "relu":
        return np.zeros(x.shape, bool)
    image = np.asarray(decoder(latent))
    return np.asarray((image <= 0) & (np.abs(x - image) <= rounding))


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


def _spread(
    jacobian: Float[np.ndarray, "n k"], noise: float
) -> tuple[Float[np.ndarray, "k k"], Float[np.ndarray, " k"]]:
    """C^(1/2) of the directions that J determines, and deviations, infinite where it does not."""
    k = jacobian.shape[1]
    _, singular, right = np.linalg.svd(jacobian, full_matrices=len(jacobian) < k)
    singular = np.pad(singular, (0, k - len(singular)))
    told = singular > RANK_TOLERANCE * singular[0]
    root = np.zeros((k, k))
    root[:, told] = noise * right[told].T / singular[told]
    free = (np.abs(right[~told]) > NOT_DETERMINED).any(0)
    return root, np.where(free, np.inf, row_norms(root))
