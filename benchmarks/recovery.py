"""Recovery errors of linf, l1 and relaxed with defaults only, against the best literal run.

    python -m benchmarks.recovery [--quick] [--rows 16] [--out benchmarks/results/recovery.json]
    python -m benchmarks.recovery --methods relaxed --amplitudes 1e-2    # other results are kept

Random ReLU nets with weights N(0, 1/n_i), planted codes N(0, I), uniform noise |e_j| <= a or
Gaussian noise of deviation a. A literal run is the paper's loop from one initial tolerance of
{1e-6, ..., 1e-1} * max|x|; the best of them is chosen afterwards by the errors themselves, which
no method can know. Algorithm 1's literal runs use the search that provably ends at the loop's
tolerance. linf is also held against Algorithm 1 by HiGHS, written out in tests/algorithm_1.py.

Without biases G(t z) = t G(z), and every method here is as homogeneous: observations are divided
by max|x|, so that one initial tolerance serves a batch.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import jaxinv
from benchmarks.record import machine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import algorithm_1

OUT = Path(__file__).parent / "results" / "recovery.json"
WIDTHS = (20, 100, 500)
AMPLITUDES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
STARTS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # of max|x|
HIGHS_AMPLITUDES = (1e-6, 1e-4, 1e-2)
QUICK_WIDTHS, QUICK_AMPLITUDES = (5, 25, 125), (1e-4, 1e-1)
SETTINGS = {"linf": jaxinv.LinfLP, "l1": jaxinv.L1LP, "relaxed": jaxinv.RelaxedLP}
LITERAL = {"linf": "smallest", "l1": "loop", "relaxed": "loop"}
TARGET = 1.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small net, two amplitudes")
    parser.add_argument("--rows", type=int, default=16, help="observations for each condition")
    parser.add_argument("--highs-rows", type=int, default=4, help="of them for HiGHS")
    parser.add_argument("--methods", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--amplitudes", nargs="+", type=float, default=AMPLITUDES)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    widths = QUICK_WIDTHS if arguments.quick else WIDTHS
    amplitudes = QUICK_AMPLITUDES if arguments.quick else tuple(arguments.amplitudes)
    begin = time.perf_counter()
    results: dict[str, Any] = {
        "machine": machine(),
        "widths": widths,
        "solver": type(jaxinv.LinfLP().solver).__name__,
        "conditions": [],
        "highs": [],
    }
    if arguments.out.exists() and not arguments.quick:
        before = json.loads(arguments.out.read_text())
        results["conditions"], results["highs"] = before["conditions"], before["highs"]
    for kind in ("uniform", "gaussian"):
        for amplitude in amplitudes:
            for method in arguments.methods:
                entry = condition(method, widths, kind, amplitude, arguments.rows)
                results["conditions"] = [*others(results["conditions"], entry), entry]
                print(line(entry), flush=True)
                save(arguments.out, results, begin)
    if "linf" in arguments.methods:
        for amplitude in amplitudes[:1] if arguments.quick else HIGHS_AMPLITUDES:
            if amplitude in amplitudes:
                entry = against_highs(widths, amplitude, arguments.highs_rows)
                results["highs"] = [*others(results["highs"], entry), entry]
                print(entry, flush=True)
    save(arguments.out, results, begin)
    ratios = [max(entry["ratio"].values()) for entry in results["conditions"]]
    print(f"{sum(r <= TARGET for r in ratios)} of {len(ratios)} conditions within {TARGET}")
    print(f"{results['seconds']} s; written to {arguments.out}")


def others(entries: list[dict[str, Any]], entry: dict[str, Any]) -> list[dict[str, Any]]:
    """What was measured under other conditions."""
    key = [entry.get(name) for name in ("method", "noise", "amplitude")]
    return [e for e in entries if [e.get(n) for n in ("method", "noise", "amplitude")] != key]


def observations(
    widths: tuple[int, ...], kind: str, amplitude: float, rows: int
) -> tuple[jaxinv.Generator, np.ndarray, np.ndarray]:
    """A random net, planted codes (B, k), and noisy outputs (B, n) with max|x| = 1."""
    generator = jaxinv.Generator.random(widths, seed=0)
    rng = np.random.default_rng([1, round(-1e3 * np.log10(amplitude))])
    latent = rng.standard_normal((rows, widths[0]))
    clean = np.asarray(generator(latent))
    draw = (
        rng.uniform(-1, 1, clean.shape) if kind == "uniform" else rng.standard_normal(clean.shape)
    )
    x = clean + amplitude * draw
    size = np.abs(x).max(-1, keepdims=True)
    return generator, latent / size, x / size


def condition(
    method: str, widths: tuple[int, ...], kind: str, amplitude: float, rows: int
) -> dict[str, Any]:
    """One method under one noise: its defaults, and the literal run from every start."""
    generator, latent, x = observations(widths, kind, amplitude, rows)
    default = measured(generator, latent, x, SETTINGS[method]())
    literal = [
        {"start": start}
        | measured(
            generator,
            latent,
            x,
            SETTINGS[method](schedule=LITERAL[method], initial_tolerance=start),
        )
        for start in STARTS
    ]
    best = {figure: min(run[figure] for run in literal) for figure in ("median", "p90")}
    worst = max(run["median"] for run in literal)
    return {
        "method": method,
        "noise": kind,
        "amplitude": amplitude,
        "rows": rows,
        "default": default,
        "literal": literal,
        "ratio": {figure: round(default[figure] / best[figure], 3) for figure in best},
        "worst_literal_over_best": round(worst / best["median"], 2),
    }


def measured(
    generator: jaxinv.Generator, latent: np.ndarray, x: np.ndarray, settings: Any
) -> dict[str, Any]:
    """Median and 90th percentile of ||z - z*|| / ||z*||, statuses, programs and seconds a row."""
    begin = time.perf_counter()
    found = jaxinv.invert(generator, x, settings)
    seconds = time.perf_counter() - begin
    error = recovery_error(np.asarray(found.latent), latent)
    return {
        "median": float(np.quantile(error, 0.5)),
        "p90": float(np.quantile(error, 0.9)),
        "statuses": {status.name: count for status, count in found.counts().items()},
        "programs_a_row": float(sum(np.mean(np.asarray(layer.steps)) for layer in found.layers)),
        "seconds_a_row": round(seconds / len(x), 4),
    }


def recovery_error(found: np.ndarray, latent: np.ndarray) -> np.ndarray:
    """||z - z*||_2 / ||z*||_2; a row without an answer counts as infinitely wrong."""
    error = np.linalg.norm(found - latent, axis=-1) / np.linalg.norm(latent, axis=-1)
    return np.where(np.isfinite(error), error, np.inf)


def against_highs(widths: tuple[int, ...], amplitude: float, rows: int) -> dict[str, Any]:
    """linf beside Algorithm 1 solved by HiGHS as it stands, on the same observations."""
    generator, latent, x = observations(widths, "uniform", amplitude, rows)
    ours = recovery_error(np.asarray(jaxinv.invert(generator, x, "linf").latent), latent)
    literal = np.empty_like(latent)
    begin = time.perf_counter()
    for row, target in enumerate(x):
        for i in reversed(range(generator.depth)):
            w = np.asarray(generator.layers[i].weight)
            eps0 = 1e-6 * np.abs(target).max()
            _, target = algorithm_1.layer(w, np.zeros(len(w)), target, eps0, 1.2, i > 0)
        literal[row] = target
    theirs = recovery_error(literal, latent)
    return {
        "amplitude": amplitude,
        "rows": rows,
        "linf": float(np.median(ours)),
        "highs": float(np.median(theirs)),
        "ratio": round(float(np.median(ours) / np.median(theirs)), 3),
        "highs_seconds_a_row": round((time.perf_counter() - begin) / rows, 2),
    }


def line(entry: dict[str, Any]) -> str:
    default, ratio = entry["default"], entry["ratio"]
    return (
        f"{entry['method']:8} {entry['noise']:8} {entry['amplitude']:.0e}  "
        f"median {default['median']:.2e} ({ratio['median']:.2f})  "
        f"p90 {default['p90']:.2e} ({ratio['p90']:.2f})  "
        f"{default['programs_a_row']:.1f} programs, {default['seconds_a_row']} s a row  "
        f"{default['statuses']}"
    )


def save(path: Path, results: dict[str, Any], begin: float) -> None:
    results["seconds"] = round(time.perf_counter() - begin, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
