"""Table 1: seconds for one inversion of k-250-600, alone and in a batch, on this machine.

    python -m benchmarks.table1 [--quick] [--methods linf auto] [--out FILE.json]

One net for each k, planted codes, without noise and with uniform noise of 1e-3 (without noise the
least squares of the active rows already attain a linear program's optimum, 0; with it the programs
are solved). "alone": `invert` of one observation at a time, the median of several; "batched": one
`invert` of BATCH of them, its time over BATCH. Calls that compile are timed apart, the first of
each kind, on other codes, and any that meets a row harder than those before. Gradient descent has
the paper's settings. The machine must be idle.
"""

from functools import partial
from typing import Any

import numpy as np

import jaxinv
from benchmarks.conditions import (
    SUCCEEDS,
    SUCCESS,
    Calls,
    Data,
    arguments,
    columns,
    errors,
)
from benchmarks.plots import LOOKS, canvas, legend_below, save
from benchmarks.record import machine

PAPER_SECONDS = (0.63, 1.03)  # the paper's l_inf inversion, over its latent sizes
WIDTHS = (250, 600)
LATENTS, FEW, ONE = (10, 30, 60, 90, 110), (10, 60, 110), (60,)
NOISES = (0.0, 1e-3)
ALONE, BATCH = 5, 32
MOST_COLD = 8
# Each k compiles anew: what compiles slowly is measured at fewer of them.
MEASURED = {
    ("linf", 0.0): LATENTS,
    ("auto", 0.0): LATENTS,
    ("gd", 0.0): LATENTS,
    ("l1", 0.0): FEW,
    ("linf", 1e-3): FEW,
    ("auto", 1e-3): FEW,
    ("relaxed", 0.0): ONE,
    ("l1", 1e-3): ONE,
}


def main() -> None:
    given = arguments(__doc__, "table1").parse_args()
    here = {name: machine()[name] for name in ("platform", "device", "cores")}
    about = {"success": SUCCEEDS, "net": ("k", *WIDTHS), "batch": BATCH} | here
    data = Data("table1", given, about)
    measured = {("linf", 0.0): (20,), ("auto", 0.0): (20,)} if given.quick else MEASURED
    for (method, noise), latents in measured.items():
        for k in latents:
            for batch in (1, BATCH):
                condition = {"method": method, "noise": noise, "k": k, "batch": batch}
                if not data.find(**condition) and data.wants(method):
                    data.keep(condition | timed(method, noise, k, batch))
    draw(data)
    report(data)


def timed(method: str, noise: float, k: int, batch: int) -> dict[str, Any]:
    """Seconds of the first call and of the later ones, and how their rows ended."""
    generator = jaxinv.Generator.random((k, *WIDTHS), seed=k)
    rng = np.random.default_rng([k, batch])
    calls = Calls()
    rows: dict[str, list[Any]] = {"error": [], "status": []}
    wanted = ALONE if batch == 1 else 1
    while len(calls.warm) < wanted and len(calls.cold) <= MOST_COLD:
        latent = rng.standard_normal((batch, k))
        clean = np.asarray(generator(latent))
        x = clean + noise * rng.uniform(-1, 1, clean.shape)
        found = calls.timed(partial(jaxinv.invert, generator, x, method))
        for name, column in columns(found, latent).items():
            rows[name] += column
    cold, warm = ([round(seconds, 4) for seconds in part] for part in (calls.cold, calls.warm))
    return {
        "first call": cold[0],
        "compiling": cold,
        "seconds a row": float(f"{np.median(warm or cold) / batch:.3g}"),
        "calls": warm,
    } | rows


def cell(data: Data, method: str, noise: float, k: int, batch: int) -> str:
    """Milliseconds a row, with the share that succeeded where it is not all; - if not measured."""
    entry = data.find(method=method, noise=noise, k=k, batch=batch)
    if entry is None:
        return "-"
    share = np.mean(errors(entry) <= SUCCESS) if noise == 0 else 1.0
    time_of_row = f"{1e3 * entry['seconds a row']:.3g}"
    return time_of_row if share == 1 else f"{time_of_row} ({share:.0%})"


def report(data: Data) -> None:
    """The table in Markdown, and linf's inversions a second over the paper's."""
    ks = sorted({entry["k"] for entry in data})
    print("| method, noise | batch |", " | ".join(map(str, ks)), "|")
    print("|---|---|" + "---|" * len(ks))
    rows = [(*pair, batch) for pair in MEASURED for batch in (1, BATCH)]
    for method, noise, batch in rows:
        if data.find(method=method, noise=noise, batch=batch):
            cells = [cell(data, method, noise, k, batch) for k in ks]
            print(f"| {method}, {noise:g} | {batch} |", " | ".join(cells), "|")
    for noise in NOISES:
        for batch in (1, BATCH):
            entries = [e for e in data if e["method"] == "linf"]
            entries = [e for e in entries if (e["noise"], e["batch"]) == (noise, batch)]
            times = [PAPER_SECONDS[0] / e["seconds a row"] for e in entries]
            if times:
                print(
                    f"linf, noise {noise:g}, batch {batch}: {min(times):.3g} to {max(times):.3g} "
                    f"times the paper's fastest ({PAPER_SECONDS[0]} s)"
                )


def draw(data: Data) -> None:
    """Time against k, without noise and with it; the paper's linear program as a band."""
    figure, panels = canvas(1, 2, 3.6, sharey=True)
    for axes, noise in zip(panels, NOISES, strict=True):
        axes.axhspan(*PAPER_SECONDS, color="#888", alpha=0.4, linewidth=0, label="paper's linf")
        for method, (label, colour, marker) in LOOKS.items():
            for batch, style in ((1, "-"), (BATCH, "--")):
                drawn = [e for e in data if (e["method"], e["noise"]) == (method, noise)]
                drawn = sorted((e for e in drawn if e["batch"] == batch), key=lambda e: e["k"])
                axes.plot(
                    [e["k"] for e in drawn],
                    [e["seconds a row"] for e in drawn],
                    color=colour,
                    marker=marker,
                    markersize=4,
                    markerfacecolor="none",
                    linestyle=style,
                    linewidth=1,
                    label=f"{label}, {'alone' if batch == 1 else f'batch {BATCH}'}"
                    if drawn
                    else None,
                )
        axes.set_yscale("log")
        axes.set_xlabel("latent size k")
        axes.set_title("noiseless" if noise == 0 else f"uniform noise {noise:g}")
    panels[0].set_ylabel("seconds for one inversion of k-250-600")
    legend_below(figure, panels[0])
    save(figure, data)


if __name__ == "__main__":
    main()
