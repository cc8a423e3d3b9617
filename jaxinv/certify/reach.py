r"""How far the latent may move along its weakest direction before the image shows it.

Where G is linear ||J d|| >= sigma_min ||d||. Where it bends, behind a saturated unit say, the image
may stay within a misfit of size r for longer than r / sigma_min: of the points z +- t v, v the
weakest right singular vector of J, t doubles as long as ||m (G(z +- t v) - G(z))|| <= r.
"""

import jax
import numpy as np
from jaxtyping import Bool, Float

from jaxinv.certify.surroundings import block_size
from jaxinv.linalg.blocks import blocks
from jaxinv.linalg.norms import row_norms
from jaxinv.linalg.on_device import on_device
from jaxinv.model.decoder import Decoder, linearized_at

DOUBLINGS = 30


def reach(
    decoder: Decoder,
    latent: Float[np.ndarray, "B k"],
    observed: Bool[np.ndarray, "B n"],
    size: Float[np.ndarray, " B"],
    first: Float[np.ndarray, " B"],
) -> Float[np.ndarray, " B"]:
    """The t of each row at which the image has left, from `first` on; infinite where it does not.

    size: r.
    """
    weakest = np.zeros_like(latent)
    for rows, padded in blocks(np.arange(len(latent)), block_size(decoder, len(latent), False)):
        with jax.enable_x64(True):
            columns = np.asarray(linearized_at(decoder, on_device(latent[padded])).columns)
        seen = np.where(observed[padded][:, None], columns, 0.0)
        scale = np.abs(seen).max((1, 2), keepdims=True)
        seen = np.nan_to_num(seen / np.where(scale > 0, scale, 1.0))
        weakest[rows] = np.linalg.eigh(seen @ seen.mT)[1][: len(rows), :, 0]
    image = np.asarray(decoder(latent))
    furthest = first.copy()
    for sign in (1.0, -1.0):
        far, inside = first.copy(), np.isfinite(first) & (first > 0)
        for _ in range(DOUBLINGS):
            moved = latent + sign * np.where(inside, far, 0.0)[:, None] * weakest
            away = np.where(observed, np.asarray(decoder(moved)) - image, 0.0)
            with np.errstate(over="ignore", invalid="ignore"):
                inside &= row_norms(away) <= size
            if not inside.any():
                break
            far = np.where(inside, 2.0 * far, far)
        furthest = np.maximum(furthest, np.where(inside, np.inf, far))
    return furthest
