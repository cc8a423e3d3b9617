"""A prior as the caller states it: which one, and how it weighs beside the misfit."""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxinv.call.noise import is_level
from jaxinv.call.operators import JOINT
from jaxinv.joint.map_estimate import Penalty
from jaxinv.joint.problem import Problem
from jaxinv.model.likelihood.base import NoiseModel
from jaxinv.model.prior import GaussianPrior
from jaxinv.settings import Auto, Method


@dataclass(frozen=True)
class Prior:
    """weight: lambda beside the squared misfit, None where the noise says it."""

    given: GaussianPrior
    weight: float | None

    def check(self, latent_size: int, bounded: bool) -> None:
        """Raise ValueError where the prior is one of other latents, or none within bounds."""
        self.given.of_size(latent_size)
        if bounded and self.given.correlated:
            raise ValueError(
                "latent_bounds= do not go with a prior of correlated entries; give it by scale=, "
                "or leave the bounds out"
            )

    def penalty(
        self,
        problem: Problem,
        weight: Float[np.ndarray, "B n"],
        level: Float[np.ndarray, " B"] | None,
    ) -> Penalty:
        """The prior beside a chunk's misfit.

        weight: of the entries as they were given, of which the problem's are multiples, row by row.
        level: (B,) of the noise of an entry of weight one.
        """
        mean, factor = self.given.of_size(problem.generator.latent_size)
        largest = weight.max(-1, initial=0.0)
        times = problem.weight.max(-1, initial=0.0) / np.where(largest > 0, largest, 1.0)
        times = np.where(problem.live, times, 1.0)
        if self.weight is not None:
            return Penalty(mean, factor, times, self.weight)
        assert level is not None, "the door asks for noise= where there is no prior_weight="
        return Penalty(mean, factor, np.where(problem.live, level, 1.0) * times, 1.0)


def requested_prior(
    prior: Any, weight: Any, noise: Any, method: Method, refine: str | None
) -> Prior | None:
    """What the arguments say of a prior, checked; None where they say nothing."""
    if prior is None and weight is None:
        return None
    if not isinstance(prior, GaussianPrior | None):
        raise ValueError(f"prior is a {type(prior).__name__}; expected jaxinv.GaussianPrior")
    if not isinstance(method, JOINT):
        raise ValueError(
            f"{type(method).__name__} goes layer by layer and takes no prior of the latent, which "
            "stands behind all layers; use 'auto', 'lm' or 'gd'"
        )
    if refine is not None:
        raise ValueError(f"refine={refine!r} would leave the prior out; leave out one of the two")
    if isinstance(method, Auto) and method.preimage != "any":
        raise ValueError(
            f"preimage={method.preimage!r} chooses among latents that a prior already chooses "
            "among; leave out one of the two"
        )
    if weight is not None:
        if isinstance(noise, NoiseModel):
            raise ValueError(
                f"prior_weight= stands beside a squared misfit, and {noise} is none; leave it out: "
                "the noise model weighs the prior"
            )
        if not isinstance(weight, Real) or isinstance(weight, bool):
            raise ValueError(f"prior_weight={weight!r} must be a positive number, lambda")
        if not 0 < float(weight) < np.inf:
            raise ValueError(f"prior_weight={weight!r} must be positive and finite")
        if noise is not None and not is_level(noise):
            raise ValueError(
                "noise= of each entry weighs the prior as well; leave prior_weight= out"
            )
        return Prior(prior or GaussianPrior(), float(weight))
    if noise is None:
        raise ValueError(
            "a prior needs noise=, the deviation of the observations, or prior_weight=, to be "
            "weighed against the misfit"
        )
    if not isinstance(noise, NoiseModel) and is_level(noise) and noise == 0:
        raise ValueError("noise=0 leaves a prior nothing to say; leave prior= out, or state noise=")
    assert prior is not None, "without one there is a prior_weight="
    return Prior(prior, None)
