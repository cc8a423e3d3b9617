"""What every linear map of a layer can do: be applied to a batch, and be written out as a matrix.

Values are flattened, channels first, as PyTorch flattens an image (c, h, w). Any number of batch
axes stands before them: the k columns of a Jacobian are a batch of k values like any other, so a
map that can be applied needs no rule of its own for derivatives.
"""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

UNITS = 1 << 24  # entries of the unit vectors that are sent through a map together

Self = TypeVar("Self", bound="LinearMap")


class LinearMap:
    """z -> W z for an implied W of shape (width, width_in); subclasses are registered pytrees.

    input_shape, output_shape: the shapes of one value before it is flattened.
    """

    input_shape: tuple[int, ...]

    @property
    def output_shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    @property
    def width_in(self) -> int:
        """How many values the map takes."""
        return int(np.prod(self.input_shape))

    @property
    def width(self) -> int:
        """How many values it gives."""
        return int(np.prod(self.output_shape))

    @property
    def operations(self) -> float:
        """Floating-point operations of one application, a multiplication and an addition being two.

        None counted for what only moves values.
        """
        return 0.0

    @property
    def scratch(self) -> int:
        """Numbers held at once while the map is applied to one value."""
        return max(self.width, self.width_in)

    def __call__(self, z: Float[Array, "*batch k"]) -> Float[Array, "*batch n"]:
        """W z, in the precision that z and the map's own arrays share."""
        raise NotImplementedError

    def columns(self) -> Float[Array, "k n"]:
        """W', the images of the unit vectors; for use inside a traced computation."""
        dtypes = [leaf.dtype for leaf in jax.tree.leaves(self)]
        return self(jnp.eye(self.width_in, dtype=dtypes[0] if dtypes else jnp.float64))

    def matrix(self) -> Float[np.ndarray, "n k"]:
        """W itself, in float64: width * width_in numbers, whatever that takes."""
        step = max(1, UNITS // max(self.width, self.width_in))
        columns = np.empty((self.width_in, self.width))
        with jax.enable_x64(True):
            for start in range(0, self.width_in, step):
                some = np.eye(min(step, self.width_in - start), self.width_in, start)
                columns[start : start + step] = np.asarray(applied(self, some))
        return columns.T

    def astype(self: Self, precision: DTypeLike) -> Self:
        """The same map with its arrays in that precision."""
        same: Self = jax.tree.map(lambda leaf: leaf.astype(precision), self)
        return same

    def scaled(self, factor: Float[np.ndarray, " n"]) -> "LinearMap | None":
        """diag(factor) W as a map of the same kind; None where that kind cannot hold it."""
        return None


@jax.jit
def applied(linear: LinearMap, z: Any) -> Array:
    """W z as one compiled computation: a convolution is many operations otherwise."""
    return linear(z)


def per_channel(
    values: Float[np.ndarray, " n"], output_shape: tuple[int, ...]
) -> Float[np.ndarray, " c"] | None:
    """One number a channel, where all values of a channel are the same; None elsewhere."""
    channels = np.asarray(values).reshape(output_shape[0], -1)
    return channels[:, 0] if (channels == channels[:, :1]).all() else None
