"""Give gradient descent its best chance: a grid over optimizers, and how often it then succeeds.

    python benchmarks/tune_gd.py            # writes results/gd_tuning.json and gd_success.json
    python benchmarks/tune_gd.py --quick    # a minute, to see that it works; writes *_quick.json

Success is ||z - z*||_2 / ||z*||_2 <= 1e-3, without noise. Tuning and success use different random
nets and codes. The grid has two stages: every optimizer, rate and schedule at one length and one
start, then each optimizer's best at several lengths and restarts. A setting is better than another
if it succeeds more often, then if more rows are SOLVED (relative residual 1e-6), then if it takes
fewer gradients.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from safetensors import safe_open

from jaxinv.generator import Generator
from jaxinv.joint.gradient_descent import Target, descend, keep_best
from jaxinv.joint.starts import starting_points
from jaxinv.methods import GradientDescent
from jaxinv.result import Inversion
from jaxinv.status import Status

RESULTS = Path(__file__).parent / "results"
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
            if self.shipped is None:
                yield Generator.random(self.widths, seed=seed + net)
            else:
                yield read(self.shipped)


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
    generator: Generator, target: Target, starts: jax.Array, method: GradientDescent
) -> tuple[Inversion, jax.Array]:
    """What `gradient_descent` returns, and how many gradients each observation took."""
    runs = descend(generator, target, starts, method)
    return keep_best(generator, target, runs, method), runs.steps.sum(axis=1)


def judge(family: Family, method: GradientDescent, seed: int) -> dict[str, Any]:
    """Success rate, error, cost and statuses of one setting on a family of nets."""
    errors, gradients, statuses, seconds = [], [], [], []
    for net, generator in enumerate(family.generators(seed)):
        rng = np.random.default_rng([seed, net])
        truth = rng.standard_normal((family.codes, generator.latent_size))
        with jax.enable_x64(True):
            x = generator(truth)
            target = Target(x, jnp.ones(x.shape, bool), jnp.ones(x.shape))
            ids = jnp.arange(family.codes) + net * family.codes
            starts = starting_points(
                0, ids, method.restarts, generator.latent_size, method.start_scale
            )
            began = time.perf_counter()
            found, taken = inverted(generator, target, starts, method)
            latent = np.asarray(found.latent)
            seconds.append(time.perf_counter() - began)
        miss = np.linalg.norm(latent - truth, axis=1) / np.linalg.norm(truth, axis=1)
        errors.append(np.where(np.isnan(miss), np.inf, miss))
        gradients.append(np.asarray(taken))
        statuses += np.asarray(found.status).tolist()
    error = np.concatenate(errors)
    named = {name: statuses.count(int(name)) for name in Status if statuses.count(int(name))}
    return {
        "trials": len(error),
        "success": float(np.mean(error <= SUCCESS)),
        "median_error": finite(np.median(error)),
        "gradients": float(np.mean(np.concatenate(gradients))),
        # The first net also pays for compilation.
        "ms_per_code": round(1e3 * float(np.median(seconds)) / family.codes, 2),
        "status": {status.name: count for status, count in named.items()},
    }


def finite(value: Any) -> float | None:
    """A number that JSON can hold, to three digits; None for infinity."""
    return float(f"{value:.3g}") if np.isfinite(value) else None


def tune(family: Family, grid: Grid) -> dict[str, Any]:
    """Both stages on one family; the rows tried, the winner, and the paper's settings beside it."""
    first = [
        replace(
            family.paper,
            optimizer=optimizer,
            momentum=momentum,
            learning_rate=rate,
            schedule=schedule,
            steps=grid.steps,
        )
        for (optimizer, momentum), rates in grid.rates.items()
        for rate in rates
        for schedule in grid.schedules
    ]
    rows = [entry(family, method) for method in first]
    for kind in grid.rates:
        alike = [row for row in rows if (row["optimizer"], row["momentum"]) == kind]
        best = GradientDescent(**{name: min(alike, key=rank)[name] for name in FIELDS})
        second = [replace(best, steps=n, restarts=r) for n in grid.lengths for r in grid.restarts]
        rows += [entry(family, method) for method in second if method != best]
    return {
        "family": family.name,
        "nets": family.nets,
        "codes_per_net": family.codes,
        "paper": entry(family, family.paper),
        "winner": min(rows, key=rank),
        "winner_by_optimizer": [
            min((r for r in rows if (r["optimizer"], r["momentum"]) == kind), key=rank)
            for kind in grid.rates
        ],
        "grid": rows,
    }


def entry(family: Family, method: GradientDescent) -> dict[str, Any]:
    """One row of the grid: the settings that vary, and the verdict."""
    settings = asdict(method)
    row = {name: settings[name] for name in FIELDS} | judge(family, method, TUNING_SEED)
    words = " ".join(str(row[name]) for name in FIELDS)
    print(f"{family.name}: {words}: {row['success']:.2f} in {row['gradients']:.0f}", flush=True)
    return row


