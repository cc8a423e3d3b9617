r"""Draws of latents from their posterior distribution, mode by mode.

The modes that runs from random points find (`modes`) cut the latent space into regions; chains draw
within each; a bridge between each region's draws and a normal distribution gives the region's part
of the whole. A mode that no run has met has no draws.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinv.call.operators import of_both_parts
from jaxinv.call.request import Options
from jaxinv.model.decoder import Decoder
from jaxinv.model.prior import GaussianPrior
from jaxinv.outcome.inversion import Inversion
from jaxinv.sampling.chains import Draws, mixing, sampled, sampler
from jaxinv.sampling.modes import MOST, Modes, Question, distinct, ends, question
from jaxinv.sampling.partition import SLIGHT, chains_of, partition
from jaxinv.sampling.regions import Normal, Regions, log_part
from jaxinv.sampling.target import Target, energies
from jaxinv.settings.checks import require

MIXED = 1.05  # R-hat of chains that have met
ENOUGH = 100  # effective draws
SHORTEST = 250  # draws of a chain: fewer neither show whether it has met others nor fit a bridge


@dataclass(frozen=True)
class Posterior:
    """Draws of every row's latent; of one observation, without the batch axis.

    samples: (B, draws, k), of equal weight, NaN where a row failed. energy: (B, draws), U =
    -log density there, up to a constant of the row. modes: those found; weight: (B, M), the part of
    the posterior that each one's region has. r_hat: (B,), of the chains of each region, the largest
    over entries of the latent (Gelman and Rubin 1992, of halved chains). ess: (B,) effective number
    of independent draws, the least over entries. reliable: (B,), r_hat below 1.05 and ess of 100 or
    more. What is said is said of the modes that were found.

    >>> g = jaxinv.Generator.from_layers([([[1.0]], None, "identity")])
    >>> jaxinv.posterior(g, [0.0], noise=1.0)
    Posterior(samples (1000, 1): 1 reliable, Modes(latent (1, 1): 1 to 1 a row))
    """

    samples: Float[np.ndarray, "*batch draws k"]
    energy: Float[np.ndarray, "*batch draws"]
    modes: Modes
    weight: Float[np.ndarray, "*batch M"]
    r_hat: Float[np.ndarray, "*batch"]
    ess: Float[np.ndarray, "*batch"]
    reliable: Bool[np.ndarray, "*batch"]
    target: Target = field(repr=False)

    @property
    def mean(self) -> Float[np.ndarray, "*batch k"]:
        """Of the draws."""
        return np.asarray(self.samples.mean(-2))

    @property
    def covariance(self) -> Float[np.ndarray, "*batch k k"]:
        """Of the draws."""
        apart = self.samples - self.mean[..., None, :]
        return np.asarray(apart.mT @ apart / (self.samples.shape[-2] - 1))

    def interval(
        self, level: float = 0.95
    ) -> tuple[Float[np.ndarray, "*batch k"], Float[np.ndarray, "*batch k"]]:
        """low and high of each entry, with equal shares of the draws beyond them.

        Raises ValueError where the level is not in (0, 1).

        >>> g = jaxinv.Generator.from_layers([([[1.0]], None, "identity")])
        >>> low, high = jaxinv.posterior(g, [0.0], noise=1.0).interval(0.9)  # of N(0, 1 / 2)
        >>> bool(abs(low[0] + 1.163) < 0.3), bool(abs(high[0] - 1.163) < 0.3)
        (True, True)
        """
        require(0 < level < 1, f"level={level} must be in (0, 1)")
        sides = np.quantile(self.samples, [0.5 - level / 2, 0.5 + level / 2], axis=-2)
        return sides[0], sides[1]

    def level(self, latent: Any) -> Float[np.ndarray, "*batch"]:
        """The share of the posterior that is denser than at these latents, (k,) or (B, k).

        A latent lies in the region of highest density of every level above its own.

        >>> g = jaxinv.Generator.from_layers([([[1.0]], None, "identity")])
        >>> drawn = jaxinv.posterior(g, [0.0], noise=1.0)
        >>> bool(drawn.level(0.1) < 0.3), bool(drawn.level(3.0) > 0.99)
        (True, True)
        """
        z = np.atleast_2d(np.asarray(latent, np.float64))
        energy = np.atleast_2d(self.energy)
        z = np.broadcast_to(z, (len(energy), z.shape[1]))
        here = energies(self.target, np.arange(len(energy)), z)
        share = (energy < here[:, None]).mean(1)
        return np.asarray(share if self.energy.ndim == 2 else share[0])

    def __repr__(self) -> str:
        reliable = int(np.sum(self.reliable))
        return f"Posterior(samples {self.samples.shape}: {reliable} reliable, {self.modes})"


def posterior(
    generator: Decoder,
    observations: Any,
    inversion: Inversion | None = None,
    *,
    noise: Any,
    prior: GaussianPrior | None = None,
    draws: int = 1000,
    chains: int = 4,
    warmup: int = 400,
    runs: int = 32,
    mask: Any = None,
    weights: Any = None,
    operator: Any = None,
    seed: int = 0,
) -> Posterior:
    """Draws from the distribution of each latent given its observation, p(z | x).

    inversion: what `invert` found, whose latents are looked at as modes beside those that `runs`
    runs from random points end in. noise: standard deviation, one for all entries, (n,) or (B, n),
    or a noise model. prior: of the latent, N(0, I) where none is given. draws: of each row.
    chains: in each mode's region, of warmup steps and draws / chains draws each, 250 at least
    (No-U-Turn sampler of Hoffman and Gelman 2014, in blackjax, which the extra `posterior`
    installs). mask, weights, operator, seed: as for `invert`. Raises ValueError where an argument
    does not fit, or blackjax is not there.

    >>> g = jaxinv.Generator.from_layers([([[1.0], [1.0]], None, "identity")])
    >>> drawn = jaxinv.posterior(g, [3.0, 3.0], noise=1.0)
    >>> drawn.mean.round(), drawn.covariance.round(1), bool(drawn.reliable)  # N(2, 1 / 3)
    (array([2.]), array([[0.3]]), True)
    """
    require(draws >= 2, f"draws={draws} must be at least 2")
    require(chains >= 2, f"chains={chains} must be at least 2, to be compared")
    require(warmup >= 20, f"warmup={warmup} must be at least 20 steps")
    require(runs >= 1, f"runs={runs} must be at least 1")
    if noise is None:
        raise ValueError("a posterior needs noise=, the deviation of the observations or a model")
    sampler()  # asked for before the runs are made, not after
    options = Options(
        mask=of_both_parts(operator, mask),
        weights=of_both_parts(operator, weights),
        operator=operator,
        noise=of_both_parts(operator, noise),
        seed=seed,
        start=None if inversion is None else np.asarray(inversion.latent),
        prior=GaussianPrior() if prior is None else prior,
    )
    asked = question(generator, observations, options)
    found = distinct(asked, ends(asked, options, runs), MOST)
    drawn = _drawn(asked, found, draws, chains, warmup, seed)
    return drawn if asked.batched else _of_one(drawn)


def _drawn(
    asked: Question, found: Modes, draws: int, chains: int, warmup: int, seed: int
) -> Posterior:
    """Chains in every mode's region, and of them as many draws as its part of the posterior."""
    target = asked.target
    batch, _, k = found.latent.shape
    cut, root, used = partition(target, found)
    owner, mode = np.nonzero(used)
    lanes = chains_of(cut, root, owner, mode, chains, seed)
    drawn = sampled(target, cut, root, lanes, warmup, max(-(-draws // chains), SHORTEST))
    # A chain after the other, in each region.
    drawn = Draws(*(part.reshape(len(owner), chains, -1, *part.shape[2:]) for part in drawn))
    weight = np.where(found.count[:, None] > 0, used.astype(float), np.nan)
    for row in np.flatnonzero(used.sum(1) > 1):
        here = np.flatnonzero(owner == row)
        own = cut.at(row)
        weight[row, mode[here]] = _parts(target, own, int(row), mode[here], drawn, here, seed)
    r_hat, ess = np.full(batch, np.nan), np.zeros(batch)
    samples, energy = np.full((batch, draws, k), np.nan), np.full((batch, draws), np.nan)
    apart, effective = mixing(drawn.latent)
    for row in np.flatnonzero(used.any(1)):
        here = np.flatnonzero(owner == row)
        share = weight[row, mode[here]]
        told = share > SLIGHT
        r_hat[row] = apart[here[told]].max()
        ess[row] = 1.0 / (share[told] ** 2 / effective[here[told]]).sum()
        kept = [
            _evenly(drawn, pair, count)
            for pair, count in zip(here.tolist(), _counts(share, draws), strict=True)
        ]
        samples[row], energy[row] = (np.concatenate(part) for part in zip(*kept, strict=True))
    reliable = (r_hat < MIXED) & (ess >= ENOUGH)
    return Posterior(samples, energy, found, weight, r_hat, ess, reliable, target)


def _parts(
    target: Target,
    cut: Regions,
    row: int,
    modes: Int[np.ndarray, " M"],
    drawn: Draws,
    pairs: Int[np.ndarray, " M"],
    seed: int,
) -> Float[np.ndarray, " M"]:
    """The share of the posterior that each region of a row has.

    The normal distributions are fitted to the first halves of the chains and bridged to the second.
    """
    rng, k = np.random.default_rng([seed % 2**63, row]), drawn.latent.shape[-1]
    half = drawn.latent.shape[2] // 2
    part = np.zeros(len(modes))
    for place, (mode, pair) in enumerate(zip(modes, pairs, strict=True)):
        normal = Normal.fitted(drawn.latent[pair, :, :half].reshape(-1, k))
        later = drawn.latent[pair, :, half:].reshape(-1, k)
        proposed = normal.draw(rng, len(later))
        height = -energies(target, np.full(len(proposed), row), proposed)
        part[place] = log_part(
            -drawn.energy[pair, :, half:].reshape(-1),
            normal.log_density(later),
            np.where(cut.of_all(proposed) == mode, height, -np.inf),
            normal.log_density(proposed),
        )
    share = np.exp(part - part.max())
    return share / share.sum()


def _counts(share: Float[np.ndarray, " M"], draws: int) -> Int[np.ndarray, " M"]:
    """Whole numbers in these shares, that sum to `draws`."""
    counts = np.floor(share * draws).astype(int)
    left = draws - counts.sum()
    counts[np.argsort(counts - share * draws, kind="stable")[:left]] += 1
    return counts


def _evenly(
    drawn: Draws, pair: int, count: int
) -> tuple[Float[np.ndarray, "N k"], Float[np.ndarray, " N"]]:
    """So many of a region's draws, as many of each chain, and evenly along them."""
    chains, length = drawn.energy.shape[1:]
    which = np.linspace(0, chains * length, count, endpoint=False).astype(int)
    chain, place = which % chains, which // chains
    return drawn.latent[pair, chain, place], drawn.energy[pair, chain, place]


def _of_one(drawn: Posterior) -> Posterior:
    """Without the batch axis."""
    parts = ("samples", "energy", "weight", "r_hat", "ess", "reliable")
    return replace(
        drawn, modes=drawn.modes.of_row(0), **{name: getattr(drawn, name)[0] for name in parts}
    )
