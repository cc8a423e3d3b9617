"""Noise: errors over the Cramer-Rao bound, intervals, radii, outliers, few measurements."""

from typing import Any

import jax
import numpy as np

import jaxinv
from benchmarks.joint_success import SUCCESS, error, planted

LEAKY = "mnist-leaky-20-200-500-784"
LEVELS = (1e-6, 1e-4, 1e-2)


def noise(name: str, quick: bool) -> dict[str, Any]:
    """Root mean square error over the Cramer-Rao bound, and the share of intervals that cover."""
    shipped = name in jaxinv.shipped_generators()
    net = jaxinv.load_generator(name) if shipped else jaxinv.Generator.random((20, 100, 500), 1)
    count = 60 if quick else (400 if shipped else 2_000)
    latent, clean = planted(net, count, 6)
    normals = np.concatenate([_normals(net, part) for part in np.array_split(latent, 20)])
    variance = np.trace(np.linalg.inv(normals), axis1=1, axis2=2).mean()
    result = {}
    for sd in LEVELS[1:2] if quick else LEVELS:
        x = clean + sd * np.random.default_rng(8).standard_normal(clean.shape)
        found = jaxinv.invert(net, x)
        rms = np.sqrt(((np.asarray(found.latent) - latent) ** 2).sum(-1).mean())
        some = slice(0, 300)
        part = jax.tree.map(lambda leaf, some=some: leaf[some], found)
        interval = jaxinv.confidence(net, x[some], part)
        inside = (interval.low <= latent[some]) & (latent[some] <= interval.high)
        result[f"sd {sd:g}"] = {
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
    for bound in LEVELS:
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


def measurements(quick: bool) -> dict[str, Any]:
    """Outliers, inpainting and compressed sensing on the leaky decoder."""
    generator = jaxinv.load_generator(LEAKY)
    latent, x = planted(generator, 8 if quick else 64, 11)
    spoiled, mask, operator, uniform = settings(x)
    found = {
        "30% outliers, least squares": jaxinv.invert(generator, spoiled),
        "30% outliers, refine l1": jaxinv.invert(generator, spoiled, refine="l1"),
        "5% of the pixels": jaxinv.invert(generator, x, mask=mask),
        "50 Gaussian measurements": jaxinv.invert(generator, x @ operator.T, operator=operator),
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


def settings(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x with 30% gross outliers, a mask of 5%, 50 Gaussian measurements, x with uniform noise."""
    rng = np.random.default_rng(12)
    hit = rng.random(x.shape) < 0.3
    spoiled = np.where(hit, rng.uniform(x.min(), x.max(), x.shape), x)
    mask = rng.random(x.shape) < 0.05
    operator = rng.standard_normal((50, x.shape[1])) / np.sqrt(50)
    return spoiled, mask, operator, x + rng.uniform(-0.03, 0.03, x.shape)
