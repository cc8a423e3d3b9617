"""What a convolutional MNIST generator G is worth, measured, and the model card that says so.

The Jacobian J of G at draws z of N(0, I): where sigma_min(J) > 0, nearby codes give other images,
so that an image fixes its code locally. Fidelity is the mean distance of a sample to the nearest
training digit, beside the same for test digits; coverage that of a test digit to the nearest of
10,000 samples, beside the nearest of 10,000 training digits. Distances are Euclidean, with ink in
[0, 1].
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.convolutional_layers import Layer, draws, forward

CODES = 200  # at which the Jacobian is examined
THRESHOLD = 1e-4  # of sigma_min / sigma_max: below, float32 says little about the code
SAMPLES = 10_000


def ink(layers: list[Layer], count: int, seed: int) -> Tensor:
    """Images of draws with ink in [0, 1], (count, 784), float32."""
    x = forward(layers, draws(layers, count, seed).float())
    return (x + 1.0) / 2.0 if layers[-1].activation == "tanh" else x


def jacobian_ratios(layers: list[Layer]) -> np.ndarray:
    """sigma_min / sigma_max of the Jacobian at `CODES` codes, in float64, ascending."""
    jacobian = torch.func.vmap(
        torch.func.jacfwd(lambda z: forward(layers, z[None])[0]), chunk_size=10
    )
    sigma = torch.linalg.svdvals(jacobian(draws(layers, CODES, 2)))
    return np.sort((sigma[:, -1] / sigma[:, 0]).numpy())


def nearest(points: Tensor, others: Tensor) -> float:
    """The mean distance of points (N, 784) to the nearest of the others (M, 784)."""
    parts = [torch.cdist(points, part).amin(1) for part in others.split(10_000)]
    return float(torch.stack(parts).amin(0).mean())


def figures(layers: list[Layer], train: np.ndarray, test: np.ndarray) -> dict[str, Any]:
    """All that the card says of the net; images are (N, 28, 28) uint8."""
    digits, unseen = (
        torch.as_tensor(images.reshape(len(images), -1)).float() / 255.0 for images in (train, test)
    )
    samples, few = ink(layers, SAMPLES, 4), slice(1000)
    ratios = jacobian_ratios(layers)
    return {
        "parameters": sum(layer.weight.size + layer.bias.size for layer in layers),
        "ratio": [float(ratios[0]), float(np.median(ratios))],
        "fixed": float((ratios > THRESHOLD).mean()),
        "fidelity": [nearest(part[few], digits) for part in (samples, unseen)],
        "coverage": [nearest(unseen[few], part) for part in (samples, digits[:SAMPLES])],
        "brightness": [float(part.mean()) for part in (samples, unseen)],
    }


def sample_grid(layers: list[Layer], path: Path, side: int = 10) -> None:
    """Draw side x side images of N(0, I)."""
    tiles = (255 * ink(layers, side * side, 1).numpy()).astype(np.uint8)
    pixels = tiles.reshape(side, side, 28, 28).transpose(0, 2, 1, 3).reshape(28 * side, -1)
    Image.fromarray(pixels.repeat(2, axis=0).repeat(2, axis=1)).save(path)


def outline(layers: list[Layer]) -> str:
    """One line a layer."""
    lines = []
    for layer in layers:
        if layer.kind == "dense":
            what = f"dense, {layer.weight.shape[1]} -> {layer.weight.shape[0]}"
        else:
            channels, next_channels, height, width = layer.weight.shape
            image = " x ".join(map(str, layer.input_shape))
            what = (
                f"transposed convolution of {image}, {channels} -> {next_channels} channels, "
                f"kernel {height} x {width}, stride {layer.stride}, padding {layer.padding}"
            )
        lines.append(f"{len(lines) + 1}. {what}; {layer.activation}")
    return "\n".join(lines)


def card(name: str, kind: str, layers: list[Layer], rows: dict[str, str], f: dict[str, Any]) -> str:
    """The model card that stands beside the weights; rows: what only the training knows."""
    rows = {
        "parameters": f"{f['parameters']:,}",
        **rows,
        f"sigma_min / sigma_max of the Jacobian at {CODES} codes": (
            f"smallest {f['ratio'][0]:.1e}, median {f['ratio'][1]:.1e}; "
            f"above {THRESHOLD:g} at {100 * f['fixed']:.1f} %"
        ),
        "distance of a sample to the nearest training digit": (
            f"{f['fidelity'][0]:.2f} (a test digit: {f['fidelity'][1]:.2f})"
        ),
        f"distance of a test digit to the nearest of {SAMPLES:,} samples": (
            f"{f['coverage'][0]:.2f} (of {SAMPLES:,} training digits: {f['coverage'][1]:.2f})"
        ),
        "mean ink of samples": f"{f['brightness'][0]:.3f} (test digits: {f['brightness'][1]:.3f})",
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    return f"""# {name}

{kind}, {layers[0].input_shape[0]} latents, 28 x 28 pixels in
{"[-1, 1]" if layers[-1].activation == "tanh" else "[0, 1]"}, float32.

{outline(layers)}

| | |
|---|---|
{table}

Codes are draws of N(0, I). Where the Jacobian of the image with respect to the code has full column
rank, the image fixes its code locally. Distances are Euclidean, with ink in [0, 1], averaged over
1,000 images.

The weights were trained by this project and are under its licence, Apache-2.0. MNIST was put
together by Y. LeCun, C. Cortes and C. Burges from digits collected by NIST.
"""
