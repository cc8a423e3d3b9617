"""Numbers as a reader wants them."""

from collections.abc import Sequence

NAMED = 8  # rows by number, at most


def rows(count: int) -> str:
    """1 row, 9,812 rows."""
    return f"{count:,} row{'' if count == 1 else 's'}"


def share(count: int, total: int) -> str:
    """A percentage that says 0% and 100% of nothing and of all alone."""
    part = count / max(total, 1)
    if 0 < part < 0.001:
        return "under 0.1%"
    if 0.999 < part < 1:
        return "over 99.9%"
    return f"{100 * part:.3g}%"


def number(value: float) -> str:
    """Two digits: quantiles are known to no more."""
    if value != value:
        return "none"
    return f"{float(f'{value:.2g}'):,.0f}" if 99.5 <= abs(value) < 1e6 else f"{value:.2g}"


def listed(numbers: Sequence[int], count: int) -> str:
    """The first of so many rows by number."""
    named = ", ".join(f"{n:,}" for n in numbers[:NAMED])
    more = count - len(numbers[:NAMED])
    return f"row{'' if count == 1 else 's'} {named}" + (f" and {more:,} more" if more > 0 else "")


def seconds(value: float) -> str:
    """A duration, in the unit that one would name it in."""
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if value >= 2 * length:
            return f"{number(value / length)} {unit}"
    if value >= 1 or value == 0:
        return f"{value:.3g} s"
    return f"{number(1e3 * value)} ms" if value >= 1e-3 else f"{number(1e6 * value)} µs"
