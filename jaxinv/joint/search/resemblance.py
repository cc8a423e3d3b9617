r"""Whether a misfit resembles what the decoder makes: then it is a false minimum's, and no noise.

With r = W (G(z) - x) at a minimum and d_i = W (p_i - G(z)), p_i images of random points,

    c_i = <r, d_i> / (||r|| ||d_i||),    t_i = c_i sqrt(m - 1) / sqrt(1 - c_i^2),    m = n - k.

Noise of one level, as the weights say it, leaves r isotropic in the m dimensions that J does not
span. The images are fixed before it is seen, so that |t_i| is at most Student's with m - 1 degrees
of freedom, and the largest of P exceeds its quantile at 1 - LEVEL / (2 P) in a share of at most
LEVEL of all rows (Bonferroni). A false minimum misses part of an image, and other images have much
in common with that part.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.special import stdtrit

from jaxinv.joint.problem import Problem
from jaxinv.linalg.on_device import on_device

LEVEL = 1e-4


def resembles_images(
    problem: Problem,
    value: Float[np.ndarray, "B n"],
    images: Float[Array, "P n"],
) -> Bool[np.ndarray, " B"]:
    """Rows whose misfit is no noise of one level. value: G at the minimum."""
    data = on_device(problem.observation), on_device(problem.weight)
    cosine = np.asarray(_largest_cosine(*data, on_device(value), images))
    freedom = (problem.weight > 0).sum(-1) - problem.generator.latent_size - 1
    statistic = cosine * np.sqrt(np.maximum(freedom, 0) / np.maximum(1.0 - cosine**2, 1e-300))
    limit = -stdtrit(np.maximum(freedom, 1), LEVEL / (2 * len(images)))
    return np.asarray((freedom > 0) & (statistic > limit))


@jax.jit
def _largest_cosine(
    x: Float[Array, "B n"],
    weight: Float[Array, "B n"],
    value: Float[Array, "B n"],
    images: Float[Array, "P n"],
) -> Float[Array, " B"]:
    """max_i |c_i|, 0 where there is no misfit."""
    square, points = weight**2, images.astype(x.dtype).T
    misfit = jnp.where(weight > 0, value - x, 0.0)
    # Its size may be beyond what can be squared.
    misfit /= jnp.maximum(jnp.abs(misfit).max(-1, keepdims=True), 1e-300)
    pulled = square * misfit
    inner = jnp.matmul(pulled, points, precision="highest")
    inner -= (pulled * value).sum(-1, keepdims=True)
    size = jnp.matmul(square, points**2, precision="highest")
    size -= 2.0 * jnp.matmul(square * value, points, precision="highest")
    size += (square * value**2).sum(-1, keepdims=True)
    whole = (pulled * misfit).sum(-1, keepdims=True)
    cosine = jnp.abs(inner) / jnp.sqrt(jnp.maximum(size * whole, 1e-300))
    return jnp.where(jnp.isfinite(cosine), jnp.minimum(cosine, 1.0), 0.0).max(-1)
