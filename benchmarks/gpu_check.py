"""Everything that is to be known of a CUDA host, in one command and eight minutes.

    python -m benchmarks.gpu_check [--wheels FOLDER] [--seconds 480] [--steps NAME ...] [--quick]
    python -m benchmarks.gpu_check --table FILE

The steps stand in the order of their worth; each is a benchmark of its own, in a process of its
own, with a time limit. results/gpu_check.json is written after each of them, and holds what a step
that failed or was cut off had found until then, with the sentence that says why. Where packages are
missing, and the host sees no index, fetch them elsewhere (for the host's Python) and bring the
folder:

    python -m pip download --no-deps --only-binary=:all: --python-version 3.12 \\
        --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \\
        --platform manylinux_2_17_x86_64 -d FOLDER \\
        clarabel cffi pycparser cvxpy osqp scs highspy qdldl sparsediffpy piqp

--wheels installs them into a folder that is removed afterwards. Without a GPU all runs on the CPU
and is written down as such.
"""

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu_table import tables
from benchmarks.record import RESULTS, write

OUT = RESULTS / "gpu_check.json"
# Without these nothing runs; a step that needs more names it.
REQUIRED = ("jax", "numpy", "scipy", "clarabel", "jaxtyping", "safetensors", "rich", "PIL", "optax")
SOLVERS = {"ClarabelPool": "clarabel", "PIQP dense": "piqp"}
RIVALS = {
    "auto": "jax",
    "auto, whole call": "jax",
    "exact, whole call": "jax",
    "optax, tuned": "optax",
    "PyTorch GD, tuned": "torch",
    "PyTorch Adam, restarts, tuned": "torch",
}
LEAST = 5.0  # seconds left for which a step is still begun


