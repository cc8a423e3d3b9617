"""A race of inversions: the same observations, one clock, and the share of codes recovered by then.

A rival takes the generator and observations x (B, n), never the codes, and yields what it has so
far whenever it has more. The judge knows the codes: it stops the clock while it looks, and ends the
run once the largest share asked for is recovered. A rival is thus never charged for finding out
that it could have stopped, which is generous to the iterative ones.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import jaxinv
from benchmarks.joint_success import SUCCESS, error, planted

SHARES = (0.5, 0.9)
RANDOM = {"20-100-500": (20, 100, 500), "60-250-600": (60, 250, 600)}
NETS = (
    *RANDOM,
    "mnist-relu-20-60-784",
    "mnist-leaky-20-200-500-784",
    "mnist-vae-20-400-784",
)
REPEATS, SHORT = 3, 1.0  # runs shorter than this (seconds) are repeated, and the fastest counts


class Progress(NamedTuple):
    """Latents (B, k) found so far, NaN where there is none, and how many rows were begun."""

    latent: np.ndarray
    rows: int


Rival = Callable[[jaxinv.Generator, np.ndarray], Iterator[Progress]]


class Task(NamedTuple):
    """Observations x = G(z*) without noise, and the codes z* ~ N(0, I) that only the judge sees."""

    name: str
    generator: jaxinv.Generator
    observations: np.ndarray
    truth: np.ndarray


def task(name: str, rows: int, seed: int) -> Task:
    generator = (
        jaxinv.Generator.random(RANDOM[name], seed=0)
        if name in RANDOM
        else jaxinv.load_generator(name)
    )
    truth, observations = planted(generator, rows, seed)
    return Task(name, generator, observations, truth)


def raced(rival: Rival, on: Task, seconds: float) -> dict[str, Any]:
    """Milliseconds a row until each share of the rows begun was recovered; a failure is a result.

    "first call, s" is the time to the rival's first answer in a process that has not run it on
    this net before: whatever it compiles is in there, and not in the race.
    """
    begin = time.perf_counter()
    try:
        answers = rival(on.generator, on.observations)
        next(answers)
        first = time.perf_counter() - begin
        # Later stages compile as well.
        while time.perf_counter() - begin < seconds + first and next(answers, None):
            pass
        now = fastest = lap(rival, on, seconds)
        for _ in range(REPEATS - 1):
            if now[-1][0] > SHORT:
                break
            now = lap(rival, on, seconds)
            fastest = min(fastest, now, key=lambda moments: moments[-1][0])
    except Exception as problem:
        return {"failed": f"{type(problem).__name__}: {problem}"[:200]}
    spent, recovered, rows = fastest[-1]
    result = {"rows": rows, "recovered": recovered / rows, "seconds": spent, "first call, s": first}
    for share in SHARES:
        reached = [moment for moment, found, _ in fastest if found >= share * rows]
        result[f"ms a row to {share:g}"] = 1e3 * reached[0] / rows if reached else None
    return result


def lap(rival: Rival, on: Task, seconds: float) -> list[tuple[float, int, int]]:
    """(seconds spent, rows recovered, rows begun) at each answer of one run."""
    moments, spent = [], 0.0
    begin = time.perf_counter()
    for answer in rival(on.generator, on.observations):
        spent += time.perf_counter() - begin
        found = int((error(answer.latent, on.truth) <= SUCCESS).sum())
        moments.append((spent, found, answer.rows))
        if spent > seconds or found >= SHARES[-1] * len(on.truth):
            break
        begin = time.perf_counter()
    return moments
