"""Random inversion problems over a grid that nobody tuned to, each made from its number alone.

Problem p is row p % ROWS of net p // ROWS; the net is one of NETS of the same shape, since a shape
is what is compiled for. The draws of a shape, of a net and of its rows follow from the seed and the
number of each, and from nothing else.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

import jaxinv
from benchmarks.honesty_noise import CODELESS, KINDS, SHARES, as_stored, disturbed, unmade
from benchmarks.honesty_oracle import Affine, convolution_matrix, image

ROWS, NETS = 32, 8
WIDEST = 60
ACTIVATIONS = ("relu", "relu", "leaky", "leaky", "tanh", "sigmoid", "identity")
METHODS, METHOD_SHARES = ("auto", "exact", "lm"), (0.7, 0.15, 0.15)
DTYPES, DTYPE_SHARES = ("float64", "float32", "float16", "uint8"), (0.5, 0.2, 0.1, 0.2)


class LayerShape(NamedTuple):
    """kernel: (n_i, n_{i-1}) of a matrix, else channels, taps. images: what a convolution takes."""

    kind: str
    kernel: tuple[int, ...]
    images: tuple[int, ...]
    stride: int
    padding: int
    activation: str


class Shape(NamedTuple):
    """What is compiled for: layers, and how many entries an operator measures, None without one."""

    layers: tuple[LayerShape, ...]
    measured: int | None


@dataclass(frozen=True)
class Net:
    """Weights and biases of a shape. what: the defects and scales it was given, in words."""

    shape: Shape
    weights: list[np.ndarray]
    biases: list[np.ndarray]
    operator: np.ndarray | None
    what: list[str]

    @property
    def layers(self) -> list[Affine]:
        """As the oracle reads it, the operator being one more layer."""
        found = []
        for spec, weight, bias in zip(self.shape.layers, self.weights, self.biases, strict=True):
            matrix = weight
            if spec.kind != "matrix":
                transposed = spec.kind == "transposed"
                matrix = convolution_matrix(
                    weight, spec.images, spec.stride, spec.padding, transposed
                )
            name, _, slope = spec.activation.partition(":")
            repeated = np.repeat(bias, len(matrix) // len(bias))
            found.append(Affine(matrix, repeated, name, float(slope or 0.0)))
        if self.operator is not None:
            found.append(Affine(self.operator, np.zeros(len(self.operator)), "identity"))
        return found

    def generator(self, with_operator: bool = False) -> jaxinv.Generator:
        """As jaxinv reads it."""
        maps = {"convolution": jaxinv.Convolution, "transposed": jaxinv.TransposedConvolution}
        triples: list[Any] = []
        for spec, weight, bias in zip(self.shape.layers, self.weights, self.biases, strict=True):
            linear = weight
            if spec.kind != "matrix":
                linear = maps[spec.kind](weight, spec.images, spec.stride, spec.padding)
            triples.append((linear, bias, spec.activation))
        if with_operator and self.operator is not None:
            triples.append((self.operator, None, "identity"))
        return jaxinv.Generator.from_layers(triples)


class Batch(NamedTuple):
    """The problems of one net. latent: the true codes, without meaning where no code made the row.

    noise: a word for each row. clean: G(z*), or what no code makes. observation: as it is handed
    over. spread: (B,) standard deviation of the noise.
    """

    number: int
    net: Net
    method: str
    dtype: str
    noise: list[str]
    latent: np.ndarray
    clean: np.ndarray
    observation: np.ndarray
    mask: np.ndarray | None
    weights: np.ndarray | None
    spread: np.ndarray


def draw_shape(seed: int, number: int) -> Shape:
    """One to eight layers of 1 to 60 units, or a decoder of images in one case of six."""
    rng = np.random.default_rng([seed, 1, number])
    if rng.random() < 1 / 6:
        return Shape(_image_layers(rng), None)
    # Fewer of the deep ones, which take minutes to compile and mostly end in one dark image.
    share = 1 / np.arange(1, 9)
    depth = int(rng.choice(np.arange(1, 9), p=share / share.sum()))
    widths = [int(n) for n in np.round(np.exp(rng.uniform(0, np.log(WIDEST), depth + 1)))]
    # Most nets expand, since of the others few determine a code.
    if rng.random() < 0.6:
        widths.sort()
    layers = tuple(
        LayerShape("matrix", (n, k), (), 1, 0, _activation(rng)) for k, n in pairwise(widths)
    )
    measured = int(rng.integers(1, 2 * widths[-1] + 1)) if rng.random() < 0.15 else None
    return Shape(layers, measured)


def _activation(rng: np.random.Generator) -> str:
    name = str(rng.choice(ACTIVATIONS))
    if name != "leaky":
        return name
    return f"leaky_relu:{min(10 ** rng.uniform(-4, 0), 0.999):.4g}"


def _image_layers(rng: np.random.Generator) -> tuple[LayerShape, ...]:
    axes, channels = int(rng.integers(1, 3)), int(rng.integers(1, 4))
    size = int(rng.integers(3, 6) if axes == 1 else rng.integers(2, 4))
    images = (channels, *[size] * axes)
    width, k = int(np.prod(images)), int(rng.integers(1, 9))
    layers = [LayerShape("matrix", (width, k), (), 1, 0, _activation(rng))]
    out = int(rng.integers(1, 3))
    kernel = (channels, out, *[4] * axes)
    layers.append(LayerShape("transposed", kernel, images, 2, 1, _activation(rng)))
    if rng.random() < 0.5:
        images = (out, *[2 * size] * axes)
        kernel = (int(rng.integers(1, 3)), out, *[3] * axes)
        layers.append(LayerShape("convolution", kernel, images, 1, 1, _activation(rng)))
    return tuple(layers)


def draw_net(seed: int, number: int, salt: int = 2) -> Net:
    """Weights N(0, 2 / n) behind ReLUs, N(0, 1 / n) elsewhere, and in a share what goes wrong."""
    shape = draw_shape(seed, number // NETS)
    rng = np.random.default_rng([seed, salt, number])
    weights, biases, what = [], [], []
    biased = rng.random() < 0.5
    for spec in shape.layers:
        fan = spec.kernel[1] if spec.kind == "matrix" else int(np.prod(spec.kernel[1:]))
        gain = 2.0 if spec.activation == "relu" else 1.0
        weights.append(rng.standard_normal(spec.kernel) * np.sqrt(gain / fan))
        units = spec.kernel[1] if spec.kind == "transposed" else spec.kernel[0]
        biases.append(0.3 * rng.standard_normal(units) * biased)
    matrices = [i for i, spec in enumerate(shape.layers) if spec.kind == "matrix"]
    _spoil(rng, weights, biases, matrices, what)
    _rescale(rng, shape, weights, biases, what)
    operator = None
    if shape.measured is not None:
        n = shape.layers[-1].kernel[0]
        operator = rng.standard_normal((shape.measured, n)) / np.sqrt(n)
    return Net(shape, weights, biases, operator, what)


def _spoil(
    rng: np.random.Generator,
    weights: list[np.ndarray],
    biases: list[np.ndarray],
    matrices: list[int],
    what: list[str],
) -> None:
    """Dead, duplicate and nearly dependent units; a matrix of a condition number up to 1e12."""
    i = int(rng.choice(matrices))
    rows, columns = weights[i].shape
    if rng.random() < 0.2:
        u, s, v = np.linalg.svd(weights[i], full_matrices=False)
        condition = 10 ** rng.uniform(1, 12)
        weights[i] = u * (s[0] * np.geomspace(1, 1 / condition, len(s))) @ v
        what.append(f"layer {i + 1} of condition {condition:.1e}")
    defect = rng.choice(
        ["dead", "duplicate", "nearly dependent", "unseen", ""], p=[0.08] * 4 + [0.68]
    )
    if defect:
        what.append(f"layer {i + 1} {defect}")
    if defect == "dead":
        dead = rng.random(rows) < 0.3
        weights[i][dead], biases[i][dead] = 0.0, -1.0
    elif defect == "duplicate":
        weights[i][rng.integers(rows, size=max(rows // 3, 1))] = weights[i][0]
    elif defect == "nearly dependent" and columns > 1:
        off = 10 ** rng.uniform(-12, -2) * rng.standard_normal(rows)
        weights[i][:, 1] = weights[i][:, 0] + off
    elif defect == "unseen" and columns > 1:
        weights[i][:, 0] = 0.0


def _rescale(
    rng: np.random.Generator,
    shape: Shape,
    weights: list[np.ndarray],
    biases: list[np.ndarray],
    what: list[str],
) -> None:
    """Images, or a hidden layer, from 1e-12 to 1e12 times as large where activations allow it."""
    homogeneous = [
        spec.activation.partition(":")[0] in ("relu", "leaky_relu", "identity")
        for spec in shape.layers
    ]
    if homogeneous[-1] and rng.random() < 0.25:
        factor = 10 ** rng.uniform(-12, 12)
        weights[-1], biases[-1] = weights[-1] * factor, biases[-1] * factor
        what.append(f"images times {factor:.1e}")
    hidden = [i for i, alike in enumerate(homogeneous[:-1]) if alike]
    if hidden and rng.random() < 0.12:
        i, factor = int(rng.choice(hidden)), 10 ** rng.uniform(-12, 12)
        weights[i], biases[i] = weights[i] * factor, biases[i] * factor
        weights[i + 1] = weights[i + 1] / factor
        what.append(f"layer {i + 1} times {factor:.1e}, undone by the next")
    if rng.random() < 0.08:
        factor = 10 ** rng.uniform(-4, 4)
        weights[0] = weights[0] / factor
        what.append(f"latents times {factor:.1e}")


def draw_batch(seed: int, number: int) -> Batch:
    """A net with its method and precision, and ROWS observations of it."""
    net = draw_net(seed, number)
    rng = np.random.default_rng([seed, 3, number])
    method = str(rng.choice(METHODS, p=METHOD_SHARES))
    last, measured = net.shape.layers[-1], net.shape.measured
    if method == "exact" and measured is not None and last.activation != "identity":
        method = "auto"  # layer by layer it could not be undone, and is refused
    dtype = str(rng.choice(DTYPES, p=DTYPE_SHARES))
    if dtype == "uint8" and (last.activation not in ("relu", "sigmoid") or measured is not None):
        dtype = "float64"
    k = net.layers[0].matrix.shape[1]
    latent = rng.standard_normal((ROWS, k))
    for word in net.what:
        if word.startswith("latents times"):
            latent = latent * float(word.split()[-1])
    if dtype in ("float16", "uint8") and last.activation not in ("sigmoid", "tanh"):
        # What the type holds: entries of 1 at most.
        largest = float(np.abs(image(net.layers, latent)).max()) or 1.0
        net = replace(
            net,
            weights=[*net.weights[:-1], net.weights[-1] / largest],
            biases=[*net.biases[:-1], net.biases[-1] / largest],
        )
    layers = net.layers
    clean = image(layers, latent)
    batch, n = clean.shape
    weights = 10 ** rng.uniform(-0.5, 0.5, n) if rng.random() < 0.15 else None
    mask = _mask(rng, batch, n) if rng.random() < 0.15 else None
    kinds = np.array(["none"] * batch)
    if method != "exact":
        kinds = rng.choice(KINDS, size=batch, p=SHARES)
    other = draw_net(seed, number, salt=4).layers
    observation, spread = np.empty_like(clean), np.zeros(batch)
    for row, kind in enumerate(kinds):
        own = np.random.default_rng([seed, 5, number, row])
        if kind in CODELESS:
            clean[row] = unmade(own, kind, clean[row], other, k)
        observation[row], spread[row] = disturbed(own, kind, clean[row], weights)
    observation, bare = as_stored(observation, dtype), as_stored(clean, dtype)
    # Noise that hit no entry, or that the type's rounding swallowed, is none.
    same = (observation == bare).all(axis=1)
    noise = [
        "none" if alike and kind not in CODELESS else str(kind)
        for alike, kind in zip(same, kinds, strict=True)
    ]
    return Batch(
        number, net, method, dtype, noise, latent, clean, observation, mask, weights, spread
    )


def _mask(rng: np.random.Generator, batch: int, n: int) -> np.ndarray:
    """One for all rows or one a row, each with as many entries."""
    kept = int(rng.integers((n + 1) // 2, n + 1))
    count = batch if rng.random() < 0.5 else 1
    order = np.argsort(rng.random((count, n)), axis=1)
    mask = order < kept
    return mask if count > 1 else mask[0]
