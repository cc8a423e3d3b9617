"""The last word on an answer, whichever method found it: ranks, residuals, statuses.

A method hands over latents with its own word on each. Here alone the residual is recomputed in
float64 from the latent, the Jacobian's rank says what is determined, and SOLVED falls where the
residual is larger than the caller allows.
"""

from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinv.certify.identifiability import jacobian_rank
from jaxinv.joint.problem import Problem
from jaxinv.linalg.norms import row_norms
from jaxinv.outcome.inversion import Inversion, LayerReport
from jaxinv.outcome.search_report import SearchReport
from jaxinv.outcome.status import Status

BY_RANK = -1  # in place of a dimension: the Jacobian's rank is to tell


@dataclass(frozen=True)
class Provisional:
    """What a method found, before the last word.

    latent: (B, k), NaN where there is none. status: (B,) of `Status`, the method's own word; where
    it says SOLVED or UNDERDETERMINED, and undetermined is BY_RANK, the rank decides between the
    two. undetermined: (B,) dimension left free, or BY_RANK. layers, search: as in `Inversion`.
    largest_residual: ||m (G(z) - x)||_2, m the mask, up to which the method calls a row SOLVED.
    """

    latent: Float[np.ndarray, "B k"]
    status: Int[np.ndarray, " B"]
    undetermined: Int[np.ndarray, " B"]
    layers: tuple[LayerReport, ...] = ()
    search: SearchReport | None = None
    largest_residual: Float[np.ndarray, " B"] | float = np.inf


def moved(
    before: Provisional, latent: Float[np.ndarray, "B k"], which: Bool[np.ndarray, " B"]
) -> Provisional:
    """The same answer with some latents moved: the Jacobian there says what is determined."""
    return replace(
        before,
        latent=np.where(which[:, None], latent, before.latent),
        undetermined=np.where(which, BY_RANK, before.undetermined),
    )


def ranked(problem: Problem, answer: Provisional) -> Provisional:
    """The same answer with k - rank J, of the observed entries, wherever the rank is to tell."""
    asked = answer.undetermined == BY_RANK
    found = asked & np.isfinite(answer.latent).all(-1)
    undetermined = np.where(asked, 0, answer.undetermined)
    if found.any():
        latent, observed = answer.latent[found], problem.weight[found] > 0
        rank = jacobian_rank(problem.generator, latent, observed)
        undetermined[found] = problem.generator.latent_size - rank
    determined = np.isin(answer.status, [int(Status.SOLVED), int(Status.UNDERDETERMINED)])
    word = np.where(undetermined > 0, int(Status.UNDERDETERMINED), int(Status.SOLVED))
    status = np.where(found & determined, word, answer.status)
    return replace(answer, status=status, undetermined=undetermined)


def finished(
    problem: Problem, answer: Provisional, largest_residual: Float[np.ndarray, " B"] | float
) -> Inversion:
    """Ranks where they are missing, the residual ||m (G(z) - x)||_2, m the mask, and the status.

    SOLVED becomes INEXACT where the residual is above the method's own limit, or above the largest
    that the caller allows.
    """
    answer = ranked(problem, answer)
    finite = np.isfinite(answer.latent).all(-1)
    image = np.asarray(problem.generator(np.where(finite[:, None], answer.latent, 0.0)))
    seen = finite[:, None] & (problem.weight > 0)
    misfit = np.where(seen, image - problem.observation, 0.0)
    residual = np.where(finite, row_norms(misfit), np.nan)
    # A residual that overflows was not seen to be small.
    limit = np.minimum(answer.largest_residual, largest_residual)
    excess = ~((residual <= limit) & np.isfinite(residual))
    solved = answer.status == int(Status.SOLVED)
    return Inversion(
        latent=jnp.asarray(answer.latent),
        status=jnp.asarray(np.where(solved & excess, int(Status.INEXACT), answer.status)),
        undetermined=jnp.asarray(answer.undetermined),
        residual=jnp.asarray(residual),
        layers=answer.layers,
        search=answer.search,
    )
