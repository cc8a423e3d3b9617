"""How people invert observations that no code makes, in float32: descents from random starts.

Adam and gradient descent, each over a grid of rates (a cosine schedule to zero) and lengths, in
PyTorch and in optax; L-BFGS in optax; Levenberg-Marquardt in optimistix, in float64. Each curve
point is the lowest of so many starts, all rows in one batch, and its time that of a second call.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxinv
from benchmarks.convolutional_nets import module
from benchmarks.peers_newton import solver
from benchmarks.tune_peers import optimizer
from jaxinv.linalg.blocks import blocks

ADAM, DESCENT = (0.03, 0.1, 0.3), (1e-3, 1e-2)
LENGTHS = (30, 100, 300, 1000)
STARTS = 8
LBFGS_STEPS, NEWTON_STEPS = (30,), (10, 30)
NEWTON_LANES = 16

# From float32 observations (B, n) and starts (B, k) to latents (B, k).
Run = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Point(NamedTuple):
    """Residuals (B,) and the seconds that all rows took together, after compilation."""

    setting: str
    seconds: float
    residual: np.ndarray


def points(
    generator: jaxinv.Generator,
    x: np.ndarray,
    run: Run,
    setting: str,
    most: float,
    codes: np.ndarray | None = None,
) -> Iterator[Point]:
    """The lowest of 1, 2, 4, ... starts; no more once they have taken so many seconds.

    codes: the first start, which is random as well where there are none.
    """
    rng, k = np.random.default_rng(0), generator.latent_size
    lowest, spent = np.full(len(x), np.inf), 0.0
    run(x, rng.standard_normal((len(x), k)))  # compiles
    for number in range(1, STARTS + 1):
        start = rng.standard_normal((len(x), k))
        begin = time.perf_counter()
        latent = run(x, start if codes is None or number > 1 else codes)
        spent += time.perf_counter() - begin
        lowest = np.fmin(lowest, residual(generator, x, latent))
        if number & (number - 1) == 0:
            yield Point(f"{setting}, {number} starts", spent, lowest.copy())
            if 2 * spent > most:
                return


def residual(generator: jaxinv.Generator, x: np.ndarray, latent: np.ndarray) -> np.ndarray:
    """||G(z) - x||_2 in float64, NaN where the run diverged."""
    misfit = np.asarray(generator(np.nan_to_num(latent))) - x
    return np.where(np.isfinite(latent).all(1), np.linalg.norm(misfit, axis=1), np.nan)


def _misfit(generator: jaxinv.Generator, z: jax.Array, x: jax.Array) -> jax.Array:
    return ((generator.value(z) - x) ** 2).sum()


def by_optax(generator: jaxinv.Generator, adaptive: bool, rate: float, length: int) -> Run:
    chosen = optimizer("adam" if adaptive else "sgd", rate, length)

    @jax.jit
    def descend(z: jax.Array, x: jax.Array) -> jax.Array:
        def step(_: jax.Array, state: Any) -> Any:
            z, memory = state
            change, memory = chosen.update(jax.grad(partial(_misfit, generator))(z, x), memory)
            return z + change, memory

        last: jax.Array = jax.lax.fori_loop(0, length, step, (z, chosen.init(z)))[0]
        return last

    def run(x: np.ndarray, start: np.ndarray) -> np.ndarray:
        return np.asarray(descend(jnp.asarray(start, jnp.float32), jnp.asarray(x, jnp.float32)))

    return run


def by_torch(generator: jaxinv.Generator, adaptive: bool, rate: float, length: int) -> Run:
    import torch

    net = module(generator)

    def run(x: np.ndarray, start: np.ndarray) -> np.ndarray:
        target = torch.tensor(x, dtype=torch.float32)
        z = torch.tensor(start, dtype=torch.float32, requires_grad=True)
        kind = torch.optim.Adam if adaptive else torch.optim.SGD
        optimizer = kind([z], lr=rate)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, length)
        for _ in range(length):
            optimizer.zero_grad()
            ((net(z) - target) ** 2).sum().backward()
            optimizer.step()
            cosine.step()
        return np.asarray(z.detach().numpy())

    return run


def by_lbfgs(generator: jaxinv.Generator, length: int) -> Run:
    solver = optax.lbfgs()

    def one(z: jax.Array, x: jax.Array) -> jax.Array:
        misfit = partial(_misfit, generator, x=x)
        graded = optax.value_and_grad_from_state(misfit)

        def step(_: jax.Array, state: Any) -> Any:
            z, memory = state
            value, slope = graded(z, state=memory)
            change, memory = solver.update(
                slope, memory, z, value=value, grad=slope, value_fn=misfit
            )
            return optax.apply_updates(z, change), memory

        last: jax.Array = jax.lax.fori_loop(0, length, step, (z, solver.init(z)))[0]
        return last

    batched = jax.jit(jax.vmap(one))

    def run(x: np.ndarray, start: np.ndarray) -> np.ndarray:
        return np.asarray(batched(jnp.asarray(start, jnp.float32), jnp.asarray(x, jnp.float32)))

    return run


def by_optimistix(generator: jaxinv.Generator, length: int) -> Run:
    solve = solver(1e-4, 1e-6, length)

    def run(x: np.ndarray, start: np.ndarray) -> np.ndarray:
        latent = np.empty_like(start)
        with jax.enable_x64(True):
            # A vmapped loop lasts as long as its slowest lane.
            for some, padded in blocks(np.arange(len(x)), NEWTON_LANES):
                found = solve(generator, jnp.asarray(start[padded]), jnp.asarray(x[padded]))
                latent[some] = np.asarray(found)[: len(some)]
        return latent

    return run


def rivals(
    generator: jaxinv.Generator,
    x: np.ndarray,
    most: float,
    quick: bool,
    codes: np.ndarray | None = None,
) -> Iterator[tuple[str, Point]]:
    """Every rival's points, none of which takes much more than so many seconds.

    codes: where each one's first run starts; all start at random points without them.
    """
    lengths = LENGTHS[:2] if quick else LENGTHS
    for name, of in (("PyTorch", by_torch), ("optax", by_optax)):
        for adaptive, rates in ((True, ADAM), (False, DESCENT)):
            kind = f"{'Adam' if adaptive else 'gradient descent'}, {name}"
            for rate in rates[:1] if quick else rates:
                for length in lengths:
                    run = of(generator, adaptive, rate, length)
                    setting = f"rate {rate:g}, {length} steps"
                    yield from ((kind, p) for p in points(generator, x, run, setting, most, codes))
    for length in LBFGS_STEPS[: 1 if quick else None]:
        run = by_lbfgs(generator, length)
        found = points(generator, x, run, f"{length} steps", most, codes)
        yield from (("L-BFGS, optax", p) for p in found)
    for length in NEWTON_STEPS[: 1 if quick else None]:
        run = by_optimistix(generator, length)
        found = points(generator, x, run, f"{length} steps", most, codes)
        yield from (("LM, optimistix", p) for p in found)
