"""Give gradient descent its best chance: a grid over optimizers, and how often it then succeeds.

    python -m benchmarks.tune_gd            # writes results/gd_tuning.json and gd_success.json
    python -m benchmarks.tune_gd --quick    # a minute, to see that it works; writes *_quick.json
    python -m benchmarks.tune_gd --only mnist-vae-20-400-784 success    # keeps the other results

Success is ||z - z*||_2 / ||z*||_2 <= 1e-3, without noise. Tuning and success use different random
nets and codes. The grid has two stages: every optimizer, rate and schedule at one length and one
start, then each optimizer's best at several lengths and restarts. A setting is better than another
if it succeeds more often, then if more rows are SOLVED (relative residual 1e-6), then if it takes
fewer gradients. What is chosen is judged once more on fresh codes ("judged").
"""

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import safe_open

from benchmarks.record import RESULTS, machine, write
from jaxinv.joint.descent.gradient_descent import BestRun, descend, keep_best
from jaxinv.joint.descent.levenberg_marquardt import Box
from jaxinv.joint.search.starts import starting_points
from jaxinv.model.generator import Generator
from jaxinv.outcome.status import Status
from jaxinv.settings import GradientDescent

SHIPPED = Path(__file__).parent.parent / "jaxinv" / "data"
SUCCESS = 1e-3
PAPER_SIZES = (20, 40, 60, 80, 100)
# Seeds of the nets and codes that settings are chosen on, and of those they are judged on.
TUNING_SEED, JUDGING_SEED = 10_000, 20_000
FIELDS = ("optimizer", "momentum", "learning_rate", "schedule", "steps", "restarts")


@dataclass(frozen=True)
class Family:
    """Nets alike enough to share settings: `nets` of them with `codes` latents N(0, I) each."""

    name: str
    nets: int
    codes: int
    paper: GradientDescent
    widths: tuple[int, ...] = ()
    shipped: Path | None = None

    def generators(self, seed: int) -> Iterator[Generator]:
        for net in range(self.nets):
            yield read(self.shipped) if self.shipped else Generator.random(self.widths, seed + net)


@dataclass(frozen=True)
class Grid:
    """Rates by optimizer for the first stage, lengths and restarts for the second."""

    steps: int
    rates: dict[tuple[str, float], tuple[float, ...]]
    schedules: tuple[Literal["constant", "cosine"], ...]
    lengths: tuple[int, ...]
    restarts: tuple[int, ...]


