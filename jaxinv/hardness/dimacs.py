"""Formulas in conjunctive normal form with up to three literals a clause, and their DIMACS text."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

LITERALS = 3


@dataclass(frozen=True)
class Formula:
    """A conjunction of clauses, each a disjunction of 1 to 3 literals.

    Literal +v stands for variable v, -v for its negation, v = 1 .. variables. Raises ValueError for
    an empty clause, more than three literals, or a variable out of range.

    >>> from jaxinv.hardness import Formula
    >>> Formula(2, ((1, 2), (-1,))).satisfied_by([False, True])
    True
    """

    variables: int
    clauses: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if self.variables < 1:
            raise ValueError(f"variables={self.variables} must be at least 1")
        for number, clause in enumerate(self.clauses, start=1):
            problem = _clause_problem(clause, self.variables)
            if problem:
                raise ValueError(f"clause {number} {clause}: {problem}")

    def violated(self, assignment: Sequence[bool]) -> tuple[bool, ...]:
        """For each clause, whether all its literals are false; assignment: one bool a variable.

        >>> from jaxinv.hardness import Formula
        >>> Formula(2, ((1, 2), (-1,))).violated([True, False])
        (False, True)
        """
        if len(assignment) != self.variables:
            raise ValueError(
                f"the assignment has {len(assignment)} values for {self.variables} variables"
            )
        return tuple(
            all(bool(assignment[abs(literal) - 1]) != (literal > 0) for literal in clause)
            for clause in self.clauses
        )

    def satisfied_by(self, assignment: Sequence[bool]) -> bool:
        """Whether every clause has a true literal.

        >>> from jaxinv.hardness import Formula
        >>> Formula(1, ((1,), (-1,))).satisfied_by([True])
        False
        """
        return not any(self.violated(assignment))


def parse_dimacs(text: str, source: str = "formula") -> Formula:
    r"""Read a formula from DIMACS text, such as

        c a comment
        p cnf 3 2
        1 -2 3 0
        -1 2 0

    Comments may stand anywhere; clauses may span lines and end with 0; a line "%" ends the formula
    (as in the SATLIB collection). Raises ValueError with the line and its remedy for anything else:
    a missing or second header, a count that does not match, a clause without its 0, an empty one,
    more than three literals, a variable beyond the header's, a token that is no whole number.

    >>> from jaxinv.hardness import parse_dimacs
    >>> parse_dimacs("p cnf 3 2\n1 -2 3 0\n-1 2 0").clauses
    ((1, -2, 3), (-1, 2))
    """
    header: tuple[int, int] | None = None
    clauses: list[tuple[int, ...]] = []
    open_clause: list[int] = []
    began = 0
    for number, line in _content_lines(text):
        where = f"{source}, line {number}"
        if line.split()[0] == "p":
            if header is not None:
                raise ValueError(f"{where}: a second header {line!r}; keep one 'p cnf' line")
            header = _header(line, where)
            continue
        if header is None:
            raise ValueError(
                f"{where}: {_shown(line)} comes before the header; "
                "put 'p cnf VARIABLES CLAUSES' first"
            )
        for token in line.split():
            literal = _whole_number(token, where)
            if literal != 0:
                began = began if open_clause else number
                open_clause.append(literal)
                # Checked here too, so that one endless clause does not fill the memory.
                if len(open_clause) <= LITERALS and abs(literal) <= header[0]:
                    continue
            problem = _clause_problem(tuple(open_clause), header[0])
            if problem:
                raise ValueError(f"{where}: {problem}")
            clauses.append(tuple(open_clause))
            open_clause = []
    if header is None:
        raise ValueError(f"{source}: no header; put a line 'p cnf VARIABLES CLAUSES' first")
    if open_clause:
        raise ValueError(
            f"{source}, line {began}: the clause that begins here has no end; end it with 0"
        )
    if len(clauses) != header[1]:
        raise ValueError(
            f"{source}: the header promises {header[1]} clauses and {len(clauses)} follow; "
            f"write 'p cnf {header[0]} {len(clauses)}', or restore the clauses that are missing"
        )
    return Formula(header[0], tuple(clauses))


def read_dimacs(path: str | os.PathLike[str]) -> Formula:
    r"""Read a formula from a DIMACS file; errors as in `parse_dimacs`, and for text not in ASCII.

    >>> from pathlib import Path
    >>> from jaxinv.hardness import read_dimacs
    >>> _ = Path("one.cnf").write_text("c not x\np cnf 1 1\n-1 0\n")
    >>> read_dimacs("one.cnf")
    Formula(variables=1, clauses=((-1,),))
    """
    try:
        text = Path(path).read_text(encoding="ascii")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: byte {error.start} is not ASCII; DIMACS is plain text: unpack it if it is "
            "compressed, and write comments without accents"
        ) from None
    return parse_dimacs(text, str(path))


def _content_lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines that are neither blank nor comments, up to a line that is "%"."""
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped == "%":
            return
        if stripped and stripped.split()[0] != "c":
            yield number, stripped


def _header(line: str, where: str) -> tuple[int, int]:
    words = line.split()
    if len(words) != 4 or words[1] != "cnf" or not (words[2] + words[3]).isdecimal():
        raise ValueError(
            f"{where}: {_shown(line)} is not a header; write 'p cnf VARIABLES CLAUSES'"
        )
    variables, clauses = _whole_number(words[2], where), _whole_number(words[3], where)
    if variables < 1:
        raise ValueError(f"{where}: {variables} variables; a formula needs at least 1")
    return variables, clauses


def _whole_number(token: str, where: str) -> int:
    digits = token[1:] if token[:1] == "-" else token
    # int() also takes "1_0", "+1" and hundreds of thousands of digits.
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 18):
        raise ValueError(
            f"{where}: {_shown(token)} is not a literal; write v, -v, or 0 to end a clause"
        )
    return int(token)


def _clause_problem(clause: tuple[int, ...], variables: int) -> str | None:
    if not clause:
        return "an empty clause, which nothing satisfies; delete it or restore its literals"
    if len(clause) > LITERALS:
        return (
            f"a clause of more than {LITERALS} literals; split (a b c d) into (a b s) (-s c d) "
            "with a new variable s"
        )
    for literal in clause:
        if not 1 <= abs(literal) <= variables:
            return (
                f"literal {literal} names variable {abs(literal)} of {variables}; correct it, or "
                "raise the header's number of variables"
            )
    return None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
