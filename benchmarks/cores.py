"""A benchmark in a process of its own, on a stated number of cores, thread pools as large as that.

taskset confines the process; OpenBLAS, OpenMP, MKL and XLA are told as well, since a pool that is
larger than its cores makes a small product take many times as long.
"""

import json
import os
import subprocess
import sys
from typing import Any

POOLS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def available() -> list[int]:
    """The cores this process may use."""
    return sorted(os.sched_getaffinity(0))


def child(module: str, arguments: list[str], cores: int) -> Any:
    """What `python -m module arguments` prints as JSON on its last line, run on so many cores."""
    chosen = available()[:cores]
    environment = os.environ | dict.fromkeys(POOLS, str(len(chosen)))
    if len(chosen) == 1:
        flags = os.environ.get("XLA_FLAGS", "")
        environment["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false"
    command = ["taskset", "-c", ",".join(map(str, chosen)), sys.executable, "-m", module]
    answer = subprocess.run(
        [*command, *arguments], check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    return json.loads(answer.stdout.splitlines()[-1])


def processor() -> str:
    """The processor's name (Linux), empty where it has none."""
    with open("/proc/cpuinfo") as lines:
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else ""
