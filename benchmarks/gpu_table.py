"""What `gpu_check` found, as Markdown: a table a step, and what was cut off, failed or left out."""

from collections.abc import Callable
from typing import Any

Record = dict[str, Any]


def table(columns: dict[str, str], rows: list[Record]) -> str:
    """columns: a heading for each key of a row."""
    lines = [
        f"| {' | '.join(columns.values())} |",
        "|---|" + "---:|" * (len(columns) - 1),
    ]
    lines += [f"| {' | '.join(_cell(row.get(key)) for key in columns)} |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    return "-" if value is None else str(value)


def _agreement(found: Record) -> str:
    columns = {
        "method": "method",
        "rows": "rows",
        "same status": "same status",
        "both solved": "both SOLVED",
        "furthest apart": "furthest apart",
        "tolerance": "tolerance",
        "agree": "agree",
        "failed": "failed",
    }
    return table(columns, found["rows"])


def _kernels(found: Record) -> str:
    limits = found["ceilings"]
    columns = {
        "what": "what",
        "batch": "batch",
        "rows/s": "a second",
        "good": "good",
        "of the product": "of the product",
        "of the copy": "of the copy",
        "first call, s": "first call, s",
    }
    head = f"{found['device']}: {limits['GFLOP/s']} GFLOP/s of float64 product, "
    return f"{head}{limits['GB/s']} GB/s of copy.\n\n{table(columns, found['rows'])}"


def _batches(found: Record) -> str:
    columns = {
        "method": "method",
        "batch": "rows of a chunk",
        "rows/s": "rows a second",
        "good": "good",
        "peak GiB": "peak GiB",
        "ended": "ended by",
    }
    return f"{found['net']}.\n\n{table(columns, found['rows'])}"


def _pools(found: Record) -> str:
    columns = {
        "solver": "solver",
        "shape": "shape",
        "batch": "batch",
        "ms a program": "ms a program",
        "times slower": "times slower",
        "solved": "solved",
        "largest excess": "largest excess",
        "failed": "failed",
    }
    return table(columns, found["rows"])


def _rivals(found: Record) -> str:
    columns = {
        "rival": "rival",
        "rows": "rows",
        "recovered": "recovered",
        "ms a row to 0.5": "ms a row to half",
        "ms a row to 0.9": "to 90%",
        "first call, s": "first call, s",
        "failed": "failed",
    }
    nets = found["nets"].items()
    return "\n\n".join(f"{name}.\n\n{table(columns, net['results'])}" for name, net in nets)


def _profiles(found: Record) -> str:
    columns = {
        "method": "method",
        "batch": "rows",
        "wall s": "wall s",
        "busy s": "device busy s",
        "events": "events",
        "copies": "copies",
    }
    longest = [
        {
            "method": row["method"],
            "name": f"`{name['name']}`",
            "times": name["times"],
            "s": name["s"],
        }
        for row in found["rows"]
        for name in row["most"][:5]
    ]
    names = {"method": "method", "name": "most time in", "times": "times", "s": "s"}
    return f"{table(columns, found['rows'])}\n\n{table(names, longest)}"


STEPS: dict[str, Callable[[Record], str]] = {
    "agreement": _agreement,
    "ceilings and kernels": _kernels,
    "batches": _batches,
    "pools": _pools,
    "rivals": _rivals,
    "profiles": _profiles,
}


def tables(record: Record) -> str:
    """All steps in their order."""
    parts = []
    for step in record["steps"]:
        parts.append(f"#### {step['step'].capitalize()}")
        if step["ended"] != "done":
            parts.append(f"{step['ended'].capitalize()}.")
        parts += [f"Left out: {', '.join(step['skipped'])}."] if step.get("skipped") else []
        if step.get("found"):
            parts.append(STEPS[step["step"]](step["found"]))
    return "\n\n".join(parts)
