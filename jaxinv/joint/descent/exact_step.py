r"""The least-squares solution of the cell that a latent lies in, refined.

On a cell G is affine, G(z + delta) = G(z) + J delta, and

    delta <- delta - N^-1 J' W^2 (r + J delta),    N = J' W^2 J,

ends in the minimum of ||W (r + J delta)||_2 as accurately as W J allows: refining recovers what
squaring its condition number loses.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxinv.joint.descent.levenberg_marquardt import Box, unit_diagonal
from jaxinv.linalg import cholesky
from jaxinv.model.decoder import Decoder

EXACT_STEPS, REFINEMENTS = 2, 2
# Of the loss: what it may rise by rounding. It is blind to the last half of the latent's digits,
# which the step has right.
ROUNDING = 1e-13


@jax.jit
def exact_step(
    decoder: Decoder,
    observation: Float[Array, "S n"],
    weight: Float[Array, "S n"],
    latent: Float[Array, "S k"],
    box: Box,
) -> tuple[Float[Array, "S k"], Float[Array, " S"]]:
    """The least-squares solution of the cell, taken where the loss does not rise, and its loss."""
    square = weight**2

    def misfit(z: Array) -> tuple[Array, Array]:
        here = decoder.linearized(z, jnp.float64)
        return jnp.where(weight > 0, here.value - observation, 0.0), here.columns

    def once(_: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        latent, _ = at
        residual, columns = misfit(latent)
        loss = (square * residual**2).sum(-1)
        normal = jnp.matmul(square[:, None, :] * columns, columns.mT, precision="highest")
        unit = unit_diagonal(normal)
        factor = cholesky.factor(unit[:, :, None] * normal * unit[:, None, :])

        def refine(_: Array, delta: Array) -> Array:
            left = residual + jnp.einsum("skn,sk->sn", columns, delta, precision="highest")
            slope = jnp.einsum("skn,sn->sk", columns, square * left, precision="highest")
            return delta - unit * cholesky.solve(factor, unit * slope)

        delta = jax.lax.fori_loop(0, 1 + REFINEMENTS, refine, jnp.zeros_like(latent))
        moved = jnp.clip(latent + delta, box.low, box.high)
        after = (square * misfit(moved)[0] ** 2).sum(-1)
        falls = after <= (1.0 + ROUNDING) * loss
        return jnp.where(falls[:, None], moved, latent), jnp.where(falls, after, loss)

    start = latent, jnp.full(len(latent), jnp.inf)
    result: tuple[Array, Array] = jax.lax.fori_loop(0, EXACT_STEPS, once, start)
    return result
