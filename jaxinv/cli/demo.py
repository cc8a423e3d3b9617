"""`jaxinv demo`: codes recovered from noisy digits through the shipped generators."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from jaxinv.formats import load_generator, shipped_generators
from jaxinv.generator import Generator
from jaxinv.invert import invert
from jaxinv.result import Inversion

SUCCESS = 1e-3  # relative recovery error, the paper's criterion without noise
METHODS = ("exact", "linf")
SHOWN = 8


@dataclass(frozen=True)
class Trial:
    """One generator and one batch of planted codes, clean and noisy."""

    name: str
    generator: Generator
    latent: np.ndarray
    clean: np.ndarray
    noisy: np.ndarray


def run(out: Path, rows: int, noise: float, seed: int, console: Console) -> None:
    table = Table(title=f"{rows} codes z ~ N(0, I) a generator; noise uniform in +-{noise:g}")
    headings = ("input", "method", "solved", f"error<{SUCCESS:g}", "median error", "gain", "rows/s")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in headings[:2] else "right")
    pictures: list[np.ndarray] = []
    for name in shipped_generators():
        trial = plant(name, rows, noise, seed)
        table.add_section()
        table.add_row(f"[bold]{name}", *[""] * 6)
        denoised = trial.noisy
        for kind, observations in (("clean", trial.clean), ("noisy", trial.noisy)):
            for method in METHODS:
                console.print(f"{name}: {method} on {kind} observations ...", style="dim")
                found, seconds = timed(trial.generator, observations, method)
                table.add_row(kind, method, *figures(trial, observations, found, seconds))
                if (kind, method) == ("noisy", "linf"):
                    denoised = np.asarray(trial.generator(np.nan_to_num(np.asarray(found.latent))))
        pictures.append(strip(trial.clean, trial.noisy, denoised))
    console.print(table)
    draw(pictures, out)
    console.print(
        "Recovery error is ||z - z*|| / ||z*||; the denoising gain is the noise's norm over the "
        "norm of G(z) - G(z*), in the median.\n"
        "Sigmoid outputs are inverted by least squares in both methods; noise that reaches black\n"
        "or white pixels hurts them most. 'exact' is made for observations without noise."
    )
    console.print(f"Picture: {out} (a row each of originals, noisy, denoised by linf)")


def plant(name: str, rows: int, noise: float, seed: int) -> Trial:
    """Draw codes and observations; the methods see the observations alone."""
    generator = load_generator(name)
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((rows, generator.latent_size))
    clean = np.asarray(generator(latent))
    noisy = clean + rng.uniform(-noise, noise, clean.shape)
    return Trial(name, generator, latent, clean, noisy)


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
    trial: Trial, observations: np.ndarray, found: Inversion, seconds: float
) -> tuple[str, ...]:
    latent = np.asarray(found.latent)
    error = np.linalg.norm(latent - trial.latent, axis=1) / np.linalg.norm(trial.latent, axis=1)
    noise = np.linalg.norm(observations - trial.clean, axis=1)
    left = np.linalg.norm(np.asarray(trial.generator(latent)) - trial.clean, axis=1)
    found_any = np.isfinite(error).any()
    gain = f"{np.nanmedian(noise / left):.3g}" if noise.any() and found_any else "-"
    return (
        f"{int(np.asarray(found.ok).sum())}/{len(latent)}",
        f"{np.mean(error < SUCCESS):.0%}",
        f"{np.nanmedian(error):.2g}" if found_any else "-",
        gain,
        f"{len(latent) / seconds:.3g}",
    )


def strip(*kinds: np.ndarray) -> np.ndarray:
    """Images (rows, 784) of several kinds under each other: (28 kinds, 28 SHOWN)."""
    lines = []
    for images in kinds:
        shown = np.zeros((SHOWN, 28, 28))
        count = min(SHOWN, len(images))
        shown[:count] = np.clip(images[:count], 0, 1).reshape(count, 28, 28)
        lines.append(shown.transpose(1, 0, 2).reshape(28, 28 * SHOWN))
    return np.concatenate(lines)


def draw(pictures: list[np.ndarray], out: Path) -> None:
    gap = np.full((4, pictures[0].shape[1]), 0.5)
    stacked = np.concatenate([part for picture in pictures for part in (picture, gap)][:-1])
    image = Image.fromarray((255 * stacked).astype(np.uint8))
    image.resize((image.width * 3, image.height * 3), Image.Resampling.NEAREST).save(out)
