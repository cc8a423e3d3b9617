"""What is done to an image before it is inverted: noise, another image in its place, few bits."""

import numpy as np

from benchmarks.honesty_oracle import Layers, image

SHARES = (0.3, 0.2, 0.08, 0.08, 0.08, 0.08, 0.06, 0.06, 0.06)
KINDS = (
    "none",
    "Gaussian",
    "Laplace",
    "uniform",
    "heteroscedastic",
    "salt and pepper",
    "correlated",
    "pure noise",
    "another net's",
)
CODELESS = ("pure noise", "another net's")
LARGEST = 0.3  # standard deviation over the image's root mean square; the least is 1e-6


def disturbed(
    rng: np.random.Generator, kind: str, x: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, float]:
    """The image under noise of one kind, and its standard deviation (of an entry of weight one).

    Weights say 1 / sd: where they are given the noise follows them.
    """
    n, level = len(x), 10 ** rng.uniform(-6, np.log10(LARGEST))
    spread = level * float(np.sqrt(np.mean(x**2)))
    if kind == "none" or kind in CODELESS:
        return x, 0.0
    if kind == "salt and pepper":
        hit = rng.random(n) < rng.uniform(0.01, 0.1)
        extremes = np.where(rng.random(n) < 0.5, x.min(), x.max())
        return np.where(hit, extremes, x), spread
    if kind == "Laplace":
        noise = rng.laplace(size=n) / np.sqrt(2)
    elif kind == "uniform":
        noise = rng.uniform(-np.sqrt(3), np.sqrt(3), n)
    elif kind == "heteroscedastic":
        noise = rng.standard_normal(n) * 10 ** rng.uniform(-1, 0.5, n)
    elif kind == "correlated":
        noise = rng.standard_normal(n)
        for j in range(1, n):
            noise[j] = 0.8 * noise[j - 1] + 0.6 * noise[j]
    else:
        noise = rng.standard_normal(n)
    return x + spread * noise / (1.0 if weights is None else weights), spread


def unmade(rng: np.random.Generator, kind: str, x: np.ndarray, other: Layers, k: int) -> np.ndarray:
    """What no code makes, with the image's mean and deviation: white noise, or another net's."""
    drawn = rng.standard_normal(len(x))
    if kind == "another net's":
        theirs = image(other, rng.standard_normal(k))
        spread = float(np.std(theirs))
        drawn = (theirs - theirs.mean()) / spread if spread > 0 else drawn
    return x.mean() + x.std() * drawn


def as_stored(x: np.ndarray, dtype: str) -> np.ndarray:
    """In the precision it is handed over in; uint8 as k / 255."""
    if dtype == "uint8":
        return np.round(255 * np.clip(x, 0.0, 1.0)) / 255
    return x.astype(dtype)
