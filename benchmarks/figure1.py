"""Figure 1: how often a code comes back from k-250-600 without noise, against its size k.

    python -m benchmarks.figure1 [--quick] [--methods exact linf] [--nets 200] [--out FILE.json]

Weights N(0, 1/n_i), no bias, z* ~ N(0, I); every row is a net and a code of their own, a batch of
one. Beside the methods stands the probability that layer-wise least squares can succeed at all,
P(Bin(250, 1/2) >= k) P(Bin(600, 1/2) >= 250), and, net by net, the active rows of every layer at
the truth: with as many as inputs the code is identifiable. A method deviates at a k where the exact
binomial test of its successes against the probability has p < 0.05 / (number of tests made).
"""

import time
from typing import Any

import numpy as np
from scipy.stats import binomtest

import jaxinv
from benchmarks.conditions import (
    PAPER_RANDOM,
    SUCCEEDS,
    SUCCESS,
    Data,
    arguments,
    columns,
    compilations,
    errors,
    tuned,
)
from benchmarks.plots import LOOKS, canvas, legend_below, save
from jaxinv.certify.probability import recovery_probability

WIDTHS = (250, 600)
LATENTS = (*range(10, 101, 10), 109, 110, 115, 120, 124, 130, 140)
QUICK_LATENTS = (20, 120)
# Nets for each k. The rate of n nets has a standard error of at most 1 / (2 sqrt n).
NETS = dict.fromkeys(("active rows", "exact", "auto", "linf"), 200)
NETS |= dict.fromkeys(("gd", "gd tuned", "l1"), 20)
LAYERWISE = ("exact", "linf", "l1", "auto")


def main() -> None:
    parser = arguments(__doc__, "figure1")
    parser.add_argument("--nets", type=int, help="nets for each k, instead of each method's own")
    parser.add_argument("--latents", type=int, nargs="+", default=LATENTS, help="measure these k")
    given = parser.parse_args()
    descent = {"gd": PAPER_RANDOM, "gd tuned": tuned("gd_success")}
    about = {
        "widths": ("k", *WIDTHS),
        "success": SUCCEEDS,
        "net, code of row i": "seed 1000 k + i, numpy default_rng([k, i])",
        "gd tuned": {f: getattr(descent["gd tuned"], f) for f in ("optimizer", "learning_rate")},
    }
    data = Data("figure1", given, about)
    for method, nets in NETS.items():
        for k in QUICK_LATENTS if given.quick else given.latents:
            count = given.nets or (5 if given.quick else nets)
            entry = data.find(method=method, k=k) or {"method": method, "k": k}
            counting = method == "active rows"
            have = len(entry.get("active" if counting else "error", []))
            if have < count and data.wants(method):
                if counting:
                    entry["active"] = [active_rows(*net(k, row)) for row in range(count)]
                    data.keep(entry)
                else:
                    data.keep(more_rows(entry, descent.get(method, method), count))
    draw(data)


def net(k: int, row: int) -> tuple[jaxinv.Generator, np.ndarray]:
    """The row's own generator, and its code (1, k)."""
    generator = jaxinv.Generator.random((k, *WIDTHS), seed=1000 * k + row)
    return generator, np.random.default_rng([k, row]).standard_normal((1, k))


def more_rows(entry: dict[str, Any], method: Any, count: int) -> dict[str, Any]:
    """Rows up to `count` of one method at one k; those with a compilation are named."""
    for name in ("error", "status", "compiled_at"):
        entry.setdefault(name, [])
    begin = time.perf_counter()
    for row in range(len(entry["error"]), count):
        generator, latent = net(entry["k"], row)
        x = np.asarray(generator(latent))
        with compilations() as compiled:
            found = jaxinv.invert(generator, x, method, seed=row)
            kept = columns(found, latent)
        if compiled:
            entry["compiled_at"].append(row)
        entry["error"] += kept["error"]
        entry["status"] += kept["status"]
    entry["seconds"] = round(entry.get("seconds", 0) + time.perf_counter() - begin, 1)
    return entry


def active_rows(generator: jaxinv.Generator, latent: np.ndarray) -> list[int]:
    """How many rows of each layer are active at the truth, first layer first."""
    return [int((np.asarray(x) > 0).sum()) for x in generator.outputs(latent)]


