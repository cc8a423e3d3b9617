"""A chain of affine maps and activations, folded into layers phi(W z + b).

Batch normalisation in evaluation mode is z -> scale * z + shift, scale = gamma / sqrt(var + eps),
shift = beta - scale * mean: it folds into the affine map before it, or else into the one after it.
Maps that no activation separates become their product; convolutions become matrices.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from jaxinv.model.activation import Activation
from jaxinv.model.function import FunctionGenerator
from jaxinv.model.generator import Generator

Read = TypeVar("Read", Generator, FunctionGenerator)

# Entries of one matrix: 268 MB in float64.
LARGEST_MATRIX = 1 << 25

Triple = tuple[np.ndarray, np.ndarray, str]


@dataclass
class Chain:
    """Layers so far, the affine map that waits for its activation, and the shape of one row.

    weight: (n, k), or (n,) for a diagonal one. shape: (channels, height, width), (n,) or, before
    the first map, None.
    """

    layers: list[Triple] = field(default_factory=list)
    weight: Float[np.ndarray, "..."] | None = None
    bias: Float[np.ndarray, " n"] | None = None
    shape: tuple[int, ...] | None = None

    @property
    def width(self) -> int | None:
        return None if self.shape is None else int(np.prod(self.shape))

    def affine(
        self,
        what: str,
        weight: np.ndarray,
        bias: np.ndarray | None,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        """z -> W z + b, W of shape (n, k); `shape` where the n outputs are an image."""
        weight = np.asarray(weight, np.float64)
        if weight.ndim != 2:
            raise ValueError(f"{what} has a weight of shape {weight.shape}; expected two axes")
        rows, columns = weight.shape
        if self.width not in (None, columns):
            raise ValueError(f"{what} takes {columns} values, but {self.width} arrive")
        offset = np.zeros(rows) if bias is None else _vector(f"{what}, bias", bias, rows)
        if self.weight is None or self.bias is None:
            self.weight, self.bias = weight, offset
        else:
            product = weight * self.weight if self.weight.ndim == 1 else weight @ self.weight
            self.weight, self.bias = product, weight @ self.bias + offset
        self.shape = shape or (rows,)

    def scale(self, what: str, scale: np.ndarray, shift: np.ndarray) -> None:
        """z -> scale * z + shift, one entry a value or one a channel."""
        if self.shape is None:
            self.shape = (len(np.atleast_1d(scale)),)
        width = int(np.prod(self.shape))
        factor, offset = (self._per_value(what, part) for part in (scale, shift))
        if self.weight is None or self.bias is None:
            self.weight, self.bias = np.ones(width), np.zeros(width)
        lifted = factor[:, None] if self.weight.ndim == 2 else factor
        self.weight, self.bias = lifted * self.weight, factor * self.bias + offset

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

    def convolution(
        self,
        what: str,
        outputs: tuple[int, ...],
        bias: np.ndarray | None,
        apply: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        """A linear operator on images, `apply`, made a matrix by sending every unit image through.

        apply: (B, *shape) -> (B, *outputs), without bias. Refused above LARGEST_MATRIX entries.
        """
        if self.shape is None or len(self.shape) < 2:
            raise ValueError(f"{what} needs an image; put an Unflatten or Reshape before it")
        columns, rows = int(np.prod(self.shape)), int(np.prod(outputs))
        if rows * columns > LARGEST_MATRIX:
            raise ValueError(
                f"{what} is a matrix of {rows} x {columns} entries, above the limit of "
                f"{LARGEST_MATRIX}; it is too large to be inverted as a dense layer"
            )
        weight = np.empty((rows, columns))
        step = max(1, LARGEST_MATRIX // (16 * max(rows, columns)))
        for start in range(0, columns, step):
            unit = np.eye(min(step, columns - start), columns, start)
            weight[:, start : start + step] = (
                apply(unit.reshape(-1, *self.shape)).reshape(-1, rows).T
            )
        offset = None if bias is None else np.repeat(bias, rows // outputs[0])
        self.affine(what, weight, offset, outputs)

    def activation(self, what: str, name: str) -> None:
        """phi, entry by entry; where no affine map precedes it, the identity matrix does."""
        if self.width is None:
            raise ValueError(f"{what} comes first; a generator begins with a linear layer")
        if name != "identity":
            self._close(name)

    def reshape(self, what: str, shape: tuple[int, ...]) -> None:
        """Give the same values another shape; one entry may be -1."""
        known = int(np.prod([n for n in shape if n != -1], dtype=object))
        if shape.count(-1) > 1 or min(shape, default=0) < -1 or known <= 0:
            raise ValueError(f"{what} asks for the shape {shape}")
        if self.width is not None:
            if self.width % known or (-1 not in shape and self.width != known):
                raise ValueError(f"{what} asks for the shape {shape}; {self.width} values arrive")
            self.shape = tuple(self.width // known if n == -1 else n for n in shape)
        elif -1 not in shape:
            self.shape = shape

    def generator(self) -> Generator:
        """The layers as a generator; what no activation follows ends in the identity."""
        if self.weight is not None:
            self._close("identity")
        return Generator.from_layers(self.layers)

    def _close(self, activation: str) -> None:
        assert self.width is not None
        weight = np.ones(self.width) if self.weight is None else self.weight
        bias = np.zeros(self.width) if self.bias is None else self.bias
        if weight.ndim == 1:
            if len(weight) ** 2 > LARGEST_MATRIX:
                raise ValueError(f"a diagonal layer of {len(weight)} values is too large")
            weight = np.diag(weight)
        self.layers.append((weight, bias, activation))
        self.weight = self.bias = None

    def _per_value(self, what: str, entries: np.ndarray) -> np.ndarray:
        assert self.shape is not None
        given = np.asarray(entries, np.float64)
        width = int(np.prod(self.shape))
        if given.size == width:
            return given.reshape(-1)
        if given.size == self.shape[0] and given.ndim <= 1:
            return np.repeat(given.reshape(-1), width // self.shape[0])
        if given.size == 1:
            return np.full(width, given.item())
        raise ValueError(f"{what} holds {given.shape} entries; {self.shape} values arrive")


def leaky(what: str, slope: float) -> str:
    """The name of max(u, 0) + slope min(u, 0); slopes outside [0, 1] are not monotone or steep."""
    if slope in (0.0, 1.0):
        return "relu" if slope == 0.0 else "identity"
    if not 0.0 < slope < 1.0:
        raise ValueError(f"{what} has slope {slope}; slopes from 0 to 1 can be represented")
    return str(Activation("leaky_relu", slope))


def parity_codes(latent_size: int) -> Float[np.ndarray, "17 k"]:
    """z = 0 and 16 codes z ~ N(0, I), by which an import is judged."""
    latent = np.random.default_rng(0).standard_normal((17, latent_size))
    latent[0] = 0.0
    return latent


def check_parity(
    source: str, generator: Read, reference: Callable[[np.ndarray], np.ndarray]
) -> Read:
    """Return the generator if it reproduces the source's own forward pass, in float64, to 1e-6.

    max |G(z) - reference(z)| <= 1e-6 max |reference(z)| over the codes of `parity_codes`.
    """
    latent = parity_codes(generator.latent_size)
    expected = np.asarray(reference(latent), np.float64).reshape(17, -1)
    found = np.asarray(generator(latent))
    if expected.shape != found.shape:
        raise ValueError(f"{source} makes {expected.shape[1]} values a row, not {found.shape[1]}")
    scale = np.abs(expected).max()
    error = np.abs(found - expected).max()
    if not error <= 1e-6 * scale:
        raise ValueError(
            f"{source}: the generator read from it differs from its own forward pass by "
            f"{error:.3g} (values up to {scale:.3g}); it does something that was not read"
        )
    return generator


def _vector(what: str, values: np.ndarray, size: int) -> np.ndarray:
    vector = np.asarray(values, np.float64)
    if vector.size == 1:
        return np.full(size, vector.item())
    if vector.size != size:
        raise ValueError(f"{what} has shape {vector.shape}; expected ({size},)")
    return vector.reshape(-1)
