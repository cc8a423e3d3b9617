"""Floating-point operations and bytes that an algorithm must spend on one row, by hand.

Not what a compiler's program happens to do: the numbers that the algorithm's steps need, each
matrix read and written once a use, so that their quotients by a machine's ceilings are fractions of
what is attainable. Doubles throughout. n x k: a layer; D: directions of an interior-point step.
"""

from typing import NamedTuple

from jaxinv.model.generator import Generator

DOUBLE = 8
LP_VECTORS = 40  # vectors of length n that a step reads or writes for its margins and multipliers
LS_SOLVES = 1 + 3 + 3  # refinements of the solution, inverse iterations


class Count(NamedTuple):
    """Operations and bytes; of one row, or of all."""

    operations: float
    bytes: float

    def times(self, factor: float) -> "Count":
        return Count(self.operations * factor, self.bytes * factor)


def factored(n: int, k: int, solves: int) -> Count:
    """W' diag(d) W (its lower triangle), its Cholesky factor, and solves with it."""
    operations = n * k**2 + k**3 / 3 + solves * 2 * k**2
    # The matrix is written, read and overwritten by its factor, which each solve reads twice.
    return Count(operations, DOUBLE * (n + 3 * k**2 + solves * k**2))


def interior_point_step(n: int, k: int, correctors: int) -> Count:
    """One matrix; predictor, corrector and centrality correctors, each refined once against W."""
    directions = 2 + correctors
    base = factored(n, k, 2 * directions)
    products = directions * 2 * 4 * n * k
    return Count(base.operations + products, base.bytes + DOUBLE * LP_VECTORS * n)


def least_squares(n: int, k: int) -> Count:
    """The normal matrix of a row's active rows, its factor, refinements with W and W'."""
    base = factored(n, k, LS_SOLVES)
    return Count(base.operations + 4 * 4 * n * k, base.bytes + DOUBLE * 4 * 2 * n)


def levenberg_marquardt_step(generator: Generator) -> Count:
    """J layer by layer, J'J, its factor and one solve."""
    k, n = generator.latent_size, generator.observation_size
    chain = sum(2 * a.width * a.width_in * k for a in generator.layers[1:])
    forward = sum(2 * a.width * a.width_in for a in generator.layers)
    jacobians = sum(2 * a.width * k for a in generator.layers)  # each written and read
    operations = chain + forward + n * k**2 + k**3 / 3 + 4 * k**2
    return Count(operations, DOUBLE * (jacobians + 2 * n * k + 4 * k**2))


def gradient(generator: Generator) -> Count:
    """A forward pass and the pull-back of the misfit, both through every layer's matrix."""
    operations = sum(4 * a.width * a.width_in for a in generator.layers)
    return Count(operations, DOUBLE * sum(4 * a.width for a in generator.layers))
