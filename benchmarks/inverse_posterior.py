"""Posteriors beside exact ones of linear nets and quadrature, and what their regions hold."""

import time
from typing import Any

import numpy as np

import jaxinv

LEVEL = 0.9
PRIOR_DRAWS = 500


def posterior(rows: int, quick: bool) -> list[dict[str, Any]]:
    """What `jaxinv.posterior` draws, beside what is known of it without it."""
    told = [_linear(), _two_modes(4 if quick else 20)]
    for k, widths, noise in ((2, (12, 40), 0.3), (20, (80, 200), 0.3)):
        told.append(_coverage((k, *widths), noise, 40 if quick else PRIOR_DRAWS))
    return told


def _linear() -> dict[str, Any]:
    """Largest error of a mean in Monte Carlo deviations, and of a covariance in its own norm."""
    rng, noise = np.random.default_rng(5), 0.5
    weight = rng.standard_normal((30, 5))
    net = jaxinv.Generator.from_layers([(weight, None, "identity")])
    x = rng.standard_normal((8, 5)) @ weight.T + noise * rng.standard_normal((8, 30))
    begun = time.perf_counter()
    drawn = jaxinv.posterior(net, x, noise=noise, draws=20000)
    covariance = np.linalg.inv(weight.T @ weight / noise**2 + np.eye(5))
    mean = x @ weight / noise**2 @ covariance
    error = np.sqrt(np.diag(covariance) / drawn.ess[:, None])
    off = np.linalg.norm(drawn.covariance - covariance, axis=(1, 2)) / np.linalg.norm(covariance)
    return {
        "case": "linear 5-30",
        "rows": len(x),
        "mean, Monte Carlo errors": float((np.abs(drawn.mean - mean) / error).max()),
        "covariance, relative": float(off.max()),
        "largest R-hat": float(drawn.r_hat.max()),
        "least ess": float(drawn.ess.min()),
        "seconds": round(time.perf_counter() - begun, 1),
    }


def _two_modes(rows: int) -> dict[str, Any]:
    """Weights of the modes of |z_1| and z_2 beside quadrature, some far apart and some not."""
    noise = 0.3
    net = jaxinv.Generator.from_layers(
        [
            (np.kron(np.eye(2), [[1.0], [-1.0]]), None, "relu"),
            ([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]], None, "identity"),
        ]
    )
    rng = np.random.default_rng(6)
    x = np.stack([rng.uniform(0.3, 2.0, rows), rng.standard_normal(rows)], 1)
    prior = jaxinv.GaussianPrior(mean=[0.3, 0.0])
    begun = time.perf_counter()
    drawn = jaxinv.posterior(net, x, noise=noise, prior=prior, draws=4000)
    axis = np.linspace(-6.0, 6.0, 4001)
    energy = ((np.abs(axis) - x[:, :1]) / noise) ** 2 + (axis - 0.3) ** 2
    density = np.exp(-(energy - energy.min(1, keepdims=True)) / 2)
    right = density[:, axis > 0].sum(1) / density.sum(1)
    found = (drawn.samples[:, :, 0] > 0).mean(1)
    return {
        "case": "two modes, k = 2",
        "rows": rows,
        "weight, largest error": float(np.abs(found - right).max()),
        "both found": float((drawn.modes.count == 2).mean()),
        "seconds": round(time.perf_counter() - begun, 1),
    }


def _coverage(widths: tuple[int, ...], noise: float, rows: int) -> dict[str, Any]:
    """Share of codes drawn from the prior that the 90% regions of highest density hold."""
    net = jaxinv.Generator.random(widths, seed=7)
    rng = np.random.default_rng(8)
    z = rng.standard_normal((rows, widths[0]))
    image = np.asarray(net(z))
    deviation = noise * float(np.sqrt((image**2).mean()))
    x = image + deviation * rng.standard_normal(image.shape)
    begun = time.perf_counter()
    drawn = jaxinv.posterior(net, x, noise=deviation, draws=400)
    held = drawn.level(z) <= LEVEL
    return {
        "case": "coverage of 90%, " + "-".join(map(str, widths)),
        "rows": rows,
        "held": float(held.mean()),
        "its own deviation": float(np.sqrt(LEVEL * (1 - LEVEL) / rows)),
        "reliable": float(drawn.reliable.mean()),
        "several modes": float((drawn.modes.count > 1).mean()),
        "seconds": round(time.perf_counter() - begun, 1),
    }
