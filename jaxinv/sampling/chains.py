"""Chains of the No-U-Turn sampler, each in the region of its mode: blackjax, many chains at once.

Latents are drawn as z = m + S u, S S' the inverse of the information at the mode: where the
posterior is normal u is N(0, I), and no metric need be learnt but what bends and kinks change.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxinv.certify.surroundings import block_size
from jaxinv.linalg.blocks import blocks
from jaxinv.linalg.on_device import on_device
from jaxinv.sampling.regions import Regions
from jaxinv.sampling.target import Target

DOUBLINGS = 7  # at most 127 steps a draw


class Lanes(NamedTuple):
    """Chains to run. owner: (T,), row of the target. mode: (T,). start: (T, k), u. seed: (T,)."""

    owner: Int[np.ndarray, " T"]
    mode: Int[np.ndarray, " T"]
    start: Float[np.ndarray, "T k"]
    seed: Int[np.ndarray, " T"]


class Draws(NamedTuple):
    """latent: (T, N, k). energy: (T, N), U there."""

    latent: Float[np.ndarray, "T N k"]
    energy: Float[np.ndarray, "T N"]


def sampled(
    target: Target,
    regions: Regions,
    root: Float[np.ndarray, "B M k k"],
    lanes: Lanes,
    warmup: int,
    length: int,
) -> Draws:
    """So many draws of every chain, after a warmup that sets its step and its metric.

    root: S of every mode.
    """
    count, k = lanes.start.shape
    latent, energy = np.zeros((count, length, k)), np.zeros((count, length))
    for some, padded in blocks(np.arange(count), block_size(target.decoder, count, False)):
        owner, mode = lanes.owner[padded], lanes.mode[padded]
        around = regions.at(owner)
        with jax.enable_x64(True):
            parts = (around.centre, around.inverse, around.height)
            shape = root[owner, mode], mode, lanes.start[padded], lanes.seed[padded]
            data = (on_device(part) for part in (*parts, *shape))
            found = _run(sampler(), warmup, length, target.some(owner), *data)
        latent[some], energy[some] = (np.asarray(part)[: len(some)] for part in found)
    return Draws(latent, energy)


def mixing(
    latent: Float[np.ndarray, "P C N k"],
) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, " P"]]:
    """Of every set of chains: R-hat of their halves, the largest, and effective draws, the least.

    Infinite and none where a chain has stood still.
    """
    pairs, chains, length, k = latent.shape
    half = length // 2
    halves = latent[:, :, : 2 * half].reshape(pairs, 2 * chains, half, k)
    with jax.enable_x64(True):
        told = _mixing(sampler(), on_device(np.moveaxis(halves, 0, 2)))
    r_hat, ess = (np.asarray(part).reshape(pairs, k) for part in told)
    r_hat, ess = (np.where(np.isfinite(p), p, bad) for p, bad in ((r_hat, np.inf), (ess, 1e-300)))
    return r_hat.max(1, initial=0.0), ess.min(1, initial=np.inf)


@partial(jax.jit, static_argnames=("sampler",))
def _mixing(sampler: Any, chains: Float[Array, "C N P k"]) -> tuple[Array, Array]:
    return sampler.rhat(chains), sampler.ess(chains)


@partial(jax.jit, static_argnames=("sampler", "warmup", "length"))
def _run(
    sampler: Any,
    warmup: int,
    length: int,
    target: Target,
    centre: Float[Array, "T M k"],
    inverse: Float[Array, "T M k k"],
    height: Float[Array, "T M"],
    root: Float[Array, "T k k"],
    mode: Int[Array, " T"],
    start: Float[Array, "T k"],
    seed: Int[Array, " T"],
) -> tuple[Float[Array, "T N k"], Float[Array, "T N"]]:
    """All chains of a block, a chain a lane of jax.vmap."""

    def chain(
        x: Array,
        weight: Array,
        around: Regions,
        root: Array,
        mode: Array,
        start: Array,
        seed: Array,
    ) -> tuple[Array, Array]:
        own = Target(
            target.decoder, x[None], weight[None], target.mean, target.whitening, target.model
        )

        def latent(u: Array) -> Array:
            return around.centre[mode] + jnp.matmul(root, u, precision="highest")

        def log_density(u: Array) -> Array:
            z = latent(u)
            inside = around.of(z) == mode
            return jnp.where(inside, -own.energy(z[None])[0], -jnp.inf)

        u, log_p = _chain(sampler, log_density, start, jax.random.key(seed), warmup, length)
        return jax.vmap(latent)(u), -log_p

    around = Regions(centre, inverse, height)
    return jax.vmap(chain)(target.x, target.weight, around, root, mode, start, seed)


def _chain(
    sampler: Any,
    log_density: Callable[[Array], Array],
    start: Float[Array, " k"],
    key: Array,
    warmup: int,
    length: int,
) -> tuple[Float[Array, "N k"], Float[Array, " N"]]:
    """One chain in u."""
    first, second = jax.random.split(key)
    adaptation = sampler.window_adaptation(
        sampler.nuts,
        log_density,
        is_mass_matrix_diagonal=False,
        max_num_doublings=DOUBLINGS,
        adaptation_info_fn=lambda *_: None,
    )
    (state, parameters), _ = adaptation.run(first, start, num_steps=warmup)
    kernel = sampler.nuts(log_density, **parameters)

    def step(state: Any, key: Array) -> tuple[Any, tuple[Array, Array]]:
        state, _ = kernel.step(key, state)
        return state, (state.position, state.logdensity)

    return jax.lax.scan(step, state, jax.random.split(second, length))[1]


def sampler() -> Any:
    """blackjax. Raises ValueError where it is not installed."""
    try:
        import blackjax
    except ImportError:
        raise ValueError(
            "posteriors are drawn by blackjax, which is not installed: pip install "
            "'jaxinv[posterior]'"
        ) from None
    return blackjax
