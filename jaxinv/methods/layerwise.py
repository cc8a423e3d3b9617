"""Settings of the layer-wise methods: the paper's."""

from dataclasses import dataclass, field
from typing import Literal

from jaxinv.methods.checks import check_name, require
from jaxinv.methods.solvers import InteriorPoint, Solver


@dataclass(frozen=True)
class Exact:
    """Masked least squares over each layer's active rows, last layer first (realizable layers).

    threshold: a row counts as active when it exceeds threshold * max|x|. rank_tolerance: singular
    values below rank_tolerance * sigma_max count as zero. tolerance: relative residual
    ||G(z) - x|| / ||x|| above which a row is INEXACT. noise: standard deviation of additive noise,
    used only to weight the rows of a sigmoid or tanh output; 0 means that rounding is all there is.
    """

    threshold: float = 1e-9
    rank_tolerance: float = 1e-10
    tolerance: float = 1e-6
    noise: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.threshold < 1, f"threshold={self.threshold} must be in [0, 1)")
        require(self.rank_tolerance > 0, f"rank_tolerance={self.rank_tolerance} must be positive")
        require(self.tolerance > 0, f"tolerance={self.tolerance} must be positive")
        require(self.noise >= 0, f"noise={self.noise} must not be negative")


@dataclass(frozen=True)
class LinfLP:
    """Algorithm 1: the l_inf linear program at the smallest feasible tolerance of a grid.

    The grid is initial_tolerance * growth^t. initial_tolerance: None means 1e-6 * max|x|, layer
    by layer. carry_tolerance: start each layer's search at the tolerance the layer above accepted.
    schedule: "smallest" finds the grid's smallest feasible tolerance by jumps and bisection;
    "loop" walks the grid as printed and ends at the same tolerance with more linear programs.
    """

    initial_tolerance: float | None = None
    growth: float = 1.2
    carry_tolerance: bool = False
    schedule: Literal["smallest", "loop"] = "smallest"
    solver: Solver = field(default_factory=InteriorPoint)

    def __post_init__(self) -> None:
        _check_grid(self.initial_tolerance, self.growth)
        check_name("schedule", self.schedule, ("smallest", "loop"))


def _check_grid(initial_tolerance: float | None, growth: float) -> None:
    require(
        initial_tolerance is None or initial_tolerance > 0,
        f"initial_tolerance={initial_tolerance} must be positive, or None for 1e-6 * max|x|",
    )
    require(growth > 1, f"growth={growth} must exceed 1: tolerances are multiplied by it")
