"""A prior of the latents as plain data, and back: what a manifest can hold."""

from typing import Any

from jaxinv.model.prior import GaussianPrior

NAMES = ("mean", "scale", "factor")


def to_record(prior: GaussianPrior | None) -> dict[str, Any] | None:
    """The prior as JSON data."""
    if prior is None:
        return None
    given = {name: getattr(prior, name) for name in NAMES}
    return {name: value.tolist() for name, value in given.items() if value is not None}


def from_record(record: dict[str, Any] | None) -> GaussianPrior | None:
    """The prior that `to_record` wrote down."""
    return None if record is None else GaussianPrior(**record)
