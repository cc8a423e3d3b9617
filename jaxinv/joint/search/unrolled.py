"""The layer-wise estimate of a fully observed row, at as little cost as rounding allows.

Last layer first, z = argmin ||W_I z - (phi^-1(x) - b)_I||_2 over the rows I that x fixes. Every row
of a LeakyReLU, identity, sigmoid or tanh layer is one of them: W^+, the same for all observations,
is formed once. A ReLU layer's W_I'W_I are factored in single precision, observation by
observation, which suffices to refine in double. What comes out is looked at, never trusted: it is
an answer where G(z) reproduces x to rounding, and a start where there is noise.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxinv.joint.search.lack_of_fit import OuterNoise, outer_noise
from jaxinv.joint.search.peeling import ROUNDING
from jaxinv.layerwise.active_rows import LinearRows, linear_rows
from jaxinv.layerwise.least_squares import quick_centre
from jaxinv.linalg.norms import row_norms
from jaxinv.linalg.on_device import on_device, on_host
from jaxinv.model.decoder import Decoder

REFINEMENTS = 1  # with W^+, which rounding leaves as accurate as cond(W) eps
CONSISTENT = 1e-9  # of the target: a larger misfit of the last layer is noise, not rounding
# Noise of a ReLU's inactive rows is as likely positive as negative: what is to pass for active
# stands this many times above the largest negative excursion.
CLEARLY_ACTIVE = 2.0


class Unrolled(NamedTuple):
    """latent: (B, k), finite, zeros where not usable. noise: what the last layer shows of it.

    usable: (B,), every ReLU layer's W_I of full column rank beyond doubt.
    """

    latent: Float[np.ndarray, "B k"]
    usable: Bool[np.ndarray, " B"]
    noise: OuterNoise


def unrolled(
    generator: Decoder, x: Float[Any, "B n"], tried: Bool[np.ndarray, " B"] | None = None
) -> Unrolled:
    """Estimate the latent of fully observed rows, on the device or on the host.

    tried: rows to estimate, None for all; zeros stand for the others.
    """
    tried = np.ones(len(x), bool) if tried is None else tried
    inverses = [
        None if layer.activation.kind == "relu" else layer.pseudo_inverse
        for layer in generator.layers
    ]
    latent, usable, outer = _last_layer_first(generator, inverses, on_device(x), on_device(tried))
    found, settled, small = on_host((latent, usable, outer.small))
    noise = outer_noise(generator.layers[-1], outer.rows, outer.misfit, settled & ~small)
    return Unrolled(found, settled, noise)


class _Outer(NamedTuple):
    """The last layer's rows (B, n), what its least squares leave of them, and if that is little.

    It is looked at here: as many entries as the observations have need not come to the host.
    """

    rows: LinearRows
    misfit: Float[Array, "B n"]
    small: Bool[Array, " B"]


@jax.jit
def _last_layer_first(
    generator: Decoder,
    inverses: list[Array | None],
    x: Float[Array, "B n"],
    tried: Bool[Array, " B"],
) -> tuple[Float[Array, "B k"], Bool[Array, " B"], _Outer]:
    """Latents, which of them are usable, and the last layer's part in them.

    In one piece: NumPy's products in between would leave its threads spinning on the cores that
    XLA's next step is to run on.
    """
    hidden, outer, usable = jnp.where(tried[:, None], x, 0.0), None, jnp.ones(len(x), bool)
    for layer, inverse in zip(generator.layers[::-1], inverses[::-1], strict=True):
        threshold = ROUNDING * jnp.abs(hidden).max(-1)
        if inverse is None:
            threshold = jnp.maximum(threshold, CLEARLY_ACTIVE * (-hidden).max(-1))
        rows = linear_rows(layer, hidden, jnp.ones_like(hidden), threshold, 0.0)
        if inverse is None:
            found = quick_centre(layer.weight, rows)
            latent, usable = found.latent, usable & found.full_rank
        else:
            latent = _shared(layer.weight, inverse, rows)
        usable &= jnp.isfinite(latent).all(-1)
        latent = jnp.where(usable[:, None], latent, 0.0)
        if outer is None:
            misfit = jnp.matmul(latent, layer.weight.T, precision="highest") - rows.target
            misfit = jnp.where(rows.active, misfit, 0.0)
            small = row_norms(misfit, jnp) <= CONSISTENT * row_norms(rows.target, jnp)
            outer = _Outer(rows, misfit, small)
        hidden = latent
    assert outer is not None
    return hidden, usable, outer


def operations(generator: Decoder) -> float:
    """Floating-point operations, in units of double precision, of unrolling one row."""
    cost = 0.0
    for layer in generator.layers:
        n, k = layer.width, layer.width_in
        one_row = n * k**2 + 2 * k**3 if layer.activation.kind == "relu" else 0
        cost += one_row / 2 + 4 * (1 + REFINEMENTS) * n * k
    return cost


def _shared(
    matrix: Float[Array, "n k"], inverse: Float[Array, "k n"], rows: LinearRows
) -> Float[Array, "B k"]:
    """Least squares over all rows of W, whether x fixes them or not; NaN where W is singular."""
    latent = jnp.matmul(rows.target, inverse.T, precision="highest")
    for _ in range(REFINEMENTS):
        misfit = rows.target - jnp.matmul(latent, matrix.T, precision="highest")
        latent += jnp.matmul(misfit, inverse.T, precision="highest")
    return latent
