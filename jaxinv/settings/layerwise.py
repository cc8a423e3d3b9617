"""Settings of the layer-wise methods: the paper's."""

from dataclasses import dataclass, field
from typing import Literal

from jaxinv.settings.checks import check_largest_error, check_name, require
from jaxinv.settings.solvers import InteriorPoint, Solver

LARGEST_MATRIX = 1 << 22  # least squares of it alone take seconds an observation


@dataclass(frozen=True)
class Exact:
    """Masked least squares over each layer's active rows, last layer first (realizable layers).

    threshold: a row counts as active when it exceeds threshold * max|x|. rank_tolerance: singular
    values below rank_tolerance * sigma_max count as zero. tolerance: relative residual
    ||G(z) - x|| / ||x|| above which a row is INEXACT. noise: standard deviation of additive noise,
    used only to weight the rows of a sigmoid or tanh output; 0 means that rounding is all there is.
    largest_matrix: entries up to which a layer that is no matrix, a convolution say, is written
    out as one; a generator with a larger one is refused. largest_error: of the latent, relative to
    its norm, that rounding may allow (`Inversion.allowed_error`); where it may be larger a row is
    INEXACT.

    >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
    >>> x = np.asarray(g(np.ones(2))) + 1e-4  # rows that are off now look active
    >>> jaxinv.invert(g, x, jaxinv.Exact())
    Inversion(latent (2,): 1 INEXACT)
    >>> jaxinv.invert(g, x, jaxinv.Exact(threshold=1e-3, tolerance=1e-2))
    Inversion(latent (2,): 1 SOLVED)
    """

    threshold: float = 1e-9
    rank_tolerance: float = 1e-10
    tolerance: float = 1e-6
    noise: float = 0.0
    largest_matrix: int = LARGEST_MATRIX
    largest_error: float = 1e-2

    def __post_init__(self) -> None:
        require(self.largest_matrix >= 0, f"largest_matrix={self.largest_matrix} is negative")
        require(0 <= self.threshold < 1, f"threshold={self.threshold} must be in [0, 1)")
        require(self.rank_tolerance > 0, f"rank_tolerance={self.rank_tolerance} must be positive")
        require(self.tolerance > 0, f"tolerance={self.tolerance} must be positive")
        require(self.noise >= 0, f"noise={self.noise} must not be negative")
        check_largest_error(self.largest_error)


@dataclass(frozen=True, kw_only=True)
class LayerLP:
    """What Algorithms 1, 2 and 3 have in common: a tolerance at each layer, a solver.

    The grid of layer i's tolerances is initial_tolerance * layer_growth^(d - i) * growth^t, up to
    the largest observation. initial_tolerance: None means 1e-6 * max|x|, layer by layer. growth:
    the paper's alpha. layer_growth: footnote 2's 2 / c, by which an error grows from one layer to
    the next; 1 for the same start at each layer. carry_tolerance: start each layer's search at the
    tolerance the layer above accepted. negative: what a LeakyReLU's x_j < -tolerance says:
    "scaled", its own interval; "inactive", only u_j <= x_j + slack, as if the layer were a ReLU
    (Remark 2's first variant). schedule="fixed" of each method takes the grid's first tolerance
    and no other: with layer_growth, footnote 2's tolerances, one program a layer. largest_matrix:
    as for `Exact`.

    >>> jaxinv.LinfLP(initial_tolerance=1e-3, schedule="fixed").growth
    1.2
    """

    initial_tolerance: float | None = None
    growth: float = 1.2
    layer_growth: float = 1.0
    carry_tolerance: bool = False
    negative: Literal["scaled", "inactive"] = "scaled"
    schedule: str = "fixed"
    solver: Solver = field(default_factory=InteriorPoint)
    largest_matrix: int = LARGEST_MATRIX

    def __post_init__(self) -> None:
        require(
            self.initial_tolerance is None or self.initial_tolerance > 0,
            f"initial_tolerance={self.initial_tolerance} must be positive, or None for "
            "1e-6 * max|x|",
        )
        require(self.largest_matrix >= 0, f"largest_matrix={self.largest_matrix} is negative")
        require(
            self.growth > 1,
            f"growth={self.growth} must exceed 1: tolerances are multiplied by it",
        )
        require(
            self.layer_growth > 0,
            f"layer_growth={self.layer_growth} must be positive; 1 starts alike at each layer",
        )
        check_name("negative", self.negative, ("scaled", "inactive"))
        require(
            self.schedule != "fixed" or self.initial_tolerance is not None,
            "schedule='fixed' needs initial_tolerance=: it is the tolerance that is used",
        )


