r"""Is a latent at a kink determined all the same? Layer by layer, by the cones of what may move.

At a layer whose output is known, its input may move by v where no output changes:

    W_on v = 0,    W_kink v <= 0,    W_off v free,    v_j >= 0 where the input is at its lower end,

units at their kink staying off. Where v = 0 alone does that at every layer, the latent is the only
one around: [[1], [-1]] with ReLU at x = 0 leaves z = 0. With E the equations and A the
inequalities, and N a basis of E's null space, A N c <= 0 has no c but 0 where A N has full column
rank and some y > 0 gives (A N)' y = 0 (Stiemke 1915).
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import null_space

from jaxinv.certify.local_rank import matrix_rank
from jaxinv.model import walk
from jaxinv.model.decoder import Decoder


def pinned_at_kinks(
    decoder: Decoder, latent: Float[np.ndarray, " k"], observed: Bool[np.ndarray, " n"]
) -> bool:
    """Whether a unit is at its kink, and the cones leave the latent of a dense net no freedom.

    Where J lacks rank with the units at their kink switched on as well, they are not the reason.
    """
    layers = decoder.layers
    if not decoder.is_dense or not all(layer.activation.layerwise for layer in layers):
        return False
    value, at_kink, lower_end = latent, False, np.zeros(len(latent), bool)
    jacobian = np.eye(len(latent))
    for number, layer in enumerate(layers):
        weight, bias = layer.on_host
        u = weight @ value + bias
        seen = observed if number == len(layers) - 1 else np.ones(len(u), bool)
        relu = layer.activation.kind == "relu"
        near = relu & (np.abs(u) <= walk.AT_KINK * np.abs(u).max(initial=0.0))
        fixed = ~near & ((u > 0) | (not relu))
        most = weight[near & seen]
        least = np.eye(weight.shape[1])[lower_end]
        if not _only_zero(weight[fixed & seen], np.concatenate([most, -least])):
            return False
        at_kink |= bool(near.any())
        slope = np.where(near, 1.0, layer.activation.derivative_on_host(u))
        jacobian = (slope[:, None] * (weight @ jacobian))[seen]
        value = np.asarray(layer.activation.on_host(u))
        lower_end = ~fixed
    return at_kink and matrix_rank(jacobian) == len(latent)


def _only_zero(equal: Float[np.ndarray, "e k"], less: Float[np.ndarray, "l k"]) -> bool:
    """Whether E v = 0 and A v <= 0 leave nothing but v = 0."""
    size = equal.shape[1]
    basis = null_space(equal) if len(equal) else np.eye(size)
    if not basis.shape[1]:
        return True
    cone = less @ basis
    if np.linalg.matrix_rank(cone) < basis.shape[1]:
        return False
    from scipy.optimize import linprog  # slow to import, and kinks are rare

    found = linprog(
        np.zeros(len(cone)),
        A_eq=cone.T,
        b_eq=np.zeros(basis.shape[1]),
        bounds=(1.0, None),
        method="highs",
    )
    return bool(found.status == 0)
