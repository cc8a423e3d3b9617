"""One word and one sentence for every outcome of a row."""

from collections.abc import Mapping
from enum import IntEnum


class Status(IntEnum):
    """What was found for one observation; `sentence` says what it means and what to do.

    >>> jaxinv.Status(5)
    <Status.BAD_INPUT: 5>
    >>> jaxinv.Status.BAD_INPUT.sentence
    'The observation holds NaN or infinity, or nothing of it is observed.'
    >>> jaxinv.Status.UNDERDETERMINED.has_latent
    True
    """

    SOLVED = 0
    UNDERDETERMINED = 1
    INEXACT = 2
    TOLERANCE_EXHAUSTED = 3
    STEP_LIMIT = 4
    BAD_INPUT = 5
    SOLVER_FAILED = 6
    CLOSEST = 7

    @property
    def sentence(self) -> str:
        """What the status means, and what to do."""
        return _SENTENCES[self]

    @property
    def ok(self) -> bool:
        """Whether an answer was confirmed: SOLVED or CLOSEST."""
        return self in _CONFIRMED

    @property
    def has_latent(self) -> bool:
        """Whether a row of this status carries a latent; the others are NaN."""
        return self not in _WITHOUT_LATENT


def unconfirmed(counts: Mapping[int, int] | Mapping[Status, int]) -> int:
    """Rows, counted by status, of which no answer was confirmed."""
    return sum(count for status, count in counts.items() if not Status(status).ok)


_SENTENCES = {
    Status.SOLVED: (
        "A latent was found whose misfit is rounding or noise, and every solver's answer passed "
        "its recomputed check."
    ),
    Status.UNDERDETERMINED: (
        "The units that are active do not determine the latent: the one given is one of many, and "
        "`undetermined` counts the free directions."
    ),
    Status.INEXACT: (
        "A latent was found, but nothing confirms it: its image does not match the observation to "
        "the stated tolerance or noise, or it does but the latent's error may still be large; for "
        "noisy observations use 'auto', and state the noise level."
    ),
    Status.TOLERANCE_EXHAUSTED: (
        "No tolerance up to the largest observation made the layer's linear program feasible; "
        "the observation is far from the generator's range, or the initial tolerance is too large."
    ),
    Status.STEP_LIMIT: (
        "The iteration limit came before convergence; the best latent seen is given. "
        "Raise the limit or add restarts."
    ),
    Status.BAD_INPUT: "The observation holds NaN or infinity, or nothing of it is observed.",
    Status.SOLVER_FAILED: (
        "No solver returned an answer that passes the recomputed check; try another `solver=`."
    ),
    Status.CLOSEST: (
        "Independent runs agree that this is the nearest that the generator comes to the "
        "observation; the misfit is shown to be neither rounding nor noise."
    ),
}

_CONFIRMED = {Status.SOLVED, Status.CLOSEST}
_WITHOUT_LATENT = {Status.TOLERANCE_EXHAUSTED, Status.BAD_INPUT, Status.SOLVER_FAILED}
