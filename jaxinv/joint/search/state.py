"""Where a search stands: facts of each observation, its minima, the tally, and what they say."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinv.joint.descent.lanes import Engine
from jaxinv.joint.descent.levenberg_marquardt import Runs, Starts
from jaxinv.joint.problem import ROUNDED, Problem
from jaxinv.joint.search.facts import Facts, facts
from jaxinv.joint.search.minima import Minima, Tally, ended_at, no_minima, settled_at, with_runs
from jaxinv.joint.search.stopping import chance_of_lower
from jaxinv.outcome.search_report import Start

SMALL_MISFIT = 0.05  # relative residual above which agreement is asked of more runs
MORE, MANY_RUNS = 2, 32  # times as many; and what is asked where nothing speaks for noise
SOME_RUNS = 16  # asked where tests against noise have little power
LED_BY_OTHERS = (Start.GIVEN, Start.PREFIX, Start.NEARBY)
ROUGH = 0.1  # relative residual up to which a fit is worth carrying on from


@dataclass(frozen=True)
class Search:
    """What is known, what has been found, and at what cost; what follows has one entry a row.

    agreement: independent runs that must end in a minimum before noise is taken to explain it.
    bound: on the chance that another run lowers the residual by 1%, below which none is made.
    structured: whether the lowest minimum's misfit is no noise, as far as tests can tell
    (`structure`). rugged: whether runs from around it end elsewhere (`neighbours`), so that a lower
    one may be near.
    """

    facts: Facts
    minima: Minima
    tally: Tally
    agreement: int
    bound: float
    structured: Bool[np.ndarray, " B"]
    rugged: Bool[np.ndarray, " B"]

    @property
    def reproduced(self) -> Bool[np.ndarray, " B"]:
        """Whether a minimum leaves what rounding or the stated noise does.

        Between that and the tolerance false minima of ill-conditioned nets are met, each of them
        once, and noise too small to matter, with the same minimum each time. A net of few entries
        may have a fold there that two runs meet.
        """
        loss = self.minima.loss
        told = self.agreed & (self.facts.powerful | (self.tally.made >= SOME_RUNS))
        return (loss <= self.facts.certain) | ((loss <= self.facts.limit) & told)

    @property
    def small(self) -> Bool[np.ndarray, " B"]:
        """Whether the misfit is so small that false minima would stand out."""
        return self.minima.loss <= (SMALL_MISFIT * self.facts.size) ** 2

    @property
    def rough(self) -> Bool[np.ndarray, " B"]:
        """Whether the lowest minimum almost fits: the range of G cannot be far."""
        return self.minima.loss <= (ROUGH * self.facts.size) ** 2

    @property
    def agreed(self) -> Bool[np.ndarray, " B"]:
        """Whether enough runs ended in the lowest minimum."""
        return self.tally.hits >= self.agreement

    @property
    def explained(self) -> Bool[np.ndarray, " B"]:
        """Whether a minimum leaves what the last layer alone shows of noise.

        It must have been met twice where much is left, and where so few entries bind the latent
        that the minimum in a neighbouring cell may well be lower by 1%.
        """
        loss = self.minima.loss
        noise = (loss >= self.facts.noise_low) & (loss <= self.facts.noise_high)
        told = self.small & self.facts.telling
        return (
            self.minima.converged & noise & (told | self.agreed) & ~self.structured & ~self.rugged
        )

    @property
    def confirmed(self) -> Bool[np.ndarray, " B"]:
        """Whether enough runs ended in the lowest minimum known.

        More must where it is high, some must have been made where the entries are too few for a
        test to tell a misfit from noise, and many where it is no noise, or where hardly more
        entries than unknowns bind the latent.
        """
        told = self.small | (self.tally.hits >= MORE * self.agreement)
        told &= self.facts.ample & ~self.structured
        told &= self.facts.powerful | (self.tally.made >= SOME_RUNS)
        enough = told | (self.tally.made >= MANY_RUNS)
        return enough & self.facts.noisy & self.agreed & ~self.rugged

    @property
    def believed(self) -> Bool[np.ndarray, " B"]:
        """Whether a confirmed minimum's misfit is taken for noise."""
        return self.confirmed & ~self.structured

    @property
    def unexplained(self) -> Bool[np.ndarray, " B"]:
        """Rows that agreement of runs alone can settle."""
        return self.facts.live & ~self.reproduced & ~self.explained

    @property
    def searched(self) -> Bool[np.ndarray, " B"]:
        """Whether another run would hardly find a lower minimum.

        Asked only where nothing speaks for a code that reproduces the observation, up to noise:
        where the lowest minimum is far off, and few more runs that agree could not yet call its
        misfit noise.
        """
        few = self.tally.made < MANY_RUNS
        undecided = self.facts.noisy & ~self.structured & few
        unlikely = chance_of_lower(self.tally.losses, self.tally.made) <= self.bound
        return unlikely & ~undecided & ~self.rough

    @property
    def open(self) -> Bool[np.ndarray, " B"]:
        return self.unexplained & ~self.confirmed & ~self.searched

    @property
    def near(self) -> Bool[np.ndarray, " B"]:
        """Open rows whose lowest minimum almost fits."""
        return self.open & self.rough


