r"""The most probable latents under a prior, and the data's own word on each of them.

The search minimises ||W (G(z) - x)||^2 + omega^2 ||L^-1 (z - mean)||^2 in coordinates in which the
prior is N(0, I) (`model.penalised`); what is said of a row is said of the data alone: its misfit,
and what its Jacobian determines, whatever the prior adds.
"""

from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxinv.joint.descent.levenberg_marquardt import Box
from jaxinv.joint.finish import Provisional
from jaxinv.joint.problem import Problem
from jaxinv.joint.search.candidates import drawn_images
from jaxinv.joint.search.structure import structured
from jaxinv.model.penalised import Penalised
from jaxinv.outcome.inversion import Inversion
from jaxinv.outcome.search_report import Ending
from jaxinv.outcome.status import Status
from jaxinv.settings import Auto

NOTHING_REPRODUCES = -1.0  # a limit that no loss meets: the least of the objective is looked for


@dataclass(frozen=True)
class Penalty:
    """A prior beside the misfit of a batch.

    mean: (k,). factor: (k, k), L. unit: (B,), the weight, beside the problem's, of what is counted
    once in the objective. share: the prior's weight in the objective.
    """

    mean: Float[np.ndarray, " k"]
    factor: Float[np.ndarray, "k k"]
    unit: Float[np.ndarray, " B"]
    share: float

    @property
    def weight(self) -> Float[np.ndarray, " B"]:
        """Omega, beside the problem's weights."""
        return np.sqrt(self.share) * self.unit

    def latent(self, u: Float[np.ndarray, "*B k"]) -> Float[np.ndarray, "*B k"]:
        """z = mean + L u, an instance at a time so that no row's bits depend on the others."""
        return self.mean + (u[..., None, :] * self.factor).sum(-1)

    def whitened(self, z: Float[np.ndarray, "*B k"]) -> Float[np.ndarray, "*B k"]:
        """u = L^-1 (z - mean)."""
        inverse = np.linalg.inv(self.factor)
        return np.asarray(((z - self.mean)[..., None, :] * inverse).sum(-1))


def penalised(problem: Problem, penalty: Penalty) -> Problem:
    """The problem in u = L^-1 (z - mean), with k entries more that are u itself, observed as 0."""
    decoder = Penalised(problem.generator, jnp.asarray(penalty.mean), jnp.asarray(penalty.factor))
    more = np.zeros((len(problem.live), decoder.latent_size))
    # A row of which nothing is observed is not live, and has no weight to compare a prior with.
    omega = np.where(problem.live, penalty.weight, 0.0)[:, None] + more
    scale = np.diag(penalty.factor)
    sides = ((np.asarray(side) - penalty.mean) / scale for side in problem.box)
    low, high = sides
    return replace(
        problem,
        generator=decoder,
        observation=np.concatenate([problem.observation, more], axis=1),
        weight=np.concatenate([problem.weight, omega], axis=1),
        limit=np.full(len(more), NOTHING_REPRODUCES),
        certain=np.full(len(more), NOTHING_REPRODUCES),
        blank=np.concatenate([problem.blank, more[0]]),
        rounding=np.concatenate([problem.rounding, more], axis=1),
        box=Box(jnp.asarray(np.minimum(low, high)), jnp.asarray(np.maximum(low, high))),
        start=None if problem.start is None else penalty.whitened(problem.start),
        penalised=True,
    )


def judged(
    problem: Problem, penalty: Penalty, found: Provisional, method_scale: float
) -> Provisional:
    """The latents of what was found in u, with the word that the data have on each.

    found: of the penalised problem, whose SOLVED says that independent runs ended in the lowest
    minimum of the objective. A row is explained where its misfit reproduces the observation, or is
    the stated noise, whatever other minima there are; and where runs agreed and no test speaks
    against noise. method_scale: of random starting points.
    """
    latent = penalty.latent(found.latent)
    there = np.isfinite(latent).all(-1)
    fits = there & (problem.fit(np.where(there[:, None], latent, 0.0)).loss <= problem.limit)
    agreed = found.status == int(Status.SOLVED)
    status = np.where(fits, int(Status.SOLVED), found.status)
    search = found.search
    if search is None or not (agreed & ~fits).any():
        return replace(found, latent=latent, status=status, minima=False)
    n = problem.generator.observation_size
    images = drawn_images(penalised(problem, penalty), 0, Auto.candidates, method_scale)[1][:, :n]
    no_noise = agreed & ~fits & structured(problem, latent, images)
    status = np.where(no_noise, int(Status.CLOSEST), status)
    ending = np.where(no_noise, int(Ending.CONFIRMED), np.asarray(search.ending))
    search = replace(search, ending=jnp.asarray(ending))
    return replace(found, latent=latent, status=status, search=search, minima=False)


def with_objective(problem: Problem, penalty: Penalty, inversion: Inversion) -> Inversion:
    """The inversion with the objective at its latents, and the prior's part in it."""
    latent = np.asarray(inversion.latent)
    there = np.isfinite(latent).all(-1)
    z = np.where(there[:, None], latent, 0.0)
    misfit = problem.weight * problem.misfit(np.asarray(problem.generator(z)))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        data = ((misfit / penalty.unit[:, None]) ** 2).sum(-1)
    pull = np.where(there, penalty.share * (penalty.whitened(z) ** 2).sum(-1), np.nan)
    objective = np.where(there, data, np.nan) + pull
    return replace(inversion, objective=jnp.asarray(objective), prior_pull=jnp.asarray(pull))
