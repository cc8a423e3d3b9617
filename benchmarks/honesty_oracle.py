"""A judge of inversions that shares nothing with jaxinv: NumPy in float64, and SciPy's solvers.

A net here is a list of matrices: convolutions are written out from their definition, tap by tap.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares, linprog
from scipy.special import expit

EPSILON = np.finfo(np.float64).eps
CLEARLY_FULL = 1e-7  # of the largest singular value: above it no rank is in doubt
FLAT_POINTS = 9  # between two codes, at which their images are compared


class Affine(NamedTuple):
    """One layer, phi(W z + b). activation: "relu", "leaky_relu", "identity", "tanh", "sigmoid"."""

    matrix: np.ndarray
    bias: np.ndarray
    activation: str
    slope: float = 0.0

    @property
    def kinked(self) -> bool:
        return self.activation in ("relu", "leaky_relu")

    def value(self, u: np.ndarray) -> np.ndarray:
        if self.activation == "identity":
            return u
        if self.kinked:
            return np.where(u > 0, u, self.slope * u)
        return np.tanh(u) if self.activation == "tanh" else expit(u)

    def derivative(self, u: np.ndarray) -> np.ndarray:
        if self.activation == "identity":
            return np.ones_like(u)
        if self.kinked:
            return np.where(u > 0, 1.0, self.slope)
        return (
            np.cosh(np.clip(u, -350, 350)) ** -2.0
            if self.activation == "tanh"
            else (expit(u) * expit(-u))
        )


Layers = Sequence[Affine]


def convolution_matrix(
    kernel: np.ndarray, images: tuple[int, ...], stride: int, padding: int, transposed: bool
) -> np.ndarray:
    """The matrix of y[o, i] = sum K[o, c, a] x[c, s i - p + a], or, transposed, of
    y[o, s i - p + a] += K[c, o, a] x[c, i]; channels first, flattened."""
    sizes, taps = np.array(images[1:]), np.array(kernel.shape[2:])
    if transposed:
        out = (sizes - 1) * stride - 2 * padding + taps
        small, large, channels = sizes, out, kernel.shape[1]
    else:
        out = (sizes + 2 * padding - taps) // stride + 1
        small, large, channels = out, sizes, kernel.shape[0]
    matrix = np.zeros((channels, *out, images[0], *sizes))
    for i in np.ndindex(*small):
        for a in np.ndindex(*taps):
            at = tuple(stride * np.array(i) - padding + np.array(a))
            if min(at) < 0 or (np.array(at) >= large).any():
                continue
            here = kernel[(slice(None), slice(None), *a)]
            if transposed:
                matrix[(slice(None), *at, slice(None), *i)] += here.T
            else:
                matrix[(slice(None), *i, slice(None), *at)] += here
    return matrix.reshape(channels * int(np.prod(out)), -1)


def preactivations(layers: Layers, z: np.ndarray) -> list[np.ndarray]:
    """u of every layer, for z (k,) or (B, k)."""
    found, h = [], z
    for layer in layers:
        found.append(h @ layer.matrix.T + layer.bias)
        h = layer.value(found[-1])
    return found


def image(layers: Layers, z: np.ndarray) -> np.ndarray:
    """G(z)."""
    return layers[-1].value(preactivations(layers, z)[-1])


def jacobian(layers: Layers, z: np.ndarray) -> np.ndarray:
    """J = D_d W_d ... D_1 W_1 at one z, (n, k)."""
    columns = np.eye(len(z))
    for layer, u in zip(layers, preactivations(layers, z), strict=True):
        columns = layer.derivative(u)[:, None] * (layer.matrix @ columns)
    return columns


def rounding(layers: Layers, z: np.ndarray) -> list[np.ndarray]:
    """How far float64 may be off at one z: a bound for u of every layer, then one for G(z).

    A sum of n products is off by (n + 1) eps sum |terms| at most; no slope is above 1, and a unit
    that is off whatever its rounding hands on none.
    """
    bounds, h, error = [], z, np.zeros(len(z))
    for layer in layers:
        size = np.abs(layer.matrix)
        width = size.shape[1] + 2
        terms = size @ np.abs(h) + np.abs(layer.bias)
        bounds.append(size @ error + width * EPSILON * terms)
        u = h @ layer.matrix.T + layer.bias
        h = layer.value(u)
        off = (h == 0) & (layer.value(u + bounds[-1]) == 0)
        error = np.where(off, 0.0, bounds[-1] + 4 * EPSILON * np.abs(h))
    return [*bounds, error]


class Rank(NamedTuple):
    """rank of J's observed rows. clear: whether rounding leaves no doubt of it."""

    rank: int
    clear: bool
    condition: float


