"""A DCGAN of the usual size: what its Jacobian costs, and one observation through it.

The measure of a Jacobian of k columns is what PyTorch takes for k images, as one batch, with as
many threads as serve it best: a Jacobian carries k columns through the same convolutions.
"""

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxinv
from benchmarks.convolutional_nets import dcgan, module, parity
from benchmarks.joint_success import error, planted

ROUNDS = 9


def jacobian(quick: bool) -> dict[str, Any]:
    """Seconds of both, in turn, at one latent in float32."""
    import torch

    generator = dcgan(quick)
    k = generator.latent_size
    net = module(generator)
    light = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), generator)
    rng = np.random.default_rng(5)
    z, batch = rng.standard_normal((1, k)), rng.standard_normal((k, k))
    point, inputs = jnp.asarray(z, jnp.float32), torch.tensor(batch, dtype=torch.float32)

    def ours() -> Any:
        return jax.block_until_ready(_linearized(light, point))

    def forward(threads: int) -> None:
        torch.set_num_threads(threads)
        with torch.no_grad():
            net(inputs)

    begin = time.perf_counter()
    columns = np.asarray(ours()[1][0])
    first = time.perf_counter() - begin
    exact = np.asarray(generator.jacobian(z[0])).T
    spent: dict[str, list[float]] = {"jacobian": [], "1 thread": [], "2 threads": []}
    calls = (ours, lambda: forward(1), lambda: forward(2))
    for _ in range(ROUNDS):
        for name, call in zip(spent, calls, strict=True):
            begin = time.perf_counter()
            call()
            spent[name].append(time.perf_counter() - begin)
    least = {name: min(times) for name, times in spent.items()}
    middle = {name: float(np.median(times)) for name, times in spent.items()}
    return {
        "net": repr(generator),
        "module is off by": parity(generator, net),
        "jacobian is off by": float(np.abs(columns - exact).max() / np.abs(exact).max()),
        "first call, s": first,
        "fastest, s": least,
        "median, s": middle,
        "over k forward passes": least["jacobian"] / min(least["1 thread"], least["2 threads"]),
        "the same, medians": middle["jacobian"] / min(middle["1 thread"], middle["2 threads"]),
    }


@jax.jit
def _linearized(generator: jaxinv.Generator, z: jax.Array) -> Any:
    return generator.linearized(z, jnp.float32)


def alone(quick: bool) -> dict[str, Any]:
    """One observation, twice, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_alone, quick).result()


def _alone(quick: bool) -> dict[str, Any]:
    generator = dcgan(quick)
    truth, x = planted(generator, 2, 50_000)
    before, spent, off, status = _peak(), [], [], []
    for one, code in zip(x, truth, strict=True):
        begin = time.perf_counter()
        found = jaxinv.invert(generator, one)
        off.append(float(error(found.latent, code)))
        spent.append(time.perf_counter() - begin)
        status.append(jaxinv.Status(int(found.status)).name)
    return {
        "seconds": spent,
        "errors": off,
        "statuses": status,
        "peak MiB": _peak(),
        "peak MiB before": before,
    }


def _peak() -> float | None:
    """Peak resident memory of this process; not ru_maxrss, which a child inherits."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    lines = [line.split()[1] for line in status.read_text().splitlines() if "VmHWM" in line]
    return round(int(lines[0]) / 1024, 1)
