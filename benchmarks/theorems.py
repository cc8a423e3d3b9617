"""How often the theorems' assumptions hold on random nets, and how far their bounds lie above.

    python -m benchmarks.theorems [--codes 8] [--out benchmarks/results/theorems.json]

Planted codes, uniform noise |e_j| <= a, ReLU layers with weights N(0, 1/n_i). Each bound gets the
true norm of the noise; errors are measured for the program that the bound speaks of, solved by
HiGHS (least squares for Corollary 1) at the tolerances that the bound allows.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linprog

from jaxinv.certify import (
    ErrorBound,
    corollary_1_noise_limit,
    error_bound,
    largest_noise,
    lower_bound,
    recovery_probability,
    sampled_upper_estimate,
    width_for_recovery,
)
from jaxinv.certify.constants import ORDER, Norm
from jaxinv.model.generator import Generator

OUT = Path(__file__).parent / "results" / "theorems.json"

NETS = ((5, 25, 125), (10, 50, 250), (20, 100, 500))
AMPLITUDES = (1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 1e-1)
THEOREMS: dict[str, tuple[Norm, bool]] = {
    "Theorem 3": ("linf", False),
    "Theorem 4": ("l1", False),
    "Corollary 1": ("l2", True),
}
# HiGHS leaves each row off by up to 1e-7; an l1 objective adds its rows up.
ROW_ERROR = 2e-7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--codes", type=int, default=8, help="planted codes for each net")
    parser.add_argument("--measured", type=int, default=2, help="codes whose error is measured")
    parser.add_argument("--quick", action="store_true", help="one code a net")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.codes, arguments.measured = 1, 1
    begin = time.perf_counter()
    results: dict[str, Any] = {
        "assumptions": assumptions(arguments.codes, arguments.measured),
        "noise limits": noise_limits(),
        "constants": constants(),
        "probabilities": probabilities(),
    }
    results["seconds"] = round(time.perf_counter() - begin, 1)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    for title in ("assumptions", "noise limits", "constants", "probabilities"):
        print_table(title, results[title])
    print(f"\n{results['seconds']} s; written to {arguments.out}")


def assumptions(codes: int, measured: int) -> list[dict[str, Any]]:
    """Share of codes whose assumptions hold, by net, theorem and amplitude; bounds and errors."""
    table = []
    for widths in NETS:
        generator = Generator.random(widths, seed=0)
        for name, (norm, least_squares) in THEOREMS.items():
            for amplitude in AMPLITUDES:
                rng = np.random.default_rng(1)
                bounds, errors = [], []
                for index in range(codes):
                    code = rng.standard_normal(widths[0])
                    noise = rng.uniform(-amplitude, amplitude, widths[-1])
                    level = amplitude if norm == "linf" else size(noise, norm)
                    bound = error_bound(
                        generator,
                        code,
                        level,
                        norm,
                        least_squares=least_squares,
                        solver_error=solver_error(widths, norm),
                    )
                    if not bound.holds:
                        continue
                    bounds.append(bound.value / size(code, norm))
                    if index < measured:
                        x = np.asarray(generator(code)) + noise
                        estimate = invert(generator, x, bound)
                        errors.append(size(estimate - code, norm) / bound.value)
                table.append(
                    {
                        "net": "-".join(map(str, widths)),
                        "theorem": name,
                        "amplitude": amplitude,
                        "hold": len(bounds) / codes,
                        "median relative bound": median(bounds),
                        "error / bound, largest": max(errors, default=None),
                        "violated": sum(error > 1 for error in errors),
                    }
                )
    return table


def size(vector: np.ndarray, norm: Norm) -> float:
    return float(np.linalg.norm(vector, ORDER[norm]))


def solver_error(widths: tuple[int, ...], norm: Norm) -> float:
    return {"linf": ROW_ERROR, "l1": ROW_ERROR * max(widths), "l2": 1e-12}[norm]


def invert(generator: Generator, x: np.ndarray, bound: ErrorBound) -> np.ndarray:
    """Layer by layer at the bound's tolerances; z >= 0 on hidden layers."""
    for index in reversed(range(generator.depth)):
        w = np.asarray(generator.layers[index].weight)
        active = x > bound.layers[index].tolerance
        if bound.norm == "l2":
            x = np.linalg.lstsq(w[active], x[active])[0]
        else:
            x = layer_program(w, x, active, bound.norm, nonnegative=index > 0)
    return x


