"""Observations that no code makes: residual over the best known against seconds a row.

    python -m benchmarks.real [--quick] [--nets NAME ...] [--net FILE ...] [--kind NAME ...]
                              [--rows N] [--seconds S] [--mnist FILE] [--encoder EPOCHS]
                              [--out FILE] [--plot]

Best known: the lowest that anyone found on the row, 64 runs to their end among them. Nets: all that
jaxinv ships, and those of --net. Kinds: test digits, inverted ones, shapes drawn by
benchmarks/real_images.py. Every contestant is timed at its second call, all rows in one call.
--encoder: all of them once more from the codes of an encoder (benchmarks/odd_encoder.py), trained
for so many epochs for the shipped VAE decoder, on that net.
--plot draws from what is there. Extra `bench`.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import jaxinv
from benchmarks.joint import rounded
from benchmarks.odd_encoder import NAME as ENCODED
from benchmarks.odd_encoder import trained
from benchmarks.real_images import digits, for_decoder, learned, shapes
from benchmarks.real_rivals import Point, residual, rivals
from benchmarks.record import RESULTS, machine, write

EFFORTS = ("fast", "default", "thorough")
RESTARTS = (1, 8)
# What is asked of each effort: by how much median and 95th percentile may be above the best known.
ASKED = {"fast": (0.01, 0.05), "default": (0.001, 0.01)}
KINDS = ("digits", "inverted", "shapes")
MOST_SECONDS = 30.0
FROM_ENCODER = ", from an encoder"


def ours(
    generator: Any, x: np.ndarray, quick: bool, codes: np.ndarray | None = None
) -> list[tuple[str, Point]]:
    """Each effort of `auto`, and `lm`, at their second call; from these codes, if any."""
    methods: dict[str, Any] = {
        f"auto, {effort}": jaxinv.Auto(effort=effort)
        for effort in (EFFORTS[:2] if quick else EFFORTS)
    }
    for number in RESTARTS[: 1 if quick else None]:
        methods[f"lm, {number} starts"] = jaxinv.LevenbergMarquardt(restarts=number)
    found = []
    for name, method in methods.items():
        spent = []
        for _ in range(2):
            begin = time.perf_counter()
            latent = np.asarray(jaxinv.invert(generator, x, method, start=codes).latent)
            spent.append(time.perf_counter() - begin)
        print(f"{name}: {spent[0]:.1f} s the first time, {spent[1]:.1f} the second", flush=True)
        found.append((name, Point("", spent[1], residual(generator, x, latent))))
    return found


def long_search(generator: Any, x: np.ndarray, quick: bool) -> np.ndarray:
    """The residuals after so many runs that no rule cuts short."""
    method = jaxinv.Auto(effort="thorough", runs=8 if quick else 64, nearby=0, chance=0.0)
    return residual(generator, x, np.asarray(jaxinv.invert(generator, x, method, seed=1).latent))


def measured(
    generator: Any, x: np.ndarray, most: float, quick: bool, codes: np.ndarray | None
) -> dict[str, Any]:
    """Everyone's points, and what each effort reached beside its rivals' fastest.

    codes: an encoder's, from which everyone starts once more.
    """
    everyone = []
    for start in (None,) if codes is None else (None, codes):
        where = "" if start is None else FROM_ENCODER
        found = [*ours(generator, x, quick, start), *rivals(generator, x, most, quick, start)]
        everyone += [(name + where, point) for name, point in found]
    best = np.fmin.reduce([point.residual for _, point in everyone])
    best = np.fmin(best, long_search(generator, x, quick))
    curves: dict[str, list[dict[str, Any]]] = {}
    for name, point in everyone:
        ratio = np.where(np.isfinite(point.residual), point.residual, np.inf) / best
        curves.setdefault(name, []).append(
            {
                "setting": point.setting,
                "ms a row": 1e3 * point.seconds / len(x),
                "median above": float(np.median(ratio)) - 1.0,
                "p95 above": float(np.quantile(ratio, 0.95)) - 1.0,
            }
        )
    told = {"rows": len(x), "asked": asked(curves, ""), "curves": curves}
    return told if codes is None else told | {"asked from codes": asked(curves, FROM_ENCODER)}


def encoded(x: np.ndarray, npz: str | None, epochs: int | None) -> np.ndarray | None:
    """Codes of an encoder that learnt from MNIST's training digits, if one is asked for."""
    return trained(learned(npz), epochs).codes(x) if npz and epochs else None


