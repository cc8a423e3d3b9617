"""Training of the MNIST decoders, on small synthetic strokes instead of digits."""

import gzip
import json
import sys
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import train_mnist

import mnist

ACTIVATIONS = {
    "mnist-relu-20-60-784": ["relu", "relu"],
    "mnist-leaky-20-200-500-784": ["leaky_relu:0.1"] * 3,
    "mnist-vae-20-400-784": ["relu", "sigmoid"],
}
NAMES = sorted(ACTIVATIONS)
SEED = 3
EPOCHS = 3


def strokes(count: int, seed: int) -> np.ndarray:
    """Grey images (count, 28, 28) of one thick bar each, inside an empty border."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:28, 0:28]
    angle, offset = rng.uniform(0, np.pi, (count, 1, 1)), rng.uniform(-5, 5, (count, 1, 1))
    across = np.cos(angle) * (rows - 13.5) + np.sin(angle) * (columns - 13.5) - offset
    ink = np.clip(255 * (2.5 - np.abs(across)), 0, 255)
    inside = np.maximum(np.abs(rows - 13.5), np.abs(columns - 13.5)) < 10
    images: np.ndarray = (ink * inside).astype(np.uint8)
    return images


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return strokes(600, seed=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_ends_with_the_same_bits_and_a_lower_loss(
    name: str, images: np.ndarray, tmp_path: Path
) -> None:
    recipe = train_mnist.RECIPES[name]
    whole = train_mnist.train(recipe, images, EPOCHS, SEED, tmp_path / "whole", None)
    halted = train_mnist.train(recipe, images, EPOCHS, SEED, tmp_path / "halted", 1)
    resumed = train_mnist.train(recipe, images, EPOCHS, SEED, tmp_path / "halted", None)
    assert whole.keys() == resumed.keys()
    for key in whole:
        assert whole[key].dtype == np.float32
        assert np.asarray(whole[key]).tobytes() == np.asarray(resumed[key]).tobytes(), key
    assert any(not np.array_equal(whole[key], halted[key]) for key in whole)

    x = jnp.asarray(images.reshape(len(images), -1), jnp.float32) / 255.0
    start = train_mnist.initial_parameters(recipe, SEED)
    noise = jax.random.key(0)
    before, after = (train_mnist.terms(recipe, p, x, noise) for p in (start, whole))
    assert float(after[0] + after[1]) < float(before[0] + before[1])


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    train_mnist.save_checkpoint(checkpoint, "one run", {"W0": jnp.zeros(2)}, (), 1)
    with pytest.raises(ValueError, match="belongs to another run"):
        train_mnist.load_checkpoint(checkpoint, "another", {"W0": jnp.zeros(2)}, ())


@pytest.mark.parametrize("name", NAMES)
def test_the_command_writes_weights_card_and_grid(
    name: str, images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "digits.npz"
    np.savez(archive, train_images=images, test_images=strokes(50, seed=1))
    out = tmp_path / "out"
    arguments = ["train_mnist.py", name, "--mnist", str(archive), "--epochs", str(EPOCHS)]
    monkeypatch.setattr(train_mnist, "CODES", 20)
    monkeypatch.setattr(sys, "argv", [*arguments, "--seed", str(SEED), "--out", str(out)])
    train_mnist.main()

    widths = [int(n) for n in name.split("-")[2:]]
    expected: dict[str, tuple[int, ...]] = {
        f"W{i}": (rows, columns) for i, (columns, rows) in enumerate(pairwise(widths))
    }
    if name == "mnist-vae-20-400-784":
        expected |= {"b0": (400,), "b1": (784,)}
    with safe_open(out / f"{name}.safetensors", framework="numpy") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    assert {key: value.shape for key, value in tensors.items()} == expected
    assert all(value.dtype == np.float32 for value in tensors.values())
    assert metadata["format"] == "jaxinv"
    assert json.loads(metadata["activations"]) == ACTIVATIONS[name]
    card = (out / f"{name}.md").read_text()
    assert "NOT the original MNIST" in card
    assert f"train_mnist.py {name} --epochs {EPOCHS} --seed {SEED}" in card
    assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_corrupted_download_is_refused_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = gzip.compress(mnist.idx_bytes(strokes(4, seed=2)))
    monkeypatch.setattr(mnist, "fetch", lambda url: body)
    with pytest.raises(ValueError, match=r"train-images.*SHA-256 is .*, expected ba891046"):
        mnist.load_mnist(cache=tmp_path)
    monkeypatch.setattr(mnist, "fetch", lambda url: body[:-20])
    with pytest.raises(ValueError, match="not a whole gzip file"):
        mnist.load_mnist(cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_good_download_is_cached_and_the_cache_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = strokes(4, seed=2)
    raw = mnist.idx_bytes(digits)
    asked: list[str] = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        return gzip.compress(raw)

    monkeypatch.setattr(mnist, "fetch", fetch)
    monkeypatch.setattr(mnist, "SHA256", dict.fromkeys(mnist.FILES, mnist.sha256(raw)))
    for _ in range(2):
        assert np.array_equal(mnist.load_mnist(cache=tmp_path).test, digits)
    assert asked == [f"{mnist.MIRROR}{name}.gz" for name in mnist.FILES.values()]

    cached = tmp_path / mnist.FILES["train"]
    cached.write_bytes(raw[:-1] + b"\x55")
    with pytest.raises(ValueError, match="SHA-256 is"):
        mnist.load_mnist(cache=tmp_path)
