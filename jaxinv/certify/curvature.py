r"""How far a decoder leaves its tangent within the noise of a latent.

Of d drawn from the distribution N(0, C) of the latent's error, C = s^2 (J' W^2 J)^-1, an affine G
has

    W (G(z + d) - G(z - d)) / 2 = W J d,    W (G(z + d) + G(z - d) - 2 G(z)) / 2 = 0,

and ||W J d|| = s ||e|| where d = C^(1/2) e. The larger of how far the first's norm is off and of
the second's norm, over s ||e||, is the curvature that Bates and Watts (1980) measure, along e.
"""

import numpy as np
from jaxtyping import Float

from jaxinv.linalg.norms import row_norms
from jaxinv.model.decoder import Decoder

DRAWS, SEED = 4, 1980
ROUNDED = 1e-13  # of an image: what rounding makes of differences


def curvature(
    decoder: Decoder,
    latent: Float[np.ndarray, "B k"],
    root: Float[np.ndarray, "B k k"],
    weight: Float[np.ndarray, "B n"],
    noise: Float[np.ndarray, " B"],
    prior: Float[np.ndarray, "k k"] | None = None,
) -> Float[np.ndarray, " B"]:
    """Root mean square of the curvature along some draws; infinite where G is not finite there.

    root: C^(1/2), columns of 0 where nothing is determined. noise: s, where it is 0 so is the
    curvature. prior: L^-1 of a Gaussian prior that has part in C: s L^-1 z are further entries.
    """

    def image(z: Float[np.ndarray, "B k"]) -> Float[np.ndarray, "B m"]:
        seen = weight * np.asarray(decoder(z))
        return seen if prior is None else np.hstack([seen, noise[:, None] * (z @ prior.T)])

    here, square = image(latent), np.zeros(len(latent))
    told = root.any(axis=1)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for draw in np.random.default_rng(SEED).standard_normal((DRAWS, latent.shape[1])):
            moved = root @ draw
            above, below = image(latent + moved), image(latent - moved)
            length = noise * row_norms(told * draw)
            odd = np.abs(row_norms(above - below) / 2 - length)
            even = row_norms(above + below - 2 * here) / 2
            left = np.maximum(np.maximum(odd, even) - ROUNDED * row_norms(here), 0.0)
            square += (left / length) ** 2 / DRAWS
        bent = np.where(noise > 0, np.sqrt(square), 0.0)
    return np.where(np.isfinite(bent), bent, np.inf)
