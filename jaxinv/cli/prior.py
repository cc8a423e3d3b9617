"""The prior that the options of a command state."""

from jaxinv.cli.options import Question
from jaxinv.model.prior import GaussianPrior


def prior_of(question: Question) -> GaussianPrior | None:
    """The prior of --prior-scale and --prior-mean, None where neither is given."""
    if question.prior_scale is None and question.prior_mean is None:
        return None
    scale = 1.0 if question.prior_scale is None else question.prior_scale
    return GaussianPrior(question.prior_mean or 0.0, scale)
