"""`auto` beside other methods: residuals on real digits, errors in every setting, throughput.

Every rival is run here, on the same rows, in the same run.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import jaxinv
from benchmarks.joint_limits import LEAKY, LEVELS, settings
from benchmarks.joint_success import SUCCESS, error, planted
from benchmarks.train_gan import RECIPES, trained

RELU, VAE = "mnist-relu-20-60-784", "mnist-vae-20-400-784"
WITHIN = 1.05  # of a rival's residual
JUDGED, DESCENDED = 32, 3  # digits
LOST = 1.1  # times a rival's error
ROUNDING = 1e-9  # errors below this are equal: which rounding is smaller says nothing
SINGLES = ("exact", "linf", "l1", "relaxed", "lm", "gd")
# The baseline: what benchmarks/tune_gd.py chose for the ReLU net, and for the deeper nets, which
# its grid has not been run on, the same optimizer at a rate that converges on them.
_ADAM = jaxinv.GradientDescent(learning_rate=0.1, optimizer="adam", schedule="cosine", steps=2_000)
TUNED = {LEAKY: _ADAM, RELU: replace(_ADAM, learning_rate=0.3, steps=10_000), VAE: _ADAM}


def digits(name: str, quick: bool) -> dict[str, Any]:
    """Residuals on the package's test digits against Levenberg-Marquardt from 64 random points.

    The rival runs longer (up to 400 steps) from starts of another seed than the portfolio's. All
    256 digits on the small net; on the others, whose runs take ten times as long, the first few.
    """
    count = 256 if name == RELU else JUDGED
    generator, x = jaxinv.load_generator(name), real_digits()[: 4 if quick else count]
    begin = time.perf_counter()
    found = jaxinv.invert(generator, x)
    seconds = time.perf_counter() - begin
    rival = jaxinv.LevenbergMarquardt(restarts=4 if quick else 64, steps=400)
    theirs = np.asarray(jaxinv.invert(generator, x, rival, seed=1).residual)
    ratio = np.asarray(found.residual) / theirs
    stated = jaxinv.invert(generator, x[:32], noise=1e-3)
    exceeded = np.asarray(stated.residual) > 1e-3 * np.sqrt(784 + 3 * np.sqrt(2 * 784))
    inexact = np.asarray(stated.status) == jaxinv.Status.INEXACT
    assert found.search is not None
    return {
        "digits": len(x),
        "milliseconds a digit": 1e3 * seconds / len(x),
        "runs a digit": np.asarray(found.search.runs).mean(),
        "status": {s.name: count for s, count in found.counts().items()},
        "within 1.05 of lm's best of 64": (ratio <= WITHIN).mean(),
        "largest ratio to it": ratio.max(),
        "better than it by 1.05": (ratio < 1 / WITHIN).mean(),
        "noise= exceeded": int(exceeded.sum()),
        "of these INEXACT": int((exceeded & inexact).sum()),
    }


def descent(quick: bool) -> dict[str, Any]:
    """The same against tuned gradient descent from 64 random points, on a few digits."""
    result = {}
    for name in (RELU, LEAKY, VAE):
        generator, x = jaxinv.load_generator(name), real_digits()[: 1 if quick else DESCENDED]
        rival = replace(TUNED[name], restarts=2 if quick else 64)
        theirs = np.asarray(jaxinv.invert(generator, x, rival, seed=1).residual)
        ratio = np.asarray(jaxinv.invert(generator, x).residual) / theirs
        result[name] = {
            "digits": len(x),
            "within 1.05 of its best of 64": (ratio <= WITHIN).mean(),
            "ratios": [float(value) for value in ratio],
        }
    return result


def real_digits() -> np.ndarray:
    """The package's MNIST test digits, (256, 784) in [0, 1]."""
    path = Path(jaxinv.__file__).parent / "data" / "mnist-test-256.npz"
    with np.load(path, allow_pickle=False) as archive:
        images = next(archive[name] for name in archive.files if archive[name].ndim > 1)
    return images.reshape(len(images), -1) / 255.0


class Setting(NamedTuple):
    """A net, codes, what is observed of them, and how `invert` is told."""

    name: str
    generator: jaxinv.Generator
    latent: np.ndarray
    observation: np.ndarray
    arguments: dict[str, Any]


def noiseless_settings(quick: bool) -> Iterator[Setting]:
    """Random and shipped nets without noise."""
    for widths in ((109, 250, 600), (20, 100, 180), (20, 100, 120), (20, 100, 60), (60, 250, 150)):
        generator = jaxinv.Generator.random(widths, seed=3)
        latent, x = planted(generator, 2 if quick else 16, 3)
        yield Setting("-".join(map(str, widths)), generator, latent, x, {})
    for name in (RELU, LEAKY, VAE):
        generator = jaxinv.load_generator(name)
        yield Setting(name, generator, *planted(generator, 2 if quick else 16, 3), {})


