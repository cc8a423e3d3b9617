"""Recovery errors under noise, condition by condition: what Figures 2 and 4 are drawn from.

x = G(z*) + e, z* ~ N(0, I); e_j uniform in [-a, a], or N(0, a^2): a is the level, in units of the
observation. The Cramer-Rao line is the bound on the root mean square error of unbiased estimates
under Gaussian noise of the same deviation sd (a / sqrt 3 for uniform noise, which has no such
bound of its own: better is possible there), relative to ||z*||, the median over the codes of

    sd sqrt(tr (J' J)^-1) / ||z*||,    J the Jacobian of G at z*.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

import jaxinv
from benchmarks.conditions import (
    Data,
    columns,
    errors,
)
from benchmarks.plots import LOOKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = {"uniform": "uniform in [-a, a]", "gaussian": "Gaussian, deviation a"}
RANDOM = "20-100-500"


def generator(net: str) -> jaxinv.Generator:
    """A random net by its widths, or a shipped one by its name."""
    if net in jaxinv.shipped_generators():
        return jaxinv.load_generator(net)
    return jaxinv.Generator.random(map(int, net.split("-")), seed=0)


def observations(net: str, kind: str, level: float, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The first rows' codes (B, k), the same at every level, and what is observed of them."""
    g = generator(net)
    latent = np.random.default_rng(1).standard_normal((rows, g.latent_size))
    seed = [2, list(KINDS).index(kind), round(-1e3 * np.log10(level))]
    rng, shape = np.random.default_rng(seed), (rows, g.observation_size)
    noise = rng.uniform(-1, 1, shape) if kind == "uniform" else rng.standard_normal(shape)
    return latent, np.asarray(g(latent)) + level * noise


def measure(
    data: Data, rows: int, settings: Any, chunk: int | None = None, **condition: Any
) -> None:
    """Invert the rows of a condition (net, kind, level, method) that are not in the data."""
    if data.find(**condition) or not data.wants(condition["method"]):
        return
    latent, x = observations(condition["net"], condition["kind"], condition["level"], rows)
    g = generator(condition["net"])
    data.keep(condition | columns(jaxinv.invert(g, x, settings, seed=3, chunk=chunk), latent))


def cramer_rao(net: str, kind: str, level: float, rows: int) -> float:
    """The median over the codes of the bound on the relative root mean square error."""
    latent, _ = observations(net, kind, level, rows)
    singular = np.linalg.svd(np.asarray(generator(net).jacobian(latent)), compute_uv=False)
    with np.errstate(divide="ignore"):
        root = np.sqrt((singular**-2.0).sum(-1))
    sd = level / np.sqrt(3) if kind == "uniform" else level
    return float(np.median(sd * root / np.linalg.norm(latent, axis=-1)))


def panel(axes: "Axes", data: Data, net: str, kind: str, methods: tuple[str, ...]) -> None:
    """Every row with an answer a dot, the medians of all, the Cramer-Rao line; logarithmic axes."""
    entries = [e for e in data if e["net"] == net and e["kind"] == kind]
    axes.set_title(f"{net}\n{KINDS[kind]}")
    if not entries:
        return
    levels = sorted({e["level"] for e in entries})
    rows = max(len(e["error"]) for e in entries)
    bound = [cramer_rao(net, kind, level, rows) for level in levels]
    axes.plot(levels, bound, color="#888", label="Cramer-Rao (Gaussian)")
    methods = tuple(method for method in methods if data.find(net=net, method=method))
    for place, method in enumerate(methods):
        label, colour, marker = LOOKS[method]
        drawn = sorted((e for e in entries if e["method"] == method), key=lambda e: e["level"])
        # Dots stand side by side; the medians, which are held against the line, at their level.
        shift = 10 ** (0.12 * (place - (len(methods) - 1) / 2))
        for entry in drawn:
            there = errors(entry)[np.isfinite(errors(entry))]
            axes.plot(
                np.full(len(there), entry["level"] * shift),
                there,
                color=colour,
                marker=".",
                markersize=2,
                linewidth=0,
                alpha=0.25,
            )
        middle = [np.median(errors(entry)) for entry in drawn]
        axes.plot(
            [entry["level"] for entry in drawn],
            middle,
            color=colour,
            marker=marker,
            markersize=5,
            linewidth=1,
            markerfacecolor="none",
            label=f"{label}, median",
        )
    axes.set_xscale("log")
    axes.set_yscale("log")


def report(data: Data, methods: tuple[str, ...]) -> None:
    """Medians and failures of each condition, and the slope of the median on the log-log axes."""
    for net, kind in dict.fromkeys((e["net"], e["kind"]) for e in data):
        for method in methods:
            drawn = [e for e in data if (e["net"], e["kind"], e["method"]) == (net, kind, method)]
            drawn.sort(key=lambda e: e["level"])
            if len(drawn) > 1:
                level = np.array([e["level"] for e in drawn])
                middle = np.array([np.median(errors(e)) for e in drawn])
                lost = sum(int(np.isinf(errors(e)).sum()) for e in drawn)
                rows = len(drawn[0]["error"])
                over = middle / [cramer_rao(net, kind, a, rows) for a in level]
                print(
                    f"{net} {kind} {method}: rows {rows}, lost {lost}\n"
                    f"  level, median, over Cramer-Rao: {', '.join(map(str, level))}; "
                    f"{', '.join(f'{m:.2g}' for m in middle)}; "
                    f"{', '.join(f'{r:.2g}' for r in over)}\n"
                    f"  slopes {', '.join(f'{s:.2f}' for s in slopes(level, middle))}"
                )


def slopes(level: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """d log error / d log level between neighbouring levels: 1 where the error is linear."""
    return np.diff(np.log(middle)) / np.diff(np.log(level))
