r"""3-SAT as the inversion of two ReLU layers (Theorem 1), with a gadget that works.

A code z in {+-1}^k is an assignment, +1 for true. A clause with literal signs s (entries +-1 on its
variables, 0 elsewhere) and m literals has s . z in {-m, -m + 2, ..., m}, so

    v(z) = ReLU(-s . z - (m - 1))   is 1 where all m literals are false, and 0 on every other code.

The unit counts a violation. With the row +s and the bias -2, as the theorem has it for m = 3, the
unit is 1 where all three literals are TRUE: an AND, where a clause is an OR. An OR of signs is not
one ReLU of them (s . z = -1 has to give 1, as 3 does); its negation is, so violations are counted
and the count is asked to be 0.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxinv.hardness.dimacs import Formula
from jaxinv.model.generator import Generator

# Two dense float64 matrices: 1e8 entries are 0.8 GB.
MOST_ENTRIES = 100_000_000


@dataclass(frozen=True)
class Reduction:
    """A two-layer generator and an observation whose preimages are the satisfying assignments.

    observation: (n,), the x of G(z) = x. `assignment` reads a code as an assignment.

    >>> from jaxinv.hardness import Formula, binary_reduction
    >>> binary_reduction(Formula(2, ((1, -2),))).assignment([0.9, -1.1]).tolist()
    [True, False]
    """

    formula: Formula
    generator: Generator
    observation: Float[np.ndarray, " n"]

    def assignment(self, latent: Any) -> Bool[np.ndarray, "*batch k"]:
        """z > 0 entry by entry: true where the code is positive; (k,) or (B, k).

        >>> from jaxinv.hardness import Formula, continuous_reduction
        >>> continuous_reduction(Formula(1, ((1,),))).assignment([[1.0], [-1.0]]).tolist()
        [[True], [False]]
        """
        return np.asarray(latent) > 0


def binary_reduction(formula: Formula) -> Reduction:
    r"""G(z) = [t | 0] for z in {+-1}^k exactly where z satisfies all t clauses (Theorem 1).

        layer 1   v_j = ReLU(-s_j . z - (m_j - 1))                       (t units)
        layer 2   [ReLU(t - v_1 - ... - v_t) | ReLU(v_1), ..., ReLU(v_t)]  (1 + t units)

    On codes in {+-1}^k the first output counts the satisfied clauses and the others mark the
    violated ones. Hence inverting two layers over binary codes is NP-hard, and maximising the first
    output is MAX-3-SAT. Codes that are not binary are not excluded: z = 0 gives [t | 0] as well.
    For those, see `continuous_reduction`. Raises ValueError for a formula without clauses, and for
    one whose dense weights would not fit in memory.

    >>> from jaxinv.hardness import Formula, binary_reduction
    >>> problem = binary_reduction(Formula(2, ((1, 2), (-1, 2))))
    >>> problem.observation.tolist(), problem.generator([[-1, 1], [-1, -1]]).tolist()
    ([2.0, 0.0, 0.0], [[2.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    """
    clauses = len(formula.clauses)
    _check_size(formula, clauses, clauses + 1)
    weight, bias = _violation_units(formula)
    count = np.vstack([-np.ones((1, clauses)), np.eye(clauses)])
    offset = np.append(float(clauses), np.zeros(clauses))
    generator = Generator.from_layers([(weight, bias, "relu"), (count, offset, "relu")])
    return Reduction(formula, generator, offset)


def continuous_reduction(formula: Formula) -> Reduction:
    r"""G(z) = 0 for real z in R^k exactly where z in {+-1}^k and z satisfies the formula.

        layer 1   p = ReLU(z), q = ReLU(-z), v_j = ReLU(-s_j . z - (m_j - 1))   (2 k + t units)
        layer 2   [ReLU(p + q - 1) | ReLU(1 - p - q) | ReLU(v)]                 (2 k + t units)

    p + q = |z|, so the first 2 k outputs vanish exactly where every |z_i| = 1; there v marks the
    violated clauses. So two-layer inversion is NP-hard for real codes too, and stays so when the
    observation need only be met within less than 1/4: if every output is at most eps < 1/4, all
    |z_i| are within eps of 1, and a clause violated by the signs of z would have
    v_j >= m_j (1 - eps) - (m_j - 1) >= 1 - 3 eps > eps. Hence the signs satisfy the formula. Raises
    ValueError like `binary_reduction`.

    >>> from jaxinv.hardness import Formula, continuous_reduction
    >>> g = continuous_reduction(Formula(2, ((1, 2), (-1, 2)))).generator
    >>> [not np.asarray(g(z)).any() for z in ([-1, 1], [-1, -1], [0.5, 1])]
    [True, False, False]
    """
    clauses, k = len(formula.clauses), formula.variables
    _check_size(formula, 2 * k + clauses, 2 * k + clauses)
    violation, violation_bias = _violation_units(formula)
    weight = np.vstack([np.eye(k), -np.eye(k), violation])
    bias = np.concatenate([np.zeros(2 * k), violation_bias])
    size = np.hstack([np.eye(k), np.eye(k), np.zeros((k, clauses))])
    marks = np.hstack([np.zeros((clauses, 2 * k)), np.eye(clauses)])
    offset = np.concatenate([-np.ones(k), np.ones(k), np.zeros(clauses)])
    generator = Generator.from_layers(
        [(weight, bias, "relu"), (np.vstack([size, -size, marks]), offset, "relu")]
    )
    return Reduction(formula, generator, np.zeros(2 * k + clauses))


def _violation_units(
    formula: Formula,
) -> tuple[Float[np.ndarray, "t k"], Float[np.ndarray, " t"]]:
    """Weights and biases of v. A literal named twice counts once; v and -v in a clause cancel."""
    weight = np.zeros((len(formula.clauses), formula.variables))
    bias = np.zeros(len(formula.clauses))
    for row, clause in enumerate(formula.clauses):
        literals = set(clause)
        for literal in literals:
            weight[row, abs(literal) - 1] -= np.sign(literal)
        bias[row] = 1.0 - len(literals)
    return weight, bias


def _check_size(formula: Formula, first: int, second: int) -> None:
    if not formula.clauses:
        raise ValueError("the formula has no clauses: every code satisfies it; add a clause")
    entries = first * (formula.variables + second)
    if entries > MOST_ENTRIES:
        raise ValueError(
            f"{formula.variables} variables and {len(formula.clauses)} clauses need {entries:.3g} "
            f"dense weights; at most {MOST_ENTRIES:.3g} are built: use a smaller formula"
        )
