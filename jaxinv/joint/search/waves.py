"""Waves of runs: how many of which kind, and how those of one wave are made.

The runs of a wave race in single precision, every other one softened at first where a ReLU net's
lowest minimum almost fits; where a last sigmoid or tanh hides the pre-activation of what is no
dense net, some begin there, and what almost fits is led on there. What fits is carried on in double
precision.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinv.joint.descent.lanes import Engine
from jaxinv.joint.descent.levenberg_marquardt import Runs, Starts
from jaxinv.joint.descent.linearization import has_relu
from jaxinv.joint.problem import Problem
from jaxinv.joint.search.candidates import nearest_candidates
from jaxinv.joint.search.points import LARGEST_WAVE, every_start, nearby_points
from jaxinv.joint.search.preactivation import LED, engine_before, led_points, squashed
from jaxinv.joint.search.state import ROUGH, Search, kept, learnt, with_dropped
from jaxinv.outcome.search_report import Start
from jaxinv.settings import Auto

POLISHED = 1e-3  # relative residual up to which a run is carried on to rounding
LOWER_THAN = 1.01  # times the lowest loss, what is worth steps in double precision
# Far from a fit, of the lowest loss: within this a run has met the lowest minimum again, and beyond
# so many times of it another one, which its last steps would change little about.
MET_AGAIN, FAR_ABOVE = 1e-5, 1.1


def waves(runs: int, nearby: int) -> Iterator[tuple[Start, slice]]:
    """Random runs 1, 1, 2, 4, ... at a time; from the largest wave on in turn with nearby ones."""
    drawn = carried = 0
    while drawn < runs or carried < nearby:
        if carried < nearby and (drawn >= LARGEST_WAVE or drawn >= runs):
            wave = slice(carried, min(carried + LARGEST_WAVE, nearby))
            carried = wave.stop
            yield Start.NEARBY, wave
        if drawn < runs:
            wave = slice(drawn, min(drawn + min(max(drawn, 1), LARGEST_WAVE), runs))
            drawn = wave.stop
            yield Start.RANDOM, wave


@dataclass(frozen=True)
class WaveMaker:
    """Makes the waves of one search."""

    problem: Problem
    method: Auto
    engine: Engine

    @cached_property
    def _before(self) -> Engine | None:
        """Lanes on the last layer's pre-activation, where it is squashed."""
        hidden = squashed(self.problem.generator)
        return engine_before(self.problem, self.method) if hidden else None

    @cached_property
    def _softness(self) -> tuple[float, float]:
        """Of the runs in turn, where a row's lowest minimum almost fits."""
        soft = self.method.softness if has_relu(self.problem.generator) else 0.0
        return (soft, 0.0) if self.problem.generator.is_dense else (0.0, soft)

    def wave(self, search: Search, start: Start, wave: slice) -> Search:
        """Make these runs for the rows that ask for them."""
        number = np.arange(wave.start, wave.stop)
        if start is Start.NEARBY:
            rows = np.flatnonzero(search.near)
            # A softened net's minima are others, far from those that led here.
            return self.made(search, rows, nearby_points(self.problem, search, wave), start)
        rows = np.flatnonzero(search.open)
        drawn = self.method.candidates, self.method.start_scale
        points = nearest_candidates(self.problem, wave, *drawn)[rows]
        if self._before is not None:
            led = search.near[rows] | (wave.stop <= LED)
            points[led] = led_points(self._before, rows[led], points[led], wave)
        # What is far off is softened for nothing: its minima are many, on the softer net as well.
        soft = np.array(self._softness)[number % len(self._softness)]
        near = search.near[rows]
        for which, softness in ((near, soft), (~near, None)):
            if which.any():
                search = self.made(search, rows[which], points[which], start, softness)
        return search

    def made(
        self,
        search: Search,
        rows: Int[np.ndarray, " R"],
        points: Float[np.ndarray, "R s k"],
        start: Start,
        softness: Float[np.ndarray, " s"] | None = None,
    ) -> Search:
        """Make the runs from these points of each row, and keep what they find."""
        softness = np.zeros(points.shape[1]) if softness is None else softness
        if self.engine.matrix_free:
            starts = every_start(rows, points, softness)
            return learnt(search, starts, self.engine, start)
        owner, began, runs = self.engine.track.race(rows, points, softness)
        runs = self._closed(search, owner, runs)
        if self._before is not None:
            self._led_on(search, owner, runs)
        self._carried_on(search, owner, runs)
        search = kept(search, Starts(owner, runs.latent, began), runs, start)
        return with_dropped(search, rows, points.shape[1] - len(owner) // len(rows), start)

    def _closed(self, search: Search, owner: Int[np.ndarray, " T"], runs: Runs) -> Runs:
        """The runs with their last steps, where these may change what is known of the row."""
        lowest = search.minima.loss[owner]
        far = np.isfinite(lowest) & (runs.loss > (ROUGH * search.facts.size[owner]) ** 2)
        with np.errstate(invalid="ignore"):  # infinity less infinity, where no run was finite
            met = far & (np.abs(runs.loss - lowest) <= MET_AGAIN * lowest)
        above = far & (runs.loss > FAR_ABOVE * lowest)
        some = np.flatnonzero(~(met | above))
        last = self.engine.chorded(owner[some], Runs(*(part[some] for part in runs)))
        closed = runs._replace(loss=np.where(met, lowest, runs.loss))
        _put(closed, some, last)
        return closed

    def _led_on(self, search: Search, owner: Int[np.ndarray, " T"], runs: Runs) -> None:
        """Lead what almost fits on by way of the pre-activation, in single precision.

        Behind a squashing output a run may crawl on for long, and look as if it had ended.
        """
        some = np.flatnonzero(
            self._fits(search, owner, runs, ROUGH) & self._low(search, owner, runs)
        )
        if not some.size:
            return
        assert self._before is not None
        row = owner[some]
        points = led_points(self._before, row, runs.latent[some, None], slice(0, 1))
        _, _, led = self.engine.track.race(row, points, np.zeros(1))
        led = self.engine.chorded(row, led)
        lower = led.loss < runs.loss[some]
        _put(runs, some[lower], Runs(*(part[lower] for part in led)))

    def _carried_on(self, search: Search, owner: Int[np.ndarray, " T"], runs: Runs) -> None:
        """Carry what fits, or almost fits and has not ended, on to its end in double precision."""
        near = self._fits(search, owner, runs, ROUGH) & ~runs.converged
        near |= self._fits(search, owner, runs, POLISHED)
        some = np.flatnonzero(near & self._low(search, owner, runs))
        if some.size:
            starts = Starts(owner[some], runs.latent[some], np.zeros(some.size))
            _put(runs, some, self.engine.run(starts))

    def _fits(
        self, search: Search, owner: Int[np.ndarray, " T"], runs: Runs, relative: float
    ) -> Bool[np.ndarray, " T"]:
        """Which runs leave at most this relative residual, and more than rounding."""
        size = search.facts.size[owner]
        return (runs.loss <= (relative * size) ** 2) & (runs.loss > search.facts.rounded[owner])

    def _low(
        self, search: Search, owner: Int[np.ndarray, " T"], runs: Runs
    ) -> Bool[np.ndarray, " T"]:
        """Which runs are not clearly above the lowest minimum of their row."""
        return runs.loss <= LOWER_THAN * search.minima.loss[owner]


def _put(runs: Runs, some: Int[np.ndarray, " S"], ended: Runs) -> None:
    """Let some of the runs have ended so."""
    for whole, part in zip(runs, ended, strict=True):
        whole[some] = part
