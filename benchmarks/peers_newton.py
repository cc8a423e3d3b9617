"""optimistix's Levenberg-Marquardt under vmap, float64, restarted like the descents."""

import importlib.util
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxinv
from benchmarks.peers_race import Progress, Rival
from jaxinv.linalg.blocks import blocks

REPRODUCED = 1e-7  # relative residual
STARTS, STEPS, TOLERANCE = 20, 100, 1e-8


def by_optimistix(lanes: int, generator: jaxinv.Generator, x: np.ndarray) -> Iterator[Progress]:
    """Runs of `lanes` rows a call: a vmapped loop lasts as long as its slowest lane."""
    solve = solver(TOLERANCE, TOLERANCE, STEPS)
    rng = np.random.default_rng(0)
    size = np.linalg.norm(x, axis=1)
    latent = np.full((len(x), generator.latent_size), np.nan)
    residual = np.full(len(x), np.inf)
    for _ in range(STARTS):
        waiting = np.flatnonzero(residual > REPRODUCED * size)
        for some, padded in blocks(waiting, lanes):
            start = rng.standard_normal((lanes, generator.latent_size))
            with jax.enable_x64(True):
                found = np.asarray(solve(generator, jnp.asarray(start), jnp.asarray(x[padded])))[
                    : len(some)
                ]
            now = np.linalg.norm(np.asarray(generator(np.nan_to_num(found))) - x[some], axis=1)
            better = now < residual[some]
            latent[some[better]], residual[some[better]] = found[better], now[better]
            yield Progress(latent.copy(), len(x))


@cache
def solver(relative: float, absolute: float, steps: int) -> Any:
    """From a generator, starts (S, k) and observations (S, n) to latents (S, k), jitted."""
    import lineax
    import optimistix

    # The normal equations' Cholesky: several times faster here than its default, QR.
    method = optimistix.LevenbergMarquardt(
        rtol=relative, atol=absolute, linear_solver=lineax.Normal(lineax.Cholesky())
    )

    def misfit(z: jax.Array, args: tuple[jaxinv.Generator, jax.Array]) -> jax.Array:
        generator, x = args
        return generator.value(z) - x

    def one(generator: jaxinv.Generator, start: jax.Array, x: jax.Array) -> jax.Array:
        return optimistix.least_squares(
            misfit,
            method,
            start,
            args=(generator, x),
            options={"jac": "fwd"},
            max_steps=steps,
            throw=False,
        ).value

    return jax.jit(jax.vmap(one, in_axes=(None, 0, 0)))


def newtons() -> dict[str, Rival]:
    if not importlib.util.find_spec("optimistix"):
        return {}
    return {"optimistix LM (vmap)": partial(by_optimistix, 16)}
