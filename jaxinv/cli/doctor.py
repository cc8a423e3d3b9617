"""`jaxinv doctor`: does everything that inversion rests on work here?"""

import os
import platform
from importlib.metadata import version

import jax
import numpy as np
from rich.console import Console

from jaxinv.generator import Generator
from jaxinv.invert import invert

PACKAGES = ("jaxinv", "jax", "jaxlib", "numpy", "scipy", "clarabel", "cvxpy", "optax")


def run(console: Console) -> bool:
    """Print what is found; returns whether float64 and both solvers work."""
    console.print(
        f"Python {platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores"
    )
    console.print(", ".join(f"{name} {version(name)}" for name in PACKAGES))
    for device in jax.devices():
        console.print(f"device {device.id}: {device.platform} {device.device_kind}")
    generator = Generator.random((5, 20, 60), seed=0)
    latent = np.random.default_rng(1).standard_normal((4, 5))
    observations = np.asarray(generator(latent))
    checks = {"float64": observations.dtype == np.float64}
    for method in ("exact", "linf"):
        found = invert(generator, observations, method)
        error = np.abs(np.asarray(found.latent) - latent).max()
        checks[f"{method} recovers four codes to 1e-6 (largest error {error:.1e})"] = error < 1e-6
    for what, passed in checks.items():
        console.print(f"[{'green' if passed else 'red'}]{'ok' if passed else 'FAILED'}[/] {what}")
    return all(bool(passed) for passed in checks.values())