def nothing_found(problem: Problem, agreement: int, bound: float = 0.0) -> Search:
    """The state before the first run."""
    minima, tally = no_minima(len(problem.live), problem.generator.latent_size)
    nothing = np.zeros(len(problem.live), bool)
    return Search(facts(problem), minima, tally, agreement, bound, nothing, nothing)


def learnt(search: Search, starts: Starts, engine: Engine, start: Start) -> Search:
    """Make the runs, and keep what they find."""
    return kept(search, starts, engine.run(starts), start)


def kept(search: Search, starts: Starts, runs: Runs, start: Start) -> Search:
    """Keep, of each observation run by run, what is lower or confirms the lowest.

    Runs that start from what others found, or the caller gave, confirm nothing by themselves.
    """
    independent = start not in LED_BY_OTHERS
    began = np.where(starts.softness != 0, int(Start.SOFTENED), int(start))
    minima, tally = with_runs(search.minima, search.tally, starts.row, runs, began, independent)
    return replace(search, minima=minima, tally=tally)


def with_dropped(search: Search, rows: Int[np.ndarray, " R"], number: int, start: Start) -> Search:
    """Count the runs of these rows that fell behind in a race: so many each."""
    tally, led = search.tally, start in LED_BY_OTHERS
    dropped = np.zeros(len(tally.made), np.int64)
    dropped[rows] = number
    made, carried_on = tally.made + dropped * (not led), tally.carried_on + dropped * led
    return replace(search, tally=replace(tally, made=made, carried_on=carried_on))


def with_ends(search: Search, rows: Int[np.ndarray, " T"], runs: Runs) -> Search:
    """The lowest minima of these rows, where runs that had begun there ended."""
    return replace(search, minima=ended_at(search.minima, rows, runs))


def settled(problem: Problem, search: Search, latent: Float[np.ndarray, "B k"]) -> Search:
    """Keep what reproduces an open row to rounding: nothing is left that a run could lower."""
    loss = problem.fit(latent).loss
    with np.errstate(over="ignore"):
        least = (ROUNDED * search.facts.size) ** 2
    done = search.open & problem.box.holds(latent) & (loss <= least)
    depth = len(problem.generator.layers)
    minima, tally = settled_at(search.minima, search.tally, done, latent, loss, depth)
    return replace(search, minima=minima, tally=tally)


def with_noise(
    search: Search,
    rows: Int[np.ndarray, " T"],
    low: Float[np.ndarray, " T"],
    high: Float[np.ndarray, " T"],
) -> Search:
    """The losses between which a misfit of these rows is what the last layer shows of noise."""
    noise_low, noise_high = search.facts.noise_low.copy(), search.facts.noise_high.copy()
    noise_low[rows], noise_high[rows] = low, high
    return replace(search, facts=replace(search.facts, noise_low=noise_low, noise_high=noise_high))


def with_peeled(
    search: Search, rows: Bool[np.ndarray, " B"], layers: int | Int[np.ndarray, " B"]
) -> Search:
    """So many outer layers of these rows have been peeled."""
    peeled = np.where(rows, layers, search.tally.peeled)
    return replace(search, tally=replace(search.tally, peeled=peeled))


def with_prefix_runs(search: Search, below: Search) -> Search:
    """Count the runs that were made on the first layers."""
    made = search.tally.prefix_made + below.tally.made + below.tally.carried_on
    return replace(search, tally=replace(search.tally, prefix_made=made))
