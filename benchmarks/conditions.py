"""Conditions measured once: rows that are kept in a JSON file, failures too, and resumed.

A condition (a net, a method, a noise level, ...) is measured once and its rows stay in the file,
those without an answer too: error null, and a status. What is there is not computed again. Two runs
must not write one file at a time.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxinv
from benchmarks.exact import SUCCESS, recovery_error
from benchmarks.record import RESULTS, machine, write
from benchmarks.tune_gd import settings

SUCCEEDS = f"||z - z*||_2 <= {SUCCESS:g} ||z*||_2"
PAPER_RANDOM, PAPER_MNIST = (
    jaxinv.GradientDescent.paper("random"),
    jaxinv.GradientDescent.paper("mnist"),
)


def tuned(file: str, family: str | None = None) -> jaxinv.GradientDescent:
    """The settings benchmarks/tune_gd.py chose: in gd_success, or for a family in gd_tuning."""
    content = json.loads((RESULTS / f"{file}.json").read_text())
    if family is None:
        return settings(content["tuned"])
    return settings(next(f["winner"] for f in content["families"] if f["family"] == family))


def arguments(document: str, name: str) -> argparse.ArgumentParser:
    """The options every figure has; its data go to `out`, its picture beside them."""
    parser = argparse.ArgumentParser(description=document.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a minute, to see that it works")
    parser.add_argument("--plot", action="store_true", help="only draw what has been measured")
    parser.add_argument("--methods", nargs="+", help="measure these only")
    parser.add_argument(
        "--limit", type=float, default=np.inf, help="seconds after which to begin nothing new"
    )
    parser.add_argument("--out", type=Path, help=f"default benchmarks/results/{name}.json")
    return parser


class Data:
    """What has been measured, one entry a condition, and the file it is kept in."""

    def __init__(self, name: str, given: argparse.Namespace, about: dict[str, Any]) -> None:
        self.path = given.out or RESULTS / f"{name}{'_quick' if given.quick else ''}.json"
        self.picture = self.path.with_suffix(".png")
        self.plot_only, self.methods = given.plot, given.methods
        self.end = time.monotonic() + given.limit
        # What JSON makes of it, so that tuples read back compare equal.
        about = json.loads(json.dumps(about))
        self.content: dict[str, Any] = {"about": about, "machine": machine(), "conditions": []}
        self.content["status"] = {status.name: int(status) for status in jaxinv.Status}
        if self.path.exists():
            self.content = json.loads(self.path.read_text())
            if self.content["about"] != about:
                raise SystemExit(
                    f"{self.path} was measured with {self.content['about']}, not with {about}; "
                    "move it away or name another --out"
                )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.content["conditions"])

    def find(self, **condition: Any) -> dict[str, Any] | None:
        """The entry of a condition, if it has been measured."""
        return next((entry for entry in self if condition.items() <= entry.items()), None)

    def wants(self, method: str) -> bool:
        """Whether to measure a method now: it was asked for, and there is time."""
        asked = self.methods is None or method in self.methods
        return asked and not self.plot_only and time.monotonic() < self.end

    def keep(self, entry: dict[str, Any]) -> None:
        """Add an entry (or its new rows, where it is there already) and write the file."""
        if not any(entry is known for known in self):
            self.content["conditions"].append(entry)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write(self.path, self.content)
        print({k: v for k, v in entry.items() if not isinstance(v, list)}, flush=True)


def columns(found: jaxinv.Inversion, latent: np.ndarray) -> dict[str, list[Any]]:
    """The rows of an inversion as they are kept: relative error (null: no answer) and status."""
    error = recovery_error(found, latent)
    return {
        "error": [float(f"{e:.3g}") if np.isfinite(e) else None for e in error],
        "status": np.asarray(found.status).tolist(),
    }


def errors(entry: dict[str, Any]) -> np.ndarray:
    """The relative errors of an entry's rows, infinite where there is no answer."""
    return np.array([np.inf if e is None else e for e in entry["error"]])


class Calls:
    """Seconds of the calls of one kind: cold, the first and any other that compiles, and warm."""

    def __init__(self) -> None:
        self.cold: list[float] = []
        self.warm: list[float] = []

    def timed(self, call: Callable[[], jaxinv.Inversion]) -> jaxinv.Inversion:
        """Make the call, wait for its latents, and count it where it belongs."""
        with compilations() as compiled:
            begin = time.perf_counter()
            found = call()
            np.asarray(found.latent)
            taken = time.perf_counter() - begin
        (self.cold if compiled or not self.cold else self.warm).append(taken)
        return found


@contextmanager
def compilations() -> Iterator[list[float]]:
    """The seconds of every compilation that happens inside."""
    seen: list[float] = []

    def listen(event: str, seconds: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
