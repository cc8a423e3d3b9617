"""Why two layers are hard: 3-SAT as the inversion of a generator (Theorem 1), and Example 1."""

from jaxinv.hardness.dimacs import Formula, parse_dimacs, read_dimacs
from jaxinv.hardness.example import Example1, example_1
from jaxinv.hardness.reduction import Reduction, binary_reduction, continuous_reduction

__all__ = [
    "Example1",
    "Formula",
    "Reduction",
    "binary_reduction",
    "continuous_reduction",
    "example_1",
    "parse_dimacs",
    "read_dimacs",
]
