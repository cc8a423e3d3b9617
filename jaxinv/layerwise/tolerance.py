r"""The outer loop of Algorithm 1: the smallest tolerance of the grid whose program is feasible.

Let s*(eps) be the program's optimum with slack uncapped; eps is accepted when s*(eps) <= eps. At
eps the rows with slack eps say |phi(u_j) - x_j| <= eps (but let ReLU rows with x_j < 0 be), and
these sets are nested, so that acceptance is monotone in eps and everything below is valid:

- Any z with misfit F(z) accepts every eps >= F(z): least-squares points first, then every answer.
- Tolerances that leave the same rows undecided have the same program: one solve decides them all.
- Where eps is accepted, `bracket_rows` has its optimum below the least misfit of all: tolerances
  under it are rejected. ReLU's own program is that; LeakyReLU's is not (its s* is not monotone).
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinv.layerwise.constraints import (
    bracket_rows,
    linf_rows,
    out_of_reach,
    tolerance_needed,
    undecided,
)
from jaxinv.layerwise.grid import ACCEPT, Grid
from jaxinv.layerwise.layer_program import LayerProgram
from jaxinv.lp.solve import CertifiedSolution

NAMED = 4  # programs whose optimum says where to ask next, before halving takes over


@dataclass
class Search:
    """Where the search stands, one entry an observation (written in place, row by row).

    rejected, accepted: grid steps known to fail and to succeed; accepted is last + 1 while nothing
    is known. solved_at: a grid step whose program `latent` solves, free: dimension of its set of
    optima. named: the first step that the last optimum would accept. asked: programs solved.
    """

    rejected: Int[np.ndarray, " B"]
    accepted: Int[np.ndarray, " B"]
    solved_at: Int[np.ndarray, " B"]
    named: Int[np.ndarray, " B"]
    latent: Float[np.ndarray, "B k"]
    failed: Bool[np.ndarray, " B"]
    asked: Int[np.ndarray, " B"]
    last: Int[np.ndarray, " B"]

    @classmethod
    def over(cls, program: LayerProgram, grid: Grid, live: np.ndarray) -> "Search":
        batch = program.batch_size
        everyone = np.arange(batch)
        # Below the distance of x from the range of a sigmoid or tanh nothing can be accepted.
        first = grid.first_at_least(everyone, out_of_reach(program.rows))
        return cls(
            rejected=np.where(live, np.minimum(first - 1, grid.last), grid.last),
            accepted=grid.last + 1,
            solved_at=np.full(batch, -1),
            named=np.zeros(batch, np.int64),
            latent=np.full((batch, program.layer.width_in), np.nan),
            failed=np.zeros(batch, bool),
            asked=np.zeros(batch, np.int64),
            last=grid.last,
        )

    @property
    def open(self) -> Bool[np.ndarray, " B"]:
        decided = self.rejected >= self.accepted - 1
        return ~self.failed & ~(decided & ((self.solved_at == self.accepted) | self.exhausted))

    @property
    def exhausted(self) -> Bool[np.ndarray, " B"]:
        return self.accepted > self.last


@dataclass(frozen=True)
class Accepted:
    """latent (B, k), tolerance (B,), and what went wrong where it did."""

    latent: Float[np.ndarray, "B k"]
    tolerance: Float[np.ndarray, " B"]
    failed: Bool[np.ndarray, " B"]
    exhausted: Bool[np.ndarray, " B"]
    steps: Int[np.ndarray, " B"]


class Probe(NamedTuple):
    """What is asked next: of rows `which` (m,) the program of grid step t, or its bracket."""

    which: Int[np.ndarray, " m"]
    t: Int[np.ndarray, " m"]
    bracket: Bool[np.ndarray, " m"]


def literal_loop(program: LayerProgram, grid: Grid, live: np.ndarray) -> Accepted:
    """Algorithm 1 as printed (after correction): solve at eps_0, eps_1, ... until feasible."""
    search = Search.over(program, grid, live)
    while search.open.any():
        which = np.flatnonzero(search.open)
        t = search.rejected[which] + 1
        solution = program.solve(linf_rows, which, grid.tolerance(which, t))
        search.asked[which] += 1
        search.failed[which] |= ~solution.certified
        fits = solution.certified & (solution.objective <= ACCEPT * grid.tolerance(which, t))
        found = which[fits]
        search.accepted[found] = search.solved_at[found] = t[fits]
        search.latent[found] = solution.latent[fits]
        search.rejected[which[~fits]] = t[~fits]
    return _result(search, grid, live)


def smallest_accepted(program: LayerProgram, grid: Grid, live: np.ndarray) -> Accepted:
    """The tolerance and latent of `literal_loop`, from a few programs instead of all."""
    search = Search.over(program, grid, live)
    _prove_by_least_squares(program, grid, search)
    while search.open.any():
        probe = _next_probe(program, search)
        eps = grid.tolerance(probe.which, probe.t)
        solution = program.solve(partial(bracket_rows, bracket=probe.bracket), probe.which, eps)
        search.asked[probe.which] += 1
        # A bracket is a short cut, and its failure nothing but a program lost.
        search.failed[probe.which] |= ~solution.certified & ~probe.bracket
        _learn(program, grid, search, probe, solution)
    return _result(search, grid, live)


def _prove_by_least_squares(program: LayerProgram, grid: Grid, search: Search) -> None:
    """Bisect on the least-squares points of the rows active at a tolerance, for an upper end."""
    low, high = search.rejected.copy(), search.accepted.copy()
    while True:
        which = np.flatnonzero(high - low > 1)
        if not which.size:
            break
        t = (low[which] + high[which]) // 2
        z = program.centre(which, grid.tolerance(which, t)).latent
        proved = grid.first_at_least(which, tolerance_needed(program.rows.take(which), z))
        search.accepted[which] = np.minimum(search.accepted[which], np.maximum(proved, 0))
        fits = proved <= t
        high[which[fits]], low[which[~fits]] = t[fits], t[~fits]
    search.accepted = np.maximum(search.accepted, search.rejected + 1)


def _next_probe(program: LayerProgram, search: Search) -> Probe:
    """First a bracket at the accepted end, then what the last optimum named, then the middle.

    Sigmoid and tanh have no bracket, and at large tolerances hardly a side: they begin with the
    first step that the range allows, which noise at the ends of the range often makes the answer.
    """
    which = np.flatnonzero(search.open)
    low, high = search.rejected[which], search.accepted[which]
    decided, first = low >= high - 1, search.asked[which] == 0
    # The bound is most often tight: the first step that it leaves open is the answer.
    named = np.clip(search.named[which], low + 1, high - 1)
    t = np.where(search.asked[which] < NAMED, named, (low + high) // 2)
    bracket = first & ~decided & (program.rows.leaky | program.rows.own_bracket)
    t = np.where(decided | bracket, np.minimum(high, search.last[which]), t)
    return Probe(which, t, bracket & program.rows.leaky)


def _learn(
    program: LayerProgram,
    grid: Grid,
    search: Search,
    probe: Probe,
    solution: CertifiedSolution,
) -> None:
    """Draw every conclusion that one solved program at step t allows."""
    kept = solution.certified
    which, t, bracket = (field[kept] for field in probe)
    objective, latent = solution.objective[kept], solution.latent[kept]
    least = grid.first_at_least(which, objective)
    decided = search.rejected[which] >= search.accepted[which] - 1
    # What a point has proved outranks the last digits of s*.
    least = np.where(decided & (t == search.accepted[which]), np.minimum(least, t), least)
    down, up = _same_program(program, grid, search, which, t)
    down, up = np.where(bracket, t, down), np.where(bracket, t, up)
    # Tolerances of one program: accepted from s* on, rejected below.
    answer = np.maximum(least, down)
    solved = ~bracket & (answer <= up)
    found = which[solved]
    search.solved_at[found] = answer[solved]
    search.latent[found] = latent[solved]
    accepted = np.where(answer <= up, answer, search.accepted[which])
    rejected = np.where(least > down, np.minimum(least - 1, up), search.rejected[which])
    # A program accepted at its own tolerance that bounds the least misfit from below.
    bounds = (bracket | program.rows.own_bracket) & (least <= t)
    rejected = np.where(bounds, np.maximum(rejected, least - 1), rejected)
    search.named[which] = least
    needed = tolerance_needed(program.rows.take(which), latent)
    accepted = np.minimum(accepted, grid.first_at_least(which, needed))
    search.accepted[which] = np.minimum(search.accepted[which], accepted)
    search.rejected[which] = np.maximum(search.rejected[which], rejected)
    search.rejected[which] = np.minimum(search.rejected[which], search.accepted[which] - 1)


def _same_program(
    program: LayerProgram, grid: Grid, search: Search, which: np.ndarray, t: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """First and last step, within the open range, whose program is that of step t."""
    rows = program.rows.take(which)
    count = undecided(rows, grid.tolerance(which, t))

    def furthest(step: int) -> np.ndarray:
        end = t.copy()
        moving = np.ones(len(t), bool)
        while moving.any():
            trial = end + step
            moving &= (trial > search.rejected[which]) & (trial <= search.accepted[which])
            moving &= undecided(rows, grid.tolerance(which, trial)) == count
            end = np.where(moving, trial, end)
        return end

    return furthest(-1), furthest(1)


def _result(search: Search, grid: Grid, live: np.ndarray) -> Accepted:
    everyone = np.arange(len(live))
    exhausted = live & ~search.failed & search.exhausted
    lost = search.failed | exhausted | ~live
    latent = np.where(lost[:, None], np.nan, search.latent)
    tolerance = np.where(lost, np.nan, grid.tolerance(everyone, search.accepted))
    return Accepted(latent, tolerance, search.failed, exhausted, search.asked)
