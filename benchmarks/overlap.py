"""Does a stream hide the device's work behind the pool's, or the other way round?

    python -m benchmarks.overlap [--quick] [--out benchmarks/results/overlap.json]

Method linf with the Clarabel pool on 20-100-500 under uniform noise. Apart: chunk after chunk,
pool time being what passes inside the pool's solve and device time all the rest (on a machine
without an accelerator, host work included). Together: one `invert_stream`. The target is a wall
time of at most 1.15 times the larger of the two; each repeat measures apart, then together, since
a machine's load changes.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import jaxinv
from benchmarks.record import machine
from jaxinv.lp import clarabel_pool

OUT = Path(__file__).parent / "results" / "overlap.json"
WIDTHS, QUICK_WIDTHS = (20, 100, 500), (10, 40, 160)
TARGET = 1.15
METHOD = jaxinv.LinfLP(solver=jaxinv.ClarabelPool())


class PoolClock:
    """Adds up the wall time of the pool's solve while it stands in its place."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.original = clarabel_pool.solve

    def __enter__(self) -> "PoolClock":
        clarabel_pool.solve = self.solve
        return self

    def __exit__(self, *_: object) -> None:
        clarabel_pool.solve = self.original

    def solve(self, *arguments: Any) -> Any:
        begin = time.perf_counter()
        answer = self.original(*arguments)
        self.seconds += time.perf_counter() - begin
        return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small net, few rows")
    parser.add_argument("--chunks", type=int, default=4)
    parser.add_argument("--rows", type=int, default=8, help="rows of a chunk")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--noise", type=float, default=1e-2)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    widths = QUICK_WIDTHS if arguments.quick else WIDTHS
    generator = jaxinv.Generator.random(widths, seed=0)
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((arguments.chunks * arguments.rows, widths[0]))
    clean = np.asarray(generator(latent))
    noisy = clean + rng.uniform(-arguments.noise, arguments.noise, clean.shape)
    chunks = np.split(noisy, arguments.chunks)
    jaxinv.invert(generator, chunks[0], METHOD)  # compiles
    runs = []
    for _ in range(arguments.repeats):
        pool, device = apart(generator, chunks)
        wall = together(generator, chunks)
        runs.append(
            {
                "pool s": round(pool, 3),
                "device s": round(device, 3),
                "stream s": round(wall, 3),
                "ratio": round(wall / max(pool, device), 3),
            }
        )
        print(runs[-1], flush=True)
    ratio = float(np.median([run["ratio"] for run in runs]))
    results = {
        "machine": machine(),
        "net": "-".join(map(str, widths)),
        "chunks": arguments.chunks,
        "rows": arguments.rows,
        "noise": arguments.noise,
        "runs": runs,
        "median ratio": ratio,
        "target": TARGET,
        "met": ratio <= TARGET,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    print(f"median ratio {ratio:.3f}, target {TARGET}; written to {arguments.out}")


def apart(generator: jaxinv.Generator, chunks: list[np.ndarray]) -> tuple[float, float]:
    """Seconds inside and outside the pool, one chunk at a time."""
    begin = time.perf_counter()
    with PoolClock() as pool:
        for chunk in chunks:
            np.asarray(jaxinv.invert(generator, chunk, METHOD).latent)
    return pool.seconds, time.perf_counter() - begin - pool.seconds


def together(generator: jaxinv.Generator, chunks: list[np.ndarray]) -> float:
    """Seconds of one stream over all chunks."""
    begin = time.perf_counter()
    for found in jaxinv.invert_stream(generator, chunks, METHOD):
        np.asarray(found.latent)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
