"""Inversions a second of every method: against batch, k, n, depth and cores; cold, warm; memory.

    python -m benchmarks.throughput [--quick] [--methods auto linf ...] [--seconds 1]

Each method runs in a process of its own on a stated number of cores (benchmarks/cores.py), case
after case. "first s" is a case's first call, whatever it compiles included; of a process's first
case that is the cold start. p50 and p95 are over the later batches during which nothing compiles:
a row that is harder than all before it may bring in a stage that has not been needed yet. Slopes
are those of log milliseconds (a batch's against the batch size, else a row's) against the log of
what varies: 0 costs nothing, 1 is proportional. Peak memory is the process's so far, so it only
rises.
Linear programs get uniform noise of 1e-3, what they are for; the others noiseless observations,
and auto both. results/throughput.json keeps what earlier runs found for other methods.
"""

import argparse
import json
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

import jaxinv
from benchmarks.conditions import Calls
from benchmarks.cores import available, child, processor
from benchmarks.exact import peak_memory
from benchmarks.joint_success import planted
from benchmarks.record import machine, write

OUT = Path(__file__).parent / "results" / "throughput.json"
NOISE = 1e-3
FEWEST, MOST = 3, 60  # batches of one case
NOISY = "auto, noise"
METHODS = ("exact", "auto", NOISY, "lm", "gd", "linf", "l1", "relaxed")
# Layers of a deep net hardly grow, so that depth alone varies.
DEEP = (20, 100, 120, 140, 160)


class Case(NamedTuple):
    """What varies in which series, and the batch that is inverted."""

    series: tuple[str, ...]
    widths: tuple[int, ...]
    batch: int
    activation: str = "relu"

    def value(self, series: str) -> int:
        """What the series varies."""
        by_name = {"batch": self.batch, "k": self.widths[0], "n": self.widths[-1]}
        return by_name.get(series, len(self.widths) - 1)


def cases(quick: bool) -> list[Case]:
    """Smallest first: peak memory only rises."""
    if quick:
        return [Case(("batch",), (10, 40, 160), batch) for batch in (1, 16)]
    base = (20, 100, 500)
    return [
        Case(("batch",), base, 1),
        Case(("batch", "k", "n"), base, 16),
        *(Case(("k",), (k, 100, 500), 16) for k in (10, 40)),
        Case(("n",), (20, 100, 1000), 16),
        *(Case(("depth",), DEEP[: d + 1], 16, "leaky_relu:0.3") for d in (1, 4)),
        Case(("batch", "cores"), base, 128),
    ]


def measured(method: str, case: Case, seconds: float) -> dict[str, Any]:
    """First call, then batches for so many seconds; observations differ from batch to batch."""
    generator = jaxinv.Generator.random(case.widths, seed=0, activation=case.activation)
    noise = 0.0 if method in ("exact", "auto", "lm", "gd") else NOISE
    settings = "auto" if method == NOISY else method
    calls = Calls()
    good = []
    for number in range(MOST + 1):
        _, x = planted(generator, case.batch, number)
        x += np.random.default_rng([number, 5]).uniform(-noise, noise, x.shape)
        found = calls.timed(partial(jaxinv.invert, generator, x, settings))
        good.append(np.asarray(found.ok).mean())
        if len(calls.warm) >= FEWEST and sum(calls.warm) > seconds:
            break
    p50, p95 = np.percentile(calls.warm, (50, 95))
    return {
        "method": method,
        "net": "-".join(map(str, case.widths)),
        "batch": case.batch,
        "rows/s": case.batch / p50,
        "p50 ms": 1e3 * p50,
        "p95 ms": 1e3 * p95,
        "batches": len(calls.warm),
        "solved": float(np.mean(good)),
        "first s": calls.cold[0],
        "compiling": len(calls.cold),
        "peak MiB": peak_memory() / 2**20,
    }


def slopes(rows: list[dict[str, Any]], quick: bool) -> list[dict[str, Any]]:
    """Least-squares slopes in log-log, and those between neighbours, method by method."""
    found = []
    most = max(row["cores"] for row in rows)
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == method and row["cores"] == most]
        for series in ("batch", "k", "n", "depth"):
            points = []
            for case in (c for c in cases(quick) if series in c.series):
                net = "-".join(map(str, case.widths))
                times = [r for r in mine if (r["net"], r["batch"]) == (net, case.batch)]
                cost = [r["p50 ms"] / (1 if series == "batch" else r["batch"]) for r in times]
                points += [(case.value(series), value) for value in cost]
            if len(points) > 1:
                points.sort()
                size, cost = np.log(np.array(points)).T
                between = [
                    (b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(zip(size, cost, strict=True))
                ]
                found.append(
                    {
                        "method": method,
                        "against": series,
                        "from": points[0][0],
                        "to": points[-1][0],
                        "slope": round(float(np.polyfit(size, cost, 1)[0]), 2),
                        "between": [round(float(value), 2) for value in between],
                    }
                )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small net, two batch sizes")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=[*METHODS])
    parser.add_argument("--seconds", type=float, help="of batches, for each case")
    parser.add_argument("--cores", nargs="+", type=int, help="1 and all, if not given")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", nargs=2, metavar=("METHOD", "SERIES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    quick = arguments.quick
    seconds = arguments.seconds or (0.2 if quick else 1.0)
    if arguments.child:
        method, series = arguments.child
        wanted = cases(quick)
        if method in ("l1", "relaxed"):
            wanted = [case for case in wanted if "batch" in case.series]
        if series != "all":
            wanted = [case for case in wanted if series in case.series]
        print(json.dumps([_rounded(measured(method, case, seconds)) for case in wanted]))
        return
    out = arguments.out or (OUT.with_stem("throughput_quick") if quick else OUT)
    rows = json.loads(out.read_text())["rows"] if out.exists() else []
    every = sorted({1, len(available())})
    for method in arguments.methods:
        for cores in arguments.cores or (every[-1:] if quick else every):
            rows = [r for r in rows if (r["method"], r["cores"]) != (method, cores)]
            series = "all" if cores == every[-1] else "cores"
            passed = ["--child", method, series, "--seconds", str(seconds)]
            passed += ["--quick"] if quick else []
            new = child("benchmarks.throughput", passed, cores)
            rows += [{"cores": cores} | row for row in new]
            Console(width=110).print(_table(method, cores, new))
        about = {"processor": processor(), "machine": machine(), "noise": NOISE}
        write(out, about | {"rows": rows, "slopes": slopes(rows, quick)})
    for slope in slopes(rows, quick):
        print(slope)


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: float(f"{v:.4g}") if isinstance(v, float) else v for key, v in row.items()}


def _table(method: str, cores: int, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=f"{method}, cores: {cores}")
    columns = ("batch", "rows/s", "p50 ms", "p95 ms", "batches", "compiling", "solved", "first s")
    columns += ("peak MiB",)
    for column in ("net", *columns):
        table.add_column(column, justify="left" if column == "net" else "right")
    for row in rows:
        table.add_row(row["net"], *(f"{row[column]:.3g}" for column in columns))
    return table


if __name__ == "__main__":
    main()
