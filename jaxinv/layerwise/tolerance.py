r"""The outer loop of Algorithm 1: the smallest tolerance of the grid whose program is feasible.

The grid is eps_t = eps_0 alpha^t. Let delta*(eps) be the optimum with slack uncapped; eps is
accepted when delta*(eps) <= eps. Acceptance is monotone in eps (the sets of z that a tolerance
accepts are nested), which makes every step below valid:

- Any point z, such as the least-squares point of the active rows, whose own slack at eps is at
  most eps proves that eps is accepted: an upper end for the price of a least-squares solve.
- Tolerances that leave the same rows ambiguous have the same linear program: one solve decides all
  of them, accepted from delta* on and rejected below.
- ReLU: raising eps only deletes sides, so delta* does not increase with eps: below an eps that was
  solved, every tolerance under its delta* is rejected; and where eps was rejected, delta* itself is
  accepted. (As printed, LeakyReLU has no such monotone delta*.)
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinv.lp.problem import IntervalLP
from jaxinv.lp.solve import CertifiedSolution, solve_certified
from jaxinv.methods import Solver

# delta* <= eps is decided up to the accuracy to which delta* is certified.
ACCEPT = 1.0 + 1e-7
RANK_TOLERANCE = 1e-10
LEAST_SCALE = 1e-10  # of max|x|: the smallest unit a program is rescaled to, rounding of the data


@dataclass(frozen=True)
class LayerProgram:
    """A batch of one layer's programs as functions of the tolerance, on the rows `which` (m,).

    build(which, tolerance) -> IntervalLP. centre(which, tolerance) -> least-squares points inside
    the box. ambiguous(which, tolerance) -> number of undecided rows. size: (B,) max|x|.
    monotone: whether delta* does not increase with the tolerance.
    """

    build: Callable[[np.ndarray, np.ndarray], IntervalLP]
    centre: Callable[[np.ndarray, np.ndarray], np.ndarray]
    ambiguous: Callable[[np.ndarray, np.ndarray], np.ndarray]
    size: Float[np.ndarray, " B"]
    monotone: bool
    solver: Solver

    def slack_at_centre(self, which: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
        """The slack that the least-squares point needs, an upper bound of delta*."""
        problem = self.build(which, tolerance)
        return problem.least_slack(self.centre(which, tolerance)).max(-1)

    def solve(self, which: np.ndarray, tolerance: np.ndarray) -> CertifiedSolution:
        """Solve for these rows; a centre whose slack is rounding is an optimum already."""
        problem, centre = self.build(which, tolerance), self.centre(which, tolerance)
        slack = problem.least_slack(centre).max(-1)
        two_sided = np.isfinite(problem.lower) & np.isfinite(problem.upper)
        settled = slack <= problem.floor
        settled[settled] = full_rank(problem.matrix, two_sided[settled])
        scale = np.maximum(slack, np.maximum(LEAST_SCALE * self.size[which], 1e-300))
        left = np.flatnonzero(~settled)
        found = CertifiedSolution(
            latent=centre.copy(),
            objective=slack,
            certified=settled.copy(),
            free=np.zeros(len(which), np.int64),
            steps=np.zeros(len(which), np.int64),
            fallback=np.zeros(len(which), bool),
        )
        if left.size:
            solved = solve_certified(problem.take(left), self.solver, centre[left], scale[left])
            for field in fields(found):
                getattr(found, field.name)[left] = getattr(solved, field.name)
        return found


def full_rank(
    matrix: Float[np.ndarray, "n k"], rows: Bool[np.ndarray, "B n"]
) -> Bool[np.ndarray, " B"]:
    """Whether these rows of the matrix have full column rank, for each observation."""
    k = matrix.shape[1]
    return np.array(
        [kept.sum() >= k and np.linalg.cond(matrix[kept]) < 1.0 / RANK_TOLERANCE for kept in rows],
        dtype=bool,
    )


@dataclass
class Search:
    """Where the search stands, one entry an observation (written in place, row by row).

    rejected, accepted: grid steps known to fail and to succeed. solved_at: the grid step whose
    program `latent` solves, -1 before the first. hint: the step that the last delta* names.
    free: dimension of that program's optimal set.
    """

    rejected: Int[np.ndarray, " B"]
    accepted: Int[np.ndarray, " B"]
    solved_at: Int[np.ndarray, " B"]
    hint: Int[np.ndarray, " B"]
    latent: Float[np.ndarray, "B k"]
    free: Int[np.ndarray, " B"]
    failed: Bool[np.ndarray, " B"]
    steps: Int[np.ndarray, " B"]

    @property
    def open(self) -> Bool[np.ndarray, " B"]:
        settled = (self.solved_at == self.accepted) & (self.rejected == self.accepted - 1)
        return ~settled & ~self.failed & (self.rejected < self.accepted)


@dataclass(frozen=True)
class Accepted:
    """latent (B, k), tolerance (B,), free (B,), and what went wrong where it did."""

    latent: Float[np.ndarray, "B k"]
    tolerance: Float[np.ndarray, " B"]
    free: Int[np.ndarray, " B"]
    failed: Bool[np.ndarray, " B"]
    exhausted: Bool[np.ndarray, " B"]
    steps: Int[np.ndarray, " B"]


@dataclass(frozen=True)
class Grid:
    """eps_t = start growth^t, t = 0 .. last, one start an observation; eps_last >= max|x|."""

    start: Float[np.ndarray, " B"]
    growth: float
    last: Int[np.ndarray, " B"]

    @classmethod
    def up_to(cls, start: np.ndarray, growth: float, size: np.ndarray) -> "Grid":
        steps = np.ceil(np.log(np.maximum(size / start, 1.0)) / np.log(growth))
        return cls(start, growth, steps.astype(np.int64) + 1)

    def tolerance(self, which: np.ndarray, t: np.ndarray) -> np.ndarray:
        return self.start[which] * self.growth**t

    def first_at_least(self, which: np.ndarray, value: np.ndarray) -> np.ndarray:
        """The first grid step whose tolerance accepts a slack of this value."""
        ratio = np.maximum(value / (ACCEPT * self.start[which]), 1e-300)
        guess = np.maximum(np.ceil(np.log(ratio) / np.log(self.growth)), 0).astype(np.int64)
        # The logarithm may be one step off where the value is a grid point.
        guess = np.maximum(guess - 1, 0)
        for _ in range(2):
            guess += value > ACCEPT * self.tolerance(which, guess)
        return guess


def literal_loop(program: LayerProgram, grid: Grid, live: np.ndarray, columns: int) -> Accepted:
    """Algorithm 1 as printed (after correction): solve at eps_0, eps_1, ... until feasible."""
    search = _begin(grid, live, columns)
    while search.open.any():
        which = np.flatnonzero(search.open)
        t = search.rejected[which] + 1
        solution = program.solve(which, grid.tolerance(which, t))
        search.steps[which] += 1
        search.failed[which] |= ~solution.certified
        fits = solution.certified & (solution.objective <= ACCEPT * grid.tolerance(which, t))
        found = which[fits]
        search.accepted[found] = search.solved_at[found] = t[fits]
        search.latent[found], search.free[found] = solution.latent[fits], solution.free[fits]
        search.rejected[which[~fits]] = t[~fits]
    return _result(search, grid, live)


def smallest_accepted(
    program: LayerProgram, grid: Grid, live: np.ndarray, columns: int
) -> Accepted:
    """The tolerance and latent of `literal_loop`, from a few programs instead of all."""
    search = _begin(grid, live, columns)
    _lower_by_least_squares(program, grid, search)
    while search.open.any():
        which = np.flatnonzero(search.open)
        t = _next_probe(program, search, which)
        solution = program.solve(which, grid.tolerance(which, t))
        search.steps[which] += 1
        search.failed[which] |= ~solution.certified
        kept = solution.certified
        _learn(
            program,
            grid,
            search,
            which[kept],
            t[kept],
            solution.objective[kept],
            solution.latent[kept],
            solution.free[kept],
        )
    return _result(search, grid, live)


def _begin(grid: Grid, live: np.ndarray, columns: int) -> Search:
    batch = len(grid.start)
    return Search(
        rejected=np.where(live, -1, grid.last + 1),
        accepted=grid.last + 1,
        solved_at=np.full(batch, -1),
        hint=np.full(batch, -1),
        latent=np.full((batch, columns), np.nan),
        free=np.zeros(batch, np.int64),
        failed=np.zeros(batch, bool),
        steps=np.zeros(batch, np.int64),
    )


def _lower_by_least_squares(program: LayerProgram, grid: Grid, search: Search) -> None:
    """Bisect on what the least-squares point proves; it never rejects, so bounds stay valid."""
    low, high = np.full_like(search.accepted, -1), search.accepted.copy()
    while True:
        which = np.flatnonzero((high - low > 1) & (search.rejected < search.accepted))
        if not which.size:
            break
        t = (low[which] + high[which]) // 2
        eps = grid.tolerance(which, t)
        fits = program.slack_at_centre(which, eps) <= eps
        high[which[fits]], low[which[~fits]] = t[fits], t[~fits]
    search.accepted = high


def _next_probe(program: LayerProgram, search: Search, which: np.ndarray) -> np.ndarray:
    low, high = search.rejected[which], search.accepted[which]
    unsolved = search.solved_at[which] != high
    # Accepted by proof alone needs its own program. After that the last delta* is the best guess
    # of where the answer lies, then the step below the accepted one, then the middle.
    guess, middle = search.hint[which], (low + high) // 2
    below = np.where(search.steps[which] <= 8, high - 1, middle)
    below = np.where((guess > low) & (guess < high), guess, below)
    return np.where(unsolved, high, middle if program.monotone else below)


def _learn(
    program: LayerProgram,
    grid: Grid,
    search: Search,
    which: np.ndarray,
    t: np.ndarray,
    delta: np.ndarray,
    latent: np.ndarray,
    free: np.ndarray,
) -> None:
    """Draw every conclusion that one solved program at step t allows."""
    first = grid.first_at_least(which, delta)
    # What least squares proved outranks the last digits of delta*.
    proved = (t == search.accepted[which]) & (t <= grid.last[which])
    first = np.where(proved, np.minimum(first, t), first)
    search.hint[which] = first
    down, up = _same_program(program, grid, search, which, t)
    same = (first <= up) & (np.maximum(first, down) < search.accepted[which] + 1)
    answer = np.maximum(first, down)
    found = which[same]
    search.accepted[found] = search.solved_at[found] = answer[same]
    search.latent[found], search.free[found] = latent[same], free[same]
    # Steps of the same program below `first` are rejected; so are all of them for ReLU.
    below = np.minimum(first - 1, up)
    refuted = np.where((below >= down) | program.monotone & (first <= t), below, -1)
    search.rejected[which] = np.maximum(search.rejected[which], refuted)
    if program.monotone:
        search.accepted[which] = np.minimum(search.accepted[which], np.maximum(first, down))


def _same_program(
    program: LayerProgram, grid: Grid, search: Search, which: np.ndarray, t: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """First and last step, within the open range, whose program is that of step t."""
    count = program.ambiguous(which, grid.tolerance(which, t))

    def furthest(step: int) -> np.ndarray:
        end = t.copy()
        moving = np.ones(len(t), bool)
        while moving.any():
            trial = end + step
            moving &= (trial > search.rejected[which]) & (trial <= search.accepted[which])
            moving &= program.ambiguous(which, grid.tolerance(which, trial)) == count
            end = np.where(moving, trial, end)
        return end

    return furthest(-1), furthest(1)


def _result(search: Search, grid: Grid, live: np.ndarray) -> Accepted:
    everyone = np.arange(len(live))
    exhausted = live & ~search.failed & (search.accepted > grid.last)
    lost = search.failed | exhausted | ~live
    latent = np.where(lost[:, None], np.nan, search.latent)
    tolerance = np.where(lost, np.nan, grid.tolerance(everyone, search.accepted))
    return Accepted(latent, tolerance, search.free, search.failed, exhausted, search.steps)