def asked(curves: dict[str, list[dict[str, Any]]], where: str) -> dict[str, Any]:
    """For each effort: what it reached, and the fastest rival's time for what is asked of it.

    where: the end of the names of those who started alike.
    """
    found = {}
    for effort, (median, p95) in ASKED.items():
        reached = [
            (point["ms a row"], f"{name}, {point['setting']}")
            for name, points in curves.items()
            if not name.startswith(("auto", "lm")) and name.endswith(FROM_ENCODER) == bool(where)
            for point in points
            if point["median above"] <= median and point["p95 above"] <= p95
        ]
        best = curves[f"auto, {effort}{where}"][0]
        row: dict[str, Any] = {key: best[key] for key in best if key != "setting"}
        row["reached"] = row["median above"] <= median and row["p95 above"] <= p95
        if reached:
            row["fastest rival, ms a row"], row["fastest rival"] = min(reached)
        found[effort] = row
    return found


def draw(found: dict[str, Any], picture: Path) -> None:
    """One panel a net and kind: the 95th percentile of everyone, the best of a time budget.

    Where all started from an encoder, too, only those runs are drawn.
    """
    from benchmarks.plots import canvas, legend_below

    panels = [(net, kind) for net, kinds in found["nets"].items() for kind in kinds]
    lines = -(-len(panels) // 3)
    figure, axes = canvas(lines, 3, 0.6 + 2.1 * lines, squeeze=False)
    for (net, kind), axis in zip(panels, axes.flat, strict=False):
        curves = found["nets"][net][kind]["curves"]
        encoded = {
            name.removesuffix(FROM_ENCODER): points
            for name, points in curves.items()
            if name.endswith(FROM_ENCODER)
        }
        for name, points in (encoded or curves).items():
            ordered = sorted(points, key=lambda point: float(point["ms a row"]))
            time_a_row = [point["ms a row"] for point in ordered]
            above = np.minimum.accumulate([point["p95 above"] for point in ordered])
            bold = name.startswith("auto")
            label = "auto" if bold else name.split(", 1 ")[0]
            style = {"color": "#0072B2", "marker": "o", "zorder": 3} if bold else {"marker": "."}
            shown = None if bold and name != f"auto, {EFFORTS[0]}" else label
            axis.loglog(time_a_row, np.clip(above, 1e-5, 1e2), label=shown, lw=1, ms=4, **style)
        axis.set_title(f"{net}: {kind}")
    for axis in axes[-1]:
        axis.set_xlabel("ms a row")
    for line in axes:
        line[0].set_ylabel("p95 above the best known")
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_visible(False)
    legend_below(figure, axes.flat[0])
    figure.savefig(picture, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one net, few rows and settings")
    parser.add_argument("--nets", nargs="*")
    parser.add_argument("--net", nargs="+", default=[], help="generators in files")
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--seconds", type=float, default=MOST_SECONDS, help="of a rival's point")
    parser.add_argument("--mnist", help="an .npz file of all digits")
    parser.add_argument("--encoder", type=int, metavar="EPOCHS", help="starts from one, too")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", action="store_true", help="only draw")
    given = parser.parse_args()
    if given.encoder and not given.mnist:
        parser.error("--encoder learns from training digits: name a file of them with --mnist")
    quick = given.quick
    out = given.out or RESULTS / f"real{'_quick' if quick else ''}.json"
    found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {"nets": {}}
    if not given.plot:
        shipped = jaxinv.shipped_generators()
        nets = given.nets if given.nets is not None else shipped[:1] if quick else shipped
        rows = given.rows or (8 if quick else 256)
        for net in (*nets, *given.net):
            generator = jaxinv.load_generator(net)
            plain = digits(rows, given.mnist)
            every = {"digits": plain, "inverted": 1.0 - plain, "shapes": shapes(rows)}
            for kind in given.kind[: 1 if quick else None]:
                described = machine()
                x = for_decoder(every[kind], generator)
                seconds = 1.0 if quick else given.seconds
                codes = encoded(x, given.mnist, given.encoder) if net == ENCODED else None
                told = measured(generator, x, seconds, quick, codes)
                result = {"machine": described} | rounded(told)
                found["nets"].setdefault(Path(net).stem, {})[kind] = result
                write(out, found)
                print(net, kind, json.dumps(result["asked"], indent=1), flush=True)
    if not quick:
        draw(found, out.with_suffix(".png"))


if __name__ == "__main__":
    main()
