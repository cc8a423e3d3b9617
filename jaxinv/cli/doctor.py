"""`jaxinv doctor`: does everything that inversion rests on work here?"""

import os
import platform
from importlib.metadata import version

import jax
import numpy as np
from rich.console import Console

from jaxinv.call.invert import invert
from jaxinv.cli.gpu import missing, this_host
from jaxinv.job.compiled import BOUND, Kept, held
from jaxinv.linalg.device_memory import stated_memory
from jaxinv.linalg.double_precision import policy
from jaxinv.model.generator import Generator

PACKAGES = ("jaxinv", "jax", "jaxlib", "numpy", "scipy", "clarabel", "cvxpy", "optax")


def run(console: Console, kept: Kept, require_gpu: bool = False) -> bool:
    """Print what is found; returns whether float64 and both solvers work, on a GPU if required."""
    console.print(
        f"Python {platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores"
    )
    console.print(", ".join(f"{name} {version(name)}" for name in PACKAGES))
    console.print(_programs(kept), markup=False, highlight=False, soft_wrap=True)
    devices = _devices(console)
    for device in devices:
        console.print(f"device {device.id}: {device.platform} {device.device_kind}")
    for kind in {(device.platform, device.device_kind) for device in devices}:
        console.print(f"precision: {policy(*kind)}", highlight=False, soft_wrap=True)
    if devices:
        stated = stated_memory()
        said = f"{stated / 2**30:.3g} GiB of the device count" if stated else "not stated"
        console.print(f"memory: {said}", highlight=False)
    if require_gpu and not any(device.platform == "gpu" for device in devices):
        _failed(console, f"a GPU is required and JAX has none. {missing(this_host())}")
        return False
    if not devices:
        return False
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


def _programs(kept: Kept) -> str:
    used = f"not used ({kept.refusal})" if kept.refusal else f"in use, {BOUND >> 20} MiB at most"
    return f"compiled programs: {kept.folder}, {held(kept.folder) / 2**20:.1f} MiB, {used}"


def _devices(console: Console) -> list[jax.Device]:
    """JAX's devices; none, and a sentence, where JAX_PLATFORMS names only what is not there."""
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX asserts where a known platform is absent
        platforms = this_host().platforms
        _failed(console, f"JAX has no device with JAX_PLATFORMS={platforms!r}. {error}".strip())
        return []


def _failed(console: Console, sentence: str) -> None:
    console.print("[red]FAILED[/]", end=" ")
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)
