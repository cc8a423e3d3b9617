"""What speaks against calling a misfit noise: three tests, each seldom wrong.

Noise of one level, as the weights say it, resembles no image (`resemblance`), has the entries of a
normal distribution (`normality`), and leaves something to a code that is there (`significance`).
"""

import numpy as np
from jaxtyping import Array, Bool, Float

from jaxinv.joint.problem import Problem
from jaxinv.joint.search.normality import not_gaussian
from jaxinv.joint.search.resemblance import resembles_images
from jaxinv.joint.search.significance import tells_of_a_code


def structured(
    problem: Problem,
    latent: Float[np.ndarray, "B k"],
    images: Float[Array, "P n"],
) -> Bool[np.ndarray, " B"]:
    """Rows whose misfit at this latent a test refuses to call noise."""
    fit = problem.fit(np.where(np.isfinite(latent), latent, 0.0))
    value, observed = np.asarray(fit.image), problem.observed
    with np.errstate(over="ignore", invalid="ignore"):
        misfit = problem.weight * problem.misfit(value)
    code = tells_of_a_code(problem.generator, problem.size, fit.loss, problem.count)
    return resembles_images(problem, value, images) | not_gaussian(misfit, observed) | ~code
