"""Convolutional decoders: a race against Adam, recovery, labels, noise, and what a Jacobian costs.

    python -m benchmarks.convolutional [--quick] [--part NAME ...] [--nets NAME ...]
                                       [--net FILE ...] [--rows N] [--out FILE]

Nets: the two that jaxinv ships, two random ones (benchmarks/convolutional_nets.py), and those of
--net; the parts "jacobian" and "one observation" have a DCGAN of their own. Extra `bench`. The file
is written after each part of each net, and keeps what other runs found.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks import convolutional_accuracy as accuracy
from benchmarks import convolutional_usual as usual
from benchmarks.convolutional_nets import RANDOM, SHIPPED, loaded
from benchmarks.convolutional_race import race
from benchmarks.joint import rounded
from benchmarks.record import RESULTS, machine, write

ROWS = {"race": 64, "recovery": 200, "noise": 200}
ALONE = {"jacobian": usual.jacobian, "one observation": usual.alone}
QUICK_ROWS, QUICK_NETS = 8, ("random-dcgan-32",)


def measured(part: str, net: str, rows: int, seconds: float, quick: bool) -> dict[str, Any]:
    generator = loaded(net)
    if part == "race":
        return race(net, generator, rows, seconds, quick)
    return {"recovery": accuracy.recovery, "noise": accuracy.noise}[part](generator, rows)


def keep(out: Path, part: str, net: str, found: dict[str, Any]) -> None:
    """Read again, so that a run that was cut off loses one step at most."""
    known = json.loads(out.read_text()) if out.exists() else {}
    known = {"success": "||z - z*|| <= 1e-3 ||z*||, z* ~ N(0, I)"} | known
    known.setdefault(part, {})[net] = found
    write(out, known)
    print(json.dumps({part: {net: found}}, indent=1), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one net, few rows, a small DCGAN")
    parser.add_argument("--part", nargs="+", choices=(*ROWS, *ALONE), help="all, if not given")
    parser.add_argument("--nets", nargs="*", choices=(*SHIPPED, *RANDOM))
    parser.add_argument("--net", nargs="+", default=[], help="generators in files")
    parser.add_argument("--rows", type=int, help="other numbers of codes")
    parser.add_argument("--seconds", type=float, help="for tuning Adam, and for each of its runs")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    quick = given.quick
    out = given.out or RESULTS / f"convolutional{'_quick' if quick else ''}.json"
    nets = given.nets if given.nets is not None else (QUICK_NETS if quick else (*SHIPPED, *RANDOM))
    seconds = given.seconds or (3.0 if quick else 120.0)
    for part in given.part or (*ROWS, *ALONE):
        if part in ALONE:
            described = machine()
            keep(out, part, "DCGAN", {"machine": described} | rounded(ALONE[part](quick)))
            continue
        for net in (*nets, *given.net):
            described = machine()
            rows = given.rows or (QUICK_ROWS if quick else ROWS[part])
            found = rounded(measured(part, net, rows, seconds, quick))
            # A file goes by its name alone.
            keep(out, part, Path(net).stem, {"machine": described} | found)


if __name__ == "__main__":
    main()
