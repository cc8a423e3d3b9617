"""Train generators of GANs on MNIST, for the benchmark of nets that do not expand or saturate.

A generator G and a discriminator D play (Goodfellow et al. 2014, the non-saturating loss)

    D: min E_x [softplus(-D(x)) + (1 - t) D(x)] + E_z softplus(D(G(z))),
    G: min E_z softplus(-D(G(z))),

t being what D is told that a digit is (1, or less: Salimans et al. 2016), x digits scaled to
[-1, 1] and z draws of N(0, I), with Adam (rate 2e-4, beta_1 = 0.5) in float32. Batch normalisation
follows the linear layers named in the recipe; its running mean m and variance v are folded into
them afterwards, W <- s W and b <- s (b - m) + beta, s = gamma/sqrt(v + e). A sparse generator pays
for its hidden units' mean activity as well, until fewer of them are positive than a code has
entries: then no image determines its code.

    python -m benchmarks.train_gan gan-leaky-100-128-256-512-784 [--mnist FILE.npz]
"""

import argparse
import json
import time
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

import jaxinv
from benchmarks.mnist import load_mnist

RUNS = Path("runs/gan")
BATCH = 100
SLOPE = 0.2  # of the discriminator's hidden units
EPSILON, MOMENTUM = 1e-5, 0.1  # of the batch normalisation
ADAM = optax.adam(2e-4, b1=0.5)

Layers = list[dict[str, jax.Array]]


@dataclass(frozen=True)
class Recipe:
    """Widths, the hidden layers' activation, and how the net is trained.

    normalised: layers (from 0) with batch normalisation. digit: t above. sparsity: what G pays for
    activity.
    """

    widths: tuple[int, ...]
    hidden: str
    discriminator: tuple[int, ...]
    epochs: int
    normalised: tuple[int, ...] = ()
    digit: float = 1.0
    sparsity: float = 0.0

    @property
    def slope(self) -> float:
        """Of the hidden activation's negative side."""
        return float(self.hidden.partition(":")[2] or 0.0)


RECIPES = {
    "gan-leaky-100-128-256-512-784": Recipe(
        (100, 128, 256, 512, 784), "leaky_relu:0.2", (784, 512, 256, 1), 12, normalised=(1, 2)
    ),
    "gan-relu-64-256-256-784": Recipe(
        (64, 256, 256, 784), "relu", (784, 256, 256, 1), 36, digit=0.9
    ),
    "gan-sparse-64-256-256-784": Recipe(
        (64, 256, 256, 784), "relu", (784, 256, 256, 1), 36, digit=0.9, sparsity=0.3
    ),
    "gan-sparse-100-256-256-784": Recipe(
        (100, 256, 256, 784), "relu", (784, 256, 256, 1), 36, digit=0.9, sparsity=0.3
    ),
}


class Game(NamedTuple):
    """Both players, their optimizers' states, and the running moments of the normalised layers."""

    generator: Layers
    discriminator: Layers
    generator_state: Any
    discriminator_state: Any
    moments: dict[int, tuple[jax.Array, jax.Array]]


def dense(rng: np.random.Generator, widths: tuple[int, ...]) -> Layers:
    """Weights and biases uniform in +-1/sqrt(width_in), unit scales for the normalised layers."""

    def uniform(shape: tuple[int, ...], width_in: int) -> jax.Array:
        reach = 1.0 / np.sqrt(width_in)
        return jnp.asarray(rng.uniform(-reach, reach, shape), jnp.float32)

    return [
        {
            "W": uniform((width, width_in), width_in),
            "b": uniform((width,), width_in),
            "scale": jnp.ones(width, jnp.float32),
        }
        for width_in, width in pairwise(widths)
    ]


def new_game(recipe: Recipe, seed: int) -> Game:
    rng = np.random.default_rng(seed)
    generator, discriminator = dense(rng, recipe.widths), dense(rng, recipe.discriminator)
    widths = {i: recipe.widths[i + 1] for i in recipe.normalised}
    return Game(
        generator,
        discriminator,
        ADAM.init(generator),
        ADAM.init(discriminator),
        {i: (jnp.zeros(n, jnp.float32), jnp.ones(n, jnp.float32)) for i, n in widths.items()},
    )


class Made(NamedTuple):
    """Images of a batch of latents, the moments they were normalised by, and the mean activity."""

    images: jax.Array
    moments: dict[int, Any]
    activity: jax.Array


def generate(recipe: Recipe, layers: Layers, z: jax.Array) -> Made:
    """Images of a batch of latents, normalised by the batch's own moments."""
    moments, activity = {}, jnp.zeros(())
    for i, layer in enumerate(layers):
        u = z @ layer["W"].T
        if i in recipe.normalised:
            moments[i] = u.mean(0), u.var(0)
            u = layer["scale"] * (u - moments[i][0]) / jnp.sqrt(moments[i][1] + EPSILON)
        u = u + layer["b"]
        if i == len(layers) - 1:
            return Made(jnp.tanh(u), moments, activity)
        z = jnp.where(u > 0, u, recipe.slope * u)
        activity += jnp.abs(z).mean()
    raise ValueError("a generator has layers")


