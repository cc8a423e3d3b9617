"""Has a hot kernel become slower? Each one's time over that of NumPy's LAPACK on the same machine.

    python -m benchmarks.kernels                 # compares with results/kernels.json; 1 if slower
    python -m benchmarks.kernels --record        # this machine's ratios are compared with from now
    python -m benchmarks.kernels --twice NAME    # runs one kernel twice a turn: must be noticed

Both run on one core, in turn, so that what else the machine does hits both, and the fastest of many
turns counts on either side. A ratio above LIMIT times the recorded one is measured again, twice:
noise passes, a slowdown stays. Ratios of another processor prove nothing; they are shown only.
"""

import argparse
import json
import sys
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
from benchmarks.cores import child, processor
from benchmarks.lp import programs
from benchmarks.record import machine, write
from jaxinv.joint.descent import levenberg_marquardt as lm
from jaxinv.layerwise.active_rows import LinearRows
from jaxinv.layerwise.least_squares import centre
from jaxinv.linalg import cholesky
from jaxinv.linalg.normal_matrix import normal_matrices
from jaxinv.lp.solve import run_backend

OUT = Path(__file__).parent / "results" / "kernels.json"
LIMIT, TURNS, AGAIN = 1.5, 15, 2


class Kernel(NamedTuple):
    """What is timed, and a fixed amount of NumPy of the same kind; both wait for their result."""

    run: Callable[[], Any]
    reference: Callable[[], Any]


def kernels() -> dict[str, Kernel]:
    """By name; the reference never calls this project."""
    rng = np.random.default_rng(0)
    batch, n, k = 64, 500, 100
    w = rng.standard_normal((n, k)) / np.sqrt(n)
    weight = rng.uniform(0.5, 1.5, (batch, n))
    gram = np.array([w.T @ (d[:, None] * w) for d in weight])
    active = LinearRows(jnp.asarray(weight > 1), jnp.asarray(weight), jnp.asarray(weight > 1.0))
    program = programs("linf", n, k, 16)
    generator = jaxinv.Generator.random((20, 100, 500), seed=0)
    x = np.asarray(generator(rng.standard_normal((batch, 20))))
    # Noise whose rows all pass: one row in a thousand is searched on, which takes as long as all.
    noisy = x + 1e-3 * np.random.default_rng(1).standard_normal(x.shape)
    lanes = _lanes(generator, noisy[:16], rng.standard_normal((16, 20)))
    free = lm.Box(jnp.full(20, -jnp.inf), jnp.full(20, jnp.inf))
    descent = jaxinv.GradientDescent(steps=100)

    normal = jax.jit(normal_matrices)
    factored = jax.jit(lambda a, b: cholesky.solve(cholesky.factor(a), b))
    on_device = jnp.asarray(w), jnp.asarray(weight), jnp.asarray(gram), jnp.ones((batch, k))

    def grams(count: int) -> None:
        for d in weight[:count]:
            w.T @ (d[:, None] * w)

    def solved(count: int) -> None:
        np.linalg.cholesky(gram[:count])
        np.linalg.solve(gram[:count], np.ones((count, k, 1)))

    def both(count: int, times: int) -> None:
        for _ in range(times):
            grams(count)
            solved(count)

    def products(times: int) -> None:
        for _ in range(times):
            (x @ w) @ w.T

    return {
        "normal matrices": Kernel(
            lambda: normal(*on_device[:2]).block_until_ready(), lambda: grams(batch)
        ),
        "Cholesky": Kernel(
            lambda: factored(*on_device[2:]).block_until_ready(), lambda: solved(batch)
        ),
        "least squares": Kernel(
            lambda: centre(on_device[0], active).latent.block_until_ready(),
            lambda: both(batch, 1),
        ),
        "interior point": Kernel(
            lambda: run_backend(program, jaxinv.InteriorPoint()), lambda: both(16, 10)
        ),
        "Levenberg-Marquardt": Kernel(
            lambda: lm.advance(generator, lanes, free, 4, 100).latent.block_until_ready(),
            lambda: grams(16),
        ),
        "gradient descent": Kernel(
            lambda: np.asarray(jaxinv.invert(generator, x, descent).latent), lambda: products(100)
        ),
        "exact": Kernel(
            lambda: np.asarray(jaxinv.invert(generator, x, "exact").latent),
            lambda: both(batch, 1),
        ),
        "auto": Kernel(
            lambda: np.asarray(jaxinv.invert(generator, noisy).latent), lambda: both(batch, 1)
        ),
    }


