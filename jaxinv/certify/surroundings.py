r"""J near one point, and J_sure: what of it stands whatever the errors of the entries are.

J = D_d W_d ... D_1 W_1 of the observed entries. Where the errors e_j of the entries have deviations
s_j, the least-squares latent is off by about C^(1/2) of them, C = (J' S^-2 J)^-1, and the
pre-activation u_i = a_i z + ... of a ReLU unit by

    std(u_i) = || C^(1/2)' a_i ||,    a_i = (W_i D_(i-1) ... D_1 W_1)_i.

A unit within SURE of these of its kink may be on its other side in truth. J_sure is J with all such
units on the flatter one, off for a ReLU. Without errors it is J with the units off that are at
their kink.

In single precision J~ = J + E costs half as much. One product J v in double precision, v of
irregular signs, says how large E is: ||(J - J~) v|| is about ||E||_F, of rounding that has no
direction. Where it is a small part of the least singular value, nothing is in doubt.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from jaxinv.certify.noise_level import SURE
from jaxinv.linalg import cholesky
from jaxinv.linalg.device_memory import share_of_memory, stated_memory
from jaxinv.model import walk
from jaxinv.model.decoder import Decoder
from jaxinv.model.layer import Layer

CLEAR_EIGENVALUE = 1e-8  # of the Gram matrix with unit diagonal: above it the rank is beyond doubt
CLEAR_IN_SINGLE = 1e-3  # the same of one in single precision
SMALL_ROUNDING = 1e-2  # of the least singular value
LEAST_COLUMN = 1e-6  # norm, of the largest column's
LEAST_RATIO = 1e-8  # of deviations in one row
BLOCK, MOST_ON_DEVICE = 64, 1024  # Jacobians in memory together: on a CPU, on an accelerator
BLOCK_BYTES = 1 << 29
SHARE_OF_DEVICE = 16


class Surroundings(NamedTuple):
    """What is known around each latent.

    columns, sure: (B, k, n), J' and J_sure'. open: (B,) share of units with a kink whose side is
    open. clear: (B,) whether the rank of J_sure is k beyond doubt. gain: (B,) ||J_sure^+||_F, where
    it is. well: (B,) whether normal equations of J, weighted by the errors, leave no doubt.
    """

    columns: Float[Array, "B k n"]
    sure: Float[Array, "B k n"]
    open: Float[Array, " B"]
    clear: Bool[Array, " B"]
    gain: Float[Array, " B"]
    well: Bool[Array, " B"]


class _Normal(NamedTuple):
    """The normal matrix of weighted columns, each scaled to norm one.

    scale: (B, k, 1), 1 / norms. factor: Cholesky's. clear: (B,) whether its least eigenvalue leaves
    no doubt of the rank.
    """

    scale: Float[Array, "B k 1"]
    factor: cholesky.Factor
    clear: Bool[Array, " B"]

    @property
    def gain(self) -> Float[Array, " B"]:
        """||J^+||_F, from above: J'J = N U N of the norms N, so that it is tr N^-1 U^-1 N^-1."""
        k = self.scale.shape[1]
        inverse = cholesky.forward(self.factor, self.scale * jnp.eye(k, dtype=self.scale.dtype))
        gain = jnp.linalg.norm(inverse, axis=(1, 2)).astype(jnp.float64)
        return gain if self.scale.dtype == jnp.float64 else gain / (1.0 - SMALL_ROUNDING)


def block_size(decoder: Decoder, batch: int, gradients: bool) -> int:
    """Latents whose Jacobians, with every layer's gradients or without, are held together."""
    carried = decoder.scratch
    if gradients:
        carried = max(carried, sum(layer.width for layer in decoder.layers))
    memory = share_of_memory(SHARE_OF_DEVICE, BLOCK_BYTES)
    fit = memory // (8 * decoder.latent_size * carried)
    most = BLOCK if stated_memory() is None else MOST_ON_DEVICE
    return int(np.clip(fit, 1, min(most, max(batch, 1))))


