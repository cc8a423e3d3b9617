"""A chain of affine maps and activations, folded into layers phi(W z + b).

Batch normalisation in evaluation mode is z -> scale * z + shift, scale = gamma / sqrt(var + eps),
shift = beta - scale * mean: it folds into the map before it, or else into the one after it. Two
matrices that no activation separates become their product; a convolution stays a convolution, and
maps of which one is no matrix become a composition. A bias b before a map A becomes A b, one entry
a value: behind zero padding it is no longer one number a channel.
"""

from dataclasses import dataclass, field
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxinv.model.activation import Activation
from jaxinv.model.generator import Generator
from jaxinv.model.layer import kind
from jaxinv.model.linear.composed import Scaling, composed, scaled, scaling
from jaxinv.model.linear.convolution import Convolution, TransposedConvolution
from jaxinv.model.linear.dense import Dense
from jaxinv.model.linear.map import LinearMap, applied, per_channel
from jaxinv.model.linear.resampling import Rearrangement

# Numbers that one value of a layer, and one application of its map, may take: 0.5 GB and 4 GB.
LARGEST_VALUE = 1 << 26
LARGEST_SCRATCH = 1 << 29

WAY_OUT = "use jaxinv.FunctionGenerator.from_torch(module, latent_size=...)"


@dataclass
class Chain:
    """Layers so far, the affine map that waits for its activation, and the shape of one row.

    shape: (channels, *sizes), (n,) or, before the first map, None; (-1, *sizes) where the number of
    channels is what the first map takes.
    """

    layers: list[tuple[LinearMap, np.ndarray, str]] = field(default_factory=list)
    linear: LinearMap | None = None
    bias: Float[np.ndarray, " n"] | None = None
    shape: tuple[int, ...] | None = None

    @property
    def width(self) -> int | None:
        return None if self.shape is None or -1 in self.shape else prod(self.shape)

    def affine(self, what: str, weight: np.ndarray, bias: np.ndarray | None) -> None:
        """z -> W z + b, W of shape (n, k)."""
        weight = np.asarray(weight, np.float64)
        if weight.ndim != 2 or 0 in weight.shape:
            raise ValueError(f"{what} has a weight of shape {weight.shape}; expected two axes")
        with jax.enable_x64(True):
            self.map(what, Dense(jnp.asarray(weight)), bias)

    def map(self, what: str, linear: LinearMap, bias: np.ndarray | None = None) -> None:
        """z -> A z + b; bias: one entry a value, one a channel, one in all, or None."""
        check_size(what, linear)
        if self.width not in (None, linear.width_in):
            raise ValueError(f"{what} takes {linear.width_in} values, but {self.width} arrive")
        before = np.zeros(linear.width_in) if self.bias is None else self.bias
        self.shape = linear.output_shape
        offset = np.zeros(linear.width) if bias is None else self._per_value(what, bias)
        self.bias = _applied(linear, before) + offset if before.any() else offset
        self.linear = linear if self.linear is None else _joined(self.linear, linear)

    def scale(self, what: str, scale: np.ndarray, shift: np.ndarray) -> None:
        """z -> scale * z + shift, one entry a value or one a channel."""
        if self.width is None:
            self._open(what, np.broadcast(np.atleast_1d(scale), np.atleast_1d(shift)).size)
        factor, offset = (self._per_value(what, part) for part in (scale, shift))
        if self.linear is None or self.bias is None:
            self.linear, self.bias = self._identity(), np.zeros(len(factor))
        if not (factor == 1.0).all():
            behind = scaling(factor, self.linear.output_shape)
            self.linear = behind if _moves_none(self.linear) else scaled(self.linear, factor)
        self.bias = factor * self.bias + offset

    def batch_norm(
        self,
        what: str,
        mean: np.ndarray,
        variance: np.ndarray,
        gamma: np.ndarray | None,
        beta: np.ndarray | None,
        epsilon: float,
    ) -> None:
        """z -> gamma (z - mean) / sqrt(variance + epsilon) + beta."""
        spread = np.asarray(variance, np.float64) + epsilon
        if not (spread > 0).all():
            raise ValueError(f"{what} has a variance that is not positive")
        scale = (1.0 if gamma is None else np.asarray(gamma, np.float64)) / np.sqrt(spread)
        shift = (0.0 if beta is None else np.asarray(beta, np.float64)) - scale * np.asarray(mean)
        self.scale(what, scale, shift)

    def activation(self, what: str, name: str) -> None:
        """phi, entry by entry; where no affine map precedes it, the identity does."""
        if self.width is None:
            raise ValueError(f"{what} comes first; a generator begins with a linear layer")
        if name != "identity":
            self._close(name)

    def reshape(self, what: str, shape: tuple[int, ...]) -> None:
        """Give the same values another shape; one entry may be -1."""
        known = prod(n for n in shape if n != -1)
        if shape.count(-1) > 1 or min(shape, default=0) < -1 or known <= 0:
            raise ValueError(f"{what} asks for the shape {shape}")
        if self.width is not None:
            if self.width % known or (-1 not in shape and self.width != known):
                raise ValueError(f"{what} asks for the shape {shape}; {self.width} values arrive")
            self.shape = tuple(self.width // known if n == -1 else n for n in shape)
        elif -1 not in shape or shape[0] == -1:
            self.shape = shape if shape != (-1,) else None

    def generator(self) -> Generator:
        """The layers as a generator; what no activation follows ends in the identity."""
        if self.linear is not None:
            self._close("identity")
        return Generator.from_layers(self.layers)

    def _close(self, activation: str) -> None:
        linear = self._identity() if self.linear is None else self.linear
        bias = np.zeros(linear.width) if self.bias is None else self.bias
        self.layers.append((linear, bias, activation))
        self.linear = self.bias = None

    def _identity(self) -> Rearrangement:
        assert self.shape is not None
        return Rearrangement(self.shape, self.shape, tuple(range(len(self.shape))), self.shape)

    def _open(self, what: str, width: int) -> None:
        """The first map of all tells how many values, or channels, a row has."""
        if width == 1:
            raise ValueError(f"{what} comes first; a generator begins with a linear layer")
        self.shape = (width, *(self.shape or (-1,))[1:])

    def _per_value(self, what: str, entries: np.ndarray) -> np.ndarray:
        assert self.shape is not None
        given, width = np.asarray(entries, np.float64), prod(self.shape)
        if given.size == width:
            return given.reshape(-1)
        if given.size == self.shape[0] and given.ndim <= 1:
            return np.repeat(given.reshape(-1), width // self.shape[0])
        if given.size == 1:
            return np.full(width, given.item())
        raise ValueError(f"{what} holds {given.shape} entries; {self.shape} values arrive")


def check_size(what: str, linear: LinearMap) -> None:
    """Refuse what no image is as large as, before any memory is taken for it."""
    values = max(prod(linear.input_shape), prod(linear.output_shape))
    if values > LARGEST_VALUE or linear.scratch > LARGEST_SCRATCH:
        raise ValueError(
            f"{what}, a {kind(linear)} from {linear.input_shape} to {linear.output_shape}, is "
            f"above the limits: {LARGEST_VALUE} values, {LARGEST_SCRATCH} while it is applied"
        )


def leaky(what: str, slope: float) -> str:
    """The name of max(u, 0) + slope min(u, 0); slopes outside [0, 1] are not monotone or steep."""
    if slope in (0.0, 1.0):
        return "relu" if slope == 0.0 else "identity"
    if not 0.0 < slope < 1.0:
        raise ValueError(f"{what} has slope {slope}; slopes from 0 to 1 can be represented")
    return str(Activation("leaky_relu", slope))


def row(what: str, constant: np.ndarray, shape: tuple[int, ...] | None) -> np.ndarray:
    """A constant as one row, broadcast as frameworks do; an axis of rows must have length 1."""
    values = np.asarray(constant, np.float64)
    extra = max(values.ndim - (1 if shape is None else len(shape)), 0)
    if any(n != 1 for n in values.shape[:extra]):
        raise ValueError(f"{what} holds {values.shape} entries, other ones for each row")
    values = values.reshape(values.shape[extra:])
    try:
        return (values if shape is None else np.broadcast_to(values, shape)).reshape(-1)
    except ValueError:
        raise ValueError(f"{what} holds {values.shape} entries; {shape} values arrive") from None


def _applied(linear: LinearMap, values: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(applied(linear, values))


def _joined(first: LinearMap, then: LinearMap) -> LinearMap:
    """`then` after `first`, one map where two matrices meet or a scaling fits into what follows."""
    *head, last = getattr(first, "maps", (first,))
    if _moves_none(last):
        joined = then
    elif isinstance(then, Dense) and isinstance(last, Dense | Scaling):
        weight = np.asarray(then.weight)
        with jax.enable_x64(True):
            joined = Dense(
                jnp.asarray(
                    weight * np.asarray(last.factor)
                    if isinstance(last, Scaling)
                    else weight @ np.asarray(last.weight)
                )
            )
    elif isinstance(last, Scaling) and (within := _scaled_inputs(then, np.asarray(last.factor))):
        joined = within
    else:
        return composed(first, then)
    return composed(*head, joined)


def _moves_none(linear: LinearMap) -> bool:
    """Whether it is the identity."""
    return isinstance(linear, Rearrangement) and linear.order == tuple(range(len(linear.order)))


def _scaled_inputs(linear: LinearMap, factor: np.ndarray) -> LinearMap | None:
    """A diag(factor), where the kernel of A can hold one factor a channel that comes in."""
    if not isinstance(linear, Convolution | TransposedConvolution):
        return None
    channels = per_channel(factor, linear.input_shape)
    transposed = isinstance(linear, TransposedConvolution)
    if channels is None or (linear.groups > 1 and not transposed):
        return None
    taps = [1] * (linear.kernel.ndim - 2)
    lifted = channels.reshape((-1, 1, *taps) if transposed else (1, -1, *taps))
    with jax.enable_x64(True):
        kernel = jnp.asarray(lifted * np.asarray(linear.kernel))
    leaves, tree = jax.tree.flatten(linear)
    assert len(leaves) == 1
    return jax.tree.unflatten(tree, [kernel])
