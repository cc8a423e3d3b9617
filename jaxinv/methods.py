"""Every method's and every solver's settings, as frozen dataclasses without arrays.

Tolerances are in the units of the observation unless a docstring says relative.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)


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
        _require(
            self.threads is None or self.threads >= 1,
            f"threads={self.threads} must be at least 1, or None for one a core",
        )
        _require(self.tolerance > 0, f"tolerance={self.tolerance} must be positive")
        _require(self.time_limit > 0, f"time_limit={self.time_limit} must be positive (seconds)")


@dataclass(frozen=True)
class CvxpySolver:
    """Any solver that CVXPY has installed, by CVXPY's name for it; slow, readable, independent."""

    name: str = "HIGHS"


Solver = ClarabelPool | CvxpySolver


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
        _require(0 <= self.threshold < 1, f"threshold={self.threshold} must be in [0, 1)")
        _require(self.rank_tolerance > 0, f"rank_tolerance={self.rank_tolerance} must be positive")
        _require(self.tolerance > 0, f"tolerance={self.tolerance} must be positive")
        _require(self.noise >= 0, f"noise={self.noise} must not be negative")


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
    solver: Solver = field(default_factory=ClarabelPool)

    def __post_init__(self) -> None:
        _check_grid(self.initial_tolerance, self.growth)
        _check_schedule(self.schedule, ("smallest", "loop"))


def _check_grid(initial_tolerance: float | None, growth: float) -> None:
    _require(
        initial_tolerance is None or initial_tolerance > 0,
        f"initial_tolerance={initial_tolerance} must be positive, or None for 1e-6 * max|x|",
    )
    _require(growth > 1, f"growth={growth} must exceed 1: tolerances are multiplied by it")


def _check_schedule(schedule: str, known: tuple[str, ...]) -> None:
    _require(schedule in known, f"schedule={schedule!r} is not known; expected one of {known}")


class Optimizer(Protocol):
    """What is asked of an optax gradient transformation, said here without importing JAX."""

    @property
    def init(self) -> Callable[..., Any]: ...

    @property
    def update(self) -> Callable[..., Any]: ...


@dataclass(frozen=True)
class GradientDescent:
    """The baseline: gradient descent over all layers at once, from random starting points.

    L(z) = sum_j (w_j (G(z)_j - x_j))^2 over the observed rows, without a factor 1/2 or 1/n: a step
    of plain descent is z - learning_rate * 2 J'W^2(G(z) - x), J the Jacobian, W = diag(w). The
    defaults are the paper's for random nets; see `paper`.

    learning_rate: squared latent per squared observation for "sgd" and "nesterov", about latent
    per step for the others. steps: iteration limit of one run. gradient_tolerance: a run has
    converged when ||grad L||_2, in squared observation per latent, is at most this. optimizer:
    "sgd", "nesterov", "adam", "adabelief", "rmsprop", or any optax gradient transformation, which
    then brings its own learning rate; one with a line search gets `value`, `grad` and `value_fn`.
    Make such an object once: two calls of optax.adam(0.1) differ, and each is compiled anew.
    momentum: of "sgd" (heavy ball) and "nesterov". schedule: of the learning rate, "constant" or
    "cosine" (down to 0 at the limit). restarts: runs from independent starting points, of which
    the lowest residual is kept. start_scale: standard deviation of their entries. tolerance:
    relative residual ||G(z) - x|| / ||x||, weighted as the loss is, up to which a row is SOLVED.
    """

    learning_rate: float = 1.0
    steps: int = 1_000
    gradient_tolerance: float = 1e-9
    optimizer: str | Optimizer = "sgd"
    momentum: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    restarts: int = 1
    start_scale: float = 1.0
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        _require(self.learning_rate > 0, f"learning_rate={self.learning_rate} must be positive")
        _require(self.steps >= 0, f"steps={self.steps} must not be negative")
        _require(
            self.gradient_tolerance >= 0,
            f"gradient_tolerance={self.gradient_tolerance} must not be negative",
        )
        if isinstance(self.optimizer, str):
            _check_name("optimizer", self.optimizer, GRADIENT_OPTIMIZERS)
        else:
            _require(
                callable(getattr(self.optimizer, "init", None))
                and callable(getattr(self.optimizer, "update", None)),
                f"optimizer is a {type(self.optimizer).__name__}; expected one of "
                f"{GRADIENT_OPTIMIZERS} or an optax gradient transformation",
            )
        _require(
            self.momentum == 0 or self.optimizer in ("sgd", "nesterov"),
            "momentum belongs to the optimizers 'sgd' and 'nesterov'; another brings its own",
        )
        _require(0 <= self.momentum < 1, f"momentum={self.momentum} must be in [0, 1)")
        _require(
            self.momentum > 0 or self.optimizer != "nesterov",
            "optimizer='nesterov' needs momentum= above 0; without it, it is 'sgd'",
        )
        _check_name("schedule", self.schedule, ("constant", "cosine"))
        _require(self.restarts >= 1, f"restarts={self.restarts} must be at least 1, a single run")
        _require(self.start_scale >= 0, f"start_scale={self.start_scale} must not be negative")
        _require(self.tolerance > 0, f"tolerance={self.tolerance} must be positive")

    @classmethod
    def paper(cls, nets: Literal["random", "mnist"]) -> "GradientDescent":
        """The paper's settings: rate 1 and 1,000 steps on random nets, 1e-3 and 10,000 on MNIST."""
        _check_name("nets", nets, ("random", "mnist"))
        return cls() if nets == "random" else cls(learning_rate=1e-3, steps=10_000)


GRADIENT_OPTIMIZERS = ("sgd", "nesterov", "adam", "adabelief", "rmsprop")


def _check_name(what: str, name: str, known: tuple[str, ...]) -> None:
    _require(name in known, f"{what}={name!r} is not known; expected one of {known}")


Method = Exact | LinfLP | GradientDescent

METHODS: Mapping[str, type[Method]] = {"exact": Exact, "linf": LinfLP, "gd": GradientDescent}


def resolve(method: str | Method) -> Method:
    """The settings behind a method's name, or the settings themselves."""
    if isinstance(method, str):
        _require(method in METHODS, f"method {method!r} is not known; expected one of {[*METHODS]}")
        return METHODS[method]()
    _require(
        isinstance(method, tuple(METHODS.values())),
        f"method is a {type(method).__name__}; expected one of {[*METHODS]} or its settings class",
    )
    return method