def layer_program(
    w: np.ndarray, x: np.ndarray, active: np.ndarray, norm: Norm, *, nonnegative: bool
) -> np.ndarray:
    """min s (or sum s_j), |w_j z - x_j| <= s on active rows and w_j z <= x_j + s elsewhere."""
    rows, columns = w.shape
    slack = np.ones((rows, 1)) if norm == "linf" else np.eye(rows)
    answer: Any = linprog(
        np.append(np.zeros(columns), np.ones(slack.shape[1])),
        A_ub=np.vstack([np.hstack([w, -slack]), np.hstack([-w, -slack])[active]]),
        b_ub=np.concatenate([x, -x[active]]),
        bounds=[(0 if nonnegative else None, None)] * columns + [(0, None)] * slack.shape[1],
        method="highs",
    )
    if answer.status != 0:
        raise RuntimeError(f"HiGHS: {answer.message}")
    return np.asarray(answer.x[:columns])


def noise_limits() -> list[dict[str, Any]]:
    """Largest ||e||_2 whose certain rows determine everything, over Corollary 1's limit."""
    table = []
    for widths in ((5, 25), (20, 100), (40, 200), (160, 800), (5, 25, 125), (20, 100, 500)):
        ratios, printed = [], []
        for seed in range(2):
            generator = Generator.random(widths, seed=seed)
            code = np.random.default_rng(100 + seed).standard_normal(widths[0])
            limit = corollary_1_noise_limit(generator, code).value
            ratios.append(largest_noise(generator, code, "l2") / limit)
            printed.append(ratios[-1] / float(np.sqrt(widths[0])))
        table.append(
            {
                "net": "-".join(map(str, widths)),
                "certain / corrected limit": median(ratios),
                "certain / printed limit": median(printed),
            }
        )
    return table


def constants() -> list[dict[str, Any]]:
    """Lower bounds of c_p for Gaussian rows, N(0, 1 / (2 m)), m = 2.5 k, and an upper estimate."""
    table = []
    for k in (4, 8, 16, 24):
        m = 5 * k // 2
        w = np.random.default_rng(k).standard_normal((m, k)) / np.sqrt(2 * m)
        singular = lower_bound(w, "l2").value
        for norm in ("linf", "l1"):
            begin = time.perf_counter()
            thorough = lower_bound(w, norm, "thorough")
            table.append(
                {
                    "rows x columns": f"{m} x {k}",
                    "norm": norm,
                    "by sigma_min": float(singular / np.sqrt(m if norm == "linf" else k)),
                    "fast": lower_bound(w, norm).value,
                    "thorough": thorough.value,
                    "exact": thorough.exact,
                    "sampled, above": sampled_upper_estimate(w, norm, 5000).value,
                    "seconds": round(time.perf_counter() - begin, 2),
                }
            )
    return table


def probabilities() -> list[dict[str, Any]]:
    """Theorem 2: exact, by the exponential tail, and the expansion that succeeds in 99 percent."""
    nets: list[tuple[int, ...]] = [(k, round(2.1 * k)) for k in (20, 100, 1000)]
    nets += [(k, 250, 600) for k in (100, 109, 115, 120, 124)]
    table = []
    for widths in nets:
        found = recovery_probability(widths)
        table.append(
            {
                "net": "-".join(map(str, widths)),
                "success": found.value,
                "exponential bound": found.exponential,
                "expansion for .99": width_for_recovery(widths[0], 0.99) / widths[0],
            }
        )
    return table


def median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    print(f"\n{title}")
    columns = list(rows[0])
    cells = [[shown(row[column]) for column in columns] for row in rows]
    sizes = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in [columns, *cells]:
        print("  ".join(cell.rjust(size) for cell, size in zip(line, sizes, strict=True)))


def shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return "-" if value is None else str(value)


if __name__ == "__main__":
    main()