def gan_settings(mnist: Path | None, quick: bool) -> Iterator[Setting]:
    """The generators of `benchmarks.train_gan`."""
    for name in RECIPES:
        generator = trained(name, mnist)
        yield Setting(name, generator, *planted(generator, 2 if quick else 8, 3), {})


def noisy_settings(quick: bool) -> Iterator[Setting]:
    """Gaussian noise on 20-100-500."""
    net = jaxinv.Generator.random((20, 100, 500), seed=1)
    latent, clean = planted(net, 2 if quick else 16, 6)
    for sd in LEVELS:
        x = clean + sd * np.random.default_rng(8).standard_normal(clean.shape)
        yield Setting(f"20-100-500 sd {sd:g}", net, latent, x, {})


def leaky_settings(quick: bool) -> Iterator[Setting]:
    """On the leaky decoder: gross outliers, 5% of the pixels, 50 measurements, one noise level.

    Its linear programs take seconds a row: few rows.
    """
    leaky = jaxinv.load_generator(LEAKY)
    latent, clean = planted(leaky, 2 if quick else 4, 11)
    spoiled, mask, operator, _ = settings(clean)
    yield Setting("5% of the pixels", leaky, latent, clean, {"mask": mask})
    yield Setting("50 measurements", leaky, latent, clean @ operator.T, {"operator": operator})
    x = clean + 1e-2 * np.random.default_rng(8).standard_normal(clean.shape)
    yield Setting(f"{LEAKY} sd 0.01", leaky, latent, x, {})
    yield Setting("30% outliers, refine l1", leaky, latent, spoiled, {"refine": "l1"})
    yield Setting("30% outliers, no refine", leaky, latent, spoiled, {})


def singles(found: Iterator[Setting]) -> dict[str, Any]:
    """Median errors of `auto` and of every single method on identifiable codes; where it loses.

    Where every error of `auto` is rounding nobody can do better, and the others are not run.
    """
    result: dict[str, Any] = {}
    for setting in found:
        known = jaxinv.identifiability(setting.generator, setting.latent).locally_unique
        ours = _errors("auto", setting)[known]
        errors: dict[str, Any] = {"auto": _summary(ours)}
        lost = []
        if ours.max() > ROUNDING:
            for method in SINGLES:
                try:
                    theirs = _errors(method, setting)[known]
                except ValueError as refusal:
                    errors[method] = {"refused": str(refusal)}
                    continue
                errors[method] = _summary(theirs)
                if np.median(ours) > LOST * max(np.median(theirs), ROUNDING):
                    lost.append(method)
        result[setting.name] = errors | {"rows": int(known.sum()), "auto loses to": lost}
        print(setting.name, json.dumps(errors), lost, flush=True)
    return result


def _errors(method: str, setting: Setting) -> np.ndarray:
    tuned = TUNED.get(setting.name.partition(" ")[0], _ADAM)
    settled = tuned if method == "gd" else method
    found = jaxinv.invert(
        setting.generator, setting.observation, settled, **_allowed(method, setting)
    )
    return np.nan_to_num(error(found.latent, setting.latent), nan=np.inf)


def _allowed(method: str, setting: Setting) -> dict[str, Any]:
    """The baseline is a method of its own: it takes no refinement."""
    without = {name: value for name, value in setting.arguments.items() if name != "refine"}
    return without if method == "gd" else setting.arguments


def _summary(errors: np.ndarray) -> dict[str, float]:
    return {
        "median": float(np.median(errors)),
        "worst": float(errors.max()),
        "success": float((errors <= SUCCESS).mean()),
    }


def throughput(quick: bool) -> dict[str, Any]:
    """Inversions a second on noisy observations of the leaky decoder, beside the tuned baseline."""
    generator = jaxinv.load_generator(LEAKY)
    latent, clean = planted(generator, 64 if quick else 2_000, 13)
    x = clean + 1e-2 * np.random.default_rng(14).standard_normal(clean.shape)
    few = 8 if quick else 64
    result: dict[str, Any] = {}
    for name, method, rows in (("auto", "auto", len(x)), ("gd", TUNED[LEAKY], few)):
        jaxinv.invert(generator, x[:64], method, chunk=min(rows, 1_000))  # compiles
        begin = time.perf_counter()
        found = jaxinv.invert(generator, x[:rows], method, chunk=min(rows, 1_000))
        seconds = time.perf_counter() - begin
        squares = ((np.asarray(found.latent) - latent[:rows]) ** 2).sum(-1)
        result[name] = {
            "rows": rows,
            "rows a second": rows / seconds,
            "rms error": np.sqrt(squares.mean()),
            "rms error, first rows": np.sqrt(squares[:few].mean()),
        }
    result["ratio"] = result["auto"]["rows a second"] / result["gd"]["rows a second"]
    return result
