"""Which method to take, from what each made of the same rows: the cheapest that loses nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from jaxinv.cli.trials import Trial
from jaxinv.outcome.status import Status

MEDIAN, TAIL = 1.01, 1.05  # of the lowest residual, at the median and at the 95th percentile
QUICK = 1.1  # times the least seconds: as quick, by what such a measurement can tell
# SOLVED of these says that their programs were solved, and nothing of the misfit.
PROGRAMS = ("linf", "l1", "relaxed")


@dataclass(frozen=True)
class Figures:
    """A method beside the best of each row.

    median, tail: its residual over the lowest, at the median and at the 95th percentile; infinite
    where it has no code that another has. lost: rows that another one solved and it did not.
    """

    median: float
    tail: float
    lost: int

    @property
    def keeps(self) -> bool:
        """Whether taking it loses nothing."""
        return self.median <= MEDIAN and self.tail <= TAIL and not self.lost


@dataclass(frozen=True)
class Recommendation:
    """name: of the method, None where none gave anything. reason: one sentence or two."""

    name: str | None
    reason: str


def relative(
    trials: Sequence[Trial], floor: Float[np.ndarray, " B"]
) -> list[Float[np.ndarray, " B"]]:
    """Each trial's residuals over the lowest of the row, NaN where no method has a code.

    floor: a residual that is rounding, and as good as none.
    """
    known = [t.residual for t in trials if t.residual is not None]
    if not known:
        return [np.full(len(floor), np.nan) for _ in trials]
    lowest = np.fmin.reduce([np.maximum(residual, floor) for residual in known])
    ratios = []
    for trial in trials:
        residual = np.full(len(floor), np.nan) if trial.residual is None else trial.residual
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = np.maximum(residual, floor) / lowest
        # Nothing over nothing: an observation of zeros, reproduced.
        ratio = np.where((lowest == 0) & (residual == 0), 1.0, ratio)
        ratios.append(np.where(np.isnan(residual) & np.isfinite(lowest), np.inf, ratio))
    return ratios


def figures(trials: Sequence[Trial], floor: Float[np.ndarray, " B"]) -> list[Figures]:
    """What is said of each trial."""
    ratios = relative(trials, floor)
    some = np.zeros(len(floor), bool)
    for trial in trials:
        if trial.name not in PROGRAMS:
            some |= _solved(trial)
    told = []
    for trial, ratio in zip(trials, ratios, strict=True):
        there = ratio[~np.isnan(ratio)]
        # Of neighbours of which one is infinite the mean is none: take the upper one.
        median, tail = (
            float(np.quantile(there, q, method="higher")) if there.size else np.nan
            for q in (0.5, 0.95)
        )
        told.append(Figures(median, tail, int((some & ~_solved(trial)).sum())))
    return told


def recommended(trials: Sequence[Trial], floor: Float[np.ndarray, " B"]) -> Recommendation:
    """The cheapest method that loses nothing, else the one that loses least."""
    told = [
        (trial, found)
        for trial, found in zip(trials, figures(trials, floor), strict=True)
        if not trial.failure
    ]
    if not told:
        return Recommendation(None, "No method gave an answer; the reasons stand above.")
    if all(np.isnan(found.median) for _, found in told):
        return Recommendation(None, "No method found a code of any of these rows.")
    keeping = [(trial, found) for trial, found in told if found.keeps]
    if not keeping:
        trial, found = min(told, key=lambda one: (one[1].lost, one[1].median, one[1].tail))
        return Recommendation(
            trial.name,
            f"No method is best everywhere. {trial.name} loses least: {_lost(found.lost)}, its "
            f"residual {found.median:.3g} times the lowest in the median, {found.tail:.3g} times "
            "at the 95th percentile.",
        )
    # What differs by less is as quick: the first of these, as they were named, is taken.
    least = QUICK * min(trial.seconds for trial, _ in keeping)
    trial, found = next(one for one in keeping if one[0].seconds <= least)
    reason = (
        f"{trial.name} loses {_lost(0)}, and its residual is within {MEDIAN - 1:.0%} of the lowest "
        f"in the median ({found.median:.3g}) and within {TAIL - 1:.0%} at the 95th percentile "
        f"({found.tail:.3g})"
    )
    others = [one for one, _ in told if one is not trial]
    if len(keeping) > 1:
        reason += f"; of the {len(keeping)} methods of which that is so none is quicker"
    elif others:
        quicker = [one.name for one in others if one.seconds < trial.seconds]
        reason += "; no other does as well"
        reason += f", and {', '.join(quicker)} would be quicker" if quicker else ""
    return Recommendation(trial.name, f"{reason}.{_more_confirmed(trial, keeping)}")


def _solved(trial: Trial) -> Bool[np.ndarray, "*B"]:
    """Which rows are; of a method that failed, none."""
    return np.asarray(False if trial.status is None else trial.status == Status.SOLVED)


def _more_confirmed(trial: Trial, keeping: Sequence[tuple[Trial, Figures]]) -> str:
    """What a dearer method would say that this one leaves open."""

    def confirmed(one: Trial) -> int:
        return sum(count for status, count in one.counts.items() if status.ok)

    most = max(
        (one for one, _ in keeping if one.name not in PROGRAMS), key=confirmed, default=trial
    )
    more = confirmed(most) - confirmed(trial)
    if more <= 0:
        return ""
    return f" {most.name} confirms {more} more (SOLVED or CLOSEST), with no lower a residual."


def _lost(count: int) -> str:
    if not count:
        return "no row that another solved"
    return f"{count} row{'' if count == 1 else 's'} that another solved"