def _lanes(generator: jaxinv.Generator, x: np.ndarray, start: np.ndarray) -> lm.Lanes:
    """Runs that have begun: no two of them alike, none near its end."""
    fresh = jnp.ones(len(x), bool)
    whole = jnp.asarray(x), jnp.ones(x.shape), jnp.asarray(start), jnp.zeros(len(x))
    return lm.load(lm.idle(len(x), generator), fresh, *whole)


def ratio(kernel: Kernel, times: int) -> dict[str, float]:
    """Milliseconds of both, the fastest of TURNS turns, and their ratio."""
    fastest = [np.inf, np.inf]
    kernel.run()
    for _ in range(TURNS):
        for i, (call, repeat) in enumerate(((kernel.reference, 1), (kernel.run, times))):
            begin = time.perf_counter()
            for _ in range(repeat):
                call()
            fastest[i] = min(fastest[i], time.perf_counter() - begin)
    reference, taken = (1e3 * seconds for seconds in fastest)
    return {"ratio": taken / reference, "ms": taken, "reference ms": reference}


def measured(known: dict[str, float], twice: str | None) -> list[dict[str, Any]]:
    rows = []
    with jax.enable_x64(True):
        for name, kernel in kernels().items():
            times = 2 if name == twice else 1
            row = ratio(kernel, times)
            for _ in range(AGAIN):
                if row["ratio"] > LIMIT * known.get(name, np.inf):
                    row = min(row, ratio(kernel, times), key=lambda r: r["ratio"])
            rows.append({"kernel": name} | {key: round(v, 3) for key, v in row.items()})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write what is compared with")
    parser.add_argument("--twice", metavar="NAME", help="run one kernel twice a turn")
    parser.add_argument("--quick", action="store_true", help="the same: it takes half a minute")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    recorded = json.loads(OUT.read_text()) if OUT.exists() else {}
    alike = recorded.get("processor") == processor() and not arguments.record
    before = {row["kernel"]: row["ratio"] for row in recorded.get("rows", [])}
    if arguments.child:
        print(json.dumps(measured(before if alike else {}, arguments.twice)))
        return
    passed = [name for name, given in (("--record", arguments.record),) if given]
    passed += ["--twice", arguments.twice] if arguments.twice else []
    rows = child("benchmarks.kernels", ["--child", *passed], cores=1)
    if arguments.record:
        write(OUT, {"processor": processor(), "machine": machine(), "rows": rows})
    slower = [r["kernel"] for r in rows if r["ratio"] > LIMIT * before.get(r["kernel"], np.inf)]
    Console().print(_table(rows, before))
    if not alike:
        print(f"Recorded on {recorded.get('processor', 'no machine')!r}: --record makes this one's")
    elif slower:
        print(f"More than {LIMIT} times slower than recorded: {', '.join(slower)}")
        sys.exit(1)


def _table(rows: list[dict[str, Any]], before: dict[str, float]) -> Table:
    table = Table(title="Hot kernels over NumPy's LAPACK, one core")
    for column in ("kernel", "ms", "reference ms", "ratio", "recorded", "times slower"):
        table.add_column(column, justify="left" if column == "kernel" else "right")
    for row in rows:
        known = before.get(row["kernel"])
        values = [row["ms"], row["reference ms"], row["ratio"], known]
        values.append(row["ratio"] / known if known else None)
        table.add_row(row["kernel"], *("-" if v is None else f"{v:.3g}" for v in values))
    return table


if __name__ == "__main__":
    main()
