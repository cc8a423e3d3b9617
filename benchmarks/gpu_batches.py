"""Rows a second of whole chunks, twice as large each time, until memory ends or a run is slow.

    python -m benchmarks.gpu_batches [--quick] [--methods exact auto linf] [--out FILE]

One chunk of the batch's size is computed at once, so that nothing is halved: the row at which
memory ends says so. Peak memory is the device's own figure of the process so far; a CPU has none.
"""

import argparse
import time
from itertools import takewhile
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxinv
from benchmarks.gpu import NOISE, WIDTHS
from benchmarks.joint_success import planted
from benchmarks.record import RESULTS, machine, write
from jaxinv.call.chunk import invert_chunk
from jaxinv.call.memory import MEMORY_ERRORS, memory_ended
from jaxinv.call.request import Options, checked
from jaxinv.model.precision import rounding_of

FIRST, LARGEST = 256, 1 << 17
QUICK_FIRST, QUICK_LARGEST = 8, 16
SLOW = 10.0  # seconds of one run; the next would take twice as long


def measured(generator: jaxinv.Generator, method: str, batch: int) -> dict[str, Any]:
    """One chunk of the batch, the second time that it is computed."""
    noise = NOISE if method == "linf" else 0.0
    _, x = planted(generator, batch, 3)
    x += np.random.default_rng(4).uniform(-noise, noise, x.shape)
    settings = jaxinv.settings.resolve(method)
    request, data = checked(generator, x, settings, Options(), rounding_of(x, None))
    row: dict[str, Any] = {"method": method, "batch": batch}
    try:
        seconds = []
        for _ in range(2):
            begin = time.perf_counter()
            found = invert_chunk(request, data, batch, 0)
            good = float(np.asarray(found.ok).mean())
            seconds.append(time.perf_counter() - begin)
    except MEMORY_ERRORS as error:
        if not memory_ended(error):
            raise
        return row | {"ended": "memory"}
    statistics = jax.devices()[0].memory_stats() or {}
    peak = statistics.get("peak_bytes_in_use")
    return row | {
        "rows/s": float(f"{batch / seconds[-1]:.4g}"),
        "good": good,
        "first call, s": round(seconds[0], 2),
        "peak GiB": None if peak is None else round(peak / 2**30, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two small batches of a small net")
    parser.add_argument("--methods", nargs="+", default=["exact", "auto", "linf"])
    parser.add_argument("--seconds", type=float, default=20.0, help="for each method")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    quick = arguments.quick
    first, largest = (QUICK_FIRST, QUICK_LARGEST) if quick else (FIRST, LARGEST)
    widths = (4, 12, 40) if quick else WIDTHS
    generator = jaxinv.Generator.random(widths, seed=0)
    rows: list[dict[str, Any]] = []
    found = {"machine": machine(), "net": "-".join(map(str, widths)), "rows": rows}
    out = arguments.out or RESULTS / f"gpu_batches{'_quick' * quick}.json"
    batches = list(takewhile(lambda b: b <= largest, (first << i for i in range(20))))
    for method in arguments.methods:
        begin = time.perf_counter()
        for batch in batches:
            rows.append(measured(generator, method, batch))
            print(rows[-1], flush=True)
            write(out, found)
            if "ended" in rows[-1]:
                break
            spent = time.perf_counter() - begin
            if not quick and (spent > arguments.seconds or batch / rows[-1]["rows/s"] > SLOW):
                break


if __name__ == "__main__":
    main()
