"""What can be said about an answer: the theorems as numbers, with their assumptions checked."""

from jaxinv.certify.bounds import ErrorBound, LayerBound, error_bound, observed_error_bound
from jaxinv.certify.constants import (
    LowerBound,
    SampledUpperEstimate,
    lower_bound,
    sampled_upper_estimate,
)
from jaxinv.certify.noise_limits import NoiseLimit, corollary_1_noise_limit, largest_noise
from jaxinv.certify.probability import (
    RecoveryProbability,
    recovery_probability,
    width_for_recovery,
)

__all__ = [
    "ErrorBound",
    "LayerBound",
    "LowerBound",
    "NoiseLimit",
    "RecoveryProbability",
    "SampledUpperEstimate",
    "corollary_1_noise_limit",
    "error_bound",
    "largest_noise",
    "lower_bound",
    "observed_error_bound",
    "recovery_probability",
    "sampled_upper_estimate",
    "width_for_recovery",
]
