"""Train the MNIST decoders that jaxinv ships, as variational autoencoders.

The evidence lower bound of an image x with binary pixels drawn anew each epoch,

    E_q(z|x) sum_j [x_j log p_j + (1 - x_j) log(1 - p_j)] - KL(q(z|x) || N(0, I)),
    p = sigmoid(W_d phi(... phi(W_1 z + b_1) ...) + b_d - shift),

is maximised with Adam. The encoder is thrown away. The decoders for ReLU and LeakyReLU outputs are
trained through the sigmoid and read through the (Leaky)ReLU afterwards, as in the paper.

    python benchmarks/train_mnist.py mnist-vae-20-400-784 [--mnist FILE.npz] [--epochs N]
"""

import argparse
import json
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image
from rich.progress import Progress
from safetensors import safe_open
from safetensors.numpy import save

from mnist import load_mnist, write_atomically

Params = dict[str, jax.Array]
Pair = tuple[jax.Array, jax.Array]
BATCH = 200
CODES = 1000  # draws of N(0, I) on which the weights are examined
ENCODER = (784, 400, 400)


@dataclass(frozen=True)
class Recipe:
    """A decoder's widths, slope on hidden layers, biases, and the activations it ships with.

    shift: logit(p) = u - shift, so that a ReLU on u keeps the pixels with p > sigmoid(-shift).
    centring: weight of |mean_j w_j / |w_j||^2 over the first layer's rows w_j, a penalty.
    """

    widths: tuple[int, ...]
    slope: float
    bias: bool
    activations: tuple[str, ...]
    shift: float = 0.0
    centring: float = 0.0


RECIPES = {
    # A ReLU hides the rows it cuts off. The shift keeps 60 pixels of a thin digit above zero, the
    # centring 20 hidden units of most codes.
    "mnist-relu-20-60-784": Recipe((20, 60, 784), 0.0, False, ("relu", "relu"), 2.0, 3.0),
    "mnist-leaky-20-200-500-784": Recipe((20, 200, 500, 784), 0.1, False, ("leaky_relu:0.1",) * 3),
    "mnist-vae-20-400-784": Recipe((20, 400, 784), 0.0, True, ("relu", "sigmoid")),
}


def initial_parameters(recipe: Recipe, seed: int) -> Params:
    """He-normal weights: encoder E*, its two heads M and S, decoder W* (and b*)."""
    rng = np.random.default_rng(seed)
    params: dict[str, np.ndarray] = {}

    def dense(name: str, bias: str | None, width_in: int, width: int, gain: float = 2.0) -> None:
        scale = np.sqrt(gain / width_in)
        params[name] = (scale * rng.standard_normal((width, width_in))).astype(np.float32)
        if bias:
            params[bias] = np.zeros(width, np.float32)

    for i, (width_in, width) in enumerate(pairwise(ENCODER)):
        dense(f"E{i}", f"e{i}", width_in, width)
    dense("M", "m", ENCODER[-1], recipe.widths[0], gain=1.0)
    dense("S", "s", ENCODER[-1], recipe.widths[0], gain=0.1)
    for i, (width_in, width) in enumerate(pairwise(recipe.widths)):
        dense(f"W{i}", f"b{i}" if recipe.bias else None, width_in, width)
    return {name: jnp.asarray(value) for name, value in params.items()}


def encode(params: Params, x: jax.Array) -> Pair:
    """Mean and log standard deviation of q(z|x)."""
    h = x
    for i in range(len(ENCODER) - 1):
        h = jax.nn.relu(h @ params[f"E{i}"].T + params[f"e{i}"])
    return h @ params["M"].T + params["m"], h @ params["S"].T + params["s"]


def last_preactivation(recipe: Recipe, params: Params, z: jax.Array) -> jax.Array:
    """The decoder's u = W_d phi(...) + b_d; the logits are u - shift."""
    depth = len(recipe.widths) - 1
    for i in range(depth):
        z = z @ params[f"W{i}"].T + params.get(f"b{i}", 0.0)
        z = jnp.where(z > 0, z, recipe.slope * z) if i < depth - 1 else z
    return z


def terms(recipe: Recipe, params: Params, x: jax.Array, key: jax.Array | None) -> Pair:
    """Mean reconstruction BCE and KL in nats; at q's mean where no key is given."""
    mean, log_sd = encode(params, x)
    noise = 0.0 if key is None else jax.random.normal(key, mean.shape, mean.dtype)
    z = mean + jnp.exp(log_sd) * noise
    logits = last_preactivation(recipe, params, z) - recipe.shift
    bce = optax.sigmoid_binary_cross_entropy(logits, x).sum(-1).mean()
    kl = (0.5 * (jnp.exp(2 * log_sd) + mean**2 - 1) - log_sd).sum(-1).mean()
    return bce, kl


