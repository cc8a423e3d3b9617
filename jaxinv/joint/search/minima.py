"""The minima found for each observation: the lowest, a few more, and how often the lowest was met.

A run tells of one minimum. What it changes depends on what its observation's earlier runs have
found, and on no other observation: runs are kept one of each observation at a time.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinv.joint.descent.levenberg_marquardt import Runs
from jaxinv.outcome.search_report import Start

SAME_MINIMUM = 1e-3  # relative loss: a shift of the latent far below the noise that explains it
ELITE = 4  # lowest minima that are remembered


@dataclass(frozen=True)
class Minima:
    """One entry an observation.

    latent, loss, converged, start: the lowest minimum, whether its run ended there, and where
    (`Start`) the run began; loss is infinite, and latent NaN, where there is none. elite: the
    lowest minima, different ones, ascending; elite_loss is infinite where there are fewer.
    """

    latent: Float[np.ndarray, "B k"]
    loss: Float[np.ndarray, " B"]
    converged: Bool[np.ndarray, " B"]
    start: Int[np.ndarray, " B"]
    elite: Float[np.ndarray, "B elite k"]
    elite_loss: Float[np.ndarray, "B elite"]


@dataclass(frozen=True)
class Tally:
    """Counts, one entry an observation.

    hits: runs that ended in the lowest minimum. made: independent runs made, to their end or until
    they fell behind others, carried_on: runs from what others had found, prefix_made: those on the
    first layers. peeled: outer layers peeled.
    losses: (B, m) that independent runs ended with, infinite where there are fewer.
    """

    hits: Int[np.ndarray, " B"]
    made: Int[np.ndarray, " B"]
    carried_on: Int[np.ndarray, " B"]
    prefix_made: Int[np.ndarray, " B"]
    peeled: Int[np.ndarray, " B"]
    losses: Float[np.ndarray, "B m"]


def no_minima(batch: int, latent_size: int) -> tuple[Minima, Tally]:
    """Before the first run."""
    none = np.zeros(batch, np.int64)
    minima = Minima(
        latent=np.full((batch, latent_size), np.nan),
        loss=np.full(batch, np.inf),
        converged=np.zeros(batch, bool),
        start=none,
        elite=np.zeros((batch, ELITE, latent_size)),
        elite_loss=np.full((batch, ELITE), np.inf),
    )
    return minima, Tally(none, none, none, none, none, np.full((batch, 0), np.inf))


def with_runs(
    minima: Minima,
    tally: Tally,
    owner: Int[np.ndarray, " T"],
    runs: Runs,
    start: Int[np.ndarray, " T"],
    independent: bool,
) -> tuple[Minima, Tally]:
    """Keep what is lower or confirms the lowest, an observation's runs in the order given.

    owner: the observation that each run belongs to. start: (`Start`) where it began. independent:
    false where the runs began at what others had found, and so confirm nothing.
    """
    turn = _turns(owner)
    turns = int(turn.max(initial=-1)) + 1
    if independent:
        ended = np.full((len(minima.loss), turns), np.inf)
        ended[owner, turn] = runs.loss
        tally = replace(tally, losses=np.concatenate([tally.losses, ended], axis=1))
    for number in range(turns):
        now = np.flatnonzero(turn == number)
        some = Runs(*(part[now] for part in runs))
        minima, tally = _one_each(minima, tally, owner[now], some, start[now], independent)
    return minima, tally


def _turns(owner: Int[np.ndarray, " T"]) -> Int[np.ndarray, " T"]:
    """How many runs of the same observation stand before each run."""
    order = np.argsort(owner, kind="stable")
    ordered = owner[order]
    turn = np.zeros(len(owner), np.int64)
    turn[order] = np.arange(len(owner)) - np.searchsorted(ordered, ordered)
    return turn


def _one_each(
    minima: Minima,
    tally: Tally,
    owner: Int[np.ndarray, " T"],
    runs: Runs,
    start: Int[np.ndarray, " T"],
    independent: bool,
) -> tuple[Minima, Tally]:
    """Keep runs of different observations."""
    before = minima.loss[owner]
    with np.errstate(invalid="ignore"):  # infinity less infinity, where no run was finite
        same = np.abs(runs.loss - before) <= SAME_MINIMUM * before
    lower = runs.loss < before
    hits = tally.hits[owner] + (same & independent)
    changed = replace(
        tally,
        made=_put(tally.made, owner, tally.made[owner] + independent),
        carried_on=_put(tally.carried_on, owner, tally.carried_on[owner] + (not independent)),
        hits=_put(tally.hits, owner, np.where(lower & ~same, 1, hits)),
    )
    better = owner[lower]
    lowered = replace(
        _remembered(minima, owner, runs),
        latent=_put(minima.latent, better, runs.latent[lower]),
        loss=_put(minima.loss, better, runs.loss[lower]),
        converged=_put(minima.converged, better, runs.converged[lower]),
        start=_put(minima.start, better, start[lower]),
    )
    return lowered, changed


def _remembered(minima: Minima, owner: Int[np.ndarray, " T"], runs: Runs) -> Minima:
    """Put each run's minimum among its observation's lowest, unless it is one of them already."""
    loss = runs.loss[:, None]
    known, points = minima.elite_loss[owner], minima.elite[owner]
    with np.errstate(invalid="ignore"):
        familiar = (np.abs(known - loss) <= SAME_MINIMUM * loss).any(axis=1)
    new = np.isfinite(runs.loss) & ~familiar
    # What is lower stands before its place, the others move one further, the last one out.
    place, number = (known < loss).sum(axis=1)[:, None], np.arange(ELITE)
    moved = number - (number > place)
    here = number == place
    losses = np.where(here, loss, np.take_along_axis(known, moved, axis=1))
    shifted = np.take_along_axis(points, moved[:, :, None], axis=1)
    elite = np.where(here[:, :, None], runs.latent[:, None, :], shifted)
    return replace(
        minima,
        elite=_put(minima.elite, owner[new], elite[new]),
        elite_loss=_put(minima.elite_loss, owner[new], losses[new]),
    )


def settled_at(
    minima: Minima,
    tally: Tally,
    done: Bool[np.ndarray, " B"],
    latent: Float[np.ndarray, "B k"],
    loss: Float[np.ndarray, " B"],
    depth: int,
) -> tuple[Minima, Tally]:
    """The layer-wise estimate is the answer of the observations that are done: no run is made."""
    found = replace(
        minima,
        latent=np.where(done[:, None], latent, minima.latent),
        loss=np.where(done, loss, minima.loss),
        converged=minima.converged | done,
        start=np.where(done, int(Start.LAYERWISE), minima.start),
    )
    counted = replace(
        tally,
        hits=np.where(done, 1, tally.hits),
        peeled=np.where(done, depth, tally.peeled),
    )
    return found, counted


def ended_at(minima: Minima, rows: Int[np.ndarray, " T"], runs: Runs) -> Minima:
    """The lowest minima where runs ended that had begun there, one of each of these rows."""
    lower = runs.loss <= minima.loss[rows]
    better = rows[lower]
    return replace(
        minima,
        latent=_put(minima.latent, better, runs.latent[lower]),
        loss=_put(minima.loss, better, runs.loss[lower]),
        converged=_put(minima.converged, rows, minima.converged[rows] | runs.converged),
    )


def _put(values: np.ndarray, where: Int[np.ndarray, " T"], new: np.ndarray) -> np.ndarray:
    changed = values.copy()
    changed[where] = new
    return changed
