"""Which part of the latent space chains draw in, and where in it they begin."""

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinv.sampling.chains import Lanes
from jaxinv.sampling.modes import Modes
from jaxinv.sampling.regions import Regions
from jaxinv.sampling.target import Target, informations

SLIGHT = 1e-4  # of the posterior, by Laplace's approximation: less is not sampled
LEAST_EIGENVALUE = 1e-14  # of the information at a mode, of the largest
HALVINGS = 20  # of a start that lies outside of its mode's region
OVERDISPERSED = 1.5  # of a chain's start, over the normal distribution at its mode


def partition(
    target: Target, found: Modes
) -> tuple[Regions, Float[np.ndarray, "B M k k"], Bool[np.ndarray, "B M"]]:
    """Regions of the modes that weigh something, S of each, and which these are."""
    batch, most, k = found.latent.shape
    used = np.nan_to_num(found.weight) >= SLIGHT
    used[:, 0] |= found.count > 0
    owner, mode = np.nonzero(used)
    information = informations(target, owner, found.latent[owner, mode])
    known = np.isfinite(information).all((1, 2))
    used[owner[~known], mode[~known]] = False
    owner, mode = owner[known], mode[known]
    eigenvalue, vector = np.linalg.eigh(information[known])
    eigenvalue = np.maximum(eigenvalue, LEAST_EIGENVALUE * eigenvalue[:, -1:])
    root, inverse = (np.tile(np.eye(k), (batch, most, 1, 1)) for _ in range(2))
    root[owner, mode] = vector / np.sqrt(eigenvalue)[:, None]
    inverse[owner, mode] = np.sqrt(eigenvalue)[..., None] * vector.mT
    height = np.full((batch, most), -np.inf)
    height[owner, mode] = 0.5 * np.log(eigenvalue).sum(1)
    cut = Regions(np.nan_to_num(found.latent), inverse, height)
    # A mode that lies in a wider one's region is part of it.
    for row, own in zip(owner, mode, strict=True):
        near = cut.at(row).of_all(found.latent[row, own][None])
        used[row, own] = near[0] == own
    return cut._replace(height=np.where(used, height, -np.inf)), root, used


def chains_of(
    cut: Regions,
    root: Float[np.ndarray, "B M k k"],
    owner: Int[np.ndarray, " P"],
    mode: Int[np.ndarray, " P"],
    chains: int,
    seed: int,
) -> Lanes:
    """Chains of every region, from points about its mode that lie in it."""
    owner, mode = np.repeat(owner, chains), np.repeat(mode, chains)
    number = np.tile(np.arange(chains), len(owner) // chains)
    k = root.shape[-1]
    start, seeds = np.zeros((len(owner), k)), np.zeros(len(owner), np.int64)
    for lane, name in enumerate(zip(owner, mode, number, strict=True)):
        rng = np.random.default_rng([seed % 2**63, *name])
        seeds[lane], u = rng.integers(2**31), OVERDISPERSED * rng.standard_normal(k)
        own = cut.at(name[0])
        spread = root[name[0], name[1]]
        for _ in range(HALVINGS):
            if own.of_all((own.centre[name[1]] + spread @ u)[None])[0] == name[1]:
                start[lane] = u
                break
            u = u / 2
    return Lanes(owner, mode, start, seeds)