class Step(NamedTuple):
    """One benchmark: its module, what it is told, seconds at most, and names it does without.

    skipped: what is left out, by the package that is not installed.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    limit: float
    skipped: tuple[str, ...] = ()


def steps(quick: bool, have: frozenset[str]) -> list[Step]:
    """All of them, first what is worth most."""

    def usable(table: dict[str, str]) -> tuple[list[str], tuple[str, ...]]:
        missing = (f"{n}: {p} is not installed" for n, p in table.items() if p not in have)
        return [name for name, package in table.items() if package in have], tuple(missing)

    solvers, no_solver = usable(SOLVERS)
    rivals, no_rival = usable(RIVALS)
    small = ("--quick",)
    if quick:
        return [
            Step("agreement", "gpu_agreement", (*small, "--methods", "exact", "auto"), 120),
            Step("ceilings and kernels", "gpu", small, 300),
            Step("batches", "gpu_batches", (*small, "--methods", "exact"), 120),
            Step(
                "pools",
                "lp",
                (*small, "--objectives", "linf", "--solvers", "InteriorPoint", *solvers),
                120,
            ),
            Step("rivals", "peers", (*small, "--nets", "20-100-500", "--rivals", *rivals[:1]), 120),
            Step("profiles", "gpu_profile", (*small, "--methods", "exact"), 120),
        ]
    lp = ("--objectives", "linf", "--shapes", "600x250", "--batches", "256", "--seconds", "8")
    race = ("--nets", "60-250-600", "--rows", "1024", "--seconds", "4", "--rivals", *rivals)
    return [
        Step("agreement", "gpu_agreement", (), 90),
        Step("ceilings and kernels", "gpu", ("--no-pool", "--batches", "1024", "4096"), 140),
        Step("batches", "gpu_batches", (), 75),
        Step("pools", "lp", (*lp, "--solvers", "InteriorPoint", *solvers), 50, no_solver),
        Step("rivals", "peers", race, 75, no_rival),
        Step("profiles", "gpu_profile", (), 60),
    ]


def taken(step: Step, folder: Path, limit: float, environment: dict[str, str]) -> dict[str, Any]:
    """The step's record: what it found, how long it took, and how it ended."""
    path, log = folder / f"{step.module}.json", folder / f"{step.module}.log"
    command = [sys.executable, "-m", f"benchmarks.{step.module}", *step.arguments]
    begin = time.monotonic()
    with log.open("wb") as into:
        process = subprocess.Popen(
            [*command, "--out", str(path)],
            stdout=into,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            status = process.wait(limit)
            ended = "done" if status == 0 else f"failed ({status}): {last_words(log)}"
        except subprocess.TimeoutExpired:
            ended = f"cut off after {limit:.0f} s"
        finally:
            # Its own processes as well: pools of solvers outlive the one that began them.
            _killed(process)
    return {
        "step": step.name,
        "command": " ".join(("python -m", f"benchmarks.{step.module}", *step.arguments)),
        "seconds": round(time.monotonic() - begin, 1),
        "ended": ended,
        "skipped": list(step.skipped),
        "found": json.loads(path.read_text()) if path.exists() else None,
    }


def _killed(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # all of them have ended
    finally:
        process.wait()


def last_words(log: Path) -> str:
    """The last line that a process printed: an exception's own sentence."""
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "no word")


def installed(wheels: Path, target: Path) -> None:
    """The folder's wheels, into a folder of their own, without an index."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    files = sorted(map(str, wheels.glob("*.whl")))
    if not files:
        raise SystemExit(f"--wheels {wheels}: no .whl file in there")
    subprocess.run([*command, "--target", str(target), *files], check=True)


def packages(*more: str) -> frozenset[str]:
    """Which of the packages that are asked for can be imported here."""
    names = {*REQUIRED, *SOLVERS.values(), *RIVALS.values(), *more}
    return frozenset(name for name in names if importlib.util.find_spec(name))


def run(arguments: argparse.Namespace, folder: Path) -> bool:
    """All steps; whether each ended by itself, well."""
    environment = dict(os.environ)
    paths = [os.getcwd(), *filter(None, [os.environ.get("PYTHONPATH")])]
    if arguments.wheels:
        site = folder / "site"
        installed(arguments.wheels, site)
        sys.path.insert(0, str(site))
        paths.insert(0, str(site))
    have = packages()
    if absent := sorted(set(REQUIRED) - have):
        raise SystemExit(f"not installed: {', '.join(absent)}. --wheels FOLDER brings them; see -h")
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    # What one step compiles the next need not; PyTorch is to find memory beside JAX.
    environment |= {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    end = time.monotonic() + arguments.seconds
    record: dict[str, Any] = {"seconds": arguments.seconds, "quick": arguments.quick, "steps": []}
    for step in steps(arguments.quick, have):
        if arguments.steps and step.name not in arguments.steps:
            continue
        left = end - time.monotonic()
        if left < LEAST:
            record["steps"].append({"step": step.name, "ended": "not begun: no time is left"})
        else:
            now = taken(step, folder, min(arguments.limit or step.limit, left), environment)
            record["steps"].append(now)
        write(arguments.out, record)
        print(f"{step.name}: {record['steps'][-1]['ended']}", flush=True)
    return all(step["ended"] == "done" for step in record["steps"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small, a dry run")
    parser.add_argument("--wheels", type=Path, help="a folder of wheels to install first")
    parser.add_argument("--seconds", type=float, default=480.0, help="for all steps")
    parser.add_argument("--limit", type=float, help="for each step, in place of its own")
    parser.add_argument("--steps", nargs="+", choices=[s.name for s in steps(False, frozenset())])
    parser.add_argument("--table", type=Path, metavar="FILE", help="print its Markdown, and end")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    if arguments.table:
        print(tables(json.loads(arguments.table.read_text())))
        return
    with tempfile.TemporaryDirectory() as folder:
        if not run(arguments, Path(folder)):
            sys.exit(1)


if __name__ == "__main__":
    main()
