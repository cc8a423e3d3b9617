"""What a job promises: bounded memory, crashes that lose nothing, loaders that cannot be harmed.

    python -m benchmarks.job [--quick] [--part memory|crashes|cluster|loaders] [--out FILE]

Parts are added to the JSON file one by one. Jobs run as processes of their own, as users start
them.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.job_crashes import cluster, crashes
from benchmarks.job_loaders import loaders
from benchmarks.job_memory import memory

OUT = Path(__file__).parent / "results" / "job.json"
PARTS = ("memory", "crashes", "cluster", "loaders")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=PARTS, action="append", help="all, if not given")
    parser.add_argument("--quick", action="store_true", help="the same at a small size")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the memory part")
    parser.add_argument("--limit", type=float, help="seconds for each of its jobs")
    parser.add_argument("--scratch", type=Path, help="folder for observations and jobs")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    for part in arguments.part or PARTS:
        with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
            begin = time.perf_counter()
            found = measure(part, Path(folder), arguments)
            found["seconds in all"] = round(time.perf_counter() - begin, 1)
        print(json.dumps({part: found}, indent=1), flush=True)
        # Read again: parts may run at the same time.
        results = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        results |= {"machine": machine(), part: {"quick": arguments.quick, **found}}
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


def measure(part: str, scratch: Path, asked: argparse.Namespace) -> dict[str, Any]:
    quick = asked.quick
    if part == "memory":
        return memory(scratch, 40_000 if quick else asked.rows, 2, asked.limit)
    if part == "crashes":
        return crashes(scratch, kills=3 if quick else 20, shards=30 if quick else 200)
    if part == "cluster":
        return cluster(scratch, shards=20 if quick else 60)
    return loaders(scratch, seconds=20 if quick else 600)


def machine() -> dict[str, Any]:
    packages = ("jaxinv", "jax", "numpy")
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


if __name__ == "__main__":
    main()
