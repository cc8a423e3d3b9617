r"""Whether a fit explains more than noise lets any code explain.

The code takes off the observation, weights W, what lies between L_0 = min(||W x||^2,
||W (x - G(0))||^2), known without it, and its own loss L. Noise of variance s^2 = L / (m - k) gives
each of p parameters a share of s^2 (1 +- sqrt(2)), and the lowest of the minima in a ReLU net's
cells takes the shares of the most telling of h hidden units as well:

    L_0 - L > s^2 (p + 3 sqrt(2 p)),    p = k (1 + 2 log(1 + h / k)).

Where it is not, nothing in the observation speaks of a code: there is no misfit to call noise.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinv.model.decoder import Decoder

UNITS_OF_A_FUNCTION = 4  # for each latent entry, of a decoder that has no layers to count them in


def tells_of_a_code(
    decoder: Decoder,
    size: Float[np.ndarray, " B"],
    loss: Float[np.ndarray, " B"],
    observed: Int[np.ndarray, " B"],
) -> Bool[np.ndarray, " B"]:
    """Rows whose loss is below what noise alone leaves. size: (B,), the root of L_0."""
    k = decoder.latent_size
    units = sum(layer.width for layer in decoder.layers[:-1])
    units = units if decoder.layers else UNITS_OF_A_FUNCTION * k
    parameters = k * (1.0 + 2.0 * np.log1p(units / k))
    freedom = np.maximum(observed - k, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        least = loss * (1.0 + (parameters + 3.0 * np.sqrt(2.0 * parameters)) / freedom)
        return np.asarray((observed > k) & (size**2 > least))
