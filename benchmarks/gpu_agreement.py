"""Does the accelerator give the answers of the CPU, method by method, on the same observations?

    python -m benchmarks.gpu_agreement [--quick] [--out FILE]

A process with JAX_PLATFORMS=cpu inverts them beside this one, which takes JAX's own device. Two
devices add up in another order, so that their bits differ: rows that both call SOLVED must have
latents within a method's tolerance of each other, relative to the CPU's, and statuses are counted.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxinv
from benchmarks.joint_success import planted
from benchmarks.record import RESULTS, machine, write

WIDTHS, QUICK_WIDTHS = (20, 100, 500), (4, 12, 40)
ROWS, QUICK_ROWS = 32, 4
NOISE = 1e-3
WAIT = 120.0  # seconds for the other process's answer


class Case(NamedTuple):
    """A method, its noise, and how far apart two SOLVED latents may be, relative."""

    name: str
    method: str
    noise: float
    tolerance: float


# Exact data fix a code up to rounding times the condition. Under noise the programs' optima are
# certified to 1e-8 of the noise, the fits end where no step helps; descent ends where it is told.
CASES = (
    Case("exact", "exact", 0.0, 1e-8),
    Case("auto", "auto", 0.0, 1e-8),
    Case("auto, noise", "auto", NOISE, 1e-6),
    Case("linf", "linf", NOISE, 1e-6),
    Case("lm", "lm", 0.0, 1e-8),
    Case("gd", "gd", 0.0, 1e-3),
    Case("l1", "l1", NOISE, 1e-6),
    Case("relaxed", "relaxed", NOISE, 1e-6),
)


class Answer(NamedTuple):
    """latent: (B, k). status: (B,)."""

    latent: np.ndarray
    status: np.ndarray


def answered(case: Case, quick: bool) -> tuple[Answer, np.ndarray]:
    """What this process's device says, and the codes that were planted."""
    generator = jaxinv.Generator.random(QUICK_WIDTHS if quick else WIDTHS, seed=0)
    truth, x = planted(generator, QUICK_ROWS if quick else ROWS, 3)
    x += np.random.default_rng(4).uniform(-case.noise, case.noise, x.shape)
    found = jaxinv.invert(generator, x, case.method)
    return Answer(np.asarray(found.latent), np.asarray(found.status)), truth


def compared(case: Case, here: Answer, cpu: Answer, truth: np.ndarray) -> dict[str, Any]:
    """A row of results: how alike the two are, and how far both are from the planted codes."""
    size = np.linalg.norm(cpu.latent, axis=1)
    apart = np.linalg.norm(here.latent - cpu.latent, axis=1) / size
    solved = int(jaxinv.Status.SOLVED)
    both = (here.status == solved) & (cpu.status == solved)
    off = np.linalg.norm(here.latent - truth, axis=1) / np.linalg.norm(truth, axis=1)
    furthest = float(apart[both].max()) if both.any() else None
    return {
        "method": case.name,
        "rows": len(truth),
        "same status": float((here.status == cpu.status).mean()),
        "both solved": float(both.mean()),
        "furthest apart": furthest,
        "tolerance": case.tolerance,
        "agree": furthest is not None and furthest <= case.tolerance,
        "median error": float(np.nanmedian(off)),
    }


def awaited(path: Path, other: subprocess.Popen[bytes]) -> Answer:
    """The other process's answer, as soon as it is there."""
    end = time.monotonic() + WAIT
    while not path.exists():
        if other.poll() not in (None, 0) or time.monotonic() > end:
            raise RuntimeError(f"the CPU gave no answer ({path.stem}); exit status {other.poll()}")
        time.sleep(0.05)
    with np.load(path) as kept:
        return Answer(kept["latent"], kept["status"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small net, four rows")
    parser.add_argument("--methods", nargs="+", choices=[c.name for c in CASES], help="only these")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--answers", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    quick = arguments.quick
    cases = [c for c in CASES if not arguments.methods or c.name in arguments.methods]
    if arguments.answers:
        for number, case in enumerate(cases):
            answer, _ = answered(case, quick)
            # Renamed into place: what is there is whole.
            part = arguments.answers / f"{number}.part.npz"
            np.savez(part, **answer._asdict())
            part.rename(arguments.answers / f"{number}.npz")
        return
    rows: list[dict[str, Any]] = []
    out = arguments.out or RESULTS / f"gpu_agreement{'_quick' * quick}.json"
    with tempfile.TemporaryDirectory() as folder:
        own = [sys.executable, "-m", "benchmarks.gpu_agreement", "--answers", folder]
        own += ["--methods", *(case.name for case in cases)]
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        other = subprocess.Popen([*own, *["--quick"] * quick], env=environment)
        try:
            found = {"device": jax.devices()[0].device_kind, "machine": machine(), "rows": rows}
            for number, case in enumerate(cases):
                try:
                    here, truth = answered(case, quick)
                    cpu = awaited(Path(folder) / f"{number}.npz", other)
                    rows.append(compared(case, here, cpu, truth))
                except Exception as error:
                    # A method that fails is a result, and the others are still to be seen.
                    problem = f"{type(error).__name__}: {error}"[:300]
                    rows.append({"method": case.name, "failed": problem})
                print(rows[-1], flush=True)
                write(out, found)
        finally:
            other.kill()
            other.wait()


if __name__ == "__main__":
    main()
