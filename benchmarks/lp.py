"""Linear programs a second, this project's solvers beside others, on the same programs.

    python -m benchmarks.lp [--quick] [--shapes 500x100 ...] [--batches 256 ...] [--out FILE]

The programs are those of a ReLU layer with N(0, 1/n) weights under uniform noise, l_inf and l1,
recentred as the package recentres them; a batch repeats them after DISTINCT. A solver that is slow
gets as many of a batch as fit --seconds (at least two a core) and is reported per program. Accuracy
is judged on the first JUDGED of them: the relative excess of the objective, recomputed here from
the returned point, over the certified optimum. The first call of a shape, which compiles, is
reported apart. Times compare within one call of this script: "times slower" is relative to
InteriorPoint beside it. Cells measured before are kept, solver by solver.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.lp_rivals import Rival, rivals
from benchmarks.record import machine
from jaxinv.layerwise.constraints import Rows, l1_rows, linf_rows
from jaxinv.lp.problem import IntervalLP, certify
from jaxinv.lp.solve import run_backend
from jaxinv.model.activation import Activation
from jaxinv.settings import InteriorPoint

OUT = Path(__file__).parent / "results" / "lp.json"
SHAPES, BATCHES = ("100x20", "500x100", "600x250", "784x500"), (1, 32, 256, 2048)
QUICK_SHAPES, QUICK_BATCHES = ("100x20",), (32,)
BUILD = {"linf": linf_rows, "l1": l1_rows}
NOISE = 1e-3
DISTINCT, JUDGED = 256, 32


def programs(objective: str, n: int, k: int, count: int, seed: int = 0) -> IntervalLP:
    """Recentred programs of `count` observations of one layer, tolerance twice the noise."""
    repeated, count = np.arange(count) % DISTINCT, min(count, DISTINCT)
    rng = np.random.default_rng([seed, n, k])
    w = rng.standard_normal((n, k)) / np.sqrt(n)
    z = np.maximum(rng.standard_normal((count, k)), 0.0)
    x = np.maximum(z @ w.T, 0.0) + rng.uniform(-NOISE, NOISE, (count, n))
    box = np.zeros((count, k)), np.full((count, k), np.inf)
    rows = Rows(w, np.zeros(n), Activation.parse("relu"), x, np.ones_like(x), box)
    program = BUILD[objective](rows, np.full(count, 2 * NOISE))
    active = [np.linalg.lstsq(w[row > 2 * NOISE], row[row > 2 * NOISE], rcond=None)[0] for row in x]
    centre = np.maximum(np.array(active), 0.0)
    return program.recentred(centre, program.least_slack(centre).max(-1)).take(repeated)


def excess(program: IntervalLP, latent: np.ndarray, optimum: np.ndarray) -> np.ndarray:
    """How far above the optimum the returned points are, relative to max(optimum, floor)."""
    inside = np.clip(latent, program.box_lower, program.box_upper)
    slack = program.least_slack(inside)
    value = slack.max(-1) if program.slack.name == "SHARED" else slack.sum(-1)
    return (value - optimum) / np.maximum(optimum, program.floor)


def measured(name: str, solve: Rival, program: IntervalLP, seconds: float) -> dict[str, Any]:
    """Seconds a program and accuracy of one solver; a failure is a result."""
    fewest = min(program.batch_size, 2 * (os.cpu_count() or 1))
    try:
        begin = time.perf_counter()
        solve(program.take(slice(0, fewest)))
        first = time.perf_counter() - begin
        begin = time.perf_counter()
        solve(program.take(slice(0, fewest)))
        each = (time.perf_counter() - begin) / fewest
        count = int(np.clip(seconds / each, fewest, program.batch_size))
        some = program.take(slice(0, count))
        if name == "InteriorPoint":
            solve(some)
        begin = time.perf_counter()
        latent = solve(some)
        elapsed = time.perf_counter() - begin
    except Exception as error:
        return {"solver": name, "failed": f"{type(error).__name__}: {error}"[:200]}
    return {
        "solver": name,
        "programs": count,
        "ms a program": 1e3 * elapsed / count,
        "first call, s": first,
        "latent": latent,
    }


def compared(
    objective: str, shape: str, batch: int, names: list[str] | None, seconds: float
) -> list[dict[str, Any]]:
    n, k = (int(part) for part in shape.split("x"))
    program = programs(objective, n, k, batch)
    judged = program.take(slice(0, JUDGED))
    certificate = certify(judged, run_backend(judged, InteriorPoint()))
    rows = []
    for name, solve in rivals().items():
        if names and name not in names:
            continue
        row = measured(name, solve, program, seconds)
        if "latent" in row:
            latent = row.pop("latent")
            count = min(len(latent), JUDGED)
            some = judged.take(slice(0, count))
            off = excess(some, latent[:count], certificate.objective[:count])
            row["solved"] = float(np.isfinite(latent).all(-1).mean())
            row["median excess"] = float(np.nanmedian(off)) if np.isfinite(off).any() else None
            row["largest excess"] = float(np.nanmax(off)) if np.isfinite(off).any() else None
        certified = float(certificate.holds().mean())
        head = {"objective": objective, "shape": shape, "batch": batch, "certified": certified}
        rows.append(head | row)
    base = next((r for r in rows if r["solver"] == "InteriorPoint"), None)
    for row in rows:
        if base and "ms a program" in row:
            row["times slower"] = row["ms a program"] / base["ms a program"]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one small shape, a minute")
    parser.add_argument("--shapes", nargs="+")
    parser.add_argument("--batches", nargs="+", type=int)
    parser.add_argument("--objectives", nargs="+", choices=[*BUILD], default=[*BUILD])
    parser.add_argument("--solvers", nargs="+", help="only these")
    parser.add_argument("--seconds", type=float, help="for each solver and cell")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    shapes = arguments.shapes or (QUICK_SHAPES if arguments.quick else SHAPES)
    batches = arguments.batches or (QUICK_BATCHES if arguments.quick else BATCHES)
    seconds = arguments.seconds or (2.0 if arguments.quick else 10.0)
    console, results = Console(), {"machine": machine(), "rows": []}
    if arguments.out.exists():
        results["rows"] = json.loads(arguments.out.read_text())["rows"]
    for objective in arguments.objectives:
        for shape in shapes:
            for batch in batches:
                rows = compared(objective, shape, batch, arguments.solvers, seconds)
                console.print(_table(rows))
                fresh = {_cell(r) for r in rows}
                results["rows"] = [r for r in results["rows"] if _cell(r) not in fresh] + rows
                arguments.out.write_text(json.dumps(results, indent=1) + "\n")


def _cell(row: dict[str, Any]) -> tuple[str, str, int, str]:
    return row["objective"], row["shape"], row["batch"], row["solver"]


def _table(rows: list[dict[str, Any]]) -> Table:
    head = rows[0]
    table = Table(title=f"{head['objective']} {head['shape']}, batch {head['batch']}")
    columns = ("programs", "ms a program", "times slower", "solved", "median excess")
    for column in ("solver", *columns, "largest excess"):
        table.add_column(column, justify="left" if column == "solver" else "right")
    for row in rows:
        if "failed" in row:
            table.add_row(row["solver"], "failed", row["failed"][:40])
            continue
        values = (row.get(c) for c in (*columns, "largest excess"))
        table.add_row(row["solver"], *("" if v is None else f"{v:.3g}" for v in values))
    return table


if __name__ == "__main__":
    main()
