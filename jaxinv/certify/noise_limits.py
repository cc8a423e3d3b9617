"""How much noise a code bears: where the assumptions end, and where Corollary 1 puts the end."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxinv.certify.bounds import error_bound
from jaxinv.certify.constants import Effort, Norm, lower_bound
from jaxinv.model.generator import Generator

PRINTED_EXPANSION = 5.0


@dataclass(frozen=True)
class NoiseLimit:
    """Corollary 1's limit on the noise, and which of its checkable assumptions fail.

    value: the limit on ||e||_2, in units of the observation. constant: the smallest c_2 of the
    layers' rows that are active at z*. failed: one sentence for each assumption that fails. That
    the weights are independent N(0, 1/n_i) cannot be checked from one net and is not.

    >>> from jaxinv.certify import corollary_1_noise_limit
    >>> limit = corollary_1_noise_limit(jaxinv.Generator.random((2, 4), seed=0), np.ones(2))
    >>> limit.holds, limit.failed[0]
    (False, 'layer 1: 4 rows for 2 inputs expand by 2; 5 is asked for')
    """

    value: float
    constant: float
    failed: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether the assumptions that can be checked hold."""
        return not self.failed


def corollary_1_noise_limit(generator: Generator, latent: Any) -> NoiseLimit:
    r"""The noise up to which Corollary 1 promises ||z - z*||_2 <= (2 / c_2)^d ||e||_2.

        ||e||_2 < (c_2 / 2)^d ||z*||_2 / 16

    with probability 1 - exp(-Omega(k)) over Gaussian weights, n_i >= 5 n_{i-1}. At this limit the
    promised relative error is 1/16. With the further factor sqrt(k) that is printed it would be
    sqrt(k) / 16, which z = 0 achieves from k = 256 on.

    The limit alone proves nothing: a layer's outputs are of size ||z||_2 / sqrt(n_i), so noise of
    2-norm ||z||_2 / 16 in a single entry switches any row on once the layer is wide. `error_bound`
    checks the rows, and `largest_noise` says how far they carry: one layer of expansion 5 carries
    7.5 times this limit at k = 5 and 1.8 times at k = 160, falling like 1 / sqrt(k). latent: (k,).
    Raises ValueError like `error_bound`.

    >>> from jaxinv.certify import corollary_1_noise_limit
    >>> g = jaxinv.Generator.random((5, 50), seed=0)
    >>> limit = corollary_1_noise_limit(g, np.ones(5))
    >>> limit.holds, bool(np.isclose(limit.value, limit.constant / 2 * np.sqrt(5) / 16))
    (True, True)
    """
    z = np.asarray(latent, dtype=np.float64)
    if z.shape != (generator.latent_size,) or not np.isfinite(z).all():
        raise ValueError(
            f"latent has shape {z.shape}; expected one finite code ({generator.latent_size},)"
        )
    failed: list[str] = []
    constants: list[float] = []
    for number, (layer, values) in enumerate(
        zip(generator.layers, generator.outputs(z), strict=True), start=1
    ):
        if layer.expansion < PRINTED_EXPANSION:
            failed.append(
                f"layer {number}: {layer.width} rows for {layer.width_in} inputs expand by "
                f"{layer.expansion:.3g}; {PRINTED_EXPANSION:g} is asked for"
            )
        if layer.activation.kind != "relu":
            failed.append(f"layer {number}: the activation is {layer.activation}, not relu")
        if np.any(np.asarray(layer.bias)):
            failed.append(f"layer {number}: it has a bias; the corollary's layers have none")
        active = np.asarray(layer.weight)[np.asarray(values) > 0]
        constants.append(lower_bound(active, "l2").value)
    constant = min(constants)
    if constant == 0.0:
        failed.append("the active rows of some layer do not determine its inputs: c_2 = 0")
    value = (constant / 2.0) ** generator.depth * float(np.linalg.norm(z)) / 16.0
    return NoiseLimit(value, constant, tuple(failed))


def largest_noise(
    generator: Generator,
    latent: Any,
    norm: Norm = "linf",
    *,
    growth: float | None = None,
    initial_tolerance: float | None = None,
    least_squares: bool = False,
    effort: Effort = "fast",
) -> float:
    """The largest ||e||_p, to 1 percent, for which every assumption of `error_bound` holds at z*.

    More noise leaves fewer rows certain and smaller constants, so the assumptions hold up to one
    value and fail beyond it. 0 where they fail without noise, infinity where no noise breaks them
    (identity and, for "linf", LeakyReLU layers only). Arguments and errors as in `error_bound`.

    >>> from jaxinv.certify import error_bound, largest_noise
    >>> g = jaxinv.Generator.random((2, 20, 200), seed=0)
    >>> noise = largest_noise(g, np.ones(2))
    >>> error_bound(g, np.ones(2), noise).holds, error_bound(g, np.ones(2), 1.02 * noise).holds
    (True, False)
    """

    def holds(noise: float) -> bool:
        return error_bound(
            generator,
            latent,
            noise,
            norm,
            growth=growth,
            initial_tolerance=initial_tolerance,
            least_squares=least_squares,
            effort=effort,
        ).holds

    if not holds(0.0):
        return 0.0
    scale = max(float(np.abs(np.asarray(generator(latent))).max()), np.finfo(np.float64).tiny)
    low, high = 0.0, scale
    # Beyond a million times the signal no assumption is left that noise could break.
    while holds(high):
        low, high = high, 10.0 * high
        if high > 1e6 * scale:
            return float(np.inf)
    while low == 0.0:
        trial = high / 100.0
        if trial < 1e-15 * scale:
            return 0.0
        low, high = (trial, high) if holds(trial) else (0.0, trial)
    while high > 1.01 * low:
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
