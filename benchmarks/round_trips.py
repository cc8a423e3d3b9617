"""How often a chunk goes to the device and back, counted on any machine: programs, copies, bytes.

    python -m benchmarks.round_trips [--quick] [--methods exact auto ...] [--out FILE]

An accelerator answers a program in microseconds and a question across its bus in tens of them, so
that these counts, which a CPU tells as well, are the least time a chunk takes there. Of one chunk,
warm: programs are what XLA executed (its profiler's word); a round trip is an array of the device
(or several at once) read on the host, which waits until all that they depend on has been computed;
bytes are those of the arrays in either direction. What a call does once, before or with its first
chunk, is left out. Of methods that are to run at tens of thousands of rows a second, the host's own
time a row as well, in a chunk as large as an accelerator's: processor time of the thread that asks,
the least of some runs, which XLA's threads and other work on the machine have no part in.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
from jax.profiler import ProfileData, ProfileOptions

import jaxinv
from benchmarks.joint_success import planted
from benchmarks.record import RESULTS, machine, write
from jaxinv.call.chunk import invert_chunk
from jaxinv.call.request import Options, checked
from jaxinv.model.precision import rounding_of
from jaxinv.settings import resolve

OUT = RESULTS / "round_trips.json"
EXECUTED = "ExecutePrepare"  # the end of the name of one event an execution
WIDTHS, QUICK_WIDTHS, NOISE = (20, 100, 500), (10, 40, 160), 1e-3
BATCHES, QUICK_BATCHES = (16, 64), (8,)
NOISY = "auto, noise"
LARGE, LARGE_WIDTHS, RUNS, FAST = 1 << 14, (8, 32, 96), 5, ("exact", "auto")
METHODS = ("exact", "auto", NOISY, "linf", "lm", "gd")


class Traffic:
    """What went to the device and back: programs, arrays sent, round trips, and bytes each way."""

    def __init__(self) -> None:
        self.programs = self.sent = self.round_trips = self.bytes_up = self.bytes_down = 0

    def send(self, part: Any) -> None:
        arrays = [p for p in jax.tree.leaves(part) if isinstance(p, np.ndarray | np.generic)]
        self.sent += len(arrays)
        self.bytes_up += sum(array.nbytes for array in arrays)

    def fetch(self, part: Any) -> None:
        arrays = [
            leaf
            for leaf in jax.tree.leaves(part)
            if isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer)
        ]
        self.round_trips += bool(arrays)
        self.bytes_down += sum(array.nbytes for array in arrays)


@contextmanager
def watched() -> Iterator[Traffic]:
    """Count every explicit copy between host and device, and every program, in all threads."""
    traffic = Traffic()

    def counting(original: Callable[..., Any], note: Callable[[Any], None]) -> Callable[..., Any]:
        def counted(part: Any, *rest: Any, **named: Any) -> Any:
            note(part)
            return original(part, *rest, **named)

        return counted

    options = ProfileOptions()
    options.python_tracer_level = 0
    with tempfile.TemporaryDirectory() as folder:
        with (
            patch.object(np, "asarray", counting(np.asarray, traffic.fetch)),
            patch.object(np, "array", counting(np.array, traffic.fetch)),
            patch.object(jnp, "asarray", counting(jnp.asarray, traffic.send)),
            patch.object(jax, "device_put", counting(jax.device_put, traffic.send)),
            patch.object(jax, "device_get", counting(jax.device_get, traffic.fetch)),
            jax.profiler.trace(folder, profiler_options=options),
        ):
            yield traffic
        [path] = Path(folder).rglob("*.xplane.pb")
        traffic.programs = executions(path)


def executions(path: Path) -> int:
    """Programs that were executed, by the profile that was written there."""
    planes = ProfileData.from_file(str(path)).planes
    return sum(
        event.name.endswith(EXECUTED)
        for plane in planes
        for line in plane.lines
        for event in line.events
    )


def measured(method: str, batch: int, quick: bool, activation: str = "relu") -> dict[str, Any]:
    """One chunk's programs, round trips and bytes, beside those of its observations and results."""
    widths = QUICK_WIDTHS if quick else WIDTHS
    generator = jaxinv.Generator.random(widths, seed=0, activation=activation)
    _, x = planted(generator, batch, 3)
    noise = NOISE if method in (NOISY, "linf") else 0.0
    x += np.random.default_rng(4).uniform(-noise, noise, x.shape)
    settings = resolve("auto" if method == NOISY else method)
    request, data = checked(generator, x, settings, Options(), rounding_of(x, None))
    invert_chunk(request, data, batch, 0)  # compiles
    with watched() as traffic:
        found = invert_chunk(request, data, batch, 0)
    moved = traffic.bytes_up + traffic.bytes_down
    results = sum(part.nbytes for part in jax.tree.leaves(found))
    return {
        "method": method,
        "rows": batch,
        "programs": traffic.programs,
        "round trips": traffic.round_trips,
        "arrays sent": traffic.sent,
        "bytes up a row": round(traffic.bytes_up / batch),
        "bytes down a row": round(traffic.bytes_down / batch),
        "times observations and results": round(moved / (x.nbytes + results), 2),
    }


def host_time(method: str) -> dict[str, Any]:
    """Microseconds a row of the thread that asks, without noise and every row determined."""
    generator = jaxinv.Generator.random(LARGE_WIDTHS, seed=0, activation="leaky_relu:0.3")
    _, x = planted(generator, LARGE, 3)
    request, data = checked(generator, x, resolve(method), Options(), rounding_of(x, None))
    invert_chunk(request, data, LARGE, 0)  # compiles
    seconds = []
    for _ in range(RUNS):
        began = time.thread_time()
        invert_chunk(request, data, LARGE, 0)
        seconds.append(time.thread_time() - began)
    return {
        "method": method,
        "rows": LARGE,
        "net": "-".join(map(str, LARGE_WIDTHS)),
        "host microseconds a row": round(1e6 * min(seconds) / LARGE, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small net, one batch")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=[*METHODS])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    quick = arguments.quick
    rows: list[dict[str, Any]] = []
    net = "-".join(map(str, QUICK_WIDTHS if quick else WIDTHS))
    found = {"machine": machine(), "net": net, "noise": NOISE, "rows": rows}
    out = arguments.out or (OUT.with_stem("round_trips_quick") if quick else OUT)
    for method in arguments.methods:
        for batch in QUICK_BATCHES if quick else BATCHES:
            rows.append(measured(method, batch, quick))
            print(rows[-1], flush=True)
            write(out, found)
    if not quick:
        found["host time"] = [host_time(m) for m in arguments.methods if m in FAST]
        print(found["host time"])
        write(out, found)


if __name__ == "__main__":
    main()
