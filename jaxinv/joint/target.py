"""What the joint methods fit."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float


class Target(NamedTuple):
    """What is fitted: observations, which rows are observed, and their weights, each (B, n)."""

    observation: Float[Array, "batch n"]
    mask: Bool[Array, "batch n"]
    weight: Float[Array, "batch n"]
