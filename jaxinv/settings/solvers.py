"""Settings of the solvers of linear programs."""

from dataclasses import dataclass

from jaxinv.settings.checks import require


@dataclass(frozen=True)
class ClarabelPool:
    """A pool of CPU threads, each solving one linear program at a time with Clarabel.

    threads: None takes one a core. tolerance: Clarabel's own gap and feasibility tolerance; an
    answer counts only when the certificate recomputed from it holds as well. time_limit: seconds
    per linear program.

    >>> jaxinv.LinfLP(solver=jaxinv.ClarabelPool(threads=2)).solver
    ClarabelPool(threads=2, tolerance=1e-08, time_limit=300.0)
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
    """Any solver that CVXPY has installed, by CVXPY's name for it; slow, readable, independent.

    >>> g = jaxinv.Generator.random((2, 8), seed=0)
    >>> method = jaxinv.LinfLP(solver=jaxinv.CvxpySolver("CLARABEL"))
    >>> jaxinv.invert(g, np.asarray(g([[1.0, 1.0]])) + 1e-3, method)
    Inversion(latent (1, 2): 1 SOLVED)
    """

    name: str = "HIGHS"


@dataclass(frozen=True)
class InteriorPoint:
    """A predictor-corrector on the device, for all instances that share a matrix at once.

    tolerance: complementarity, primal and dual residual, relative to max(optimum, floor) on the
    recentred program; an answer counts only when the certificate recomputed from it holds as well.
    steps: limit of predictor-corrector steps. correctors: centrality correctors a step, each of
    which costs two solves with the step's factor. slots: instances computed together; None chooses
    by memory. vertex: end l_inf and l1 programs at the exact vertex, the equations of its tight
    sides with sign checks.
    single_precision_first: take the first steps in float32, up to three digits; None does so for
    matrices of more than 128 columns on a CPU, and for all on devices with slow float64. Beyond
    three digits its factors lead nowhere. What is not certified goes to the Clarabel pool.

    >>> jaxinv.LinfLP().solver == jaxinv.InteriorPoint()
    True
    """

    tolerance: float = 5e-9
    steps: int = 50
    correctors: int = 2
    slots: int | None = None
    vertex: bool = False
    single_precision_first: bool | None = None

    def __post_init__(self) -> None:
        require(self.tolerance > 0, f"tolerance={self.tolerance} must be positive")
        require(self.steps >= 1, f"steps={self.steps} must be at least 1")
        require(self.correctors >= 0, f"correctors={self.correctors} must not be negative")
        require(
            self.slots is None or self.slots >= 1,
            f"slots={self.slots} must be at least 1, or None to choose by memory",
        )


Solver = ClarabelPool | InteriorPoint | CvxpySolver
