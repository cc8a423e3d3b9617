"""Rates with their exact intervals, by class: of trials that are yes or no, how many were yes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from scipy import stats

LEVEL = 0.95


def clopper_pearson(yes: int, trials: int) -> tuple[float, float]:
    """The exact interval of a binomial proportion (Clopper and Pearson 1934)."""
    tail = (1 - LEVEL) / 2
    low = float(stats.beta.ppf(tail, yes, trials - yes + 1)) if yes else 0.0
    high = float(stats.beta.ppf(1 - tail, yes + 1, trials - yes)) if yes < trials else 1.0
    return low, high


def rate(outcomes: Iterable[bool]) -> dict[str, Any]:
    """How many, of how many, the proportion, and its interval."""
    told = list(outcomes)
    yes, trials = sum(told), len(told)
    low, high = clopper_pearson(yes, trials)
    return {
        "yes": yes,
        "trials": trials,
        "rate": yes / trials if trials else None,
        "interval": [low, high],
    }


def rates(
    rows: Iterable[Mapping[str, Any]], classes: Iterable[str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Of every judgement, by name: its rate over all rows, and over those of each class.

    rows: each with "judged", a bool by name of judgement, and a value of every class. A row that a
    judgement does not ask about has no entry of that name.
    """
    outcomes: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    named = tuple(classes)
    for row in rows:
        for judgement, outcome in row["judged"].items():
            outcomes[judgement]["all"].append(bool(outcome))
            for name in named:
                outcomes[judgement][f"{name} {row[name]}"].append(bool(outcome))
    return {
        judgement: {group: rate(told) for group, told in sorted(groups.items())}
        for judgement, groups in outcomes.items()
    }


def table(found: Mapping[str, Mapping[str, Mapping[str, Any]]], groups: bool = True) -> str:
    """The rates as text, one a line."""
    lines = []
    for judgement, by_group in found.items():
        lines.append(judgement)
        for group, told in by_group.items():
            if group != "all" and not groups:
                continue
            low, high = told["interval"]
            share = "     -" if told["rate"] is None else f"{told['rate']:6.1%}"
            counts = f"{told['yes']:>6}/{told['trials']:<6}"
            lines.append(f"  {group:<34}{counts}{share}  [{low:.1%}, {high:.1%}]")
    return "\n".join(lines)