def rank(row: dict[str, Any]) -> tuple[float, float, float]:
    return -row["success"], -row["status"].get("SOLVED", 0), row["gradients"]


def success(families: Sequence[Family], tuned: dict[str, Any]) -> list[dict[str, Any]]:
    """Success by latent size with the paper's settings, under both readings of its loss, and tuned.

    The step of rate 1 on ||x - G(z)||^2 is that of rate 2 on half of it: "half" is rate 0.5 here.
    """
    chosen = GradientDescent(**{name: tuned[name] for name in FIELDS})
    rows = []
    for family in families:
        paper = family.paper
        for label, method in (
            ("paper, loss ||x - G(z)||^2", paper),
            ("paper, loss half of it", replace(paper, learning_rate=paper.learning_rate / 2)),
            ("paper, ten times the steps", replace(paper, steps=10 * paper.steps)),
            ("tuned", chosen),
        ):
            verdict = judge(family, method, JUDGING_SEED)
            rows.append({"k": family.widths[0], "settings": label} | verdict)
            print(f"{family.name}: {label}: {verdict['success']:.2f}", flush=True)
    return rows


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "device": jax.devices()[0].platform,
        "cores": os.cpu_count(),
        "load_average_at_start": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "optax": optax.__version__,
        "numpy": np.__version__,
        "dtype": "float64",
    }


def write(name: str, content: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / name).write_text(json.dumps(content, indent=1) + "\n")


def random_families(sizes: Iterable[tuple[int, ...]], nets: int, codes: int) -> list[Family]:
    paper = GradientDescent.paper("random")
    return [Family("-".join(map(str, w)), nets, codes, paper, widths=w) for w in sizes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small, to see that it works")
    parser.add_argument("--skip-shipped", action="store_true", help="random nets only")
    quick, skip_shipped = (getattr(parser.parse_args(), n) for n in ("quick", "skip_shipped"))
    about = {"machine": machine(), "success_means": f"||z - z*|| <= {SUCCESS:g} ||z*||, noiseless"}
    ending = "_quick.json" if quick else ".json"

    fast, slow = (0.1, 0.3), (0.03, 0.1)
    random_grid = Grid(
        steps=300 if quick else 1000,
        rates={("sgd", 0.0): (0.5, 1.0), ("sgd", 0.9): fast, ("adam", 0.0): slow}
        if quick
        else {
            ("sgd", 0.0): (0.1, 0.3, 0.5, 0.7, 1.0, 1.5),
            ("sgd", 0.9): (0.03, 0.1, 0.3, 0.5),
            ("sgd", 0.97): (0.03, 0.1, 0.3, 0.5),
            ("nesterov", 0.9): (0.03, 0.1, 0.3, 0.5),
            ("adam", 0.0): (0.01, 0.03, 0.1, 0.3),
            ("adabelief", 0.0): (0.01, 0.03, 0.1, 0.3),
        },
        schedules=("constant", "cosine"),
        lengths=(300,) if quick else (300, 1000, 3000),
        restarts=(1, 2) if quick else (1, 4),
    )
    shipped_grid = Grid(
        steps=200 if quick else 2000,
        rates={("sgd", 0.0): (1e-3,), ("adam", 0.0): (0.03,)}
        if quick
        else {
            ("sgd", 0.0): (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
            ("sgd", 0.9): (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
            ("nesterov", 0.9): (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
            ("adam", 0.0): (0.01, 0.03, 0.1, 0.3),
            ("adabelief", 0.0): (0.01, 0.03, 0.1, 0.3),
        },
        schedules=("constant",) if quick else ("constant", "cosine"),
        lengths=(200,) if quick else (2000, 10_000),
        restarts=(1,) if quick else (1, 8),
    )
    sizes = [(20, 100, 500), (60, 250, 600), (100, 250, 600)]
    tuned = []
    families = random_families(sizes[:2] if quick else sizes, *((2, 2) if quick else (6, 4)))
    for family in families:
        tuned.append(tune(family, random_grid))
        write(f"gd_tuning{ending}", about | {"families": tuned})
    judged = random_families([(k, 250, 600) for k in PAPER_SIZES], *((2, 2) if quick else (25, 4)))
    rows = success(judged[::2] if quick else judged, tuned[-1]["winner"])
    settings = {name: tuned[-1]["winner"][name] for name in FIELDS}
    nets = {"nets_per_size": judged[0].nets, "codes_per_net": judged[0].codes}
    write(f"gd_success{ending}", about | nets | {"tuned_settings": settings, "rows": rows})

    for path in [] if skip_shipped else sorted(SHIPPED.glob("mnist-*.safetensors")):
        paper = GradientDescent.paper("mnist")
        family = Family(path.stem, 1, 4 if quick else 32, paper, shipped=path)
        tuned.append(tune(family, shipped_grid))
        write(f"gd_tuning{ending}", about | {"families": tuned})


if __name__ == "__main__":
    main()
