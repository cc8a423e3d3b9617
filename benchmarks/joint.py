"""All layers at once, measured: identifiability, contractive nets, noise, digits, outliers, speed.

    python -m benchmarks.joint                      # every family; results/joint.json
    python -m benchmarks.joint --quick              # small, to see that it works
    python -m benchmarks.joint --only noise digits  # some families; the other results are kept

Success is ||z - z*||_2 / ||z*||_2 <= 1e-3 from noiseless observations; the starts' seed is fixed
and independent of the codes. Every rival is run here, on the same rows, in the same run.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxinv
from jaxinv.certify.identifiability import identifiability

OUT = Path(__file__).parent / "results" / "joint.json"
LEAKY, RELU, VAE = "mnist-leaky-20-200-500-784", "mnist-relu-20-60-784", "mnist-vae-20-400-784"
SUCCESS = 1e-3
# The baseline: what benchmarks/tune_gd.py chose for the ReLU net, and for the deeper nets, which
# its grid has not been run on, the same optimizer at a rate that converges on them.
TUNED = {
    LEAKY: jaxinv.GradientDescent(
        learning_rate=0.1, optimizer="adam", schedule="cosine", steps=2_000
    ),
    RELU: jaxinv.GradientDescent(
        learning_rate=0.3, optimizer="adam", schedule="cosine", steps=10_000
    ),
    VAE: jaxinv.GradientDescent(
        learning_rate=0.1, optimizer="adam", schedule="cosine", steps=2_000
    ),
}


def planted(generator: jaxinv.Generator, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    latent = np.random.default_rng([seed, 31]).standard_normal((rows, generator.latent_size))
    return latent, np.array(generator(latent))


def error(found: Any, latent: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.asarray(found) - latent, axis=-1) / np.linalg.norm(latent, axis=-1)


def verdict(generator: jaxinv.Generator, rows: int, seed: int, **options: Any) -> dict[str, int]:
    """Success and labels of `auto` against the ranks at the truth."""
    latent, x = planted(generator, rows, seed)
    truth = identifiability(generator, latent)
    start = time.perf_counter()
    found = jaxinv.invert(generator, x, **options)
    free, good = np.asarray(found.undetermined) > 0, error(found.latent, latent) <= SUCCESS
    local, named = truth.locally_unique, free | ~np.asarray(found.ok)
    certified = identifiability(generator, found.latent).unique
    certified &= np.asarray(found.residual) <= 1e-6 * np.linalg.norm(x, axis=-1)
    return {
        "rows": rows,
        "identifiable": int(local.sum()),
        "recovered": int((good & local).sum()),
        "others": int((~local).sum()),
        "others named": int((named & ~local).sum()),
        "unique": int(truth.unique.sum()),
        "called unique": int(certified.sum()),
        "called unique wrongly": int((certified & ~truth.unique).sum()),
        "reproduced": int((np.asarray(found.residual) <= 1e-6 * np.linalg.norm(x, axis=-1)).sum()),
        "milliseconds": round(1e3 * (time.perf_counter() - start)),
    }


def nets(widths: Sequence[int], count: int) -> dict[str, Any]:
    """One code on each of `count` random nets, summed."""
    total: dict[str, Any] = {}
    for seed in range(count):
        generator = jaxinv.Generator.random(widths, seed=seed)
        for name, value in verdict(generator, 1, seed).items():
            total[name] = total.get(name, 0) + value
    return total


def identifiable(quick: bool) -> dict[str, Any]:
    sizes = (109, 120) if quick else (109, 115, 120, 124, 200)
    return {f"{k}-250-600": nets((k, 250, 600), 3 if quick else 200) for k in sizes}


def contractive(quick: bool) -> dict[str, Any]:
    sizes = [(20, 100, last) for last in (180, 120, 60)] + [(60, 250, 150)]
    return {"-".join(map(str, w)): nets(w, 5 if quick else 100) for w in sizes}


def shipped(quick: bool) -> dict[str, Any]:
    return {
        name: verdict(jaxinv.load_generator(name), 16 if quick else 200, 5)
        for name in (RELU, LEAKY, VAE)
    }


def noise(quick: bool) -> dict[str, Any]:
    """Root mean square error over the Cramer-Rao bound, and the share of intervals that cover."""
    rows, levels = (60, (1e-3,)) if quick else (2_000, (1e-6, 1e-4, 1e-2))
    result = {}
    random_net = jaxinv.Generator.random((20, 100, 500), seed=1)
    leaky, rows_leaky = jaxinv.load_generator(LEAKY), 32 if quick else 400
    for name, net, count in (("20-100-500", random_net, rows), (LEAKY, leaky, rows_leaky)):
        latent, clean = planted(net, count, 6)
        jacobians = np.concatenate([_normals(net, part) for part in np.array_split(latent, 20)])
        variance = np.trace(np.linalg.inv(jacobians), axis1=1, axis2=2).mean()
        for sd in levels:
            x = clean + sd * np.random.default_rng(8).standard_normal(clean.shape)
            found = jaxinv.invert(net, x)
            rms = np.sqrt(((np.asarray(found.latent) - latent) ** 2).sum(-1).mean())
            some = slice(0, 300)
            part = jax.tree.map(lambda leaf, some=some: leaf[some], found)
            interval = jaxinv.confidence(net, x[some], part)
            inside = (interval.low <= latent[some]) & (latent[some] <= interval.high)
            result[f"{name} sd {sd:g}"] = {
                "rows": count,
                "rms over bound": rms / (sd * np.sqrt(variance)),
                "95% intervals cover": inside.mean(),
                "reliable": interval.reliable.mean(),
                "ok": np.asarray(found.ok).mean(),
            }
    return result


def _normals(generator: jaxinv.Generator, latent: np.ndarray) -> np.ndarray:
    jacobian = np.asarray(generator.jacobian(latent))
    return jacobian.mT @ jacobian


def radii(quick: bool) -> dict[str, Any]:
    """Rigorous radii under uniform noise: violations, share finite, radius over error."""
    generator = jaxinv.Generator.random((20, 100, 500), seed=1)
    latent, clean = planted(generator, 20 if quick else 1_000, 7)
    result = {}
    for bound in (1e-6, 1e-4, 1e-2):
        x = clean + np.random.default_rng(9).uniform(-bound, bound, clean.shape)
        centre, radius = jaxinv.rigorous_radius(generator, x, bound)
        finite = np.isfinite(radius).all(-1)
        off = np.abs(centre - latent)[finite]
        ratio = np.linalg.norm(radius[finite], axis=-1) / np.linalg.norm(off, axis=-1)
        result[f"bound {bound:g}"] = {
            "rows": len(x),
            "violated": int((off > radius[finite]).any(-1).sum()),
            "finite": finite.mean(),
            "median radius over error": np.median(ratio),
        }
    return result


def digits(quick: bool) -> dict[str, Any]:
    """Residuals on real digits against the best of many starts of the tuned baseline."""
    path = Path(jaxinv.__file__).parent / "data" / "mnist-test-256.npz"
    with np.load(path, allow_pickle=False) as archive:
        images = next(archive[name] for name in archive.files if archive[name].ndim > 1)
    result = {}
    for name, count, starts in ((RELU, 256, 64), (LEAKY, 64, 8), (VAE, 64, 8)):
        generator = jaxinv.load_generator(name)
        x = images.reshape(len(images), -1)[: 4 if quick else count] / 255.0
        begin = time.perf_counter()
        ours = jaxinv.invert(generator, x)
        seconds = time.perf_counter() - begin
        judged = slice(0, 2 if quick else 8)
        rival = jaxinv.LevenbergMarquardt(restarts=4 if quick else 64, softness=0.0)
        best = np.asarray(jaxinv.invert(generator, x[judged], rival, seed=1).residual)
        begin = time.perf_counter()
        settings = TUNED[name].__class__(**vars(TUNED[name]) | {"restarts": 2 if quick else starts})
        descent = np.asarray(jaxinv.invert(generator, x[judged], settings, seed=1).residual)
        mine = np.asarray(ours.residual)[judged]
        result[name] = {
            "digits": len(x),
            "seconds a digit": seconds / len(x),
            "judged": len(mine),
            "starts of gradient descent": settings.restarts,
            "seconds a digit, gradient descent": (time.perf_counter() - begin) / len(mine),
            "within 1.05 of gradient descent": (mine <= 1.05 * descent).mean(),
            "within 1.05 of lm's best": (mine <= 1.05 * best).mean(),
            "median ratio to gradient descent": np.median(mine / descent),
        }
    return result


def measurements(quick: bool) -> dict[str, Any]:
    """Outliers, inpainting and compressed sensing on the leaky decoder."""
    generator = jaxinv.load_generator(LEAKY)
    latent, x = planted(generator, 8 if quick else 64, 11)
    rng = np.random.default_rng(12)
    hit = rng.random(x.shape) < 0.3
    spoiled = np.where(hit, rng.uniform(x.min(), x.max(), x.shape), x)
    mask = rng.random(x.shape) < 0.05
    a = rng.standard_normal((50, 784)) / np.sqrt(50)
    uniform = x + rng.uniform(-0.03, 0.03, x.shape)
    found = {
        "30% outliers, least squares": jaxinv.invert(generator, spoiled),
        "30% outliers, refine l1": jaxinv.invert(generator, spoiled, refine="l1"),
        "5% of the pixels": jaxinv.invert(generator, x, mask=mask),
        "50 Gaussian measurements": jaxinv.invert(generator, x @ a.T, operator=a),
        "uniform noise 0.03, least squares": jaxinv.invert(generator, uniform),
        "uniform noise 0.03, refine linf": jaxinv.invert(generator, uniform, refine="linf"),
    }
    return {
        name: {
            "rows": len(x),
            "median error": np.median(error(r.latent, latent)),
            "success": (error(r.latent, latent) <= SUCCESS).mean(),
        }
        for name, r in found.items()
    }


def throughput(quick: bool) -> dict[str, Any]:
    """Inversions a second on noisy observations of the leaky decoder, beside the tuned baseline."""
    generator = jaxinv.load_generator(LEAKY)
    latent, clean = planted(generator, 64 if quick else 2_000, 13)
    x = clean + 1e-2 * np.random.default_rng(14).standard_normal(clean.shape)
    few = 8 if quick else 64
    result = {}
    for name, method, rows in (("auto", "auto", len(x)), ("gd", TUNED[LEAKY], few)):
        jaxinv.invert(generator, x[:64], method)  # compiles: a chunk has fewer rows
        begin = time.perf_counter()
        found = jaxinv.invert(generator, x[:rows], method)
        seconds = time.perf_counter() - begin
        result[name] = {
            "rows": rows,
            "rows a second": rows / seconds,
            "rms error": np.sqrt(((np.asarray(found.latent) - latent[:rows]) ** 2).sum(-1).mean()),
        }
    result["ratio"] = result["auto"]["rows a second"] / result["gd"]["rows a second"]
    return result


FAMILIES: dict[str, Callable[[bool], dict[str, Any]]] = {
    "identifiable": identifiable,
    "contractive": contractive,
    "shipped": shipped,
    "noise": noise,
    "radii": radii,
    "digits": digits,
    "measurements": measurements,
    "throughput": throughput,
}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "device": jax.devices()[0].platform,
        "cores": os.cpu_count(),
        "load_average_at_start": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "numpy": np.__version__,
    }


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float | np.floating) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small, to see that it works")
    parser.add_argument("--only", nargs="+", choices=FAMILIES, help="some families only")
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    out = arguments.out or (OUT.with_stem("joint_quick") if arguments.quick else OUT)
    results = json.loads(out.read_text()) if out.exists() else {}
    for name in arguments.only or FAMILIES:
        described = machine()
        results[name] = {"machine": described} | rounded(FAMILIES[name](arguments.quick))
        print(name, json.dumps(results[name], indent=1), flush=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
