"""Is every identifiable code recovered, and every other one named?

Success is ||z - z*||_2 / ||z*||_2 <= 1e-3 from noiseless observations. A code is identifiable where
rank J = k at the truth: no other preimage is near. It may still have a second, isolated preimage
far away, and an observation cannot say which of them made it: such rows are counted apart.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import jaxinv
from benchmarks.train_gan import trained
from jaxinv.certify.identifiability import identifiability

SUCCESS = 1e-3
REPRODUCED = 1e-6  # relative residual
EXACT = 1e-12  # relative residual of what is a preimage beyond doubt


def planted(generator: jaxinv.Generator, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes N(0, I) and what the generator makes of them; the seed is none of an inversion's."""
    latent = np.random.default_rng([seed, 31]).standard_normal((rows, generator.latent_size))
    return latent, np.array(generator(latent))


def error(found: Any, latent: np.ndarray) -> np.ndarray:
    """||z - z*||_2 / ||z*||_2 of each row."""
    return np.linalg.norm(np.asarray(found) - latent, axis=-1) / np.linalg.norm(latent, axis=-1)


def verdict(generator: jaxinv.Generator, rows: int, seed: int, **options: Any) -> dict[str, int]:
    """Success and labels of `auto` against the ranks at the truth."""
    latent, x = planted(generator, rows, seed)
    truth = identifiability(generator, latent)
    start = time.perf_counter()
    found = jaxinv.invert(generator, x, **options)
    spent = time.perf_counter() - start
    misfit = np.asarray(found.residual) / np.linalg.norm(x, axis=-1)
    undetermined = np.asarray(found.undetermined)
    good, local = error(found.latent, latent) <= SUCCESS, truth.locally_unique
    isolated = local & ~good & (misfit <= EXACT) & (undetermined == 0)
    called_unique = identifiability(generator, found.latent).unique & (misfit <= REPRODUCED)
    search = found.search
    assert search is not None
    return {
        "rows": rows,
        "identifiable": int(local.sum()),
        "recovered": int((good & local).sum()),
        "another isolated preimage": int(isolated.sum()),
        "others": int((~local).sum()),
        "others named": int((~local & ((undetermined > 0) | ~np.asarray(found.ok))).sum()),
        "others with their dimension": int((~local & (undetermined == truth.undetermined)).sum()),
        "unique": int(truth.unique.sum()),
        "called unique": int(called_unique.sum()),
        "called unique wrongly": int((called_unique & ~truth.unique).sum()),
        "reproduced": int((misfit <= REPRODUCED).sum()),
        "runs": int(np.asarray(search.runs).sum() + np.asarray(search.prefix_runs).sum()),
        "milliseconds": round(1e3 * spent),
    }


def nets(widths: Sequence[int], count: int) -> dict[str, int]:
    """One code on each of `count` random nets, summed."""
    total: dict[str, int] = {}
    for seed in range(count):
        generator = jaxinv.Generator.random(widths, seed=seed)
        for name, value in verdict(generator, 1, seed).items():
            total[name] = total.get(name, 0) + value
    return total


def identifiable(k: int, quick: bool) -> dict[str, int]:
    """Nets k-250-600, at whose sizes not every code is identifiable."""
    return nets((k, 250, 600), 3 if quick else 200)


def contractive(quick: bool) -> dict[str, Any]:
    """Last layers that hardly expand, or contract."""
    sizes = [(20, 100, last) for last in (180, 120, 60)] + [(60, 250, 150)]
    return {"-".join(map(str, w)): nets(w, 5 if quick else 100) for w in sizes}


def shipped(quick: bool) -> dict[str, Any]:
    """The decoders in the package."""
    names = jaxinv.shipped_generators()
    return {name: verdict(jaxinv.load_generator(name), 16 if quick else 200, 5) for name in names}


def gan(name: str, mnist: Path | None, quick: bool) -> dict[str, Any]:
    """A generator of a GAN, trained if it is not in runs/gan yet."""
    generator = trained(name, mnist)
    latent, x = planted(generator, 8 if quick else 100, 5)
    active = [(np.asarray(out) > 0).sum(-1) for out in generator.outputs(latent)[:-1]]
    return verdict(generator, len(x), 5) | {
        "condition of each W": [
            float(np.linalg.cond(np.asarray(w.weight))) for w in generator.layers
        ],
        "median positive units of each hidden layer": [int(np.median(count)) for count in active],
        "pixels at -1 or 1 exactly": float((np.abs(x) == 1.0).mean()),
    }
