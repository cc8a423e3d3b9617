r"""How far an error of the observation reaches, as the layers one by one, last first, allow it.

    ||dz|| <= prod_l ||(D_l W_l)_fixed^+||_F  ||r||,

`fixed` the rows of a layer whose output fixes their pre-activation, D the slopes. It holds for
every code that leaves so small a misfit behind the same rows, in other cells of the layers below as
well, where ||J^+|| ||r|| speaks of one cell: J does not see a hidden direction that the cell's own
codes do not take.
"""

import numpy as np
from jaxtyping import Bool, Float

from jaxinv.certify.identifiability import active_rows
from jaxinv.certify.local_rank import pseudo_inverse_norm
from jaxinv.model.decoder import Decoder


def layered_gain(
    decoder: Decoder, latent: Float[np.ndarray, " k"], observed: Bool[np.ndarray, " n"]
) -> float:
    """The product, infinite where a layer leaves its input open or is none that can be undone."""
    layers = decoder.layers
    if not decoder.is_dense or not all(layer.activation.layerwise for layer in layers):
        return np.inf
    value, gain = latent, 1.0
    for number, layer in enumerate(layers):
        weight, bias = layer.on_host
        u = weight @ value + bias
        value = np.asarray(layer.activation.on_host(u))
        fixed = active_rows(layer.activation, value[None])[0]
        if number == len(layers) - 1:
            fixed &= observed
        slope = layer.activation.derivative_on_host(u)
        gain *= pseudo_inverse_norm((slope[:, None] * weight)[fixed])
        if not np.isfinite(gain):
            return np.inf
    return gain
