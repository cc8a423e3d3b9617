"""Which images a decoder makes: their shape, told by its last layer or by their size."""

import numpy as np
from jaxtyping import Float

from jaxinv.model.decoder import Decoder

LEAST_SIDE = 8  # pixels: a matrix that gives 49 values makes more likely no image
COLOURS = (1, 3)


def image_shape(decoder: Decoder) -> tuple[int, ...] | None:
    """(h, w) or (3, h, w) of the images that a decoder makes; None where it seems to make none.

    A convolution or a function says it; behind a matrix, a square in one colour or in three is
    taken for an image.
    """
    said = tuple(getattr(decoder, "observation_shape", ()))
    if decoder.layers:
        said = decoder.layers[-1].linear.output_shape
        # Of a chain these are channels of a line.
        said = () if len(said) == 2 else said
    while len(said) > 2 and said[0] == 1:
        said = said[1:]
    if len(said) == 2 or (len(said) == 3 and said[0] in COLOURS):
        return said
    n = decoder.observation_size
    side, coloured = round(n**0.5), round((n / 3) ** 0.5)
    if side >= LEAST_SIDE and side**2 == n:
        return side, side
    return (3, coloured, coloured) if coloured >= LEAST_SIDE and 3 * coloured**2 == n else None


def as_image(
    values: Float[np.ndarray, " n"], shape: tuple[int, ...]
) -> Float[np.ndarray, "h w *c"]:
    """The pixels of one observation, colours last."""
    image = values.reshape(shape)
    return image.transpose(1, 2, 0) if len(shape) == 3 else image
