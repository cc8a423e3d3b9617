"""`jaxinv demo`: codes recovered from noisy digits through the shipped generators."""

import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table

from jaxinv.call.invert import invert
from jaxinv.cli.picture import Panel, draw
from jaxinv.formats import load_generator, shipped_generators
from jaxinv.formats.arrays import read_npz
from jaxinv.model.generator import Generator
from jaxinv.outcome.inversion import Inversion

SUCCESS = 1e-3  # relative recovery error, the paper's criterion without noise
# Methods that go layer by layer are shown where every layer is a matrix of few columns: what they
# need for wider ones takes a minute to compile, more than all else that is shown.
WITHOUT_NOISE, UNDER_NOISE, COLUMNS_SHOWN = ("exact",), ("linf", "auto"), 64
JOINT = ("auto",)
# The smallest first: its lines are there after seconds, while the others still compile.
SHOWN = (
    "mnist-relu-20-60-784",
    "mnist-leaky-20-200-500-784",
    "mnist-vae-20-400-784",
    "mnist-conv-vae-13",
)
DIGITS = "mnist-test-256.npz"
COLUMNS = {
    "input": 13,
    "method": 6,
    "solved": 6,
    f"error<{SUCCESS:g}": 11,
    "median error": 12,
    "gain": 6,
    "rows/s": 7,
}


class Trial(NamedTuple):
    """One batch of observations: what they are called, their codes if known, clean and noisy."""

    name: str
    latent: np.ndarray | None
    clean: np.ndarray
    noisy: np.ndarray
    methods: tuple[str, ...]


def run(
    out: Path, rows: int, noise: float, seed: int, names: Sequence[str], console: Console
) -> None:
    """Invert through the shipped generators of these names, those SHOWN where there is none."""
    shipped = shipped_generators()
    for name in names:
        if name not in shipped:
            raise ValueError(f"{name} is not a shipped generator: {', '.join(shipped)}")
    console.print(f"{rows} images a generator and input; noise uniform in +-{noise:g}")
    panels: list[Panel] = []
    for name in names or SHOWN:
        generator = load_generator(name)
        table = Table(title=name, title_justify="left", title_style="bold", pad_edge=False)
        for heading, width in COLUMNS.items():
            left = heading in ("input", "method")
            table.add_column(heading, justify="left" if left else "right", width=width)
        # On a terminal the table grows line by line; elsewhere it is printed when it is whole.
        with Live(table, console=console, auto_refresh=False, transient=True) as shown:
            for trial in trials(generator, rows, noise, seed):
                images = {"original": trial.clean, "noisy": trial.noisy}
                for method in trial.methods:
                    table.caption = f"{trial.name}, {method} ..."
                    shown.refresh()
                    found, seconds = timed(generator, trial.noisy, method)
                    table.add_row(trial.name, method, *figures(generator, trial, found, seconds))
                    images[method] = np.asarray(generator(np.nan_to_num(np.asarray(found.latent))))
                if trial.noisy is not trial.clean:
                    ink = {kind: as_ink(generator, values) for kind, values in images.items()}
                    panels.append(Panel(f"{name}: {trial.name}", ink))
                    draw(panels, out)
        table.caption = None
        console.print(table)
    console.print(
        "Error: ||z - z*|| / ||z*||, where the code z* is known. Gain: the noise's norm over "
        "that of G(z) minus the original image; below 1 the noise got worse. Real digits lie "
        "outside what a generator makes, which is one more error for every method. 'linf' goes "
        "layer by layer and loses at each; 'auto' treats all layers at once. Errors and gains "
        "are medians over the rows that have a code.",
        highlight=False,
    )
    console.print(f"Picture: {out}")


def trials(generator: Generator, rows: int, noise: float, seed: int) -> list[Trial]:
    """Planted codes without noise and with it, and digits that no code generated."""
    rng = np.random.default_rng(seed)

    def with_noise(images: np.ndarray) -> np.ndarray:
        return images + rng.uniform(-noise, noise, images.shape)

    latent = rng.standard_normal((rows, generator.latent_size))
    clean = np.asarray(generator(latent))
    narrow = all(layer.width_in <= COLUMNS_SHOWN for layer in generator.layers)
    exact, noisy = (WITHOUT_NOISE, UNDER_NOISE) if generator.is_dense and narrow else (JOINT, JOINT)
    planted = [
        Trial("clean images", latent, clean, clean, exact),
        Trial("noisy images", latent, clean, with_noise(clean), noisy),
    ]
    # Real digits go to the decoders whose output is a pixel's intensity.
    if generator.layers[-1].activation.kind != "sigmoid":
        return planted
    real = real_digits(rows)
    return [*planted, Trial("noisy digits", None, real, with_noise(real), noisy)]


def as_ink(generator: Generator, images: np.ndarray) -> np.ndarray:
    """Images with ink in [0, 1], whatever bounded range the generator's outputs have."""
    low, high = generator.layers[-1].activation.range
    return (images - low) / (high - low) if np.isfinite(high - low) else images


def real_digits(rows: int) -> np.ndarray:
    """The first MNIST test digits, (rows, 784) in [0, 1]; they repeat after 256."""
    images = read_npz(Path(str(files("jaxinv") / "data" / DIGITS)))["images"]
    return np.resize(images / 255.0, (rows, images[0].size))


def timed(generator: Generator, observations: np.ndarray, method: str) -> tuple[Inversion, float]:
    """The inversion and its wall time, compilation apart (one row is inverted first)."""
    chunk = len(observations)
    blank = np.where(np.arange(chunk)[:, None] == 0, observations, np.nan)
    np.asarray(invert(generator, blank, method, chunk=chunk).latent)
    start = time.perf_counter()
    found = invert(generator, observations, method, chunk=chunk)
    np.asarray(found.latent)
    return found, time.perf_counter() - start


def figures(
    generator: Generator, trial: Trial, found: Inversion, seconds: float
) -> tuple[str, ...]:
    """Solved rows, success, median error, denoising gain, inversions per second."""
    latent = np.asarray(found.latent)
    there = np.isfinite(latent).all(1)
    success = error = gain = "-"
    if trial.latent is not None:
        distance = np.linalg.norm(latent - trial.latent, axis=1)
        errors = distance / np.linalg.norm(trial.latent, axis=1)
        success = f"{np.mean(errors < SUCCESS):.0%}"
        error = f"{np.median(errors[there]):.2g}" if there.any() else "-"
    noise = np.linalg.norm(trial.noisy - trial.clean, axis=1)
    if noise.any() and there.any():
        left = np.linalg.norm(np.asarray(generator(latent[there])) - trial.clean[there], axis=1)
        gain = f"{np.median(noise[there] / left):.2g}"
    solved = f"{int(np.asarray(found.ok).sum())}/{len(latent)}"
    rate = len(latent) / seconds
    return solved, success, error, gain, f"{rate:.0f}" if rate >= 100 else f"{rate:.2g}"
