"""Example 1: a preimage that is not convex."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from jaxinv.model.generator import Generator


@dataclass(frozen=True)
class Example1:
    """A two-layer net, an observation, two of its preimages, and their midpoint, which is none.

    observation: (1,). preimages: (2, 2), one a row. midpoint: (2,).

    >>> from jaxinv.hardness import example_1
    >>> example_1().midpoint.tolist()
    [0.0, 2.0]
    """

    generator: Generator
    observation: Float[np.ndarray, " 1"]
    preimages: Float[np.ndarray, "2 2"]
    midpoint: Float[np.ndarray, " 2"]


def example_1() -> Example1:
    r"""Two layers whose preimage {z : G(z) = 1} is not convex (Example 1).

        G(z) = ReLU(ReLU(z_1 + 2 z_2) - ReLU(3 z_1 + z_2)),   G(-1, 1) = G(1, 3) = 1,  G(0, 2) = 2

    At (-1, 1) the second hidden unit is off and at (1, 3) both are on; the segment between them
    passes where the first grows faster than the second. One layer's preimage is a polytope, which
    is why one layer can be inverted by a linear program and two cannot.

    >>> from jaxinv.hardness import example_1
    >>> example = example_1()
    >>> example.generator(example.preimages).tolist(), example.generator(example.midpoint).tolist()
    ([[1.0], [1.0]], [2.0])
    """
    generator = Generator.from_layers(
        [
            (np.array([[1.0, 2.0], [3.0, 1.0]]), None, "relu"),
            (np.array([[1.0, -1.0]]), None, "relu"),
        ]
    )
    preimages = np.array([[-1.0, 1.0], [1.0, 3.0]])
    return Example1(generator, np.ones(1), preimages, preimages.mean(axis=0))
