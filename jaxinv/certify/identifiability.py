"""Is a latent the only one that gives its image? Ranks of the active rows, and of the Jacobian.

For x = G(z) exactly:

- every layer's active rows W_I of full column rank: z is the only preimage of x;
- rank J = k: no other preimage in a neighbourhood of z;
- rank J < k: the preimage holds a (k - rank J) dimensional polytope around z, and no method can do
  better than to name it.

Active are rows with positive output (ReLU), strictly inside the range (sigmoid, tanh), else all.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxinv.certify.local_rank import local_rank, matrix_rank
from jaxinv.linalg.norms import row_norms
from jaxinv.model import walk
from jaxinv.model.activation import Activation
from jaxinv.model.decoder import Decoder
from jaxinv.model.given import given_array
from jaxinv.model.layer import Layer
from jaxinv.model.precision import UNIT, Rounding, entry_rounding

HIDDEN = 1e-6  # of a latent, by the rounding of its image
LARGEST_MATRIX = 1 << 20  # entries of a layer that is no matrix, whose rank is taken all the same


@dataclass(frozen=True)
class Identifiability:
    """What an image says about its latent, one entry a row (no batch axis for one latent).

    layer_ranks: (B, d) rank of each layer's active rows, full where it is the layer's width_in, -1
    where it is not known: the layer is a convolution whose matrix is too large to write out, or
    its activation is none that a value alone undoes.
    rank: (B,) of the Jacobian. undetermined: (B,) k - rank, the dimension of the preimage around
    z. unique: (B,) z is the only preimage of G(z), anywhere. locally_unique: (B,) the only one in
    a neighbourhood. Of a decoder without layers, and of a layer of unknown rank, no image is known
    to have one preimage alone.

    >>> g = jaxinv.Generator.from_layers([(np.eye(2), None, "relu")])
    >>> found = jaxinv.identifiability(g, [[1.0, 2.0], [1.0, -2.0]])
    >>> found.unique.tolist(), found.undetermined.tolist()
    ([True, False], [0, 1])
    """

    layer_ranks: Int[np.ndarray, "*batch d"]
    rank: Int[np.ndarray, "*batch"]
    undetermined: Int[np.ndarray, "*batch"]
    unique: Bool[np.ndarray, "*batch"]
    locally_unique: Bool[np.ndarray, "*batch"]


def identifiability(generator: Decoder, latent: Any, mask: Any = None) -> Identifiability:
    """Ranks at z, (k,) or (B, k), and what follows from them for the observation x = G(z).

    mask: (n,) or (B, n) bool, True where observed. A latent that is not finite counts as wholly
    undetermined. Raises ValueError where a shape does not fit.

    >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
    >>> known = jaxinv.identifiability(g, np.ones(2))
    >>> known.unique.item(), known.layer_ranks.tolist()
    (True, [2, 8])
    """
    z = np.asarray(latent, dtype=np.float64)
    rows = np.atleast_2d(z)
    finite = np.asarray(np.isfinite(rows).all(axis=1))
    rows = np.where(finite[:, None], rows, 0.0)
    observed = observed_rows(mask, (len(rows), generator.observation_size))
    layers = generator.layers
    with jax.enable_x64(True):
        outputs = _outputs(layers, jnp.asarray(rows))
    ranks = np.full((len(rows), len(layers)), -1)
    for i, (layer, output) in enumerate(zip(layers, outputs, strict=True)):
        large = not layer.is_dense and layer.width * layer.width_in > LARGEST_MATRIX
        if large or not layer.activation.layerwise:
            continue
        active = active_rows(layer.activation, np.asarray(output))
        if i < len(layers) - 1:
            active &= _seen_by(layers[i + 1], np.asarray(output))
        if i == len(layers) - 1:
            active = active & observed
        ranks[:, i] = _ranks_of_rows(np.asarray(layer.weight), active)
    rank = local_rank(generator, rows, observed).rank
    ranks[~finite], rank[~finite] = 0, 0
    full = ranks == np.array([layer.width_in for layer in layers])
    k = generator.latent_size
    unique, locally = np.asarray(full.all(axis=1) & bool(layers)), np.asarray(rank == k)
    if unique.any():
        # Units that rounding might have switched on tell nothing apart, nor does what it hides.
        rounding = _rounding(generator, rows, outputs, observed)
        known = local_rank(generator, rows, observed, rounding, unique)
        with np.errstate(over="ignore", invalid="ignore"):
            hidden = row_norms(rounding) * known.gain > HIDDEN * row_norms(rows)
        unique &= (known.rank == k) & ~hidden
    parts = (ranks, rank, k - rank, unique, locally)
    return Identifiability(*(part[0] for part in parts) if z.ndim == 1 else parts)


def _rounding(
    generator: Decoder,
    latent: Float[np.ndarray, "B k"],
    outputs: tuple[Array, ...],
    observed: Bool[np.ndarray, "B n"],
) -> Float[np.ndarray, "B n"]:
    """Of every entry of the image: its own, and that of the sums that a last dense layer takes."""
    image, last = np.asarray(outputs[-1]), generator.layers[-1]
    rounding = entry_rounding(Rounding(UNIT["float64"]), image, observed, generator)
    if not last.is_dense:
        return rounding
    hidden = np.asarray(outputs[-2]) if len(outputs) > 1 else latent
    with np.errstate(over="ignore"):
        sums = np.abs(hidden) @ np.abs(np.asarray(last.weight)).T + np.abs(np.asarray(last.bias))
    return np.where(observed, np.maximum(rounding, 2.0 * UNIT["float64"] * sums), 0.0)


@jax.jit
def _outputs(layers: tuple[Layer, ...], z: Float[Array, "B k"]) -> tuple[Array, ...]:
    return walk.outputs(layers, z)


def active_rows(activation: Activation, output: np.ndarray) -> np.ndarray:
    """Rows whose output fixes their pre-activation."""
    if activation.kind == "relu":
        return output > walk.AT_KINK * output.max(axis=-1, keepdims=True)
    if activation.squashing:
        low, high = activation.range
        return (output > low) & (output < high)
    return np.ones(output.shape, bool)


def _seen_by(layer: Layer, hidden: np.ndarray) -> np.ndarray:
    """Entries of a hidden vector that are more than rounding of what the next layer makes of it."""
    if not layer.is_dense:
        return np.ones(hidden.shape, bool)
    weight = np.abs(np.asarray(layer.weight))
    largest = (np.abs(hidden) @ weight.T + np.abs(np.asarray(layer.bias))).max(-1, keepdims=True)
    return np.abs(hidden) * weight.max() > np.finfo(float).eps * largest


def observed_rows(mask: Any, shape: tuple[int, int]) -> Bool[np.ndarray, "B n"]:
    """The mask (n,) or (B, n) for every row, all True where there is none."""
    given = np.ones(shape, bool) if mask is None else given_array("mask", mask)
    if given.dtype != bool or given.shape not in (shape, shape[1:]):
        raise ValueError(
            f"mask has dtype {given.dtype} and shape {given.shape}; expected bool, {shape[1:]} "
            f"or {shape}"
        )
    return np.broadcast_to(given, shape)


def _ranks_of_rows(weight: np.ndarray, active: np.ndarray) -> Int[np.ndarray, " B"]:
    if active.all():
        return np.full(len(active), matrix_rank(weight))
    return np.array([matrix_rank(weight[rows]) for rows in active], np.int64)
