r"""Whether a fit explains more than noise lets any code explain.

The code takes off the observation, weights W, what lies between L_0 = min(||W x||^2,
||W (x - G(0))||^2), known without it, and its own loss L. Of noise of variance s^2 each of p
parameters takes off about s^2, and the lowest of the minima in a ReLU net's cells takes the shares
of the most telling of h units as well, hidden ones and outputs with a kink, so that

    F = (L_0 - L) / p / (L / (m - k)),    p = k (1 + 2 log(1 + h / k)),

is distributed as Fisher's F with p and m - k degrees of freedom, exactly where G is affine. Where
it is no more than that distribution's quantile at 1 - LEVEL nothing in the observation speaks of a
code, and there is no misfit to call noise.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import fdtri

from jaxinv.model.decoder import Decoder

LEVEL = 1e-3
UNITS_OF_A_FUNCTION = 4  # for each latent entry, of a decoder that has no layers to count them in


def tells_of_a_code(
    decoder: Decoder,
    size: Float[np.ndarray, " B"],
    loss: Float[np.ndarray, " B"],
    observed: Int[np.ndarray, " B"],
) -> Bool[np.ndarray, " B"]:
    """Rows whose loss is below what noise alone leaves. size: (B,), the root of L_0."""
    k = decoder.latent_size
    hidden = decoder.layers[:-1] + tuple(a for a in decoder.layers[-1:] if a.activation.has_kink)
    units = sum(layer.width for layer in hidden)
    units = units if decoder.layers else UNITS_OF_A_FUNCTION * k
    parameters = k * (1.0 + 2.0 * np.log1p(units / k))
    freedom = np.maximum(observed - k, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = fdtri(parameters, freedom, 1.0 - LEVEL)
        least = loss * (1.0 + ratio * parameters / freedom)
        return np.asarray((observed > k) & (size**2 > least))