def rank(layers: Layers, z: np.ndarray, seen: np.ndarray) -> Rank:
    """By singular values. Near a kink, or between full rank and rounding, it is not clear."""
    with np.errstate(all="ignore"):
        j = jacobian(layers, z)[seen]
    if not np.isfinite(j).all():
        return Rank(0, False, np.inf)
    at_kink = any(
        layer.kinked and (np.abs(u) <= bound).any()
        for layer, u, bound in zip(
            layers, preactivations(layers, z), rounding(layers, z)[:-1], strict=True
        )
    )
    singular = np.linalg.svd(j, compute_uv=False)
    largest = singular.max(initial=0.0)
    if largest == 0.0:
        return Rank(0, not at_kink, np.inf)
    none = 8 * max(j.shape) * EPSILON * largest
    full = CLEARLY_FULL * largest
    gone = none / 8  # between the two rounding might have made it, or hidden it
    clear = not at_kink and bool(((singular <= gone) | (singular >= full)).all())
    smallest = singular[-1] if j.shape[0] >= j.shape[1] else 0.0
    condition = np.inf if smallest == 0.0 else largest / smallest
    return Rank(int((singular > none).sum()), clear, float(condition))


def first_order_error(
    layers: Layers, z: np.ndarray, error: np.ndarray, weight: np.ndarray
) -> float:
    """||dz|| of the least-squares code of G(z) + error, to first order."""
    weighted = weight[:, None] * jacobian(layers, z)
    return float(np.linalg.norm(np.linalg.lstsq(weighted, weight * error, rcond=1e-15)[0]))


def flat_between(
    layers: Layers, a: np.ndarray, b: np.ndarray, seen: np.ndarray, level: float
) -> bool:
    """Whether all codes between a and b have the image of a, to `level` in the 2-norm."""
    points = a + np.linspace(0.0, 1.0, FLAT_POINTS)[:, None] * (b - a)
    apart = (image(layers, points) - image(layers, a))[:, seen]
    return bool((np.linalg.norm(apart, axis=1) <= level).all())


class Fit(NamedTuple):
    """The least weighted residual found, and the start (by its number) it was found from."""

    residual: float
    latent: np.ndarray
    start: int


def best_fit(
    layers: Layers,
    x: np.ndarray,
    weight: np.ndarray,
    starts: Iterable[np.ndarray],
    enough: float = 0.0,
) -> Fit | None:
    """min ||w (G(z) - x)|| by SciPy's least_squares from each start, until below `enough`."""
    seen, best = weight > 0, None
    w, target = weight[seen], x[seen]
    size = float(np.linalg.norm(w * target)) or 1.0

    def misfit(z: np.ndarray) -> np.ndarray:
        return w * (image(layers, z)[seen] - target) / size

    def slopes(z: np.ndarray) -> np.ndarray:
        return w[:, None] * jacobian(layers, z)[seen] / size

    for number, start in enumerate(starts):
        method = "lm" if len(w) >= len(start) else "trf"
        with np.errstate(all="ignore"):
            try:
                found = least_squares(
                    misfit, start, slopes, method=method, ftol=1e-12, xtol=1e-12, max_nfev=100
                )
            except (ValueError, np.linalg.LinAlgError):  # a start whose image overflows
                continue
        residual = size * float(np.linalg.norm(found.fun))
        if np.isfinite(residual) and (best is None or residual < best.residual):
            best = Fit(residual, found.x, number)
        if best is not None and best.residual < enough:
            break
    return best


def preimage_width(
    layers: Layers, z: np.ndarray, seen: np.ndarray, rng: np.random.Generator
) -> float | None:
    """How wide the preimage of G(z) is in z's cell, along a random free direction, over ||z||.

    The cell's preimage is {z : J z as at z, each hidden unit and dark output on its side},
    a polytope, within ten times ||z||. None where hidden layers are curved; 0 where it is a point.
    """
    *hidden, last = layers
    if not all(layer.kinked or layer.activation == "identity" for layer in hidden):
        return None
    radius = 10.0 * (float(np.linalg.norm(z)) or 1.0)
    columns, sides, room = np.eye(len(z)), [], []
    for number, (layer, u) in enumerate(zip(layers, preactivations(layers, z), strict=True), 1):
        rows = layer.matrix @ columns
        ending = number == len(layers)
        kept = (u <= 0) & seen if ending else np.ones(len(u), bool)
        if layer.activation == "relu" or (layer.kinked and not ending):
            sign = np.where(u > 0, -1.0, 1.0)
            sides.append((sign[:, None] * rows)[kept])
            room.append(np.maximum(-sign * u, 0.0)[kept])
        columns = layer.derivative(u)[:, None] * rows
    fixed = seen & (u > 0) if last.activation == "relu" else seen
    _, singular, right = np.linalg.svd(rows[fixed], full_matrices=True)
    held = int((singular > 8 * max(rows.shape) * EPSILON * singular.max(initial=0.0)).sum())
    free = right[held:].T
    if not free.shape[1]:
        return 0.0
    a = np.vstack(sides) @ free if sides else np.zeros((0, free.shape[1]))
    b = np.concatenate(room) if room else np.zeros(0)
    norms = np.linalg.norm(a, axis=1)
    kept = norms > 0
    # In units of the radius, with rows of norm one: a program of sensible numbers.
    a, b = a[kept] / norms[kept, None], b[kept] / norms[kept] / radius
    direction = rng.standard_normal(free.shape[1])
    direction /= np.linalg.norm(direction)
    ends = [
        linprog(sign * direction, a, b, bounds=(-1.0, 1.0), method="highs") for sign in (-1.0, 1.0)
    ]
    if not all(end.success for end in ends):
        return None
    return float(-(ends[0].fun + ends[1].fun) * 10.0)
