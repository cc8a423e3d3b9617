r"""Least squares by orthogonal factors, where the normal equations lose what there is to find.

    delta = argmin ||W (r + J delta)||_2,    the shortest of several,

by singular values of W J with columns of norm one (LAPACK), the entries of the latent left where
they are that stand on a side of the box. N = J' W^2 J squares the condition number: from 1e8 on a
run with N ends anywhere along what N does not see, though the observation may well tell.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinv.certify.surroundings import block_size
from jaxinv.joint.problem import Problem
from jaxinv.linalg.blocks import blocks
from jaxinv.linalg.on_device import on_device
from jaxinv.model.decoder import Decoder, linearized_at

STEPS = 4
SMALL_DECREASE = 1e-6  # of the loss, by a step: where a row has arrived


def orthogonal_steps(
    problem: Problem,
    latent: Float[np.ndarray, "B k"],
    which: Bool[np.ndarray, " B"],
    steps: int = STEPS,
    halvings: int = 0,
) -> Float[np.ndarray, "B k"]:
    """The latents, those of the rows `which` after the steps that pay.

    halvings: of a step that does not, before it is given up.
    """
    best, left = latent, which
    loss = problem.fit(best).loss
    for _ in range(steps):
        delta, pays = np.zeros_like(best), np.zeros_like(left)
        for row, value, columns in linearized(problem.generator, best, np.flatnonzero(left)):
            delta[row] = _step(problem, row, best[row], value, columns)
        for halving in range(halvings + 1):
            trial = np.clip(best + delta / 2**halving, problem.box.low, problem.box.high)
            after = problem.fit(trial).loss
            lower = left & ~pays & (loss - after > SMALL_DECREASE * loss)
            best, loss = np.where(lower[:, None], trial, best), np.where(lower, after, loss)
            pays |= lower
            if not (left & ~pays).any():
                break
        left = pays
        if not left.any():
            break
    return best


def linearized(
    decoder: Decoder, latent: Float[np.ndarray, "B k"], rows: Int[np.ndarray, " R"]
) -> Iterator[tuple[int, Float[np.ndarray, " n"], Float[np.ndarray, "k n"]]]:
    """Of each of these rows G(z) and the columns of J."""
    for some, padded in blocks(rows, block_size(decoder, len(latent), False)):
        value, columns = linearized_at(decoder, on_device(latent[padded]))
        yield from zip(some, np.asarray(value), np.asarray(columns), strict=False)


def _step(
    problem: Problem,
    row: int,
    latent: Float[np.ndarray, " k"],
    value: Float[np.ndarray, " n"],
    columns: Float[np.ndarray, "k n"],
) -> Float[np.ndarray, " k"]:
    """delta, nothing where a number is not finite."""
    weight = problem.weight[row]
    seen = weight > 0
    jacobian = (weight * columns).T[seen]
    misfit = (weight * (value - problem.observation[row]))[seen]
    if not (np.isfinite(jacobian).all() and np.isfinite(misfit).all()):
        return np.zeros_like(latent)
    low, high = (np.asarray(side) for side in problem.box)
    gradient = misfit @ jacobian
    pressed = (latent <= low) & (gradient > 0) | (latent >= high) & (gradient < 0)
    norms = np.linalg.norm(jacobian, axis=0)
    unit = np.where(pressed | (norms == 0), 0.0, 1.0 / np.where(norms > 0, norms, 1.0))
    delta = np.linalg.lstsq(jacobian * unit, -misfit, rcond=None)[0]
    return np.asarray(unit * delta)
