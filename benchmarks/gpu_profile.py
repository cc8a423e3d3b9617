"""Where a method's time goes on the device: JAX's profiler over one warm call.

    python -m benchmarks.gpu_profile [--quick] [--methods exact auto linf] [--out FILE]

For each method: the wall time, how long anything ran on the device (kernels that overlap counted
once), how many events and copies there were, and the names with the most time. On a CPU the
events are those of XLA's own threads. --traces keeps the whole traces, for TensorBoard or Perfetto.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.profiler import ProfileData

import jaxinv
from benchmarks.gpu import NOISE, WIDTHS
from benchmarks.joint_success import planted
from benchmarks.record import RESULTS, machine, write

BATCH, QUICK_BATCH = 1024, 8
MOST = 12  # names a method
COPIES = ("memcpyh2d", "memcpyd2h")


def profiled(generator: jaxinv.Generator, method: str, batch: int, folder: Path) -> dict[str, Any]:
    noise = NOISE if method == "linf" else 0.0
    _, x = planted(generator, batch, 3)
    x += np.random.default_rng(4).uniform(-noise, noise, x.shape)
    jaxinv.invert(generator, x, method)  # compiles
    begin = time.perf_counter()
    with jax.profiler.trace(str(folder)):
        inside = time.perf_counter()
        np.asarray(jaxinv.invert(generator, x, method).latent)
        wall = time.perf_counter() - inside
    overhead = time.perf_counter() - begin - wall
    [path] = folder.rglob("*.xplane.pb")
    row = {"method": method, "batch": batch, "wall s": round(wall, 4)}
    return row | {"tracing s": round(overhead, 2)} | spent(path)


def spent(path: Path) -> dict[str, Any]:
    """Seconds by name on the device, where there is one, else on XLA's threads."""
    planes = list(ProfileData.from_file(str(path)).planes)
    device = [plane for plane in planes if plane.name.startswith("/device:GPU")]
    events = [
        (event.name, event.start_ns, event.duration_ns)
        for plane in device or [p for p in planes if p.name == "/host:CPU"]
        for line in plane.lines
        # Of a device's lines, streams are what ran; on a host, XLA's own threads.
        if line.name.startswith("Stream" if device else "tf_")
        for event in line.events
    ]
    by_name: dict[str, list[float]] = defaultdict(list)
    for name, _, duration in events:
        by_name[name].append(duration)
    longest = sorted(by_name.items(), key=lambda item: -sum(item[1]))[:MOST]
    return {
        "busy s": round(1e-9 * covered((start, start + length) for _, start, length in events), 4),
        "events": len(events),
        "copies": sum(len(d) for name, d in by_name.items() if name.lower().startswith(COPIES)),
        "most": [
            {"name": name, "times": len(each), "s": round(1e-9 * sum(each), 4)}
            for name, each in longest
        ],
    }


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of the union of intervals."""
    total, reached = 0.0, -np.inf
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small batch of a small net")
    parser.add_argument("--methods", nargs="+", default=["exact", "auto", "linf"])
    parser.add_argument("--traces", type=Path, help="a folder in which the traces stay")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    quick = arguments.quick
    generator = jaxinv.Generator.random((4, 12, 40) if quick else WIDTHS, seed=0)
    rows: list[dict[str, Any]] = []
    found = {"machine": machine(), "device": jax.devices()[0].device_kind, "rows": rows}
    out = arguments.out or RESULTS / f"gpu_profile{'_quick' * quick}.json"
    with tempfile.TemporaryDirectory() as scratch:
        traces = arguments.traces or Path(scratch)
        for method in arguments.methods:
            batch = QUICK_BATCH if quick else BATCH
            rows.append(profiled(generator, method, batch, traces / method))
            print({name: value for name, value in rows[-1].items() if name != "most"}, flush=True)
            write(out, found)


if __name__ == "__main__":
    main()
