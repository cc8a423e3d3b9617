"""A job directory of very many shards: what status, resume and export take, in time and memory.

    python -m benchmarks.job_shards [--shards 100000] [--quick] [--out FILE]

The directory is a real job's, its shards are simulated: files as a worker commits them, of few rows
each, without the computation. Each command runs as a process of its own, as its user starts it;
memory is the peak that the process has held. "resume starts" is the time until the log says that
the run has begun; by then the directory has been checked and the missing shards are known.
Processor time is what a machine with nothing else to do would take. The times are those of a local
file system whose folders are in memory: a shared one answers each question (one a shard for a
listing with sizes, three for a file that is read) across a network.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import jaxinv
from benchmarks.job_memory import high_water, plant
from benchmarks.record import RESULTS, machine, write
from jaxinv.job import Job
from jaxinv.job.layout import Layout
from jaxinv.job.log import Log
from jaxinv.job.work import Done

WIDTHS, ROWS = (3, 8, 16), 4  # of the net, of a shard
SHARDS, QUICK_SHARDS = 100_000, 500
COMMANDS = {
    "status": ("status", "{job}"),
    "export .npz": ("export", "{job}", "{scratch}/out.npz"),
    "export .npy": ("export", "{job}", "{scratch}/out.npy"),
    "report": ("report", "{job}"),
    "export .parquet": ("export", "{job}", "{scratch}/out.parquet"),
}
TARGETS = {"status": 5.0, "resume starts": 20.0, "MiB": 1024}


def simulated(scratch: Path, shards: int) -> Job:
    """A job of which all shards but the last are there, and its log."""
    generator = jaxinv.Generator.random(WIDTHS, seed=0)
    data, folder = scratch / "x.npy", scratch / "job"
    codes = plant(generator, data, shards * ROWS)
    job = Job.create(folder, generator, data, "exact", shard_rows=ROWS)
    Layout.here(ROWS).freeze(job.layout_path)
    rows = np.zeros(len(codes), job.shards.type)
    rows["latent"] = codes
    told = asdict(Done(0, True, {0: ROWS}, ROWS, f"{os.uname().nodename}-1", *[0.0] * 5))
    lines = []
    for number in range(shards - 1):
        with open(job.shards.path(number), "wb") as file:
            np.save(file, rows[number * ROWS : (number + 1) * ROWS])
        now = {"begun": number * 0.1, "computed": number * 0.1, "finished": number * 0.1 + 0.1}
        lines.append(json.dumps({"time": 0.0, "event": "shard", **told, **now, "number": number}))
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n")
    return job


def taken(arguments: tuple[str, ...], job: Job, begun: bool = False) -> dict[str, Any]:
    """Seconds and peak memory of one command, and until the log says that a run has begun."""
    log = job.folder / "log.jsonl"
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    before, first = log.stat().st_size, None
    begin = time.perf_counter()
    command = [sys.executable, "-m", "jaxinv", *arguments]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        peak = 0
        while process.poll() is None:
            peak = max(peak, high_water(process.pid))
            if first is None and log.stat().st_size > before:
                first = time.perf_counter() - begin
            time.sleep(0.02)
        seconds = time.perf_counter() - begin
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines()
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = now.ru_utime + now.ru_stime - spent.ru_utime - spent.ru_stime
    row: dict[str, Any] = {"s": round(seconds, 2), "processor s": round(processor, 2)}
    row["MiB"] = round(peak / 2**20)
    if process.returncode not in (0, 1):
        row["failed"] = said[-1] if said else f"exit status {process.returncode}"
    if begun and first is not None:
        row["starts after s"] = round(first, 2)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SHARDS} shards")
    parser.add_argument("--folder", type=Path, help="where to put it; a temporary folder if not")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    shards = arguments.shards or (QUICK_SHARDS if arguments.quick else SHARDS)
    rows: list[dict[str, Any]] = []
    found = {"machine": machine(), "shards": shards, "rows of a shard": ROWS, "rows": rows}
    out = arguments.out or RESULTS / f"job_shards{'_quick' * arguments.quick}.json"
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        scratch = Path(folder)
        begin = time.perf_counter()
        job = simulated(scratch, shards)
        found["simulated in s"] = round(time.perf_counter() - begin, 1)

        def keep(name: str, row: dict[str, Any]) -> None:
            rows.append({"command": name} | row)
            print(rows[-1], flush=True)
            write(out, found)

        keep("status, one shard missing", taken(("status", str(job.folder)), job))
        keep("resume", taken(("resume", str(job.folder)), job, begun=True))
        assert len(list(Log(job.folder / "log.jsonl"))) == shards + 2
        for name, parts in COMMANDS.items():
            filled = tuple(p.format(job=job.folder, scratch=scratch) for p in parts)
            keep(name, taken(filled, job))


if __name__ == "__main__":
    main()
