"""Whether a generator does what the network does that it was read from."""

from collections.abc import Callable

import numpy as np

from jaxinv.formats.folding import WAY_OUT
from jaxinv.model.generator import Generator

TOLERANCE = 1e-6
CODES = 17
LARGEST_BATCH = 1 << 27  # numbers held while all codes pass a layer: 1 GB


def check_parity(
    source: str,
    generator: Generator,
    reference: Callable[[np.ndarray], np.ndarray],
    codes: int = CODES,
) -> Generator:
    """Return the generator if it reproduces the source's own forward pass, in float64, to 1e-6.

    max |G(z) - reference(z)| <= 1e-6 max |reference(z)| over z = 0 and codes z ~ N(0, I), 16 of
    them, or fewer where images are large.
    """
    codes = max(2, min(codes, LARGEST_BATCH // generator.scratch))
    latent = np.random.default_rng(0).standard_normal((codes, generator.latent_size))
    latent[0] = 0.0
    expected = np.asarray(reference(latent), np.float64).reshape(codes, -1)
    found = np.asarray(generator(latent))
    if expected.shape != found.shape:
        raise ValueError(f"{source} makes {expected.shape[1]} values a row, not {found.shape[1]}")
    scale = np.abs(expected).max()
    error = np.abs(found - expected).max()
    if not error <= TOLERANCE * scale:
        raise ValueError(
            f"{source}: the generator read from it differs from its own forward pass by "
            f"{error:.3g} (values up to {scale:.3g}); it does something its layers do not tell: "
            f"{WAY_OUT}"
        )
    return generator
