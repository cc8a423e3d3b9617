"""Images that no code makes: digits, inverted digits, and shapes drawn here."""

from pathlib import Path

import numpy as np

import jaxinv
from benchmarks.joint_rivals import real_digits
from benchmarks.mnist import load_mnist

SIDE = 28


def digits(rows: int, npz: str | None) -> np.ndarray:
    """The first test digits, of those that are shipped unless a file of all is named."""
    if npz is None:
        return real_digits()[:rows]
    return load_mnist(Path(npz)).test[:rows].reshape(rows, -1) / 255.0


def learned(npz: str) -> np.ndarray:
    """The training digits of a file, which an encoder may learn from."""
    train = load_mnist(Path(npz)).train
    return train.reshape(len(train), -1) / 255.0


def shapes(rows: int, seed: int = 0) -> np.ndarray:
    """Grey shirts, shoes and bags, roughly: blocks, an arch and wedges at random places."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1.0)
    images = []
    for kind in range(rows):
        (left, top), (width, height) = rng.uniform(0.1, 0.3, 2), rng.uniform(0.4, 0.6, 2)
        u, v = (x - left) / width, (y - top) / height
        inside = (u > 0) & (u < 1) & (v > 0) & (v < 1)
        if kind % 3 == 0:  # a body with two sleeves
            inside = inside & ((abs(u - 0.5) < 0.3) | (v < 0.4))
        elif kind % 3 == 1:  # a wedge with a sole
            inside = inside & ((v > 1.0 - u) | (v > 0.85))
        else:  # a box with a handle
            arch = abs(np.hypot(u - 0.5, v) - 0.35) < 0.08
            inside = (inside & (v > 0.3)) | (arch & (v <= 0.3))
        shade = rng.uniform(0.4, 1.0) * (1.0 + 0.3 * np.sin(rng.uniform(5, 40) * u))
        images.append(np.where(inside, np.clip(shade, 0.0, 1.0), 0.0))
    return np.stack(images).reshape(rows, -1)


def for_decoder(images: np.ndarray, generator: jaxinv.Generator) -> np.ndarray:
    """The images as this decoder makes them: padded to its size, from -1 to 1 behind a tanh."""
    side = int(np.sqrt(generator.observation_size))
    edge = (side - SIDE) // 2
    square = np.pad(images.reshape(-1, SIDE, SIDE), ((0, 0), (edge, edge), (edge, edge)))
    flat = square.reshape(len(images), -1)
    return 2.0 * flat - 1.0 if generator.layers[-1].activation.kind == "tanh" else flat
