"""Figure 2: the recovery error against the noise, on a random net and on the MNIST nets.

    python -m benchmarks.figure2 [--quick] [--methods linf auto] [--out FILE.json]

One net 20-100-500 and the two shipped nets with the paper's activations, uniform and Gaussian
noise; see `under_noise` for what is drawn. Rows a level: ROWS, fewer where a row is expensive.
Gradient descent has the paper's settings, and those tune_gd.py chose.
"""

from benchmarks.conditions import (
    PAPER_MNIST,
    PAPER_RANDOM,
    SUCCEEDS,
    Data,
    arguments,
    tuned,
)
from benchmarks.plots import canvas, legend_below, save
from benchmarks.under_noise import KINDS, RANDOM, measure, panel, report

RELU, LEAKY = "mnist-relu-20-60-784", "mnist-leaky-20-200-500-784"
LEVELS = {
    RANDOM: (1e-5, 1e-4, 1e-3, 1e-2, 1e-1),
    RELU: (1e-3, 1e-2, 1e-1),
    LEAKY: (1e-3, 1e-2, 1e-1),
}
METHODS = ("linf", "auto", "gd", "gd tuned")
CHUNK = 8  # the MNIST nets' rows compute together so many at a time
ROWS = {
    RANDOM: dict.fromkeys(METHODS, 200),
    RELU: {"linf": 200, "auto": 200, "gd": 200, "gd tuned": 8},
    LEAKY: {"linf": 8, "auto": 200, "gd": 8, "gd tuned": 200},
}


def main() -> None:
    parser = arguments(__doc__, "figure2")
    parser.add_argument("--nets", nargs="+", choices=ROWS, help="measure these only")
    given = parser.parse_args()
    nets = (RANDOM,) if given.quick else tuple(ROWS)
    data = Data("figure2", given, {"success": SUCCEEDS, "net": "seed 0", "codes": "seed 1"})
    for net in given.nets or nets:
        descent = {
            "gd": PAPER_RANDOM if net == RANDOM else PAPER_MNIST,
            "gd tuned": tuned("gd_tuning", net),
        }
        for method in METHODS:
            rows = 10 if given.quick else ROWS[net][method]
            settings = descent.get(method, method)
            for kind in KINDS:
                for level in LEVELS[net][1::2] if given.quick else LEVELS[net]:
                    condition = {"net": net, "kind": kind, "level": level, "method": method}
                    measure(data, rows, settings, None if net == RANDOM else CHUNK, **condition)
    draw(data)
    report(data, METHODS)


def draw(data: Data) -> None:
    """A line of panels for each net that has been measured, a column for each kind of noise."""
    nets = [net for net in ROWS if data.find(net=net)]
    if not nets:
        return
    figure, panels = canvas(len(nets), 2, 1.0 + 2.4 * len(nets), sharey="row", squeeze=False)
    for line, net in zip(panels, nets, strict=True):
        for axes, kind in zip(line, KINDS, strict=True):
            panel(axes, data, net, kind, METHODS)
        line[0].set_ylabel("relative error ||z - z*|| / ||z*||")
    for axes in panels[-1]:
        axes.set_xlabel("noise level a (unit of the observation)")
    legend_below(figure, panels[0, 0])
    save(figure, data)


if __name__ == "__main__":
    main()
