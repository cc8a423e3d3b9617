"""The ROC curves of odd images: of the images made odd, the share that each threshold finds."""

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

LOOKS = {
    "inverter, residual": ("#56B4E9", "-"),
    "inverter, log-density": ("#0072B2", "-"),
    "encoder, residual": ("#E69F00", "--"),
    "encoder, evidence": ("#D55E00", "--"),
    "PCA, residual": ("#009E73", ":"),
}


def curve(odd: np.ndarray, regular: np.ndarray) -> dict[str, list[float]]:
    """Corners of the curve of scores (m,) and (n,), higher for odder: the shares of the regular
    and of the odd images that lie above each threshold."""
    is_odd = np.repeat([True, False], [len(odd), len(regular)])
    alarms, found, _ = roc_curve(is_odd, np.concatenate([odd, regular]))
    return {"false alarms": alarms.round(4).tolist(), "found": found.round(4).tolist()}


def draw(results: dict[str, Any], path: Path) -> None:
    """One panel a kind of odd images."""
    from benchmarks.plots import canvas, legend_below

    kinds = results["kinds"]
    lines = -(-len(kinds) // 4)
    figure, axes = canvas(lines, 4, 0.5 + 2.1 * lines, squeeze=False, sharex=True, sharey=True)
    for ax, (kind, rows) in zip(axes.flat, kinds.items(), strict=False):
        for name, (colour, line) in LOOKS.items():
            row = rows[name]
            ax.plot(
                row["false alarms"], row["found"], line, color=colour, label=name, linewidth=1.2
            )
        ax.plot([0, 1], [0, 1], color="0.7", linewidth=0.8, zorder=0)
        ax.set(title=kind, aspect="equal", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        ax.set(xlabel="regular taken for odd", ylabel="odd found")
        ax.label_outer()
    for ax in axes.flat[len(kinds) :]:
        ax.remove()
    legend_below(figure, axes.flat[0])
    figure.savefig(path, metadata={"Software": None})
