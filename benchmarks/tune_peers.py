"""Settings that bring gradient descent to 90% success soonest, net by net: peers_tuning.json.

    python -m benchmarks.tune_peers [--quick] [--nets NAME ...]

`tune_gd` asks for the most codes at full accuracy. A race to a relative error of 1e-3 rewards other
settings, so this grid asks for the fewest gradients a row until 90% of the rows are recovered, a
row that one start of L gradients misses starting again, up to STARTS times. float32, as people run
it; rows, codes and starts are other than those of the race.
"""

import argparse
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.joint_success import SUCCESS, error
from benchmarks.peers_race import NETS, RANDOM, Task, task
from benchmarks.record import machine, write
from jaxinv.model.generator import Generator

OUT = Path(__file__).parent / "results" / "peers_tuning.json"
SHARE, ROWS, STARTS, SEED = 0.9, 12, 4, 10_000
BLOCK = 25  # gradients between two looks
FULL_LENGTH = 2000
LENGTHS = (100, 300, 1000, FULL_LENGTH)  # of a cosine schedule
QUICK_LENGTHS = (100, 300)
UNIT = tuple(float(f"{rate:.2g}") for rate in 10.0 ** np.arange(-1.5, 0.6, 0.25))
KINDS = {  # momentum, and rates where the Jacobian has singular values of order one
    "sgd": (0.0, UNIT),
    "momentum": (0.9, UNIT),
    "nesterov": (0.9, UNIT),
    "adam": (0.0, UNIT),
}
# The trained nets' Jacobians have singular values of order ten: gradient steps scale with their
# inverse squares, Adam's do not.
TRAINED = 1e-2


def descent(
    generator: Generator, x: np.ndarray, start: np.ndarray, kind: str, rates: Any, cosine: int
) -> Iterator[np.ndarray]:
    """Iterates (rates, B, k) of sum_j (G(z)_j - x_j)^2 every BLOCK gradients, without end."""
    z = jnp.broadcast_to(jnp.asarray(start, jnp.float32), (len(rates), *start.shape))
    state = jax.vmap(lambda z: optimizer(kind, 1.0, cosine).init(z))(z)
    x32, rate = jnp.asarray(x, jnp.float32), jnp.asarray(rates, jnp.float32)
    while True:
        z, state = _advance(generator, x32, rate, z, state, kind, cosine)
        yield np.asarray(z)


def optimizer(kind: str, rate: Any, cosine: int) -> optax.GradientTransformation:
    """cosine: gradients until the rate has fallen to 0; 0 for a constant rate."""
    if cosine:
        rate = optax.cosine_decay_schedule(rate, cosine)
    if kind == "adam":
        return optax.adam(rate)
    return optax.sgd(rate, momentum=KINDS[kind][0] or None, nesterov=kind == "nesterov")


@partial(jax.jit, static_argnames=("kind", "cosine"))
def _advance(
    generator: Generator,
    x: jax.Array,
    rates: jax.Array,
    z: jax.Array,
    state: Any,
    kind: str,
    cosine: int,
) -> tuple[jax.Array, Any]:
    def one(rate: jax.Array, z: jax.Array, state: Any) -> tuple[jax.Array, Any]:
        chosen = optimizer(kind, rate, cosine)

        def step(_: int, at: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
            slope = jax.grad(lambda z: ((generator.value(z) - x) ** 2).sum())(at[0])
            updates, memory = chosen.update(slope, at[1])
            return at[0] + updates, memory

        return jax.lax.fori_loop(0, BLOCK, step, (z, state))

    return jax.vmap(one)(rates, z, state)


def first_hits(
    generator: Generator, on: Task, kind: str, rates: tuple[float, ...], cosine: int, limit: int
) -> np.ndarray:
    """(rates, B, STARTS) gradients after which a row was first recovered, infinite if it was not.

    Ends once one rate has recovered enough: what reaches the share later is no winner.
    """
    truth = np.repeat(on.truth, STARTS, axis=0)
    x = np.repeat(on.observations, STARTS, axis=0)
    start = np.random.default_rng([SEED, 7]).standard_normal(truth.shape)
    hits = np.full((len(rates), len(x)), np.inf)
    for block, latent in enumerate(descent(generator, x, start, kind, rates, cosine), start=1):
        now = error(latent, truth) <= SUCCESS
        hits = np.where(now & np.isinf(hits), block * BLOCK, hits)
        if block * BLOCK >= limit or (np.isfinite(hits).mean(1) >= SHARE).any():
            break
    return hits.reshape(len(rates), len(on.truth), STARTS)


def cost(hits: np.ndarray, length: int) -> tuple[float, float]:
    """Rows missed beyond those allowed, and gradients a row until the share is recovered.

    hits: (B, STARTS). A wave gives every row that is still missed a start of `length` gradients,
    and ends early in the one that recovers enough.
    """
    missed, gradients = np.ones(len(hits), bool), 0.0
    for start in hits.T:
        found = np.sort(np.where(missed & (start <= length), start, np.inf))
        needed = int(np.ceil(SHARE * len(hits))) - int((~missed).sum())
        last = found[needed - 1]
        gradients += missed.mean() * min(last, length)
        if np.isfinite(last):
            return 0.0, gradients
        missed &= start > length
    return float(missed.mean() - (1 - SHARE)), gradients


def tuned(name: str, quick: bool) -> list[dict[str, Any]]:
    """Every setting of one net with its cost, cheapest first."""
    on = task(name, 8 if quick else ROWS, SEED)
    generator = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), on.generator)
    lengths = QUICK_LENGTHS if quick else LENGTHS
    rows = []
    for kind, (_, rates) in KINDS.items():
        if name not in RANDOM and kind != "adam":
            rates = tuple(float(f"{TRAINED * rate:.2g}") for rate in rates)
        for cosine in (0, *lengths):
            limit = cosine or lengths[-1]
            hits = first_hits(generator, on, kind, rates, cosine, limit)
            for rate, row in zip(rates, hits, strict=True):
                spans = [cosine] if cosine else range(BLOCK, limit + 1, BLOCK)
                length = min(spans, key=partial(cost, row))
                missed, gradients = cost(row, length)
                rows.append(
                    {
                        "kind": kind,
                        "rate": rate,
                        "cosine": bool(cosine),
                        "length": length,
                        "success of a start": round(float((row <= length).mean()), 3),
                        "gradients a row": round(gradients, 1),
                        "short of the share by": round(missed, 3),
                    }
                )
        print(name, min((r for r in rows if r["kind"] == kind), key=_rank), flush=True)
    return sorted(rows, key=_rank)


def _rank(row: dict[str, Any]) -> tuple[float, float]:
    return row["short of the share by"], row["gradients a row"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two nets, short runs")
    parser.add_argument("--nets", nargs="+", choices=NETS)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    out = arguments.out or (OUT.with_stem("peers_tuning_quick") if arguments.quick else OUT)
    known = json.loads(out.read_text())["nets"] if out.exists() else {}
    for name in arguments.nets or (NETS[0:3:2] if arguments.quick else NETS):
        known[name] = tuned(name, arguments.quick)
        means = f"fewest gradients a row until {SHARE:.0%} are within {SUCCESS:g}"
        write(out, {"best means": means, "machine": machine(), "nets": known})


if __name__ == "__main__":
    main()
