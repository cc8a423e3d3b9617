"""A million observations in bounded memory, at the rate of the same rows held in memory."""

import json
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import jaxinv
from jaxinv.job import Job, executors, run

WIDTHS = (20, 100, 500)
BLOCK = 10_000
CHUNK = 1024


def memory(scratch: Path, rows: int, pairs: int, limit: float | None) -> dict[str, Any]:
    """Peak memory at `rows` and a tenth of it; the rate beside that of `jaxinv.invert`.

    limit: seconds after which a job is told to stop, and the rows finished by then are judged.
    """
    generator = jaxinv.Generator.random(WIDTHS, seed=0)
    net = scratch / "net.npz"
    jaxinv.save_generator(generator, net)
    sizes = [one_size(generator, net, scratch, n, limit) for n in (rows // 10, rows)]
    return {
        "net": "-".join(map(str, WIDTHS)),
        "chunk": CHUNK,
        "sizes": sizes,
        "rate beside memory": rates(generator, net, scratch, min(rows, 12 * CHUNK), pairs),
        "target": "peak below 2 GiB, the same at ten times the size; rate within 20% of memory's",
    }


def one_size(
    generator: Any, net: Path, scratch: Path, rows: int, limit: float | None
) -> dict[str, Any]:
    """Plant codes, run the job as a process of its own, and compare what it found."""
    data, folder = scratch / "x.npy", scratch / f"job-{rows}"
    codes = plant(generator, data, rows)
    begin = time.perf_counter()
    peak = run_job(net, data, folder, limit)
    seconds = time.perf_counter() - begin
    summary = json.loads((folder / "summary.json").read_text())
    job = Job.open(folder)
    worst = 0.0
    for number in job.shards.committed():
        found = job.shards.read(number)
        start, stop = job.shards.span(number)
        planted = codes[start:stop]
        error = np.linalg.norm(found["latent"] - planted, axis=1) / np.linalg.norm(planted, axis=1)
        worst = max(worst, float(np.max(error[found["status"] == 0], initial=0.0)))
    size = data.stat().st_size
    data.unlink()
    return {
        "rows": rows,
        "rows finished": summary["finished"],
        "file GiB": round(size / 2**30, 3),
        "peak MiB": round(peak / 2**20, 1),
        "seconds": round(seconds, 1),
        "rows/s": round(summary["finished"] / seconds, 1),
        "status": summary["status"],
        "largest error of a solved row": worst,
        "idle share": summary["last_run"]["idle_share"],
        "processor share": summary["last_run"]["processor_share"],
    }


def plant(generator: Any, path: Path, rows: int) -> np.ndarray:
    """Write observations G(z), z ~ N(0, I), block by block; returns the codes."""
    codes = np.random.default_rng(1).standard_normal((rows, generator.latent_size))
    layout = {"descr": "<f8", "fortran_order": False, "shape": (rows, generator.observation_size)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, layout)
        for start in range(0, rows, BLOCK):
            file.write(np.asarray(generator(codes[start : start + BLOCK])).tobytes())
    return codes


def run_job(net: Path, data: Path, folder: Path, limit: float | None) -> int:
    """The job as its user starts it; returns its peak resident memory in bytes."""
    command = [sys.executable, "-m", "jaxinv", "invert", str(net), str(data)]
    command += ["--out", str(folder), "--method", "exact", "--chunk", str(CHUNK)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    stop = threading.Timer(limit, process.send_signal, [signal.SIGTERM]) if limit else None
    if stop is not None:
        stop.start()
    peak = 0
    while process.poll() is None:
        peak = max(peak, high_water(process.pid))
        time.sleep(0.1)
    if stop is not None:
        stop.cancel()
    if process.returncode not in (0, 1, 75):
        raise RuntimeError(f"the job ended with {process.returncode}")
    return peak


def high_water(pid: int) -> int:
    """Peak resident bytes since the process began; rusage would count its parent's before exec."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(found[0]) * 1024 if found else 0


def rates(generator: Any, net: Path, scratch: Path, rows: int, pairs: int) -> dict[str, Any]:
    """Rows a second of the job and of `invert`, taken in turns in one process, compiled before."""

    data = scratch / "pair.npy"
    plant(generator, data, rows)
    held = np.load(data)
    job_rates, memory_rates = [], []
    for turn in range(-1, pairs):
        begin = time.perf_counter()
        np.asarray(jaxinv.invert(generator, held, "exact", chunk=CHUNK).latent)
        middle = time.perf_counter()
        job = Job.create(scratch / f"pair-{turn}", generator, data, "exact")
        run(job, partial(executors.threads, None), Silent(), chunk=CHUNK)
        end = time.perf_counter()
        if turn >= 0:  # the first turn compiles
            memory_rates.append(rows / (middle - begin))
            job_rates.append(rows / (end - middle))
    ratios = np.array(job_rates) / np.array(memory_rates)
    return {
        "rows": rows,
        "pairs": pairs,
        "job rows/s": [round(r, 1) for r in job_rates],
        "memory rows/s": [round(r, 1) for r in memory_rates],
        "median ratio": round(float(np.median(ratios)), 3),
    }


class Silent:
    """Watches a run and says nothing."""

    def begin(self, rows: int, done: int) -> None: ...

    def advance(self, done: Any, rows: int) -> None: ...

    def end(self) -> None: ...