def judge(layers: Layers, x: jax.Array) -> jax.Array:
    """The discriminator's logit that x is a digit, (B,)."""
    for layer in layers[:-1]:
        x = jax.nn.leaky_relu(x @ layer["W"].T + layer["b"], SLOPE)
    return (x @ layers[-1]["W"].T + layers[-1]["b"])[:, 0]


@partial(jax.jit, static_argnames="recipe")
def play_epoch(recipe: Recipe, game: Game, images: jax.Array, key: jax.Array) -> tuple[Game, Any]:
    """One pass over the images (N, 784) in random order; also the mean losses of D and G."""
    order_key, code_key = jax.random.split(key)
    count = len(images) // BATCH
    order = jax.random.permutation(order_key, len(images))[: count * BATCH].reshape(count, BATCH)

    def step(game: Game, batch: tuple[jax.Array, jax.Array]) -> tuple[Game, Any]:
        rows, key = batch
        x = images[rows].astype(jnp.float32) / 127.5 - 1.0
        z = jax.random.normal(key, (BATCH, recipe.widths[0]), jnp.float32)
        fake, moments, _ = generate(recipe, game.generator, z)

        def telling(layers: Layers) -> jax.Array:
            real, made = judge(layers, x), judge(layers, fake)
            told = jax.nn.softplus(-real) + (1.0 - recipe.digit) * real
            return (told + jax.nn.softplus(made)).mean()

        def fooling(layers: Layers) -> jax.Array:
            made = generate(recipe, layers, z)
            fooled = jax.nn.softplus(-judge(game.discriminator, made.images)).mean()
            return fooled + recipe.sparsity * made.activity

        loss_g, slope_g = jax.value_and_grad(fooling)(game.generator)
        loss_d, slope_d = jax.value_and_grad(telling)(game.discriminator)
        move_g, state_g = ADAM.update(slope_g, game.generator_state)
        move_d, state_d = ADAM.update(slope_d, game.discriminator_state)
        running = jax.tree.map(lambda m, now: m + MOMENTUM * (now - m), game.moments, moments)
        after = Game(
            optax.apply_updates(game.generator, move_g),
            optax.apply_updates(game.discriminator, move_d),
            state_g,
            state_d,
            running,
        )
        return after, (loss_d, loss_g)

    keys = jax.random.split(code_key, count)
    game, losses = jax.lax.scan(step, game, (order, keys))
    return game, jax.tree.map(jnp.mean, losses)


def folded(recipe: Recipe, game: Game) -> jaxinv.Generator:
    """The generator as it is used after training, batch normalisation folded into the layers."""
    layers = []
    for i, layer in enumerate(game.generator):
        weight, bias = (np.asarray(layer[name], np.float64) for name in ("W", "b"))
        if i in recipe.normalised:
            mean, variance = (np.asarray(part, np.float64) for part in game.moments[i])
            scale = np.asarray(layer["scale"], np.float64) / np.sqrt(variance + EPSILON)
            weight, bias = scale[:, None] * weight, bias - scale * mean
        last = i == len(game.generator) - 1
        layers.append((weight, bias, "tanh" if last else recipe.hidden))
    return jaxinv.Generator.from_layers(layers)


def trained(name: str, mnist: Path | None, seed: int = 0) -> jaxinv.Generator:
    """The generator of this name, from runs/gan if it has been trained before."""
    path = RUNS / f"{name}-{seed}.npz"
    if path.exists():
        return jaxinv.load_generator(path)
    recipe, data = RECIPES[name], load_mnist(mnist)
    images = jnp.asarray(data.train.reshape(len(data.train), -1))
    game = new_game(recipe, seed)
    begin = time.perf_counter()
    for epoch in range(recipe.epochs):
        key = jax.random.fold_in(jax.random.key(seed), epoch)
        game, losses = play_epoch(recipe, game, images, key)
        told, fooled = (float(loss) for loss in losses)
        spent = time.perf_counter() - begin
        print(f"epoch {epoch + 1}: D {told:.3f}, G {fooled:.3f}, {spent:.0f} s", flush=True)
    generator = folded(recipe, game)
    path.parent.mkdir(parents=True, exist_ok=True)
    jaxinv.save_generator(generator, path)
    sample_grid(generator, path.with_suffix(".png"))
    return generator


def sample_grid(generator: jaxinv.Generator, path: Path, side: int = 10) -> None:
    """Draw side x side images of N(0, I)."""
    z = np.random.default_rng(1).standard_normal((side * side, generator.latent_size))
    tiles = (127.5 * (np.asarray(generator(z)) + 1.0)).astype(np.uint8).reshape(side, side, 28, 28)
    pixels = tiles.transpose(0, 2, 1, 3).reshape(28 * side, 28 * side)
    Image.fromarray(pixels.repeat(2, axis=0).repeat(2, axis=1)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--mnist", type=Path, help="an .npz with train_images and test_images")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    generator = trained(arguments.name, arguments.mnist, arguments.seed)
    condition = [float(np.linalg.cond(np.asarray(layer.weight))) for layer in generator.layers]
    print(json.dumps({"name": arguments.name, "condition": condition}))


if __name__ == "__main__":
    main()
