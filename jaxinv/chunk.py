"""One chunk of observations, padded to one shape, through the method that was asked for."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxinv.generator import Generator, forward
from jaxinv.joint.gradient_descent import gradient_descent
from jaxinv.layerwise.sweep import sweep
from jaxinv.methods import Exact, GradientDescent, LayerLP
from jaxinv.request import Request
from jaxinv.result import Inversion, take_rows
from jaxinv.status import Status


def invert_chunk(
    request: Request,
    rows: Float[np.ndarray, "B n"],
    row_weight: Float[np.ndarray, "B n"],
    size: int,
    first_row: int,
) -> Inversion:
    """One chunk, padded to `size` rows; padding is never live and costs no linear program."""
    padding = ((0, size - len(rows)), (0, 0))
    seen = np.where(row_weight > 0, rows, 0.0)
    live = np.asarray(np.isfinite(seen).all(-1) & (row_weight > 0).any(-1))
    x = np.pad(np.where(live[:, None], seen, 0.0), padding)
    weight = np.pad(row_weight, padding)
    # enable_x64 holds for one thread: each worker sets its own.
    with jax.enable_x64(True):
        padded_live = np.pad(live, padding[0])
        if isinstance(request.method, GradientDescent):
            whole = _descend(request, request.method, x, weight, padded_live, first_row)
        else:
            whole = _sweep(request, request.method, x, weight, padded_live)
        return take_rows(whole, slice(0, len(rows)))


def _sweep(
    request: Request, method: Exact | LayerLP, x: np.ndarray, weight: np.ndarray, live: np.ndarray
) -> Inversion:
    swept = sweep(request.generator, jnp.asarray(x), weight, live, method, request.latent_bounds)
    residual = _residual(request.generator, swept.latent, x, weight)
    status = _final_status(request, swept.status, np.asarray(residual), x, weight)
    undetermined = jnp.asarray(swept.undetermined)
    return Inversion(swept.latent, jnp.asarray(status), undetermined, residual, swept.layers)


def _descend(
    request: Request,
    method: GradientDescent,
    x: np.ndarray,
    weight: np.ndarray,
    live: np.ndarray,
    first_row: int,
) -> Inversion:
    # A row's starting points follow its place in the whole call, not its place in a chunk.
    row_ids = jnp.asarray(first_row + np.arange(len(x)))
    observed = jnp.asarray(weight > 0)
    found = gradient_descent(
        request.generator,
        jnp.asarray(x),
        observed,
        jnp.asarray(weight),
        method,
        request.seed,
        row_ids,
    )
    status = np.where(live, np.asarray(found.status), int(Status.BAD_INPUT))
    status = _final_status(request, status, np.asarray(found.residual), x, weight)
    return replace(
        found,
        latent=jnp.where(live[:, None], found.latent, jnp.nan),
        residual=jnp.where(live, found.residual, jnp.nan),
        status=jnp.asarray(status),
    )


@jax.jit
def _residual(generator: Generator, latent: Array, x: Array, weight: Array) -> Array:
    return jnp.linalg.norm(jnp.where(weight > 0, forward(generator, latent) - x, 0.0), axis=-1)


def _final_status(
    request: Request,
    status: np.ndarray,
    residual: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
) -> np.ndarray:
    """SOLVED becomes INEXACT where the recomputed residual is above what was asked."""
    excess = np.zeros(len(status), bool)
    if isinstance(request.method, Exact):
        excess |= residual > request.method.tolerance * np.linalg.norm(x * (weight > 0), axis=-1)
    if request.noise is not None:
        excess |= residual > noise_limit(request.noise, (weight > 0).sum(-1))
    return np.where((status == int(Status.SOLVED)) & excess, int(Status.INEXACT), status)


def noise_limit(noise: float, observed: np.ndarray) -> np.ndarray:
    """Largest credible ||e||_2 of m entries of deviation noise: noise sqrt(m + 3 sqrt(2 m))."""
    return noise * np.sqrt(observed + 3.0 * np.sqrt(2.0 * observed))