@partial(jax.jit, static_argnames=("recipe", "optimizer"))
def train_epoch(
    recipe: Recipe,
    optimizer: optax.GradientTransformation,
    params: Params,
    state: Any,
    images: jax.Array,
    key: jax.Array,
) -> tuple[Params, Any, jax.Array]:
    """One pass over the images (N, 784) in random order; returns the mean loss."""
    order_key, noise_key = jax.random.split(key)
    count = len(images) // BATCH
    order = jax.random.permutation(order_key, len(images))[: count * BATCH].reshape(count, BATCH)

    def step(carry: tuple[Params, Any], batch: tuple[jax.Array, jax.Array]) -> Any:
        params, state = carry
        rows, step_key = batch
        pixel_key, code_key = jax.random.split(step_key)
        x = images[rows].astype(jnp.float32) / 255.0
        x = (jax.random.uniform(pixel_key, x.shape, x.dtype) < x).astype(x.dtype)

        def objective(params: Params) -> Pair:
            bce, kl = terms(recipe, params, x, code_key)
            if not recipe.centring:
                return bce + kl, bce + kl
            unit = params["W0"] / jnp.linalg.norm(params["W0"], axis=1, keepdims=True)
            return bce + kl + recipe.centring * jnp.sum(unit.mean(axis=0) ** 2), bce + kl

        gradient, loss = jax.grad(objective, has_aux=True)(params)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), loss

    keys = jax.random.split(noise_key, count)
    (params, state), losses = jax.lax.scan(step, (params, state), (order, keys))
    return params, state, losses.mean()


