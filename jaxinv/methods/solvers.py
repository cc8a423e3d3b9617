"""Settings of the solvers of linear programs."""

from dataclasses import dataclass

from jaxinv.methods.checks import require


@dataclass(frozen=True)
class ClarabelPool:
    """A pool of CPU threads, each solving one linear program at a time with Clarabel.

    threads: None takes one a core. tolerance: Clarabel's own gap and feasibility tolerance; an
    answer counts only when the certificate recomputed from it holds as well. time_limit: seconds
    per linear program.
    """

    threads: int | None = None
    tolerance: float = 1e-8
    time_limit: float = 300.0

    def __post_init__(self) -> None:
        require(
            self.threads is None or self.threads >= 1,
            f"threads={self.threads} must be at least 1, or None for one a core",
        )
        require(self.tolerance > 0, f"tolerance={self.tolerance} must be positive")
        require(self.time_limit > 0, f"time_limit={self.time_limit} must be positive (seconds)")


@dataclass(frozen=True)
class CvxpySolver:
    """Any solver that CVXPY has installed, by CVXPY's name for it; slow, readable, independent."""

    name: str = "HIGHS"


Solver = ClarabelPool | CvxpySolver
