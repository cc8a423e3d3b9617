"""End-to-end inversion beside what people use today: time until half and 90% of the codes are back.

    python -m benchmarks.peers [--quick] [--nets NAME ...] [--rivals NAME ...] [--rows 64]

Noiseless observations of codes z* ~ N(0, I); recovered means ||z - z*|| / ||z*|| <= 1e-3. Rivals
(extra `bench`; those not installed are left out): a CVXPY loop, scipy's linprog and NumPy's lstsq
an observation at a time and layer by layer; gradient descent in PyTorch, optax and jaxopt, batched,
tuned (benchmarks/tune_peers.py) and restarted; optimistix's Levenberg-Marquardt under vmap;
PyTorch's L-BFGS and PyPose's Levenberg-Marquardt, an observation at a time. Slow rivals get as many
rows, or as much of their run, as fit --seconds. benchmarks/peers_race.py says what the clock
counts. results/peers.json keeps what earlier runs found on other nets.
"""

import argparse
import json
from collections.abc import Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.peers_auto import staged, whole
from benchmarks.peers_descent import descents
from benchmarks.peers_layerwise import LAYERWISE
from benchmarks.peers_newton import newtons
from benchmarks.peers_race import NETS, SHARES, Rival, raced, task
from benchmarks.peers_torch import by_libraries
from benchmarks.record import machine, write

OUT = Path(__file__).parent / "results" / "peers.json"
PACKAGES = (
    "torch",
    "pypose",
    "optimistix",
    "lineax",
    "jaxopt",
    "optax",
    "cvxpy",
    "clarabel",
    "highspy",
)
OURS = "auto"
SEED = 20_000


def rivals(net: str) -> dict[str, Rival]:
    mine: dict[str, Rival] = {OURS: staged}
    for name, method in (("auto, whole call", "auto"), ("exact, whole call", "exact")):
        mine[name] = partial(whole, method)
    return mine | descents(net) | newtons() | by_libraries() | LAYERWISE


def compared(
    net: str, rows: int, seconds: float, names: list[str] | None
) -> Iterator[dict[str, Any]]:
    """What is known of the net after each rival: a run that is cut off loses one."""
    on, results = task(net, rows, SEED), []
    for name, rival in rivals(net).items():
        if names and name not in names:
            continue
        results.append({"rival": name} | rounded(raced(rival, on, seconds)))
        print(net, results[-1], flush=True)
        yield {"machine": machine() | versions(), "rows": rows, "results": results}


def versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: float(f"{value:.4g}") if isinstance(value, float) else value
        for name, value in row.items()
    }


def table(net: str, found: dict[str, Any]) -> Table:
    results = {row["rival"]: row for row in found["results"]}
    columns = [f"ms a row to {share:g}" for share in SHARES]
    shown = Table(title=f"{net}, {found['rows']} rows")
    for column in ("rival", "rows", "recovered", *columns, f"times {OURS}", "first call, s"):
        shown.add_column(column, justify="left" if column == "rival" else "right")
    base = results.get(OURS, {}).get(columns[-1])
    for name, row in results.items():
        if "failed" in row:
            shown.add_row(name, row["failed"][:60])
            continue
        last = row[columns[-1]]
        values = [row["rows"], row["recovered"], *(row[c] for c in columns)]
        values += [last / base if last and base else None, row["first call, s"]]
        shown.add_row(name, *("-" if v is None else f"{v:.3g}" for v in values))
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two nets, few rows, a second each")
    parser.add_argument("--nets", nargs="+", choices=NETS)
    parser.add_argument("--rivals", nargs="+", help="only these")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--seconds", type=float, help="for each rival")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    quick = arguments.quick
    out = arguments.out or (OUT.with_stem("peers_quick") if quick else OUT)
    known = json.loads(out.read_text())["nets"] if out.exists() else {}
    rows, seconds = (
        arguments.rows or (16 if quick else 64),
        arguments.seconds or (1.0 if quick else 3.0),
    )
    for net in arguments.nets or (NETS[0:3:2] if quick else NETS):
        for found in compared(net, rows, seconds, arguments.rivals):
            known[net] = found
            ordered = {name: known[name] for name in NETS if name in known}
            write(out, {"success": "||z - z*|| <= 1e-3 ||z*||, noiseless", "nets": ordered})
        Console(width=120).print(table(net, known[net]))


if __name__ == "__main__":
    main()
