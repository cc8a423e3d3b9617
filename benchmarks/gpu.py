"""What this machine's accelerator reaches: rows a second, and the share of its own ceilings.

    python -m benchmarks.gpu [--quick] [--batches 64 1024 ...]

One command for a CUDA host; without one it runs on the CPU, small, and writes that as a CPU result.
Ceilings are measured, not quoted: a large float64 matrix product, a large copy. Operations and
bytes are steps taken times what one step needs (benchmarks/counts.py). The same host's pool of
Clarabel threads solves the same linear programs beside it. results/gpu_BACKEND.json, and a table.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import jaxinv
from benchmarks import counts
from benchmarks.cores import processor
from benchmarks.joint_success import planted
from benchmarks.lp import programs
from benchmarks.record import machine, write
from benchmarks.tune_gd import inverted
from jaxinv.joint.descent.lanes import Engine, default_lanes
from jaxinv.joint.descent.levenberg_marquardt import Box, Starts
from jaxinv.joint.search.starts import starting_points
from jaxinv.layerwise.active_rows import LinearRows
from jaxinv.layerwise.least_squares import centre
from jaxinv.lp.problem import certify
from jaxinv.lp.solve import run_backend

RESULTS = Path(__file__).parent / "results"
WIDTHS = (60, 250, 600)
NOISE = 1e-3
REPEATS, COPIES = 3, 50
POOL_PROGRAMS = 8  # a core: enough for a rate


class Case(NamedTuple):
    """A run over a batch, which returns what it spent, if counted, and the share of good rows."""

    name: str
    batch: int
    run: Callable[[], tuple[counts.Count | None, float]]


def kernels(batch: int) -> list[Case]:
    n, k = WIDTHS[-1], WIDTHS[-2]
    generator = jaxinv.Generator.random(WIDTHS, seed=0)
    latent, x = planted(generator, batch, 3)
    rng = np.random.default_rng(4)
    noisy = x + rng.uniform(-NOISE, NOISE, x.shape)
    solver = jaxinv.InteriorPoint()
    program = programs("linf", n, k, batch)
    w = jnp.asarray(rng.standard_normal((n, k)) / np.sqrt(n))
    on = jnp.asarray(rng.random((batch, n)) < 0.5)
    rows = LinearRows(on, jnp.where(on, jnp.asarray(x), 0.0), jnp.where(on, 1.0, 0.0))
    descent = jaxinv.GradientDescent(steps=200)

    def linear_programs() -> tuple[counts.Count, float]:
        solution = run_backend(program, solver)
        step = counts.interior_point_step(n, k, solver.correctors)
        good = float(certify(program, solution).holds().mean())
        return step.times(float(solution.steps.sum())), good

    def least_squares() -> tuple[counts.Count, float]:
        full_rank = np.asarray(centre(w, rows).full_rank)
        return counts.least_squares(n, k).times(batch), float(full_rank.mean())

    def levenberg_marquardt() -> tuple[counts.Count, float]:
        free = Box(*(jnp.full(WIDTHS[0], side) for side in (-jnp.inf, jnp.inf)))
        lanes = min(default_lanes(generator), batch)
        engine = Engine(generator, noisy, np.ones_like(noisy), free, lanes, 150)
        starts = np.asarray(starting_points(0, jnp.arange(batch), 1, WIDTHS[0], 1.0))[:, 0]
        runs = engine.run(Starts(np.arange(batch), starts, np.zeros(batch)))
        # Two exact steps close each run.
        steps = float(runs.steps.sum()) + 2 * batch
        return counts.levenberg_marquardt_step(generator).times(steps), float(runs.converged.mean())

    def gradient_descent() -> tuple[counts.Count, float]:
        starts = starting_points(0, jnp.arange(batch), 1, WIDTHS[0], 1.0)
        found, taken = inverted(generator, jnp.asarray(x), jnp.ones(x.shape), starts, descent)
        near = np.linalg.norm(np.asarray(found.latent) - latent, axis=1)
        good = float((near <= 1e-3 * np.linalg.norm(latent, axis=1)).mean())
        return counts.gradient(generator).times(float(taken.sum())), good

    layer, net = f"{n}x{k}", "-".join(map(str, WIDTHS))
    return [
        Case(f"l_inf programs {layer}", batch, linear_programs),
        Case(f"least squares {layer}", batch, least_squares),
        Case(f"Levenberg-Marquardt {net}", batch, levenberg_marquardt),
        Case(f"gradient descent {net}, 200 steps", batch, gradient_descent),
    ]


def end_to_end(batch: int, methods: tuple[str, ...]) -> list[Case]:
    """Whole inversions, host work included: noiseless for exact and auto, noisy for linf."""
    generator = jaxinv.Generator.random(WIDTHS, seed=0)
    _, x = planted(generator, batch, 3)
    noisy = x + np.random.default_rng(4).uniform(-NOISE, NOISE, x.shape)

    def case(method: str) -> Case:
        def run() -> tuple[None, float]:
            found = jaxinv.invert(generator, noisy if method == "linf" else x, method)
            return None, float(np.asarray(found.ok).mean())

        return Case(f"{method} {'-'.join(map(str, WIDTHS))}, end to end", batch, run)

    return [case(method) for method in methods]


def ceilings(quick: bool) -> dict[str, float]:
    """GFLOP/s of a float64 matrix product, GB/s of a copy (read and written), the best of some."""
    large = jax.default_backend() != "cpu"
    n, length = (8192, 1 << 28) if large else (1024 if quick else 2048, 1 << 24)
    a = jnp.ones((n, n)) / n
    v = jnp.ones(length)
    product = fastest(lambda: jnp.matmul(a, a, precision="highest").block_until_ready())
    # In a loop, in place: memory that is asked for anew costs a CPU more than the copy itself.
    scaled = jax.jit(lambda v: jax.lax.fori_loop(0, COPIES, lambda _, v: 1.0000001 * v, v))
    copied = fastest(lambda: scaled(v).block_until_ready()) / COPIES
    return {"GFLOP/s": 2e-9 * n**3 / product, "GB/s": 2e-9 * v.nbytes / copied}


def fastest(call: Callable[[], Any]) -> float:
    call()
    seconds = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def measured(case: Case, limits: dict[str, float]) -> dict[str, Any]:
    begin = time.perf_counter()
    spent, good = case.run()
    first = time.perf_counter() - begin
    seconds = fastest(case.run) if first < 60 else first
    row = {
        "what": case.name,
        "batch": case.batch,
        "rows/s": case.batch / seconds,
        "good": good,
        "first call, s": first,
    }
    if spent is not None:
        row["GFLOP/s"] = 1e-9 * spent.operations / seconds
        row["of the product"] = row["GFLOP/s"] / limits["GFLOP/s"]
        row["GB/s"] = 1e-9 * spent.bytes / seconds
        row["of the copy"] = row["GB/s"] / limits["GB/s"]
    return row


def pool() -> dict[str, Any]:
    """The same programs by Clarabel, one a thread."""
    n, k = WIDTHS[-1], WIDTHS[-2]
    program = programs("linf", n, k, POOL_PROGRAMS * (machine()["cores"] or 1))
    solver = jaxinv.ClarabelPool()
    begin = time.perf_counter()
    solution = run_backend(program, solver)
    seconds = time.perf_counter() - begin
    good = float(certify(program, solution).holds().mean())
    name = f"l_inf programs {n}x{k}, Clarabel pool on the CPU"
    rate = program.batch_size / seconds
    return {"what": name, "batch": program.batch_size, "rows/s": rate, "good": good}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one small batch, kernels only")
    parser.add_argument("--batches", nargs="+", type=int)
    parser.add_argument("--methods", nargs="+", default=["exact", "auto", "linf"])
    parser.add_argument("--no-pool", dest="pool", action="store_false", help="the device alone")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    backend, quick = jax.default_backend(), arguments.quick
    usual = (16,) if quick else (64,) if backend == "cpu" else (256, 1024, 4096)
    batches = arguments.batches or usual
    out = arguments.out or RESULTS / f"gpu_{backend}{'_quick' * quick}.json"
    rows: list[dict[str, Any]] = []
    device = jax.devices()[0].device_kind if backend != "cpu" else processor()
    with jax.enable_x64(True):
        limits = ceilings(quick)
    found = {"device": device, "host": processor(), "ceilings": _rounded(limits), "rows": rows}
    if backend == "cpu":
        found["gpu"] = "not measured: JAX sees none here"
    found = {"machine": machine()} | found

    def keep(row: dict[str, Any]) -> None:
        """A run that is cut off loses one row."""
        rows.append(_rounded(row))
        print(rows[-1], flush=True)
        write(out, found)

    with jax.enable_x64(True):
        for batch in batches:
            methods = () if quick else tuple(arguments.methods)
            for case in [*kernels(batch), *end_to_end(batch, methods)]:
                keep(measured(case, limits))
    if not quick and arguments.pool:
        keep(pool())
    Console(width=130).print(_table(found))


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: float(f"{v:.3g}") if isinstance(v, float) else v for key, v in row.items()}


def _table(found: dict[str, Any]) -> Table:
    limits = found["ceilings"]
    title = f"{found['device']}: {limits['GFLOP/s']} GFLOP/s float64, {limits['GB/s']} GB/s copied"
    table = Table(title=title, caption=f"GPU {found['gpu']}" if "gpu" in found else None)
    columns = ("batch", "rows/s", "good", "GFLOP/s", "of the product", "GB/s", "of the copy")
    for column in ("what", *columns, "first call, s"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for row in found["rows"]:
        values = (row.get(column) for column in (*columns, "first call, s"))
        table.add_row(row["what"], *("-" if v is None else f"{v:.3g}" for v in values))
    return table


if __name__ == "__main__":
    main()
