"""Inversions to be drawn, and whether a figure can be."""

import numpy as np

from jaxinv import Inversion, Status


def made(latent, status=None, search=None, allowed=None):
    """An inversion of these latents, as if someone had found them."""
    latent = np.asarray(latent, float)
    there = np.isfinite(latent).all(1)
    status = np.where(there, 0, int(Status.BAD_INPUT)) if status is None else np.asarray(status)
    residual = np.where(there, 0.5, np.nan)
    allowed = residual if allowed is None else allowed
    return Inversion(latent, status, np.zeros(len(latent), int), residual, allowed, search=search)


def drawn_well(figure):
    """Drawn to the end, since text and layout fail no sooner; and known to nobody else."""
    assert figure._repr_png_().startswith(b"\x89PNG")
    return figure
