"""Values as colours: grey for images, blue over white to red for differences."""

import numpy as np
from jaxtyping import Float

# Where nothing was observed, or nothing is known: no grey, which an image may hold.
MISSING = np.array([217, 200, 169]) / 255.0
# Blue and red, which the colour-blind tell apart, of about the same darkness.
BELOW, ABOVE = np.array([33, 102, 172]) / 255.0, np.array([178, 24, 43]) / 255.0


def grey(image: Float[np.ndarray, "h w *c"], low: float, high: float) -> Float[np.ndarray, "h w 3"]:
    """Black at low, white at high; what is not finite in the colour of what is MISSING."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.clip((image - low) / ((high - low) or 1.0), 0.0, 1.0)
    coloured = scaled if image.ndim == 3 else np.repeat(scaled[..., None], 3, axis=-1)
    return _with_missing(coloured, image)


def signed(image: Float[np.ndarray, "h w *c"], largest: float) -> Float[np.ndarray, "h w 3"]:
    """White at zero, blue at -largest, red at largest; of colours their mean."""
    value = image.mean(-1) if image.ndim == 3 else image
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.clip(value / (largest or 1.0), -1.0, 1.0)[..., None]
    to = np.where(scaled < 0, BELOW, ABOVE)
    return _with_missing(1.0 - np.abs(scaled) * (1.0 - to), value)


def _with_missing(
    coloured: Float[np.ndarray, "h w 3"], image: Float[np.ndarray, "h w *c"]
) -> Float[np.ndarray, "h w 3"]:
    known = np.isfinite(image).reshape(*image.shape[:2], -1).all(-1, keepdims=True)
    return np.where(known, coloured, MISSING)
