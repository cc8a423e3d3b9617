"""Measurements that are ready to be an `operator=`: y = f(G(z)) + e.

`blur` and `subsample` are linear, and of a chain of layers make another; `magnitude` and `clip` are
functions of one output, as any differentiable JAX function may be; `quantise` says that an entry is
known up to its cell. A list of operators is applied in order, [A, clip(0, 1)] to A G(z) first.

    from jaxinv.measurements import magnitude
    r = jaxinv.invert(g, y, operator=magnitude(A))      # phase retrieval
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxinv.model.given import given_array, real_array
from jaxinv.model.linear.convolution import Convolution
from jaxinv.model.linear.map import LinearMap, applied
from jaxinv.model.linear.selection import Selection

__all__ = ["blur", "clip", "magnitude", "quantise", "subsample"]


@dataclass(frozen=True, eq=False)
class Magnitude:
    """x -> |A x|; see `magnitude`. matrix: A, (m, n), real or complex."""

    matrix: np.ndarray

    def __call__(self, x: Float[Array, " n"]) -> Float[Array, " m"]:
        # In parts: JAX does not narrow a complex matrix to single precision, as it does a real one.
        # x A' and not A x: of a batch, XLA's pullback of the latter gives an observation other last
        # bits in another place.
        real, imaginary = (jnp.asarray(part.T) for part in (self.matrix.real, self.matrix.imag))
        first = jnp.matmul(x, real, precision="highest")
        if not self.matrix.imag.any():
            return jnp.abs(first)
        second = jnp.matmul(x, imaginary, precision="highest")
        return jnp.abs(jax.lax.complex(first, second))


def magnitude(matrix: Any) -> Magnitude:
    """Phase retrieval: the magnitudes |A x| of linear measurements, their signs or phases lost.

        y_j = |sum_i A_ji G(z)_i| + e_j.

    G(z) and -G(z) give the same y: where the generator makes both, the latent is determined up to
    that sign, two points that no dimension of `undetermined` counts. Behind a last ReLU or sigmoid
    only one of them is an output. A complex A loses phases, and tells a real output no more of its
    sign. matrix: A, (m, n), real or complex. Raises ValueError where it is no such matrix.

    >>> A = np.array([[1.0, 1.0], [1.0, -1.0], [0.0, 2.0]])
    >>> f = jaxinv.measurements.magnitude(A)
    >>> f(np.array([1.0, -3.0])).tolist()
    [2.0, 4.0, 6.0]
    """
    given = given_array("the matrix of magnitude", matrix)
    known = given if given.dtype.kind == "c" else real_array("the matrix of magnitude", given)
    if known.ndim != 2 or not known.size or not np.isfinite(known).all():
        raise ValueError(
            f"the matrix of magnitude has shape {known.shape}; expected finite numbers (m, n)"
        )
    return Magnitude(known)


@dataclass(frozen=True)
class Clip:
    """x -> min(max(x, low), high); see `clip`."""

    low: float
    high: float

    def __call__(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        return jnp.clip(x, self.low, self.high)


def clip(low: float = -np.inf, high: float = np.inf) -> Clip:
    """A detector that saturates: what is below `low` is read as low, what is above `high` as high.

        y_j = min(max(G(z)_j, low), high) + e_j.

    An entry at a rail is an inequality: whatever the prediction is beyond it, there is no misfit,
    and the entry determines nothing. low, high: in units of the observation, either infinite.
    Raises ValueError where low is not below high.

    >>> g = jaxinv.Generator.from_layers([([[1.0], [2.0], [4.0]], None, "identity")])
    >>> f = jaxinv.measurements.clip(high=3.0)
    >>> np.round(jaxinv.invert(g, [1.0, 2.0, 3.0], operator=f).latent, 6).tolist()
    [1.0]
    """
    sides = [_number("clip", name, side) for name, side in (("low", low), ("high", high))]
    if not sides[0] < sides[1]:
        raise ValueError(f"clip's low={low!r} must be below its high={high!r}")
    return Clip(*sides)


@dataclass(frozen=True)
class Quantise:
    """x -> the middle of the cell that x lies in; see `quantise`."""

    step: float

    def __call__(self, x: Any) -> Float[np.ndarray, "*B n"]:
        return np.round(real_array("what quantise rounds", x) / self.step) * self.step


def quantise(step: float | None = None) -> Quantise:
    """A detector that rounds to multiples of a step: an entry says in which cell the output lies.

        |G(z)_j - y_j| <= step / 2.

    The misfit of an entry is its distance from its cell, 0 inside. step: in units of the
    observation. Raises ValueError where it is not positive, or missing.

    >>> g = jaxinv.Generator.random((2, 8, 60), seed=0)
    >>> f = jaxinv.measurements.quantise(0.1)
    >>> y = f(g(np.ones(2)))
    >>> r = jaxinv.invert(g, y, operator=f)
    >>> r.residual.item(), bool(np.abs(np.asarray(g(r.latent)) - y).max() <= 0.05)
    (0.0, True)
    """
    if step is None:
        raise ValueError("quantise needs its step, the distance of two values that it can give")
    known = _number("quantise", "step", step)
    if not 0 < known < np.inf:
        raise ValueError(f"quantise's step={step!r} must be positive and finite")
    return Quantise(known)


@dataclass(frozen=True, eq=False)
class Blur:
    """x -> k * x; see `blur`. kernel: (kh, kw). shape: (c, h, w)."""

    kernel: Float[np.ndarray, "kh kw"]
    shape: tuple[int, ...]

    def __call__(self, x: Any) -> Float[Array, "*B n"]:
        return _measured(self.map, x)

    def map(self, n: int) -> LinearMap:
        """The map of n values."""
        if n != np.prod(self.shape):
            raise ValueError(f"blur is of images of shape {self.shape}; the generator makes {n}")
        channels, padding = self.shape[0], [size // 2 for size in self.kernel.shape]
        # A convolution of layers is a correlation: the kernel is turned round.
        taps = np.broadcast_to(self.kernel[::-1, ::-1], (channels, 1, *self.kernel.shape))
        return Convolution(taps, self.shape, padding=padding, groups=channels)


def blur(kernel: Any, shape: Any) -> Blur:
    """Convolution of images with a kernel, zeros beyond their edges: deblurring inverts it.

        y[i, j] = sum_{a, b} kernel[a, b] G(z)[i - a + kh // 2, j - b + kw // 2] + e[i, j].

    kernel: (kh, kw), odd sizes. shape: of the images, (h, w) or (c, h, w), each channel blurred by
    itself. Raises ValueError where these do not fit.

    >>> f = jaxinv.measurements.blur(np.ones((3, 3)) / 9, (28, 28))
    >>> g = jaxinv.load_generator("mnist-vae-20-400-784")
    >>> z = np.ones(20)
    >>> r = jaxinv.invert(g, f(g(z)), "lm", operator=f, start=z)
    >>> bool(np.allclose(r.latent, z))
    True
    """
    known = real_array("the kernel of blur", kernel)
    if known.ndim != 2 or not all(size % 2 for size in known.shape):
        raise ValueError(
            f"the kernel of blur has shape {known.shape}; expected (kh, kw), both odd, so that it "
            "has a middle"
        )
    if not np.isfinite(known).all():
        raise ValueError("the kernel of blur holds entries that are NaN or infinite")
    sizes = tuple(int(size) for size in shape)
    if len(sizes) not in (2, 3) or min(sizes) < 1:
        raise ValueError(f"blur's shape is {sizes}; expected (h, w) or (c, h, w)")
    return Blur(known, sizes if len(sizes) == 3 else (1, *sizes))


@dataclass(frozen=True, eq=False)
class Subsample:
    """x -> x_I; see `subsample`. indices: (m,), I."""

    indices: np.ndarray

    def __call__(self, x: Any) -> Float[Array, "*B m"]:
        return _measured(self.map, x)

    def map(self, n: int) -> LinearMap:
        """The map of n values."""
        if self.indices.max() >= n:
            raise ValueError(
                f"subsample asks for entry {self.indices.max()}; the generator makes {n}"
            )
        with jax.enable_x64(True):
            return Selection(jnp.asarray(self.indices), (n,))


def subsample(indices: Any) -> Subsample:
    """Some entries of the output, by number, in the order given.

        y_j = G(z)_{I_j} + e_j.

    indices: (m,) whole numbers from 0. Raises ValueError where they are none.

    >>> g = jaxinv.Generator.random((2, 8, 60), seed=0)
    >>> f = jaxinv.measurements.subsample(range(0, 60, 2))
    >>> np.round(jaxinv.invert(g, f(g(np.ones(2))), operator=f).latent, 6).tolist()
    [1.0, 1.0]
    """
    known = given_array("the indices of subsample", list(indices))
    if known.ndim != 1 or not known.size or known.dtype.kind not in "iu" or known.min() < 0:
        raise ValueError(
            "the indices of subsample must be whole numbers of 0 or more, (m,); of a mask, "
            "np.flatnonzero(mask) gives them"
        )
    return Subsample(known)


def _measured(linear: Callable[[int], LinearMap], x: Any) -> Array:
    """Vectors (n,) or (B, n) through the map of their length, in float64."""
    with jax.enable_x64(True):
        values = jnp.asarray(real_array("what is measured", x))
        return applied(linear(values.shape[-1]), values)


def _number(what: str, name: str, value: Any) -> float:
    given = real_array(f"{what}'s {name}", value)
    if given.ndim or np.isnan(given):
        raise ValueError(f"{what}'s {name}={value!r} must be a number")
    return float(given)