def identifiable(data: Data, k: int) -> np.ndarray | None:
    """Whether each net has as many active rows as inputs: full rank, for continuous weights."""
    known = data.find(method="active rows", k=k)
    return None if known is None else (np.array(known["active"]) >= (k, *WIDTHS[:-1])).all(1)


def probability(k: int) -> float:
    return recovery_probability((k, *WIDTHS)).value


def draw(data: Data) -> None:
    """Success rates with 95% Wilson intervals over the exact curve; the tests are printed."""
    figure, panels = canvas(1, 2, 3.6, sharey=True, width_ratios=(3, 2))
    methods = [m for m in LOOKS if data.find(method=m)]
    for axes, (low, high) in zip(panels, ((5, 145), (105, 133)), strict=True):
        ks = np.arange(low, high + 1)
        axes.plot(ks, [probability(k) for k in ks], color="#888", label="P(identifiable), exact")
        for place, method in enumerate(methods):
            label, colour, marker = LOOKS[method]
            # Side by side, or the methods that agree would hide one another.
            shift = (place - (len(methods) - 1) / 2) * (high - low) / 180
            drawn = [e for e in data if e["method"] == method and low < e["k"] < high]
            drawn.sort(key=lambda entry: entry["k"])
            wilson = [test(entry).proportion_ci(method="wilson") for entry in drawn]
            rate = np.array([np.mean(errors(entry) <= SUCCESS) for entry in drawn])
            bars = [[r - w.low, w.high - r] for r, w in zip(rate, wilson, strict=True)]
            axes.errorbar(
                [entry["k"] + shift for entry in drawn],
                rate,
                np.clip(np.reshape(bars, (-1, 2)).T, 0, 1),
                color=colour,
                marker=marker,
                markersize=4,
                linewidth=0.8 if method.startswith("gd") else 0,
                elinewidth=0.8,
                markerfacecolor="none",
                label=label,
            )
        axes.set_xlabel("latent size k")
        axes.set_xlim(low, high)
    panels[0].set_ylabel(f"share of nets with relative error <= {SUCCESS:g}")
    panels[0].set_title("k-250-600, noiseless")
    panels[1].set_title("around the end of identifiability")
    legend_below(figure, panels[0])
    save(figure, data)
    report(data)


def test(entry: dict[str, Any]) -> Any:
    """The exact binomial test of an entry's successes against the probability."""
    success = errors(entry) <= SUCCESS
    return binomtest(int(success.sum()), len(success), probability(entry["k"]))


def report(data: Data) -> None:
    """A line for each k: the curve, the success rates; then what deviates, by k and by row."""
    methods = [m for m in LOOKS if data.find(method=m)]
    print(f"{'k':>5} {'P':>7}", *(f"{m:>12}" for m in methods))
    for k in sorted({entry["k"] for entry in data}):
        entries = [data.find(method=method, k=k) for method in methods]
        rates = [f"{np.mean(errors(e) <= SUCCESS):.3f}" if e else "-" for e in entries]
        print(f"{k:5} {probability(k):7.4f}", *(f"{rate:>12}" for rate in rates))
    tested = [entry for entry in data if entry["method"] in LAYERWISE]
    named = others = 0
    for entry in tested:
        p = test(entry).pvalue
        if p < 0.05 / len(tested):
            print(f"{entry['method']} deviates at k = {entry['k']}: p = {p:.2g}")
        expected = identifiable(data, entry["k"])
        success = errors(entry) <= SUCCESS
        if expected is not None:
            expected = expected[: len(success)]
            labelled = np.array(entry["status"]) == jaxinv.Status.UNDERDETERMINED
            named, others = named + (labelled & ~expected).sum(), others + (~expected).sum()
            for row in np.flatnonzero((success != expected) | (labelled & expected)):
                status = jaxinv.Status(entry["status"][row]).name
                print(
                    f"{entry['method']} k {entry['k']} row {row}: {entry['error'][row]}, {status}"
                )
    least = min((test(entry).pvalue for entry in tested), default=1.0)
    print(f"{named} of {others} rows that are not identifiable are labelled UNDERDETERMINED")
    print(f"{len(tested)} tests against the probability, least p {least:.2g}")


if __name__ == "__main__":
    main()
