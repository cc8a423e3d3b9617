"""Settings of the gradient-descent baseline."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from jaxinv.settings.checks import check_name, require


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
    of plain descent is z - learning_rate * 2 J'W^2(G(z) - x), J the Jacobian, W = diag(w). Where
    there are latent_bounds, every iterate is projected onto them. The defaults are the paper's for
    random nets; see `paper`.

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

    >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
    >>> x = g(np.ones((3, 2)))
    >>> method = jaxinv.GradientDescent(optimizer="adam", learning_rate=0.1, restarts=4)
    >>> jaxinv.invert(g, x, method)
    Inversion(latent (3, 2): 3 SOLVED)
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
        require(self.learning_rate > 0, f"learning_rate={self.learning_rate} must be positive")
        require(self.steps >= 0, f"steps={self.steps} must not be negative")
        require(
            self.gradient_tolerance >= 0,
            f"gradient_tolerance={self.gradient_tolerance} must not be negative",
        )
        if isinstance(self.optimizer, str):
            check_name("optimizer", self.optimizer, GRADIENT_OPTIMIZERS)
        else:
            require(
                callable(getattr(self.optimizer, "init", None))
                and callable(getattr(self.optimizer, "update", None)),
                f"optimizer is a {type(self.optimizer).__name__}; expected one of "
                f"{GRADIENT_OPTIMIZERS} or an optax gradient transformation",
            )
        require(
            self.momentum == 0 or self.optimizer in ("sgd", "nesterov"),
            "momentum belongs to the optimizers 'sgd' and 'nesterov'; another brings its own",
        )
        require(0 <= self.momentum < 1, f"momentum={self.momentum} must be in [0, 1)")
        require(
            self.momentum > 0 or self.optimizer != "nesterov",
            "optimizer='nesterov' needs momentum= above 0; without it, it is 'sgd'",
        )
        check_name("schedule", self.schedule, ("constant", "cosine"))
        require(self.restarts >= 1, f"restarts={self.restarts} must be at least 1, a single run")
        require(self.start_scale >= 0, f"start_scale={self.start_scale} must not be negative")
        require(self.tolerance > 0, f"tolerance={self.tolerance} must be positive")

    @classmethod
    def paper(cls, nets: Literal["random", "mnist"]) -> "GradientDescent":
        """The paper's settings: rate 1 and 1,000 steps on random nets, 1e-3 and 10,000 on MNIST.

        >>> jaxinv.GradientDescent.paper("mnist").steps
        10000
        """
        check_name("nets", nets, ("random", "mnist"))
        return cls() if nets == "random" else cls(learning_rate=1e-3, steps=10_000)


GRADIENT_OPTIMIZERS = ("sgd", "nesterov", "adam", "adabelief", "rmsprop")
