"""What is known of each observation before any run, and what its layers add to that."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from jaxinv.joint.descent.linearization import has_relu
from jaxinv.joint.problem import ROUNDED, Problem

AMPLE = 4.0  # equations an unknown: with fewer a small misfit may well be a false minimum's
# Degrees of freedom of which one cell more or less, nine variances say, takes no more than 2%: the
# square of 1%. Without dead units the minima in neighbouring cells are one.
TELLING = 450
# Degrees of freedom from which on tests see that a false minimum's misfit is no noise.
POWERFUL = 100


@dataclass(frozen=True)
class Facts:
    """One entry an observation.

    limit: the loss that reproduces it where runs agree on it, certain: where one alone has it.
    rounded: the loss that rounding alone leaves. size: weighted norm of what a code explains of it.
    telling: whether no minimum in a neighbouring cell is likely to be lower by 1%. powerful:
    whether tests against noise have the entries they need. ample: whether far more entries than
    unknowns bind the latent. noisy: whether noise can explain a misfit. noise_low, noise_high:
    losses that are noise as the last layer shows it, (inf, -inf) where it shows nothing. live:
    whether a latent is asked for, and a loss can be computed.
    """

    limit: Float[np.ndarray, " B"]
    certain: Float[np.ndarray, " B"]
    rounded: Float[np.ndarray, " B"]
    size: Float[np.ndarray, " B"]
    telling: Bool[np.ndarray, " B"]
    powerful: Bool[np.ndarray, " B"]
    ample: Bool[np.ndarray, " B"]
    noisy: Bool[np.ndarray, " B"]
    noise_low: Float[np.ndarray, " B"]
    noise_high: Float[np.ndarray, " B"]
    live: Bool[np.ndarray, " B"]


def facts(problem: Problem) -> Facts:
    """What the observations say by themselves."""
    batch = len(problem.live)
    binding = problem.count
    noisy = np.ones(batch, bool)
    layers = problem.generator.layers
    if layers and layers[-1].activation.kind == "relu":
        # Noise added to a ReLU's outputs makes some of them negative: without, misfit is misfit.
        noisy, binding = problem.sizes.negative, problem.sizes.positive
    freedom = problem.count - problem.generator.latent_size
    whole, size = problem.sizes.whole, problem.size
    with np.errstate(over="ignore"):
        least, largest = (ROUNDED * whole) ** 2, whole**2
        rounded = np.maximum(ROUNDED * size, problem.sizes.weighted) ** 2
    # Where squares overflow or underflow there is no loss to lower.
    held = np.isfinite(largest + problem.limit)
    held &= (whole == 0) | (least >= np.finfo(float).tiny)
    return Facts(
        limit=problem.limit,
        certain=problem.certain,
        rounded=rounded,
        size=np.where(held, size, np.inf),
        telling=(freedom >= TELLING) | (not has_relu(problem.generator)),
        powerful=freedom >= POWERFUL,
        ample=binding >= AMPLE * problem.generator.latent_size,
        noisy=noisy,
        noise_low=np.full(batch, np.inf),
        noise_high=np.full(batch, -np.inf),
        live=problem.live & held,
    )
