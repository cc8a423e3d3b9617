"""What stands in for the encoder of the shipped VAE decoder, which was thrown away after training.

It is an encoder of the same sizes, trained by the VAE's own loss for the shipped decoder, which is
held fixed: on MNIST's training digits, or, without them, on draws of the decoder itself.
"""

from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxinv

NAME = "mnist-vae-20-400-784"
WIDTHS = (784, 400, 400)
BATCH = 200
Affine = list[tuple[jax.Array, jax.Array]]


class Encoder(NamedTuple):
    """Layers (W, b) in single precision; the encoder gives q's mean and log deviation."""

    encoder: Affine
    decoder: Affine

    def codes(self, x: np.ndarray) -> np.ndarray:
        """The mean of q(z|x), (B, k)."""
        return np.asarray(_posterior(self.encoder, jnp.asarray(x, jnp.float32))[0], np.float64)

    def evidence(self, x: np.ndarray) -> np.ndarray:
        """The evidence lower bound of each row in nats, reconstructed at q's mean."""
        pixels = jnp.asarray(x, jnp.float32)
        mean, log_sd = _posterior(self.encoder, pixels)
        return -np.asarray(_loss(self.decoder, pixels, mean, mean, log_sd), np.float64)


def trained(images: np.ndarray, epochs: int, seed: int = 0) -> Encoder:
    """Trained on images (N, 784) with ink in [0, 1], which are binarised anew each epoch."""
    rng = np.random.default_rng(seed)
    generator = jaxinv.load_generator(NAME)
    decoder = [
        (jnp.asarray(np.asarray(part.weight), jnp.float32), jnp.asarray(part.bias, jnp.float32))
        for part in generator.layers
    ]
    encoder = [_drawn(rng, pair, 2.0) for pair in pairwise(WIDTHS)]
    encoder.append(_drawn(rng, (WIDTHS[-1], 2 * generator.latent_size), 0.5))
    steps = max(len(images) // BATCH, 1)
    rate = optax.warmup_cosine_decay_schedule(0.0, 2e-3, steps, max(epochs, 2) * steps, 1e-6)
    optimizer = optax.adam(rate)
    state, pixels = optimizer.init(encoder), jnp.asarray(images, jnp.float32)
    for epoch in range(epochs):
        key = jax.random.fold_in(jax.random.key(seed), epoch)
        encoder, state, loss = _epoch(optimizer, encoder, decoder, state, pixels, key)
        print(f"encoder, epoch {epoch + 1} of {epochs}: {float(loss):.2f} nats", flush=True)
    return Encoder(encoder, decoder)


def _drawn(
    rng: np.random.Generator, widths: tuple[int, int], gain: float
) -> tuple[jax.Array, jax.Array]:
    weight = np.sqrt(gain / widths[0]) * rng.standard_normal((widths[1], widths[0]))
    return jnp.asarray(weight, jnp.float32), jnp.zeros(widths[1], jnp.float32)


def _through(layers: Affine, x: jax.Array) -> jax.Array:
    """ReLU layers, the last one without."""
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight.T + bias)
    return x @ layers[-1][0].T + layers[-1][1]


def _posterior(encoder: Affine, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    mean, log_sd = jnp.split(_through(encoder, x), 2, axis=-1)
    return mean, log_sd


def _loss(
    decoder: Affine, x: jax.Array, z: jax.Array, mean: jax.Array, log_sd: jax.Array
) -> jax.Array:
    """Cross-entropy at z, and the divergence of q from N(0, I), of each row in nats."""
    entropy = optax.sigmoid_binary_cross_entropy(_through(decoder, z), x).sum(-1)
    return entropy + (0.5 * (jnp.exp(2 * log_sd) + mean**2 - 1) - log_sd).sum(-1)


@partial(jax.jit, static_argnames="optimizer")
def _epoch(
    optimizer: optax.GradientTransformation,
    encoder: Affine,
    decoder: Affine,
    state: Any,
    images: jax.Array,
    key: jax.Array,
) -> tuple[Affine, Any, jax.Array]:
    order_key, noise_key = jax.random.split(key)
    count = len(images) // BATCH
    order = jax.random.permutation(order_key, len(images))[: count * BATCH].reshape(count, BATCH)

    def step(carry: tuple[Affine, Any], batch: tuple[jax.Array, jax.Array]) -> Any:
        encoder, state = carry
        pixel_key, code_key = jax.random.split(batch[1])
        x = images[batch[0]]
        x = (jax.random.uniform(pixel_key, x.shape, x.dtype) < x).astype(x.dtype)

        def objective(encoder: Affine) -> jax.Array:
            mean, log_sd = _posterior(encoder, x)
            draw = jax.random.normal(code_key, mean.shape, mean.dtype)
            return _loss(decoder, x, mean + jnp.exp(log_sd) * draw, mean, log_sd).mean()

        loss, gradient = jax.value_and_grad(objective)(encoder)
        updates, state = optimizer.update(gradient, state, encoder)
        return (optax.apply_updates(encoder, updates), state), loss

    keys = jax.random.split(noise_key, count)
    (encoder, state), losses = jax.lax.scan(step, (encoder, state), (order, keys))
    return encoder, state, losses.mean()
