"""Random starting points, each drawn from its observation's own key."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

# Latents are often drawn with jax.random from the same seed a caller hands to an inversion. One
# more fold keeps the two streams apart: a start at the truth would make every method look good.
_STREAM = 0x57A27


@partial(jax.jit, static_argnames=("restarts", "latent_size"))
def starting_points(
    seed: int,
    row_ids: Int[ArrayLike, " batch"],
    restarts: int,
    latent_size: int,
    scale: float,
    first: int = 0,
) -> Float[Array, "batch restarts latent"]:
    """Draw `restarts` starting points for each observation, with entries N(0, scale^2).

    start[i, r] = scale * normal(fold_in(fold_in(fold_in(key(seed), stream), row_ids[i]), r)),

    r = first, first + 1, ...,
    so a row's points follow from the seed and its id (taken modulo 2^32) alone: not from its place
    in the batch, nor from the size of the batch, nor from how many restarts come after. The caller
    sets float64.
    """
    # The generator is named, as the caller's default one may be another.
    stream = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), _STREAM)

    def one(row_id: Array, restart: Array) -> Array:
        key = jax.random.fold_in(jax.random.fold_in(stream, row_id), restart)
        return jax.random.normal(key, (latent_size,), jnp.float64)

    ids = jnp.asarray(row_ids).astype(jnp.uint32)
    every_restart = jax.vmap(one, in_axes=(None, 0))
    every_row = jax.vmap(every_restart, in_axes=(0, None))
    return scale * every_row(ids, jnp.uint32(first) + jnp.arange(restarts, dtype=jnp.uint32))
