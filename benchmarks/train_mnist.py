"""Train the MNIST decoders that jaxinv ships, as variational autoencoders.

The evidence lower bound of an image x with binary pixels drawn anew each epoch,

    E_q(z|x) sum_j [x_j log p_j + (1 - x_j) log(1 - p_j)] - KL(q(z|x) || N(0, I)),
    p = sigmoid(W_d phi(... phi(W_1 z + b_1) ...) + b_d),

is maximised with Adam. The encoder is thrown away. The decoders for ReLU and LeakyReLU outputs are
trained on their last layer's logits and read through the (Leaky)ReLU afterwards, as in the paper.

    python benchmarks/train_mnist.py mnist-vae-20-400-784 [--mnist FILE.npz] [--epochs N]
"""

import argparse
import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from mnist import load_mnist, write_atomically
from PIL import Image
from rich.progress import Progress
from safetensors.numpy import load_file, save

Params = dict[str, jax.Array]
BATCH = 200
ENCODER = (784, 400, 400)


@dataclass(frozen=True)
class Recipe:
    """A decoder's widths, slope on hidden layers, biases, and the activations it ships with."""

    widths: tuple[int, ...]
    slope: float
    bias: bool
    activations: tuple[str, ...]


RECIPES = {
    "mnist-relu-20-60-784": Recipe((20, 60, 784), 0.0, False, ("relu", "relu")),
    "mnist-leaky-20-200-500-784": Recipe(
        (20, 200, 500, 784), 0.1, False, ("leaky_relu:0.1",) * 3
    ),
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

    for i, (width_in, width) in enumerate(zip(ENCODER[:-1], ENCODER[1:], strict=True)):
        dense(f"E{i}", f"e{i}", width_in, width)
    dense("M", "m", ENCODER[-1], recipe.widths[0], gain=1.0)
    dense("S", "s", ENCODER[-1], recipe.widths[0], gain=0.1)
    for i, (width_in, width) in enumerate(zip(recipe.widths[:-1], recipe.widths[1:], strict=True)):
        dense(f"W{i}", f"b{i}" if recipe.bias else None, width_in, width)
    return {name: jnp.asarray(value) for name, value in params.items()}


def encode(params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and log standard deviation of q(z|x)."""
    h = x
    for i in range(len(ENCODER) - 1):
        h = jax.nn.relu(h @ params[f"E{i}"].T + params[f"e{i}"])
    return h @ params["M"].T + params["m"], h @ params["S"].T + params["s"]


def logits(recipe: Recipe, params: Params, z: jax.Array) -> jax.Array:
    """The decoder's last pre-activation."""
    depth = len(recipe.widths) - 1
    for i in range(depth):
        z = z @ params[f"W{i}"].T + params.get(f"b{i}", 0.0)
        z = jnp.where(z > 0, z, recipe.slope * z) if i < depth - 1 else z
    return z


def terms(
    recipe: Recipe, params: Params, x: jax.Array, key: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Mean reconstruction BCE and KL in nats; at q's mean where no key is given."""
    mean, log_sd = encode(params, x)
    z = mean if key is None else mean + jnp.exp(log_sd) * jax.random.normal(key, mean.shape)
    bce = optax.sigmoid_binary_cross_entropy(logits(recipe, params, z), x).sum(-1).mean()
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
        x = (jax.random.uniform(pixel_key, x.shape) < x).astype(jnp.float32)
        loss, gradient = jax.value_and_grad(lambda p: sum(terms(recipe, p, x, code_key)))(params)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), loss

    keys = jax.random.split(noise_key, count)
    (params, state), losses = jax.lax.scan(step, (params, state), (order, keys))
    return params, state, losses.mean()


def save_checkpoint(path: Path, params: Params, state: Any, epoch: int) -> None:
    """Write parameters and optimizer state so that a kill leaves the old file or the new one."""
    leaves = {f"state{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    tensors = {**{f"param {k}": np.asarray(v) for k, v in params.items()}, **leaves}
    write_atomically(path, save(tensors, metadata={"epoch": str(epoch)}))


def load_checkpoint(path: Path, params: Params, state: Any) -> tuple[Params, Any, int]:
    """Read what `save_checkpoint` wrote into the structures of fresh parameters and state."""
    tensors = load_file(path)
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    params = {name: jnp.asarray(tensors[f"param {name}"]) for name in params}
    leaves, tree = jax.tree.flatten(state)
    state = tree.unflatten([jnp.asarray(tensors[f"state{i}"]) for i in range(len(leaves))])
    return params, state, int(header["__metadata__"]["epoch"])


def train(
    recipe: Recipe, images: np.ndarray, epochs: int, seed: int, checkpoint: Path, stop: int | None
) -> Params:
    """Train to `epochs`, resuming from the checkpoint; `stop` ends early (as an interruption)."""
    steps = max(len(images) // BATCH, 1)
    schedule = optax.warmup_cosine_decay_schedule(0.0, 2e-3, steps, epochs * steps, 1e-6)
    optimizer = optax.adam(schedule)
    params = initial_parameters(recipe, seed)
    state, done = optimizer.init(params), 0
    if checkpoint.exists():
        params, state, done = load_checkpoint(checkpoint, params, state)
    pixels = jnp.asarray(images.reshape(len(images), -1))
    with Progress() as progress:
        bar = progress.add_task("training", total=epochs, completed=done)
        for epoch in range(done, epochs if stop is None else min(stop, epochs)):
            # Each epoch's key depends on (seed, epoch) alone: a resumed run repeats the same bits.
            key = jax.random.fold_in(jax.random.key(seed), epoch)
            params, state, loss = train_epoch(recipe, optimizer, params, state, pixels, key)
            progress.update(bar, advance=1, description=f"loss {float(loss):7.2f} nats")
            if (epoch + 1) % 10 == 0 or epoch + 1 in (epochs, stop):
                save_checkpoint(checkpoint, params, state, epoch + 1)
    return params


def decoder(recipe: Recipe, params: Params) -> dict[str, np.ndarray]:
    """The tensors that are shipped: W0, b0, W1, ..."""
    return {k: np.asarray(v) for k, v in sorted(params.items()) if k[0] in "Wb"}


def shipped_output(recipe: Recipe, params: Params, z: np.ndarray) -> np.ndarray:
    """The shipped generator's output, clipped to [0, 1] as an image."""
    u = np.asarray(logits(recipe, params, jnp.asarray(z, jnp.float32)))
    return 1 / (1 + np.exp(-u)) if recipe.activations[-1] == "sigmoid" else np.clip(u, 0, 1)


def sample_grid(recipe: Recipe, params: Params, path: Path, side: int = 10) -> None:
    """Draw side x side decoded samples of N(0, I)."""
    z = np.random.default_rng(1).standard_normal((side * side, recipe.widths[0]))
    images = shipped_output(recipe, params, z).reshape(side, side, 28, 28)
    pixels = (255 * images).astype(np.uint8).transpose(0, 2, 1, 3).reshape(28 * side, 28 * side)
    Image.fromarray(pixels).resize((56 * side, 56 * side), Image.Resampling.NEAREST).save(path)


def measured(recipe: Recipe, params: Params, test: np.ndarray) -> dict[str, Any]:
    """Test losses in nats, and what inversion asks of the weights."""
    x = jnp.asarray(test.reshape(len(test), -1), jnp.float32) / 255.0
    binary = (jax.random.uniform(jax.random.key(7), x.shape) < x).astype(jnp.float32)
    bce_mean, kl = terms(recipe, params, x, None)
    bce_sample, _ = terms(recipe, params, x, jax.random.key(8))
    bce_binary, _ = terms(recipe, params, binary, jax.random.key(8))
    z = np.random.default_rng(2).standard_normal((1000, recipe.widths[0])).astype(np.float32)
    figures: dict[str, Any] = {
        "bce_at_mean": float(bce_mean),
        "bce_at_sample": float(bce_sample),
        "bce_at_sample_binary_pixels": float(bce_binary),
        "kl": float(kl),
        "condition": [],
        "dead_units": [],
    }
    h = z.astype(np.float64)
    for i in range(len(recipe.widths) - 1):
        w = np.asarray(params[f"W{i}"], np.float64)
        singular = np.linalg.svd(w, compute_uv=False)
        figures["condition"].append(float(singular[0] / singular[-1]))
        u = h @ w.T + np.asarray(params.get(f"b{i}", 0.0), np.float64)
        figures["dead_units"].append(int((u <= 0).all(0).sum()))
        h = np.where(u > 0, u, recipe.slope * u)
    return figures


def card(name: str, recipe: Recipe, epochs: int, seed: int, note: str, f: dict[str, Any]) -> str:
    """The model card that stands beside the weights."""
    conditions = ", ".join(f"{c:.1f}" for c in f["condition"])
    dead = ", ".join(map(str, f["dead_units"]))
    widths = "-".join(map(str, recipe.widths))
    return f"""# {name}

Decoder of a variational autoencoder of MNIST digits, {widths}, activations
{", ".join(recipe.activations)}, {"with" if recipe.bias else "without"} biases, float32.

| | |
|---|---|
| data | MNIST training images (60,000), pixels binarised at random anew each epoch; {note} |
| encoder | {"-".join(map(str, ENCODER))}-2x{recipe.widths[0]}, ReLU, thrown away |
| loss | sum of binary cross-entropies of sigmoid(logits) + KL to N(0, I), in nats |
| optimizer | Adam, batch {BATCH}, one epoch of warm-up to 2e-3, cosine decay to 1e-6, {epochs} epochs |
| command | `python benchmarks/train_mnist.py {name} --epochs {epochs} --seed {seed}` |
| test BCE at q's mean | {f["bce_at_mean"]:.1f} nats (public decoders of these sizes: about 75-105) |
| test BCE at a sample of q | {f["bce_at_sample"]:.1f} nats; with binarised pixels \
{f["bce_at_sample_binary_pixels"]:.1f} |
| test KL | {f["kl"]:.1f} nats |
| condition of each W | {conditions} |
| units never positive on 1,000 codes | {dead} |

Trained on the logits of the last layer; a ReLU or LeakyReLU output reads those logits directly.
The weights were trained by this project and are under its licence (Apache-2.0).
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--mnist", type=Path, help="an .npz with train_images and test_images")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/mnist"))
    arguments = parser.parse_args()
    data = load_mnist(arguments.mnist)
    recipe, out, name = RECIPES[arguments.name], arguments.out, arguments.name
    os.makedirs(out, exist_ok=True)
    checkpoint = out / f"{name}-{arguments.epochs}-{arguments.seed}.checkpoint"
    params = train(recipe, data.train, arguments.epochs, arguments.seed, checkpoint, None)
    metadata = {"format": "jaxinv", "activations": json.dumps(list(recipe.activations))}
    write_atomically(out / f"{name}.safetensors", save(decoder(recipe, params), metadata))
    figures = measured(recipe, params, data.test)
    text = card(name, recipe, arguments.epochs, arguments.seed, data.note, figures)
    write_atomically(out / f"{name}.md", text.encode())
    sample_grid(recipe, params, out / f"{name}.png")
    print(json.dumps({"name": name, **figures}))


if __name__ == "__main__":
    main()