def save_checkpoint(path: Path, run: str, params: Params, state: Any, epoch: int) -> None:
    """Write parameters and optimizer state so that a kill leaves the old file or the new one."""
    leaves = {f"state{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    tensors = leaves | {f"param {name}": np.asarray(value) for name, value in params.items()}
    write_atomically(path, save(tensors, metadata={"run": run, "epoch": str(epoch)}))


def load_checkpoint(path: Path, run: str, params: Params, state: Any) -> tuple[Params, Any, int]:
    """Read what `save_checkpoint` wrote into the structures of fresh parameters and state."""
    with safe_open(path, framework="numpy") as file:
        found, tensors = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    if found["run"] != run:
        raise ValueError(f"{path} belongs to another run ({found['run']}); move it away")
    params = {name: jnp.asarray(tensors[f"param {name}"]) for name in params}
    leaves = [jnp.asarray(tensors[f"state{i}"]) for i in range(len(jax.tree.leaves(state)))]
    return params, jax.tree.unflatten(jax.tree.structure(state), leaves), int(found["epoch"])


@cache
def adam(epochs: int, steps: int) -> optax.GradientTransformation:
    """Adam with warm-up and cosine decay; cached, as a new one would compile the epoch anew."""
    return optax.adam(
        optax.warmup_cosine_decay_schedule(0.0, 2e-3, steps, max(epochs, 2) * steps, 1e-6)
    )


def train(
    recipe: Recipe, images: np.ndarray, epochs: int, seed: int, checkpoint: Path, stop: int | None
) -> Params:
    """Train to `epochs`, resuming from the checkpoint; `stop` ends early (as an interruption)."""
    optimizer = adam(epochs, max(len(images) // BATCH, 1))
    params = initial_parameters(recipe, seed)
    state, done = optimizer.init(params), 0
    run = f"{recipe}, epochs={epochs}, seed={seed}"
    if checkpoint.exists():
        params, state, done = load_checkpoint(checkpoint, run, params, state)
    pixels = jnp.asarray(images.reshape(len(images), -1))
    with Progress() as progress:
        bar = progress.add_task("training", total=epochs, completed=done)
        for epoch in range(done, epochs if stop is None else min(stop, epochs)):
            # Each epoch's key depends on (seed, epoch) alone: a resumed run repeats the same bits.
            key = jax.random.fold_in(jax.random.key(seed), epoch)
            params, state, loss = train_epoch(recipe, optimizer, params, state, pixels, key)
            progress.update(bar, advance=1, description=f"loss {float(loss):7.2f} nats")
            if (epoch + 1) % 10 == 0 or epoch + 1 in (epochs, stop):
                save_checkpoint(checkpoint, run, params, state, epoch + 1)
    return params


def sample_grid(recipe: Recipe, params: Params, path: Path, side: int = 10) -> None:
    """Draw side x side decoded samples of N(0, I): the shipped output, and p beside it."""
    z = np.random.default_rng(1).standard_normal((side * side, recipe.widths[0]))
    u = np.asarray(last_preactivation(recipe, params, jnp.asarray(z, jnp.float32)), np.float64)
    ink = 1 / (1 + np.exp(recipe.shift - u))
    panels = [ink] if recipe.activations[-1] == "sigmoid" else [np.clip(u, 0, 1), ink]
    # Axes: panel, row and column of the grid, row and column of a digit.
    tiles = (255 * np.stack(panels)).astype(np.uint8).reshape(-1, side, side, 28, 28)
    pixels = tiles.transpose(1, 3, 0, 2, 4).reshape(28 * side, -1)
    Image.fromarray(pixels.repeat(2, axis=0).repeat(2, axis=1)).save(path)


def measured(recipe: Recipe, params: Params, test: np.ndarray) -> dict[str, Any]:
    """Test losses in nats, and what inversion asks of the weights."""
    x = jnp.asarray(test.reshape(len(test), -1), jnp.float32) / 255.0
    binary = (jax.random.uniform(jax.random.key(7), x.shape, x.dtype) < x).astype(x.dtype)
    bce, kl = terms(recipe, params, x, None)
    z = np.random.default_rng(2).standard_normal((CODES, recipe.widths[0])).astype(np.float32)
    fixed = np.ones(len(z), dtype=bool)
    figures: dict[str, Any] = {
        "bce_at_mean": float(bce),
        "bce_at_sample": float(terms(recipe, params, x, jax.random.key(8))[0]),
        "bce_at_binary": float(terms(recipe, params, binary, jax.random.key(8))[0]),
        "kl": float(kl),
        "condition": [],
        "dead_units": [],
    }
    h = z.astype(np.float64)
    for i in range(len(recipe.widths) - 1):
        w = np.asarray(params[f"W{i}"], np.float64)
        figures["condition"].append(float(np.linalg.cond(w)))
        u = h @ w.T + np.asarray(params.get(f"b{i}", 0.0), np.float64)
        figures["dead_units"].append(int((u <= 0).all(0).sum()))
        if recipe.activations[i] == "relu":
            fixed &= [np.linalg.matrix_rank(w[row]) == w.shape[1] for row in u > 0]
        else:  # invertible: every row counts
            fixed &= np.linalg.matrix_rank(w) == w.shape[1]
        h = np.where(u > 0, u, recipe.slope * u)
    return figures | {"identifiable": float(fixed.mean())}


def card(name: str, recipe: Recipe, epochs: int, seed: int, note: str, f: dict[str, Any]) -> str:
    """The model card that stands beside the weights."""
    target = f"u - {recipe.shift:g}" if recipe.shift else "u"
    extra = f" + {recipe.centring:g} x norm(mean unit row of W0)^2" if recipe.centring else ""
    return f"""# {name}

Decoder of a variational autoencoder of MNIST digits, {"-".join(map(str, recipe.widths))},
activations {", ".join(recipe.activations)}, {"with" if recipe.bias else "without"} biases, float32.

| | |
|---|---|
| data | MNIST training images (60,000), pixels binarised at random anew each epoch; {note} |
| encoder | {"-".join(map(str, ENCODER))}-2x{recipe.widths[0]}, ReLU, thrown away |
| loss | sum of binary cross-entropies of sigmoid({target}) + KL to N(0, I), in nats{extra} |
| optimizer | Adam, batch {BATCH}, one epoch of warm-up to 2e-3, cosine decay to 1e-6 |
| epochs, seed | {epochs}, {seed} |
| command | `python benchmarks/train_mnist.py {name} --epochs {epochs} --seed {seed}` |
| test BCE at a sample of q | {f["bce_at_sample"]:.1f} nats (public decoders of these sizes: \
about 75-105); at q's mean {f["bce_at_mean"]:.1f}; with binarised pixels {f["bce_at_binary"]:.1f} |
| test KL | {f["kl"]:.1f} nats |
| test BCE at a sample + KL (negative ELBO) | {f["bce_at_sample"] + f["kl"]:.1f} nats |
| sigma_max / sigma_min of each W | {", ".join(f"{c:.1f}" for c in f["condition"])} |
| units never positive on {CODES:,} codes, by layer | {", ".join(map(str, f["dead_units"]))} |
| codes fixed layer by layer, of {CODES:,} | {100 * f["identifiable"]:.1f} % |

Here u is the last layer's pre-activation, the input of the shipped last activation, and q is the
encoder's distribution of the code. Codes are draws of N(0, I). A code is fixed if in every layer
the rows whose pre-activation the output determines (for ReLU the positive ones, else all) have full
column rank. Pixels that no digit covers are never positive.

The weights were trained by this project and are under its licence, Apache-2.0. MNIST was put
together by Y. LeCun, C. Cortes and C. Burges from digits collected by NIST.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--mnist", type=Path, help="an .npz with train_images and test_images")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/mnist"))
    arguments = parser.parse_args()
    name, out, epochs, seed = arguments.name, arguments.out, arguments.epochs, arguments.seed
    recipe, data = RECIPES[name], load_mnist(arguments.mnist)
    print(f"MNIST: {data.note}")
    checkpoint = out / f"{name}-{epochs}-{seed}.checkpoint"
    params = train(recipe, data.train, epochs, seed, checkpoint, None)
    decoder = {k: np.asarray(v) for k, v in sorted(params.items()) if k[0] in "Wb"}
    metadata = {"format": "jaxinv", "activations": json.dumps(list(recipe.activations))}
    write_atomically(out / f"{name}.safetensors", save(decoder, metadata))
    figures = measured(recipe, params, data.test)
    write_atomically(
        out / f"{name}.md", card(name, recipe, epochs, seed, data.note, figures).encode()
    )
    sample_grid(recipe, params, out / f"{name}.png")
    print(json.dumps({"name": name, **figures}))


if __name__ == "__main__":
    main()
