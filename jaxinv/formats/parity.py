"""Whether a generator does what the network does that it was read from."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from jaxinv.formats.folding import WAY_OUT
from jaxinv.model.function import FunctionGenerator
from jaxinv.model.generator import Generator

Read = TypeVar("Read", Generator, FunctionGenerator)

TOLERANCE = 1e-6
CODES = 17
LARGEST_BATCH = 1 << 27  # numbers held while all codes pass a layer: 1 GB


def parity_codes(latent_size: int) -> Float[np.ndarray, "codes k"]:
    """z = 0 and codes z ~ N(0, I), by which an import is judged."""
    latent = np.random.default_rng(0).standard_normal((CODES, latent_size))
    latent[0] = 0.0
    return latent


def check_parity(
    source: str,
    generator: Read,
    reference: Callable[[np.ndarray], np.ndarray],
    codes: int = CODES,
) -> Read:
    """Return the generator if it reproduces the source's own forward pass, in float64, to 1e-6.

    max |G(z) - reference(z)| <= 1e-6 max |reference(z)| over the codes of `parity_codes`, or the
    first of them where images are large.
    """
    codes = max(2, min(codes, LARGEST_BATCH // generator.scratch))
    latent = parity_codes(generator.latent_size)[:codes]
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
