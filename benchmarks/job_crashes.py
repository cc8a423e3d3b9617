"""kill -9 at random moments, of the run or of one of its workers: nothing lost, nothing twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import jaxinv
from benchmarks.job_memory import plant
from jaxinv.job import Job

WIDTHS = (20, 100, 500)
SHARD_ROWS, CHUNK = 256, 128
PATIENCE = 600.0


def crashes(scratch: Path, kills: int, shards: int) -> dict[str, Any]:
    """Two worker processes, killed with their run or alone; the export beside a quiet run's."""
    command, quiet = prepared(scratch, shards)
    rng = np.random.default_rng(0)
    targets = np.sort(rng.choice(shards - 4, kills, replace=False))
    folder = scratch / "job"
    victims: Counter[str] = Counter()
    orphans, runs, stamps = 0, 0, {}
    process: subprocess.Popen[bytes] | None = None
    try:
        for target in targets:
            if process is None:
                process = start([*command, "--workers", "2"], folder)
                runs += 1
            wait_for(folder, int(target), process)
            time.sleep(float(rng.uniform(0, 1.0)))
            stamps |= {k: v for k, v in committed(folder).items() if k not in stamps}
            workers = children(process.pid)
            if workers and rng.random() < 0.4:
                # One worker: the run notices, starts new ones and goes on.
                os.kill(int(rng.choice(workers)), signal.SIGKILL)
                victims["worker"] += 1
                continue
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            victims["run"] += 1
            process = None
            orphans += surviving(workers)
        process = process or start(["resume", str(folder), "--workers", "2"], folder)
        code = process.wait(PATIENCE)
    finally:
        if process is not None and process.poll() is None:
            process.kill()
    now = committed(folder)
    return {
        "shards": shards,
        "kills": dict(victims),
        "exit code of the last run": code,
        "rewritten shards": sum(now[name] != stamp for name, stamp in stamps.items()),
        "committed shards computed again": recomputed(folder),
        "workers that outlived their run by 10 s": orphans,
        "export byte-identical": exported(folder) == quiet,
        "leftover temporary files": len(list((folder / "shards").glob(".*"))),
    }


def cluster(scratch: Path, shards: int) -> dict[str, Any]:
    """A Dask cluster of two worker processes on this machine, one of them killed half-way."""
    from distributed import LocalCluster

    command, quiet = prepared(scratch, shards)
    folder = scratch / "job"
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as dask:
        before = {w: info["pid"] for w, info in worker_pids(dask).items()}
        process = start([*command, "--cluster", dask.scheduler_address], folder)
        wait_for(folder, shards // 2, process)
        os.kill(next(iter(before.values())), signal.SIGKILL)
        code = process.wait(PATIENCE)
        after = {info["pid"] for info in worker_pids(dask).values()}
    job = Job.open(folder)
    return {
        "shards": shards,
        "workers before": len(before),
        "killed workers gone": len(set(before.values()) - after),
        "exit code": code,
        "rows": int(sum(len(rows) for rows in job.shards)),
        "rows expected": shards * SHARD_ROWS,
        "export byte-identical to a run without cluster": exported(folder) == quiet,
    }


def worker_pids(dask: Any) -> dict[str, Any]:
    from distributed import Client

    with Client(dask) as client:
        return {w: {"pid": pid} for w, pid in client.run(os.getpid).items()}


def prepared(scratch: Path, shards: int) -> tuple[list[str], bytes]:
    """Arguments of the job without its directory's fate, and the export of a quiet run of it."""
    generator = jaxinv.Generator.random(WIDTHS, seed=0)
    net, data = scratch / "net.npz", scratch / "x.npy"
    jaxinv.save_generator(generator, net)
    plant(generator, data, shards * SHARD_ROWS)
    command = ["invert", str(net), str(data), "--method", "exact", "--chunk", str(CHUNK)]
    command += ["--shard-rows", str(SHARD_ROWS)]
    quiet = scratch / "quiet"
    if start([*command, "--out", str(quiet)], quiet).wait() != 0:
        raise RuntimeError("the quiet run failed")
    return [*command, "--out", str(scratch / "job")], exported(quiet)


def start(arguments: list[str], folder: Path) -> "subprocess.Popen[bytes]":
    errors = open(folder.with_suffix(".errors"), "ab")  # noqa: SIM115 - the child's
    return subprocess.Popen([sys.executable, "-m", "jaxinv", *arguments], stderr=errors)


def wait_for(folder: Path, count: int, process: "subprocess.Popen[bytes]") -> None:
    """Until so many shards are committed."""
    deadline = time.monotonic() + PATIENCE
    while len(committed(folder)) < count or not (folder / "shards").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the run ended early, exit code {process.poll()}")
        time.sleep(0.02)


def committed(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of change of every committed shard."""
    found = {}
    for path in (folder / "shards").glob("*.npy"):
        status = path.stat()
        found[path.name] = (status.st_ino, status.st_mtime_ns)
    return found


def children(pid: int) -> list[int]:
    """Worker processes of a run; Python's resource tracker is not one."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    found = [int(c) for c in listed.read_text().split()] if listed.exists() else []
    return [c for c in found if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]


def surviving(pids: list[int]) -> int:
    """How many of these processes are still there after ten seconds."""
    for _ in range(100):
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return 0
        time.sleep(0.1)
    return sum(Path(f"/proc/{pid}").exists() for pid in pids)


def recomputed(folder: Path) -> int:
    """Shards computed although they had been committed: by the log, or told by the commit."""
    seen: set[int] = set()
    again = 0
    for line in (folder / "log.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["event"] == "shard":
            twice = entry["number"] in seen or not entry["committed"]
            again += twice and entry["computed"] > entry["begun"]
            seen.add(entry["number"])
    return again


def exported(folder: Path) -> bytes:
    out = folder.with_suffix(".npz")
    command = [sys.executable, "-m", "jaxinv", "export", str(folder), str(out)]
    subprocess.run(command, check=True)
    return out.read_bytes()
