"""Figure 4: the paper's three linear programs against the noise.

    python -m benchmarks.figure4 [--quick] [--methods linf l1] [--out FILE.json]

linf, l1 and the relaxation (Algorithms 1, 2, 3) on one random net, uniform and Gaussian noise, on
the observations of Figure 2; see `under_noise` for what is drawn.
"""

from benchmarks.conditions import (
    SUCCEEDS,
    Data,
    arguments,
)
from benchmarks.plots import canvas, legend_below, save
from benchmarks.under_noise import KINDS, RANDOM, measure, panel, report

LEVELS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
METHODS = ("linf", "l1", "relaxed")
ROWS = 25


def main() -> None:
    given = arguments(__doc__, "figure4").parse_args()
    data = Data("figure4", given, {"success": SUCCEEDS, "net": "seed 0", "codes": "seed 1"})
    for method in METHODS:
        for kind in KINDS:
            for level in LEVELS[1::2] if given.quick else LEVELS:
                rows = 4 if given.quick else ROWS
                condition = {"net": RANDOM, "kind": kind, "level": level, "method": method}
                measure(data, rows, method, **condition)
    figure, panels = canvas(1, 2, 3.6, sharey=True)
    for axes, kind in zip(panels, KINDS, strict=True):
        panel(axes, data, RANDOM, kind, METHODS)
        axes.set_xlabel("noise level a (unit of the observation)")
    panels[0].set_ylabel("relative error ||z - z*|| / ||z*||")
    legend_below(figure, panels[0])
    save(figure, data)
    report(data, METHODS)


if __name__ == "__main__":
    main()
