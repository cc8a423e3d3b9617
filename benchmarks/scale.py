"""Hours and cost of a million, a hundred million and a thousand million rows, from measured rates.

    python -m benchmarks.scale

prints the tables of docs/scale.md. Rates are those of results/throughput.json (one core, two
cores); a cluster is taken for as many single cores, each with a process of its own. No rate of a
GPU is known here until results/gpu_check.json holds one; what stands in its place is a ceiling:
the operations that a row's kernels need (results/gpu_cpu.json) over a card's stated rate, at the
share of the ceiling that the CPU reaches. It leaves out all that happens outside those kernels.
"""

import json
from typing import Any

from benchmarks.gpu_table import table
from benchmarks.record import RESULTS

NET, BATCH = "20-100-500", 128
METHODS = ("exact", "auto", "auto, noise", "linf")
ROWS = (10**6, 10**8, 10**9)
CLUSTER = 256  # cores
CORE_HOUR, GPU_HOUR = 0.05, 3.0  # in one's own currency: assumptions, to be replaced
CARD = 60e3  # GFLOP/s of float64 matrix products: a card made for double precision, as sold
KERNELS = {"exact": "least squares 600x250", "linf": "l_inf programs 600x250"}


def rates() -> dict[str, dict[str, float]]:
    """Rows a second of each method by machine; those of a cluster are single cores' added up."""
    rows = json.loads((RESULTS / "throughput.json").read_text())["rows"]
    found: dict[str, dict[str, float]] = {}
    for method in METHODS:
        alike = [r for r in rows if (r["method"], r["net"], r["batch"]) == (method, NET, BATCH)]
        by_cores = {row["cores"]: row["rows/s"] for row in alike}
        found[method] = {
            "one core": by_cores[1],
            "two cores": by_cores[2],
            f"{CLUSTER} cores (estimate)": CLUSTER * by_cores[1],
        }
    return found


def duration(seconds: float) -> str:
    """Three digits, in the unit that a person would use."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def measured_rows() -> list[dict[str, Any]]:
    lines = []
    for method, by_machine in rates().items():
        for name, rate in by_machine.items():
            cores = {"one core": 1, "two cores": 2}.get(name, CLUSTER)
            line = {"method": method, "machine": name, "rows an hour": f"{3600 * rate:,.0f}"}
            line |= {f"{n:.0e}": duration(n / rate) for n in ROWS}
            cost = 1e6 / rate / 3600 * cores * CORE_HOUR
            lines.append(line | {"cost": f"{cost:.3g}"})
        for name in ("one GPU", "eight GPUs"):
            lines.append({"method": method, "machine": name, "rows an hour": "not measured"})
    return lines


def ceiling_rows() -> list[dict[str, Any]]:
    """Of 60-250-600: what the outer layer's kernel alone would allow on a card."""
    known = {row["what"]: row for row in json.loads((RESULTS / "gpu_cpu.json").read_text())["rows"]}
    lines = []
    for method, kernel in KERNELS.items():
        row = known[kernel]
        gflop = row["GFLOP/s"] / row["rows/s"]
        # linf solves several programs a row: as many as its rate beside the kernel's says.
        times = row["rows/s"] / known[f"{method} 60-250-600, end to end"]["rows/s"]
        rate = CARD * row["of the product"] / gflop / (times if method == "linf" else 1.0)
        line = {"method": method, "kernel": kernel, "GFLOP": gflop}
        line["share"] = row["of the product"]
        line["rows/s"] = f"{rate:,.0f}"
        line["eight"] = duration(ROWS[-1] / (8 * rate))
        line["cost"] = f"{1e6 / rate / 3600 * GPU_HOUR:.2g}"
        lines.append(line)
    return lines


def main() -> None:
    columns = {"method": "method", "machine": "machine", "rows an hour": "rows an hour"}
    columns |= {f"{n:.0e}": f"{n:,} rows" for n in ROWS} | {"cost": "cost of a million"}
    print(table(columns, measured_rows()), end="\n\n")
    columns = {
        "method": "method",
        "kernel": "kernel",
        "GFLOP": "GFLOP each",
        "share": "share of the ceiling here",
        "rows/s": "rows a second, at most (estimate)",
        "eight": "a thousand million on eight (estimate)",
        "cost": "cost of a million (estimate)",
    }
    print(table(columns, ceiling_rows()))


if __name__ == "__main__":
    main()