@dataclass(frozen=True, kw_only=True)
class LinfLP(LayerLP):
    """Algorithm 1: the l_inf linear program at the smallest feasible tolerance of a grid.

    schedule: "smallest", the grid's smallest feasible tolerance by proofs from few linear
    programs: the same tolerance as "loop", and the same program solved there. "loop", the grid
    walked as printed. "optimum", no grid: z of least max_j |phi(u_j) - x_j|, a layer's exact
    optimum by bisection over the sorted |x_j| (to 1e-6 of itself for sigmoid and tanh), without
    the part max_j -x_j that no z can change under a ReLU. "fixed", see `LayerLP`.

    >>> g = jaxinv.Generator.random((2, 8, 40), seed=0)
    >>> noise = np.random.default_rng(1).uniform(-1e-3, 1e-3, (3, 40))
    >>> x = np.asarray(g(np.ones((3, 2)))) + noise
    >>> r = jaxinv.invert(g, x, jaxinv.LinfLP(growth=1.1))
    >>> r
    Inversion(latent (3, 2): 3 SOLVED)
    >>> bool(abs(np.asarray(r.latent) - 1.0).max() < 0.02)
    True
    """

    schedule: Literal["smallest", "loop", "optimum", "fixed"] = "smallest"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("schedule", self.schedule, ("smallest", "loop", "optimum", "fixed"))


@dataclass(frozen=True, kw_only=True)
class L1LP(LayerLP):
    """Algorithm 2: the l_1 linear program at the tolerance of least true loss.

    The true loss is sum_j |phi(u_j) - x_j|. schedule: "best", the least true loss seen over eight
    tolerances that change the program, at even steps of the sorted observation, and then over
    "iterate" from the best of them: no tolerance tried does better, none that is not tried is
    ruled out, and initial_tolerance plays no part. "iterate", no tolerance: the signs of u say what
    a row costs, from least squares on, until the loss falls no more; under ReLU every program
    lowers it, to a local minimum. "loop", the grid walked as printed, to the first tolerance that
    does not lower the loss; what it returns depends on initial_tolerance. "fixed", see `LayerLP`.

    >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
    >>> x = np.array(g(np.ones((3, 2))))
    >>> x[:, x[0].argmax()] += 1.0  # a gross error in one entry
    >>> r = jaxinv.invert(g, x, jaxinv.L1LP(solver=jaxinv.ClarabelPool()))
    >>> np.allclose(r.latent, 1.0, atol=1e-6)
    True
    """

    schedule: Literal["best", "iterate", "loop", "fixed"] = "best"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("schedule", self.schedule, ("best", "iterate", "loop", "fixed"))


@dataclass(frozen=True, kw_only=True)
class RelaxedLP(LayerLP):
    """Algorithm 3: the relaxation, a linear cost under one-sided rows, at the best tolerance.

    The true residual is ||phi(u) - x||_2 and depends continuously on the tolerance. schedule:
    "best", the least residual over the grid: every few tolerances first, then those around the
    best; no guarantee between. "loop", the grid walked as printed, to the first tolerance that
    does not lower the residual. "fixed", see `LayerLP`. A row whose program is infeasible at every
    tolerance (which takes a bias or bounds) ends as TOLERANCE_EXHAUSTED.

    >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
    >>> r = jaxinv.invert(g, g(np.ones((3, 2))), jaxinv.RelaxedLP(solver=jaxinv.ClarabelPool()))
    >>> r
    Inversion(latent (3, 2): 3 SOLVED)
    """

    schedule: Literal["best", "loop", "fixed"] = "best"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("schedule", self.schedule, ("best", "loop", "fixed"))