def read(path: Path) -> Generator:
    """The generator in a shipped file: W0, b0, W1, ..., and its activations in the metadata."""
    with safe_open(path, "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        activations = json.loads(file.metadata()["activations"])
    return Generator.from_layers(
        (tensors[f"W{i}"], tensors.get(f"b{i}"), name) for i, name in enumerate(activations)
    )


@partial(jax.jit, static_argnames="method")
def inverted(
    generator: Generator,
    x: jax.Array,
    weight: jax.Array,
    starts: jax.Array,
    method: GradientDescent,
) -> tuple[BestRun, jax.Array]:
    """Each observation's best run, and how many gradients it took."""
    free = jnp.full(generator.latent_size, jnp.inf)
    runs = descend(generator, x, weight, starts, Box(-free, free), method)
    return keep_best(generator, x, weight, runs, method), runs.steps.sum(axis=1)


def judge(family: Family, method: GradientDescent, seed: int) -> dict[str, Any]:
    """Success rate, error, cost and statuses of one setting on a family of nets."""
    errors, gradients, statuses, seconds, compiled = [], [], [], 0.0, None
    for net, generator in enumerate(family.generators(seed)):
        rng = np.random.default_rng([seed, net])
        truth = rng.standard_normal((family.codes, generator.latent_size))
        with jax.enable_x64(True):
            x = generator(truth)
            weight = jnp.ones(x.shape)
            ids = jnp.arange(family.codes) + net * family.codes
            starts = starting_points(
                0, ids, method.restarts, generator.latent_size, method.start_scale
            )
            compiled = compiled or inverted.lower(generator, x, weight, starts, method).compile()
            began = time.perf_counter()
            found, taken = compiled(generator, x, weight, starts)
            latent = np.asarray(found.latent)
            seconds += time.perf_counter() - began
        miss = np.linalg.norm(latent - truth, axis=1) / np.linalg.norm(truth, axis=1)
        errors.append(np.where(np.isnan(miss), 1.0, miss))  # no latent: as wrong as the origin
        gradients.append(np.asarray(taken))
        statuses += np.asarray(found.status).tolist()
    error = np.concatenate(errors)
    return {
        "trials": len(error),
        "success": float(np.mean(error <= SUCCESS)),
        "median_error": float(f"{np.median(error):.3g}"),
        "gradients": float(np.mean(np.concatenate(gradients))),
        "ms_per_code": round(1e3 * seconds / len(error), 2),
    } | {Status(value).name: statuses.count(value) for value in sorted(set(statuses))}


def tune(family: Family, grid: Grid) -> dict[str, Any]:
    """Both stages on one family; the rows tried, the winner, and the paper's settings beside it."""
    first = [
        GradientDescent(rate, grid.steps, optimizer=name, momentum=momentum, schedule=schedule)
        for (name, momentum), rates in grid.rates.items()
        for rate in rates
        for schedule in grid.schedules
    ]
    rows = [entry(family, method) for method in first]
    for kind in grid.rates:
        best = settings(best_of(rows, kind))
        second = [replace(best, steps=n, restarts=r) for n in grid.lengths for r in grid.restarts]
        rows += [entry(family, method) for method in second if method != best]
    winner = min(rows, key=rank)
    return {
        "family": family.name,
        "nets": family.nets,
        "codes_per_net": family.codes,
        "machine": machine(),
        "paper": entry(family, family.paper),
        "winner": winner,
        "judged": {
            "paper": judge(family, family.paper, JUDGING_SEED),
            "winner": judge(family, settings(winner), JUDGING_SEED),
        },
        "winner_by_optimizer": [best_of(rows, kind) for kind in grid.rates],
        "grid": rows,
    }


def entry(family: Family, method: GradientDescent) -> dict[str, Any]:
    """One row of the grid: the settings that vary, and the verdict."""
    row = {name: asdict(method)[name] for name in FIELDS} | judge(family, method, TUNING_SEED)
    print(family.name, *row.values(), flush=True)
    return row


def rank(row: dict[str, Any]) -> tuple[float, float, float]:
    return -row["success"], -row.get("SOLVED", 0), row["gradients"]


def best_of(rows: list[dict[str, Any]], kind: tuple[str, float]) -> dict[str, Any]:
    return min((row for row in rows if (row["optimizer"], row["momentum"]) == kind), key=rank)


def settings(row: dict[str, Any]) -> GradientDescent:
    """The settings that a row of the grid was measured with."""
    return GradientDescent(**{name: row[name] for name in FIELDS})


def success(families: Sequence[Family], chosen: GradientDescent) -> list[dict[str, Any]]:
    """Success by latent size with the paper's settings, under both readings of its loss, and tuned.

    The step of rate 1 on ||x - G(z)||^2 is that of rate 2 on half of it: "half" is rate 0.5 here.
    """
    rows = []
    for family in families:
        paper = family.paper
        for label, method in (
            ("paper, loss ||x - G(z)||^2", paper),
            ("paper, loss half of it", replace(paper, learning_rate=paper.learning_rate / 2)),
            ("paper, ten times the steps", replace(paper, steps=10 * paper.steps)),
            ("tuned", chosen),
            ("tuned, eight starts", replace(chosen, restarts=8)),
        ):
            verdict = judge(family, method, JUDGING_SEED)
            rows.append({"k": family.widths[0], "settings": label} | verdict)
            print(family.name, label, *verdict.values(), flush=True)
    return rows


def random_families(sizes: Iterable[tuple[int, ...]], nets: int, codes: int) -> list[Family]:
    paper = GradientDescent.paper("random")
    return [Family("-".join(map(str, w)), nets, codes, paper, widths=w) for w in sizes]


def shipped_families(codes: int) -> list[Family]:
    paper, paths = GradientDescent.paper("mnist"), sorted(SHIPPED.glob("mnist-*.safetensors"))
    return [Family(path.stem, 1, codes, paper, shipped=path) for path in paths]


FAST = (0.03, 0.1, 0.3, 0.5, 1.0)
ADAPTIVE = (0.01, 0.03, 0.1, 0.3, 1.0)
MNIST = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
RANDOM_GRID = Grid(
    steps=1000,
    rates={
        ("sgd", 0.0): (0.1, 0.3, 0.5, 0.7, 1.0, 1.5),
        ("sgd", 0.9): FAST,
        ("sgd", 0.97): FAST,
        ("nesterov", 0.9): FAST,
        ("adam", 0.0): ADAPTIVE,
        ("adabelief", 0.0): ADAPTIVE,
    },
    schedules=("constant", "cosine"),
    lengths=(300, 1000, 3000),
    restarts=(1, 4),
)
SHIPPED_GRID = Grid(
    steps=2000,
    rates={
        ("sgd", 0.0): (*MNIST, 3e-2),
        ("sgd", 0.9): MNIST,
        ("nesterov", 0.9): MNIST,
        ("adam", 0.0): ADAPTIVE,
        ("adabelief", 0.0): ADAPTIVE,
    },
    schedules=("constant", "cosine"),
    lengths=(2000, 10_000),
    restarts=(1, 8),
)
QUICK_GRID = Grid(300, {("sgd", 0.0): (1.0,), ("adam", 0.0): (0.1,)}, ("constant",), (300,), (1, 2))
SIZES = ((20, 100, 500), (60, 250, 600), (100, 250, 600))
JUDGED = "100-250-600"  # whose winner is judged at every latent size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small, to see that it works")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="families, or 'success'")
    parser.add_argument("--out", type=Path, help="of the tuning; success is written beside it")
    arguments = parser.parse_args()
    quick, only = arguments.quick, arguments.only
    ending = "_quick.json" if quick else ".json"
    means = f"||z - z*||_2 <= {SUCCESS:g} ||z*||_2, noiseless"

    path = arguments.out or RESULTS / f"gd_tuning{ending}"
    known = json.loads(path.read_text())["families"] if only and path.exists() else []
    tuned = {family["family"]: family for family in known}
    work = [(f, RANDOM_GRID) for f in random_families(SIZES, *((2, 2) if quick else (6, 4)))]
    work += [(f, SHIPPED_GRID) for f in shipped_families(4 if quick else 16)]
    for family, grid in work:
        if not only or family.name in only:
            tuned[family.name] = tune(family, QUICK_GRID if quick else grid)
            ordered = [tuned[other.name] for other, _ in work if other.name in tuned]
            write(path, {"success_means": means, "families": ordered})

    if not only or "success" in only:
        sizes = [(k, 250, 600) for k in (PAPER_SIZES[::2] if quick else PAPER_SIZES)]
        families = random_families(sizes, *((2, 2) if quick else (25, 4)))
        winner = tuned[JUDGED]["winner"]
        content = {
            "success_means": means,
            "machine": machine(),
            "nets_per_size": families[0].nets,
            "codes_per_net": families[0].codes,
            "tuned": {name: winner[name] for name in FIELDS} | {"on": JUDGED},
            "rows": success(families, settings(winner)),
        }
        beside = path.with_stem(f"{path.stem}_success")
        write(beside if arguments.out else RESULTS / f"gd_success{ending}", content)


if __name__ == "__main__":
    main()