@partial(jax.jit, static_argnames="precision")
def surroundings(
    decoder: Decoder,
    z: Float[Array, "B k"],
    observed: Bool[Array, "B n"],
    deviation: Float[Array, "B n"] | None,
    precision: DTypeLike = jnp.float64,
) -> Surroundings:
    """J and J_sure at latents; nothing is open where no error is known, or no layer."""
    layers, nothing = decoder.layers, jnp.zeros(len(z))
    seen = observed.astype(z.dtype)
    if not layers:
        columns = decoder.linearized(z, jnp.float64).columns
        here = _normal((), (), columns, seen)
        return Surroundings(columns, columns, nothing, here.clear, here.gain, here.clear)
    walked = walk.walk(layers, z, walk.off_kinks)
    if deviation is None or not any(layer.activation.has_kink for layer in layers):
        columns = walk.columns(layers, walked.slopes, precision)
        here = _normal(layers, walked.slopes, columns, seen)
        return Surroundings(columns, columns, nothing, here.clear, here.gain, here.clear)
    # An entry that is exact beside others that are not weighs as much as rounding lets it.
    largest = deviation.max(-1, keepdims=True)
    ratio = deviation / jnp.where(largest > 0, largest, 1.0)
    weight = jnp.where(observed, 1.0 / jnp.maximum(ratio, LEAST_RATIO), 0.0)
    gradients = tuple(walk.gradients(layers, walked.slopes, precision))
    columns = walked.slopes[-1].astype(precision)[:, None, :] * gradients[-1]
    here = _normal(layers, walked.slopes, columns, weight)
    slopes, unsure = [], []
    for layer, u, slope, gradient in zip(
        layers, walked.preactivations, walked.slopes, gradients, strict=True
    ):
        if layer.activation.has_kink:
            across = cholesky.forward(here.factor, here.scale * gradient)
            # Where the factor broke down nothing is sure.
            known = jnp.abs(u) > SURE * largest * jnp.linalg.norm(across, axis=1)
            slope = jnp.where(known, slope, jnp.minimum(slope, layer.activation.slope))
            unsure.append(~known)
        slopes.append(slope)
    share = jnp.concatenate(unsure, axis=1).mean(1)
    # Where nothing is open as well: what is open in another row must not change this one's bits.
    sure = walk.columns(layers, slopes, precision)
    surely = _normal(layers, slopes, sure, seen)
    # In single precision a factor that leaves doubt may have called units open that are not.
    clear = surely.clear if precision == jnp.float64 else surely.clear & here.clear
    return Surroundings(columns, sure, share, clear, surely.gain, here.clear)


def _normal(
    layers: tuple[Layer, ...],
    slopes: Sequence[Array],
    columns: Float[Array, "B k n"],
    weight: Float[Array, "B n"],
) -> _Normal:
    """The normal matrix of J' with these slopes, and whether its rank is beyond doubt.

    Where the columns' norms differ by more than LEAST_COLUMN says, it is not.
    """
    weighted = weight[:, None, :].astype(columns.dtype) * columns
    norms = jnp.linalg.norm(weighted, axis=2, keepdims=True)
    held = norms.min(axis=(1, 2)) > LEAST_COLUMN * norms.max(axis=(1, 2))
    scale = jnp.where(norms > 0, 1.0 / jnp.where(norms > 0, norms, 1.0), 0.0)
    unit = scale * weighted
    factor = cholesky.factor(jnp.matmul(unit, unit.mT, precision="highest"))
    least = cholesky.least_eigenvalue(factor, unit.shape[1])
    if columns.dtype == jnp.float64:
        return _Normal(scale, factor, held & (least > CLEAR_EIGENVALUE))
    signs = jnp.sign(jnp.sin(1.0 + jnp.arange(unit.shape[1]) ** 2))
    exact = weight * walk.along(layers, slopes, scale[..., 0].astype(weight.dtype) * signs)
    rounded = jnp.einsum("k,bkn->bn", signs.astype(unit.dtype), unit, precision="highest")
    rounding = jnp.linalg.norm(exact - rounded, axis=1)
    certain = (least > CLEAR_IN_SINGLE) & (rounding <= SMALL_ROUNDING * jnp.sqrt(least))
    return _Normal(scale, factor, held & certain)
