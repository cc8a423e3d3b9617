"""Activations: entrywise maps, with all that evaluating and inverting them takes.

ReLU, LeakyReLU, identity, sigmoid and tanh never decrease and are easily undone, so a layer's
output bounds its pre-activation: that is all that inversion one layer at a time needs. Others are
for the methods that treat all layers at once. A new squashing activation is one entry of
`SQUASHES`, another smooth one an entry of `SMOOTH`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


@dataclass(frozen=True)
class Squash:
    """A smooth increasing map phi onto the open interval (low, high).

    value, slope: phi(u) and phi'(u) on the device. host_value: phi(u) in NumPy. inverse and
    slope_of_output: phi^-1(x) and phi'(phi^-1(x)) inside the interval, for numpy or jax.numpy,
    whichever is handed in.
    """

    low: float
    high: float
    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    host_value: Callable[[np.ndarray], np.ndarray]
    inverse: Callable[[ModuleType, Any], Any]
    slope_of_output: Callable[[ModuleType, Any], Any]


SQUASHES = {
    "sigmoid": Squash(
        low=0.0,
        high=1.0,
        value=jax.nn.sigmoid,
        slope=lambda u: jax.nn.sigmoid(u) * jax.nn.sigmoid(-u),
        host_value=lambda u: 0.5 * (1.0 + np.tanh(0.5 * u)),
        inverse=lambda xp, x: xp.log(x) - xp.log1p(-x),
        slope_of_output=lambda xp, x: x * (1.0 - x),
    ),
    "tanh": Squash(
        low=-1.0,
        high=1.0,
        value=jnp.tanh,
        slope=lambda u: 1.0 - jnp.tanh(u) ** 2,
        host_value=np.tanh,
        inverse=lambda xp, x: xp.arctanh(x),
        slope_of_output=lambda xp, x: (1.0 + x) * (1.0 - x),
    ),
}


@dataclass(frozen=True)
class Smooth:
    """A smooth map phi that no layer-wise method undoes: value, slope, and its least value."""

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    low: float


def _sigmoid_weighted_slope(u: Array) -> Array:
    return jax.nn.sigmoid(u) * (1.0 + u * jax.nn.sigmoid(-u))


def _gelu_slope(u: Array) -> Array:
    return jax.scipy.stats.norm.cdf(u) + u * jax.scipy.stats.norm.pdf(u)


SMOOTH = {
    "elu": Smooth(jax.nn.elu, lambda u: jnp.where(u > 0, 1.0, jnp.exp(jnp.minimum(u, 0.0))), -1.0),
    "softplus": Smooth(jax.nn.softplus, jax.nn.sigmoid, 0.0),
    "silu": Smooth(jax.nn.silu, _sigmoid_weighted_slope, -0.2785),
    "gelu": Smooth(lambda u: jax.nn.gelu(u, approximate=False), _gelu_slope, -0.17),
}

_LEAKY = re.compile(r"leaky_relu:(\d*\.?\d+(?:[eE][-+]?\d+)?)")
_PLAIN = ("relu", "identity", *SQUASHES, *SMOOTH)


@dataclass(frozen=True)
class Activation:
    """An entrywise map, named as users write it: "relu", "leaky_relu:0.1", "tanh", "silu", ...

    phi(u) = max(u, 0) + slope min(u, 0) for the piecewise linear ones (slope 0 for ReLU, 1 for the
    identity), 1 / (1 + e^-u) for the sigmoid, log(1 + e^u) for softplus, u / (1 + e^-u) for SiLU.

    >>> leaky = jaxinv.Activation.parse("leaky_relu:0.1")
    >>> leaky.kind, leaky.slope, str(leaky)
    ('leaky_relu', 0.1, 'leaky_relu:0.1')
    >>> jaxinv.Activation.parse("sigmoid").range
    (0.0, 1.0)
    """

    kind: str
    slope: float = 0.0

    @classmethod
    def parse(cls, name: "str | Activation") -> "Activation":
        """The activation of that name; raises ValueError where there is none.

        >>> jaxinv.Activation.parse("tanh").squashing
        True
        """
        if isinstance(name, Activation):
            return name
        if not isinstance(name, str):
            raise ValueError(f"activation {name!r} is not a name; expected one of {_expected()}")
        leaky = _LEAKY.fullmatch(name)
        if leaky and 0.0 < float(leaky[1]) < 1.0:
            return cls("leaky_relu", float(leaky[1]))
        if name in _PLAIN:
            return cls(name, 1.0 if name == "identity" else 0.0)
        raise ValueError(f"activation {name!r} is not known; expected one of {_expected()}")

    @property
    def squashing(self) -> bool:
        """Whether the range is a bounded open interval (sigmoid, tanh)."""
        return self.kind in SQUASHES

    @property
    def layerwise(self) -> bool:
        """Whether a layer that ends in it can be inverted by itself."""
        return self.kind not in SMOOTH

    @property
    def has_kink(self) -> bool:
        """Whether it is two lines that meet at zero (ReLU, LeakyReLU)."""
        return self.kind in ("relu", "leaky_relu")

    @property
    def piecewise_linear(self) -> bool:
        """Whether it is one line, or two that meet at zero."""
        return self.has_kink or self.kind == "identity"

    @property
    def range(self) -> tuple[float, float]:
        """The closure of the set of values the activation takes."""
        if self.squashing:
            return SQUASHES[self.kind].low, SQUASHES[self.kind].high
        if self.kind in SMOOTH:
            return SMOOTH[self.kind].low, np.inf
        return (0.0 if self.kind == "relu" else -np.inf), np.inf

    def __call__(self, u: Array) -> Array:
        if self.squashing:
            return SQUASHES[self.kind].value(u)
        if self.kind in SMOOTH:
            return SMOOTH[self.kind].value(u)
        return jnp.where(u > 0, u, self.slope * u) if self.kind != "identity" else u

    def derivative(self, u: Array) -> Array:
        """phi'(u), with phi'(0) = slope at a kink.

        >>> phi = jaxinv.Activation.parse("leaky_relu:0.5")
        >>> phi.derivative(np.array([-1.0, 0.0, 1.0])).tolist()
        [0.5, 0.5, 1.0]
        """
        if self.squashing:
            return SQUASHES[self.kind].slope(u)
        if self.kind in SMOOTH:
            return SMOOTH[self.kind].slope(u)
        return jnp.where(u > 0, 1.0, self.slope)

    def derivative_on_host(self, u: np.ndarray) -> np.ndarray:
        """phi'(u) in NumPy, of an activation with a kink: JAX compiles a program for each shape.

        >>> jaxinv.Activation.parse("leaky_relu:0.1").derivative_on_host(np.array([-1.0, 2.0]))
        array([0.1, 1. ])
        """
        if self.squashing or self.kind in SMOOTH:
            return np.asarray(self.derivative(jnp.asarray(u)))
        return np.where(u > 0, 1.0, self.slope)

    def on_host(self, u: np.ndarray) -> np.ndarray:
        """phi(u) in NumPy, of an activation that layer-wise methods undo.

        >>> jaxinv.Activation.parse("relu").on_host(np.array([-1.0, 2.0])).tolist()
        [-0.0, 2.0]
        """
        if self.squashing:
            return SQUASHES[self.kind].host_value(u)
        return np.where(u > 0, u, self.slope * u)

    def inverse(self, x: Any, xp: ModuleType = np) -> Any:
        """phi^-1(x) of a squashing activation, infinite outside its range; xp: numpy or jax.numpy.

        >>> jaxinv.Activation.parse("sigmoid").inverse(np.array([0.0, 0.5, 1.5])).tolist()
        [-inf, 0.0, inf]
        """
        low, high = self.range
        inside = (x > low) & (x < high)
        u = SQUASHES[self.kind].inverse(xp, xp.where(inside, x, (low + high) / 2))
        return xp.where(inside, u, xp.where(x <= low, -np.inf, np.inf))

    def slope_of_output(self, x: Any, xp: ModuleType = np) -> Any:
        """phi'(phi^-1(x)) of a squashing activation, for x inside its range.

        >>> jaxinv.Activation.parse("tanh").slope_of_output(np.array([0.0, 0.5])).tolist()
        [1.0, 0.75]
        """
        return SQUASHES[self.kind].slope_of_output(xp, x)

    def __str__(self) -> str:
        return f"leaky_relu:{self.slope!r}" if self.kind == "leaky_relu" else self.kind


def _expected() -> str:
    return ", ".join((*map(repr, _PLAIN), "'leaky_relu:C' with 0 < C < 1"))
