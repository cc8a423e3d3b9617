"""Is a misfit noise? The last layer alone says how large the noise is, whatever its input was.

With x = phi(W h + b) + e, entries of e independent of variance s^2, the rows I that x fixes say
W h - u = e / c, u = phi^-1(x) - b and c the slope there (1, or a LeakyReLU's on its negative side).
Least squares over every h leaves r = M e / c, M = I - W W^+, so that

    s^2 = ||r||^2 / tr(M C^-2),    degrees of freedom tr(M C^-2)^2 / tr(M C^-2 M C^-2)

(Satterthwaite 1946): an estimate that no layer below has part in, and no false minimum spoils. A
fit of the latent explains the observation where its own loss over n - k is that estimate, as far as
Fisher's F distribution lets two estimates of one variance differ: a test of lack of fit.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.special import fdtri

from jaxinv.layerwise.active_rows import LinearRows
from jaxinv.model.layer import Layer

LEVEL = 0.99  # share of rows with nothing but noise that pass
MOST_LENIENT = 2.0  # a bound on the ratio beyond this would let a misfit as large as the noise pass


class OuterNoise(NamedTuple):
    """variance: (B,), s^2 as the last layer shows it. degrees: (B,) of freedom, 0 if unknown."""

    variance: Float[np.ndarray, " B"]
    degrees: Float[np.ndarray, " B"]


def outer_noise(
    layer: Layer,
    rows: LinearRows,
    misfit: Float[Array, "B n"],
    wanted: Bool[np.ndarray, " B"],
) -> OuterNoise:
    """Estimate the noise of the rows wanted from what the least squares of the last layer leave."""
    nothing = np.zeros(len(misfit))
    if layer.activation.squashing or not wanted.any():
        return OuterNoise(nothing, nothing)
    if layer.activation.kind == "relu":
        active = np.asarray(rows.active).sum(-1)
        trace = degrees = np.maximum(active - layer.width_in, 0).astype(float)
    else:
        freedom = _freedom(layer.weight, layer.pseudo_inverse, rows.weight)
        trace, degrees = (np.asarray(part) for part in freedom)
    with np.errstate(over="ignore"):
        variance = (np.asarray(misfit) ** 2).sum(-1) / np.maximum(trace, 1.0)
    return OuterNoise(variance, np.where(wanted, degrees, 0.0))


@jax.jit
def _freedom(
    weight: Float[Array, "n k"], inverse: Float[Array, "k n"], slope: Float[Array, "B n"]
) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
    """tr(M C^-2) and the degrees of freedom."""
    n, k = weight.shape
    amplified = 1.0 / jnp.maximum(slope, 1e-300) ** 2
    # With H = W W^+ and A = C^-2: tr(M A M A) = tr(A^2 (I - 2 H)) + tr(H A H A).
    leverage = (weight * inverse.T).sum(-1)
    trace = (amplified * (1.0 - leverage)).sum(-1)
    if n * (k + len(slope)) <= len(slope) * k**2:
        hat = jnp.matmul(weight, inverse, precision="highest")
        spread = jnp.matmul(amplified, hat**2, precision="highest")
        crossed = (spread * amplified).sum(-1)
    else:
        # tr(H A H A) = tr(B B), B = W^+ A W.
        inner = jnp.matmul(inverse * amplified[:, None, :], weight, precision="highest")
        crossed = (inner * inner.mT).sum((-2, -1))
    square = (amplified**2 * (1.0 - 2.0 * leverage)).sum(-1) + crossed
    return trace, trace**2 / square


def noise_losses(
    noise: OuterNoise, freedom: int
) -> tuple[Float[np.ndarray, " B"], Float[np.ndarray, " B"]]:
    """Bounds on a loss ||G(z) - x||^2, on n - k degrees of freedom, that is the last layer's noise.

    (inf, -inf), which no loss meets, where the last layer shows too little.
    """
    known = noise.degrees > 0
    degrees = np.where(known, noise.degrees, 1.0)
    most, least = (fdtri(freedom, degrees, level) for level in (LEVEL, 1.0 - LEVEL))
    known &= most <= MOST_LENIENT
    low, high = (freedom * ratio * noise.variance for ratio in (least, most))
    return np.where(known, low, np.inf), np.where(known, high, -np.inf)
