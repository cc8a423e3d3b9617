"""Theorem 1's reductions on every assignment of small formulas, and Example 1."""

import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxinv.hardness import (
    Formula,
    binary_reduction,
    continuous_reduction,
    example_1,
    parse_dimacs,
    read_dimacs,
)

# Every sign pattern over three variables: unsatisfiable, and one clause fewer is not.
ALL_EIGHT = tuple((a, 2 * b, 3 * c) for a, b, c in product((1, -1), repeat=3))

FORMULAS = {
    "one clause": Formula(3, ((1, -2, 3),)),
    "unit clauses": Formula(2, ((1,), (-2,))),
    "two literals": Formula(3, ((1, 2), (-1, 3), (-2, -3))),
    "contradiction": Formula(1, ((1,), (-1,))),
    "unsatisfiable": Formula(3, ALL_EIGHT),
    "one solution": Formula(3, ALL_EIGHT[1:]),
    "literal twice": Formula(2, ((1, 1, 2), (-2, -2, -2))),
    "tautology": Formula(3, ((1, -1, 2), (3, -3), (-2,))),
    "five variables": Formula(5, ((1, 2, -3), (-1, 4, 5), (3, -4, -5), (-2, -3, 4), (2, 5, -1))),
}


def all_codes(variables: int) -> np.ndarray:
    return np.array(list(product((-1.0, 1.0), repeat=variables)))


def outcomes(formula: Formula, codes: np.ndarray) -> list[tuple[bool, ...]]:
    """Violated clauses by the definition of a clause, code by code."""
    return [
        tuple(
            not any((code[abs(literal) - 1] > 0) == (literal > 0) for literal in clause)
            for clause in formula.clauses
        )
        for code in codes
    ]


@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS.keys())
class TestReductions:
    def test_binary_codes(self, formula: Formula) -> None:
        reduction = binary_reduction(formula)
        codes = all_codes(formula.variables)
        outputs = np.asarray(reduction.generator(codes))
        clauses = len(formula.clauses)
        for output, violated, code in zip(outputs, outcomes(formula, codes), codes, strict=True):
            assert output[0] == clauses - sum(violated)
            assert output[1:].tolist() == [float(v) for v in violated]
            preimage = bool((output == reduction.observation).all())
            assert preimage == (not any(violated))
            assignment = reduction.assignment(code).tolist()
            assert preimage == formula.satisfied_by(assignment)
            assert formula.violated(assignment) == violated
        assert reduction.observation.tolist() == [clauses] + [0] * clauses

    def test_real_codes(self, formula: Formula) -> None:
        reduction = continuous_reduction(formula)
        k = formula.variables
        codes = all_codes(k)
        outputs = np.asarray(reduction.generator(codes))
        assert not reduction.observation.any()
        for output, violated in zip(outputs, outcomes(formula, codes), strict=True):
            assert not output[: 2 * k].any()
            assert output[2 * k :].tolist() == [float(v) for v in violated]
        # Points that are no corner: one coordinate off each corner, a grid, and random ones.
        rng = np.random.default_rng(0)
        off = [code + step * axis for code in codes for axis in np.eye(k) for step in (-0.3, 0.3)]
        grid = list(product((-1.0, -0.5, 0.0, 1.0), repeat=k))[:2000]
        points = np.array([*off, *grid, *rng.standard_normal((500, k)), np.zeros(k)])
        corner = (np.abs(points) == 1).all(axis=1)
        zero = (np.asarray(reduction.generator(points)) == 0).all(axis=1)
        satisfied = np.array([not any(violated) for violated in outcomes(formula, points)])
        assert (zero == (corner & satisfied)).all()

    def test_real_codes_met_within_a_quarter(self, formula: Formula) -> None:
        reduction = continuous_reduction(formula)
        rng = np.random.default_rng(1)
        codes = all_codes(formula.variables)
        points = np.repeat(codes, 50, axis=0)
        points = points + 0.26 * rng.uniform(-1, 1, points.shape)
        near = np.asarray(reduction.generator(points)).max(axis=1) < 0.25
        for point in points[near]:
            assert formula.satisfied_by(reduction.assignment(point).tolist())
        assert near.any() == any(not any(violated) for violated in outcomes(formula, codes))


def test_within_a_quarter_is_sharp() -> None:
    # One clause of three literals, every |z_i| = 3/4 and all literals false: all outputs are 1/4.
    reduction = continuous_reduction(Formula(3, ((1, 2, 3),)))
    output = np.asarray(reduction.generator(np.full(3, -0.75)))
    assert output.max() == 0.25
    assert not reduction.formula.satisfied_by(reduction.assignment(np.full(3, -0.75)).tolist())


def test_the_gadget_as_printed_is_an_and() -> None:
    signs = np.array([1.0, -1.0, 1.0])
    for code in all_codes(3):
        literals = signs * code > 0
        printed = max(signs @ code - 2, 0)
        corrected = max(-signs @ code - 2, 0)
        assert printed == float(literals.all())
        assert corrected == float(not literals.any())
    # No bias makes one ReLU of +s . z an OR: it would have to be equal at -1, 1 and 3, and not -3.
    sums = sorted({float(signs @ code) for code in all_codes(3)})
    assert sums == [-3.0, -1.0, 1.0, 3.0]


