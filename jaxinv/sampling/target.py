r"""The posterior distribution of latents, as an energy whose minima are modes.

With p = G(z), a noise model's deviance d (`model.likelihood`; (p - x)^2 / s^2 of Gaussian noise),
and a prior N(mean, L L'),

    U(z) = (sum_j d(p_j, x_j) + ||L^-1 (z - mean)||^2) / 2 = -log density + constant.
"""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxinv.call.request import Data, Request
from jaxinv.certify.surroundings import block_size
from jaxinv.linalg.blocks import blocks
from jaxinv.linalg.on_device import on_device
from jaxinv.model.decoder import Decoder
from jaxinv.model.likelihood.base import NoiseModel


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["decoder", "x", "weight", "mean", "whitening"],
    meta_fields=["model"],
)
@dataclass(frozen=True)
class Target:
    """One posterior distribution a row.

    x: (B, n), 0 where not observed. weight: (B, n), 1 / s_j, 0 where not observed. mean: (k,).
    whitening: (k, k), L^-1, of zeros without a prior. model: of the noise, None for Gaussian noise.
    """

    decoder: Decoder
    x: Float[Array, "B n"]
    weight: Float[Array, "B n"]
    mean: Float[Array, " k"]
    whitening: Float[Array, "k k"]
    model: NoiseModel | None

    def some(self, rows: Int[np.ndarray, " T"]) -> "Target":
        """Those of these rows, which may repeat."""
        with jax.enable_x64(True):
            x, weight = (on_device(np.asarray(part)[rows]) for part in (self.x, self.weight))
            return replace(self, x=x, weight=weight)

    def energy(self, z: Float[Array, "B k"]) -> Float[Array, " B"]:
        """U(z), one latent a row, in the precision of z; for use inside a traced computation."""
        p = self.decoder.value(z)
        if self.model is None:
            deviance = (self.weight * (p - self.x)) ** 2
        else:
            deviance = jnp.where(self.weight > 0, self.model.deviance(p, self.x), 0.0)
        prior = jnp.matmul(z - self.mean, self.whitening.T, precision="highest") ** 2
        return (deviance.sum(-1) + prior.sum(-1)) / 2

    def information(self, z: Float[Array, "B k"]) -> Float[Array, "B k k"]:
        """J' D J + (L L')^-1, D the curvatures of d: the Hessian of U but for G's own curvature."""
        p, columns = self.decoder.linearized(z, z.dtype)
        curvature = self.weight**2
        if self.model is not None:
            curvature = jnp.where(self.weight > 0, self.model.curvature(p, self.x), 0.0)
        data = jnp.matmul(curvature[:, None] * columns, columns.mT, precision="highest")
        return data + jnp.matmul(self.whitening.T, self.whitening, precision="highest")


def target_of(request: Request, data: Data, prior_weight: float | None) -> Target:
    """What a checked call asks about. prior_weight: of the prior beside the squared misfit."""
    seen = data.weight > 0
    weight = data.weight
    if data.level is not None and prior_weight is None:
        # One deviation holds for entries of weight one, of whom the others are multiples.
        weight = weight / np.where(seen.any(-1), data.level, 1.0)[:, None]
    k = request.generator.latent_size
    mean, whitening = np.zeros(k), np.zeros((k, k))
    if request.prior is not None:
        mean, factor = request.prior.given.of_size(k)
        whitening = np.sqrt(prior_weight or 1.0) * np.linalg.inv(factor)
    with jax.enable_x64(True):
        return Target(
            decoder=request.generator,
            x=on_device(np.where(seen, data.rows, 0.0)),
            weight=on_device(weight),
            mean=on_device(mean),
            whitening=on_device(whitening),
            model=request.model,
        )


@jax.jit
def _energy(target: Target, z: Float[Array, "B k"]) -> Float[Array, " B"]:
    return target.energy(z)


@jax.jit
def _information(target: Target, z: Float[Array, "B k"]) -> Float[Array, "B k k"]:
    return target.information(z)


def energies(
    target: Target, owner: Int[np.ndarray, " T"], z: Float[np.ndarray, "T k"]
) -> Float[np.ndarray, " T"]:
    """U at latents of these rows, infinite where G is not finite."""
    found = np.zeros(len(z))
    for some, padded in blocks(np.arange(len(z)), 16 * block_size(target.decoder, len(z), False)):
        with jax.enable_x64(True):
            value = _energy(target.some(owner[padded]), on_device(z[padded]))
        found[some] = np.asarray(value)[: len(some)]
    return np.where(np.isfinite(found), found, np.inf)


def informations(
    target: Target, owner: Int[np.ndarray, " T"], z: Float[np.ndarray, "T k"]
) -> Float[np.ndarray, "T k k"]:
    """The information at latents of these rows."""
    found = np.zeros((len(z), z.shape[1], z.shape[1]))
    for some, padded in blocks(np.arange(len(z)), block_size(target.decoder, len(z), False)):
        with jax.enable_x64(True):
            value = _information(target.some(owner[padded]), on_device(z[padded]))
        found[some] = np.asarray(value)[: len(some)]
    return found
