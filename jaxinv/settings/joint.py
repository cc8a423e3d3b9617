"""Settings of the methods that treat all layers at once."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from jaxinv.settings.checks import check_largest_error, check_name, require

Refinement = Literal["lm", "linf", "l1"]
Preimage = Literal["any", "chebyshev", "minimum-norm"]
Effort = Literal["fast", "default", "thorough"]


class Plan(NamedTuple):
    """How long to search: the fields of `Auto` of the same names."""

    runs: int
    nearby: int
    chance: float


PLANS: dict[Effort, Plan] = {
    "fast": Plan(runs=8, nearby=0, chance=0.12),
    "default": Plan(runs=64, nearby=128, chance=0.03),
    "thorough": Plan(runs=256, nearby=128, chance=0.01),
}
REFINEMENTS: tuple[str, ...] = get_args(Refinement)


@dataclass(frozen=True)
class LevenbergMarquardt:
    """Levenberg-Marquardt on ||W (x - G(z))||^2 over all layers, from random starting points.

    restarts: starting points of each row, of which the lowest residual is kept. steps: limit of
    one run. tolerance: relative residual ||G(z) - x|| / ||x|| up to which a row counts as
    reproduced. start_scale: standard deviation of the starting points' entries. softness: slope
    that the dead side of a ReLU has at first and that falls to 0 as the run converges (leaky
    homotopy); 0 leaves the ReLU as it is. lanes: runs computed together; None chooses by
    memory: bytes that their Jacobians may take, None for a share of what the device has.
    largest_error: of the latent, relative to its norm, that the rounding of a row may allow which
    is reproduced (`Inversion.allowed_error`); where it may be larger the row is INEXACT.

    >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
    >>> jaxinv.invert(g, g(np.ones((3, 2))), jaxinv.LevenbergMarquardt(restarts=4)).counts()
    {<Status.SOLVED: 0>: 3}
    """

    restarts: int = 8
    steps: int = 150
    tolerance: float = 1e-6
    start_scale: float = 1.0
    softness: float = 0.0
    lanes: int | None = None
    memory: int | None = None
    largest_error: float = 1e-2

    def __post_init__(self) -> None:
        require(self.restarts >= 1, f"restarts={self.restarts} must be at least 1, a single run")
        _check_runs(self.steps, self.tolerance, self.start_scale, self.softness, self.lanes)
        _check_memory(self.memory)
        check_largest_error(self.largest_error)


@dataclass(frozen=True)
class Auto:
    """A portfolio: layer-wise start, peeled prefixes, random starts that race, leaky homotopy.

    effort: how long a row is searched, "fast", "default" or "thorough", where nothing explains it:
    the values of runs, nearby and chance that are not given. runs: most runs from random points a
    row. nearby: most further runs for a row whose lowest minimum almost fits, from points near its
    lowest minima. chance: that another run lowers the residual by 1%, as the runs made let it be
    estimated; below it no further run is made. candidates: random points of which each run takes
    the one whose image is nearest; 1 leaves it to chance. preimage:
    which point to give where the observation does not determine one: "any" that was found, the
    centre of the largest ball in its cell's polytope ("chebyshev"), or the polytope's point of
    least norm ("minimum-norm"). softness: of the homotopy runs among the random ones. Other fields
    are those of `LevenbergMarquardt`.

    Work stops when the observation is reproduced to `tolerance` (relative residual) or to the
    stated noise, when the residual is what the last layer alone shows of noise, or when `agreement`
    runs have ended in the lowest minimum known; behind a last ReLU the latter only where some entry
    is negative: state `noise=` for observations that were clipped or rounded, or the whole budget
    may be spent on them. What no code makes is searched as long as `chance` says.

    >>> g = jaxinv.Generator.from_layers([([[1.0, 1.0]], None, "identity")])
    >>> r = jaxinv.invert(g, [2.0], jaxinv.Auto(preimage="minimum-norm"))
    >>> jaxinv.Status(int(r.status)).name, int(r.undetermined)
    ('UNDERDETERMINED', 1)
    >>> np.round(r.latent, 6).tolist()
    [1.0, 1.0]
    """

    effort: Effort = "default"
    runs: int | None = None
    candidates: int = 256
    nearby: int | None = None
    chance: float | None = None
    agreement: int = 2
    steps: int = 150
    tolerance: float = 1e-6
    start_scale: float = 1.0
    softness: float = 0.5
    preimage: Preimage = "any"
    lanes: int | None = None
    memory: int | None = None
    largest_error: float = 1e-2

    def __post_init__(self) -> None:
        check_name("effort", self.effort, get_args(Effort))
        require(self.runs is None or self.runs >= 1, f"runs={self.runs} must be at least 1")
        require(
            self.candidates >= 1, f"candidates={self.candidates} must be at least 1, a single point"
        )
        require(self.nearby is None or self.nearby >= 0, f"nearby={self.nearby} must be at least 0")
        require(self.agreement >= 2, f"agreement={self.agreement} must be at least 2 runs")
        check_name("preimage", self.preimage, get_args(Preimage))
        require(
            self.chance is None or 0 <= self.chance < 1,
            f"chance={self.chance} must be in [0, 1), or None to go by effort",
        )
        _check_runs(self.steps, self.tolerance, self.start_scale, self.softness, self.lanes)
        _check_memory(self.memory)
        check_largest_error(self.largest_error)

    @property
    def plan(self) -> Plan:
        """The effort's plan, with what is stated in its place."""
        plan = PLANS[self.effort]
        return Plan(
            runs=plan.runs if self.runs is None else self.runs,
            nearby=plan.nearby if self.nearby is None else self.nearby,
            chance=plan.chance if self.chance is None else self.chance,
        )


def _check_memory(memory: int | None) -> None:
    require(
        memory is None or memory >= 1,
        f"memory={memory} must be a number of bytes, or None to ask the device",
    )


def _check_runs(
    steps: int, tolerance: float, start_scale: float, softness: float, lanes: int | None
) -> None:
    require(steps >= 1, f"steps={steps} must be at least 1")
    require(tolerance > 0, f"tolerance={tolerance} must be positive")
    require(start_scale > 0, f"start_scale={start_scale} must be positive")
    require(0 <= softness < 1, f"softness={softness} must be in [0, 1)")
    require(lanes is None or lanes >= 1, f"lanes={lanes} must be at least 1, or None to choose")