def test_a_real_code_that_is_not_binary_can_meet_the_binary_observation() -> None:
    reduction = binary_reduction(FORMULAS["unsatisfiable"])
    assert (np.asarray(reduction.generator(np.zeros(3))) == reduction.observation).all()
    continuous = continuous_reduction(FORMULAS["unsatisfiable"])
    assert np.asarray(continuous.generator(np.zeros(3))).max() == 1.0


@st.composite
def formulas(draw: Any) -> Formula:
    variables = draw(st.integers(1, 6))
    literal = st.integers(1, variables).flatmap(lambda v: st.sampled_from([v, -v]))
    clause = st.lists(literal, min_size=1, max_size=3).map(tuple)
    return Formula(variables, tuple(draw(st.lists(clause, min_size=1, max_size=8))))


@settings(deadline=None, max_examples=40)
@given(formulas())
def test_random_formulas(formula: Formula) -> None:
    codes = all_codes(formula.variables)
    satisfied = [not any(violated) for violated in outcomes(formula, codes)]
    for reduction in (binary_reduction(formula), continuous_reduction(formula)):
        layers = [(np.asarray(q.weight), np.asarray(q.bias)) for q in reduction.generator.layers]
        # NumPy in place of the generator: its compiler would be called for every new shape.
        values = codes
        for w, b in layers:
            values = np.maximum(values @ w.T + b, 0)
        assert (values == reduction.observation).all(axis=1).tolist() == satisfied
    text = f"p cnf {formula.variables} {len(formula.clauses)}\n" + "\n".join(
        " ".join(map(str, (*clause, 0))) for clause in formula.clauses
    )
    assert parse_dimacs(text) == formula


class TestDimacs:
    def test_layout_is_free(self, tmp_path: Path) -> None:
        text = "c a comment\n\n  p cnf 3 2 \n1 -2\n3 0 -1\nc another\n 2 0\n%\n0\n"
        formula = parse_dimacs(text)
        assert formula == Formula(3, ((1, -2, 3), (-1, 2)))
        path = tmp_path / "formula.cnf"
        path.write_text(text)
        assert read_dimacs(path) == formula

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "no header; put a line 'p cnf"),
            ("c only\n", "no header"),
            ("1 2 0\n", "line 1: '1 2 0' comes before the header"),
            ("p cnf 2\n1 0\n", "line 1: 'p cnf 2' is not a header"),
            ("p sat 2 1\n1 0\n", "is not a header"),
            ("p cnf -2 1\n1 0\n", "is not a header"),
            ("p cnf 0 0\n", "line 1: 0 variables"),
            ("p cnf 2 1\np cnf 2 1\n1 0\n", "line 2: a second header"),
            ("p cnf 2 1\n1 x 0\n", "line 2: 'x' is not a literal"),
            ("p cnf 2 1\n1.0 0\n", "'1.0' is not a literal"),
            ("p cnf 20 1\n1_0 0\n", "'1_0' is not a literal"),
            ("p cnf 2 1\n+1 0\n", "is not a literal"),
            ("p cnf 2 1\n1 2\n", "line 2: the clause that begins here has no end"),
            ("p cnf 2 1\n\n1\n2\n", "line 3: the clause that begins here has no end"),
            ("p cnf 2 1\n0\n", "line 2: an empty clause"),
            ("p cnf 4 1\n1 2 3 4 0\n", "line 2: a clause of more than 3 literals; split"),
            ("p cnf 2 1\n1 3 0\n", "line 2: literal 3 names variable 3 of 2"),
            ("p cnf 2 2\n1 0\n", "promises 2 clauses and 1 follow"),
            ("p cnf 2 1\n1 0\n2 0\n", "promises 1 clauses and 2 follow"),
            ("p cnf 2 1\n" + "9" * 5000 + " 0\n", "line 2: '999"),
        ],
    )
    def test_malformed_text_says_where_and_what_to_do(self, text: str, message: str) -> None:
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            parse_dimacs(text)
        assert len(str(caught.value)) < 300

    def test_a_packed_file_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "formula.cnf.gz"
        path.write_bytes(b"\x1f\x8b\x08\x00")
        with pytest.raises(ValueError, match=r"formula\.cnf\.gz: byte 1 is not ASCII"):
            read_dimacs(path)

    def test_formulas_are_checked(self) -> None:
        with pytest.raises(ValueError, match="at least 1"):
            Formula(0, ())
        with pytest.raises(ValueError, match="clause 2"):
            Formula(2, ((1,), (3,)))
        with pytest.raises(ValueError, match="1 values for 2 variables"):
            Formula(2, ((1,),)).violated([True])
        with pytest.raises(ValueError, match="no clauses"):
            binary_reduction(Formula(2, ()))
        # A header may promise anything; weights are counted before they are made.
        with pytest.raises(ValueError, match="dense weights"):
            continuous_reduction(parse_dimacs("p cnf 999999999 1\n1 0\n"))


def test_example_1() -> None:
    example = example_1()
    outputs = np.asarray(example.generator(example.preimages))
    assert (outputs == example.observation).all()
    assert example.midpoint.tolist() == [0.0, 2.0]
    assert np.asarray(example.generator(example.midpoint)).tolist() == [2.0]
    # Along the segment the output rises to 5/2 where the second hidden unit switches on.
    s = np.linspace(0, 1, 101)
    points = example.preimages[0] + s[:, None] * (example.preimages[1] - example.preimages[0])
    expected = np.where(s <= 0.25, 1 + 6 * s, 3 - 2 * s)
    assert np.asarray(example.generator(points))[:, 0] == pytest.approx(expected)
