"""Gradient descent as people run it: PyTorch's autograd over a batch (csgm's way), optax, jaxopt.

All in float32, with the settings that benchmarks/tune_peers.py chose for the net. A row that is not
reproduced when a start is spent gets another one, as csgm's random restarts do, and only such rows
are in the next batch.
"""

import importlib.util
import json
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxinv
from benchmarks.peers_race import Progress, Rival
from benchmarks.peers_torch import image_of
from benchmarks.tune_peers import BLOCK, KINDS, OUT, descent

REPRODUCED = 3e-5  # relative residual: near float32's floor, below what an error of 1e-3 leaves
STARTS = 20
JAXOPT_STEPS = 300  # of a start; its line search takes several evaluations a step


class Settings(NamedTuple):
    """kind, rate and schedule of a descent, and how many gradients one start is given."""

    kind: str
    rate: float
    cosine: bool
    length: int


# The paper's settings (appendix): on random nets, on MNIST.
PAPER = {False: Settings("sgd", 1.0, False, 1_000), True: Settings("sgd", 1e-3, False, 10_000)}


def tuned(net: str, *kinds: str) -> Settings:
    """The cheapest settings of these kinds on the net."""
    rows = json.loads(OUT.read_text())["nets"][net]
    best = next(row for row in rows if row["kind"] in kinds)
    return Settings(*(best[name] for name in Settings._fields))


Start = Callable[[np.ndarray, np.ndarray], Iterator[np.ndarray]]


def restarted(begin: Start, generator: jaxinv.Generator, x: np.ndarray) -> Iterator[Progress]:
    """All rows from one random start, then those not reproduced from the next.

    begin: from observations (b, n) and starts (b, k) to iterates (b, k), until the start is spent.
    """
    rng = np.random.default_rng(0)
    size = np.linalg.norm(x, axis=1)
    best = np.full((len(x), generator.latent_size), np.nan)
    residual = np.full(len(x), np.inf)
    for _ in range(STARTS):
        open_rows = np.flatnonzero(residual > REPRODUCED * size)
        if not open_rows.size:
            return
        start = rng.standard_normal((open_rows.size, generator.latent_size))
        for latent in begin(x[open_rows], start):
            # Diverged rows are no answer.
            misfit = np.asarray(generator(np.nan_to_num(latent))) - x[open_rows]
            now = np.where(np.isfinite(latent).all(1), np.linalg.norm(misfit, axis=1), np.inf)
            better = now < residual[open_rows]
            best[open_rows[better]], residual[open_rows[better]] = latent[better], now[better]
            yield Progress(best.copy(), len(x))
            if (residual[open_rows] <= REPRODUCED * size[open_rows]).all():
                break


def by_torch(settings: Settings, generator: jaxinv.Generator, x: np.ndarray) -> Iterator[Progress]:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    image = image_of(generator, torch.float32)

    def tensor(values: Any) -> Any:
        return torch.tensor(np.asarray(values), dtype=torch.float32, device=device)

    def begin(observed: np.ndarray, start: np.ndarray) -> Iterator[np.ndarray]:
        target, z = tensor(observed), tensor(start).requires_grad_()
        if settings.kind == "adam":
            optimizer = torch.optim.Adam([z], lr=settings.rate)
        else:
            momentum = KINDS[settings.kind][0]
            optimizer = torch.optim.SGD(
                [z], lr=settings.rate, momentum=momentum, nesterov=settings.kind == "nesterov"
            )
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.length)
        for step in range(1, settings.length + 1):
            optimizer.zero_grad()
            ((image(z) - target) ** 2).sum().backward()
            optimizer.step()
            if settings.cosine:
                cosine.step()
            if step % BLOCK == 0:
                yield z.detach().cpu().numpy().astype(np.float64)

    return restarted(begin, generator, x)


def by_optax(settings: Settings, generator: jaxinv.Generator, x: np.ndarray) -> Iterator[Progress]:
    """A jitted block of optax steps; every start has the first one's shape, compiled once."""
    light = _single(generator)

    def begin(observed: np.ndarray, start: np.ndarray) -> Iterator[np.ndarray]:
        padding = ((0, len(x) - len(observed)), (0, 0))
        cosine = settings.length if settings.cosine else 0
        iterates = descent(
            light,
            np.pad(observed, padding),
            np.pad(start, padding),
            settings.kind,
            (settings.rate,),
            cosine,
        )
        for _, latent in zip(range(settings.length // BLOCK), iterates, strict=False):
            yield latent[0, : len(observed)].astype(np.float64)

    return restarted(begin, generator, x)


def by_jaxopt(generator: jaxinv.Generator, x: np.ndarray) -> Iterator[Progress]:
    """jaxopt.GradientDescent with its line search and acceleration, vmapped over the rows."""
    light, (first, advance) = _single(generator), _jaxopt()

    def begin(observed: np.ndarray, start: np.ndarray) -> Iterator[np.ndarray]:
        padding = ((0, len(x) - len(observed)), (0, 0))
        target = jnp.asarray(np.pad(observed, padding), jnp.float32)
        z = jnp.asarray(np.pad(start, padding), jnp.float32)
        state = first(z, light, target)
        for _ in range(JAXOPT_STEPS // BLOCK):
            z, state = advance(z, state, light, target)
            yield np.asarray(z, np.float64)[: len(observed)]

    return restarted(begin, generator, x)


@cache
def _jaxopt() -> tuple[Any, Any]:
    """Its first state, and a block of its steps, compiled once a net."""
    import jaxopt

    def loss(z: jax.Array, generator: jaxinv.Generator, x: jax.Array) -> jax.Array:
        return ((generator.value(z) - x) ** 2).sum()

    solver = jaxopt.GradientDescent(loss, maxls=15, tol=0.0)

    def advance(z: jax.Array, state: Any, generator: jaxinv.Generator, x: jax.Array) -> Any:
        def step(_: int, at: Any) -> Any:
            return tuple(solver.update(*at, generator, x))

        return jax.lax.fori_loop(0, BLOCK, step, (z, state))

    first = jax.vmap(solver.init_state, in_axes=(0, None, 0))
    return jax.jit(first), jax.jit(jax.vmap(advance, in_axes=(0, 0, None, 0)))


def _single(generator: jaxinv.Generator) -> jaxinv.Generator:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), generator)


def descents(net: str) -> dict[str, Rival]:
    """Those whose packages are installed, by name."""
    table: dict[str, Rival] = {}
    if importlib.util.find_spec("torch"):
        table |= {
            "PyTorch GD, paper's settings": partial(by_torch, PAPER[net.startswith("mnist")]),
            "PyTorch GD, tuned": partial(by_torch, tuned(net, "sgd", "momentum", "nesterov")),
            "PyTorch Adam, restarts, tuned": partial(by_torch, tuned(net, "adam")),
        }
    table["optax, tuned"] = partial(by_optax, tuned(net, *KINDS))
    if importlib.util.find_spec("jaxopt"):
        table["jaxopt GradientDescent"] = by_jaxopt
    return table
