"""The layers of a trained PyTorch net as jaxinv reads them, batch normalisation folded in.

With a normalised channel's running mean m, variance v, scale gamma and shift beta,

    W <- s W,  b <- beta + s (b - m),  s = gamma / sqrt(v + e),

in the layer before, channel by channel.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor, nn
from torch.nn import functional

import jaxinv
from benchmarks.mnist import write_atomically
from jaxinv.formats.tensors import to_tensors


@dataclass(frozen=True)
class Layer:
    """W x + b and an activation; kind "dense" or "convt" (a transposed convolution).

    weight: (out, in), or (in, out, height, width). bias: (out,). input_shape: (in,), or (in,
    height, width).
    """

    kind: str
    weight: np.ndarray
    bias: np.ndarray
    activation: str
    input_shape: tuple[int, ...]
    stride: int = 1
    padding: int = 0
    output_padding: int = 0


def double(array: Tensor) -> np.ndarray:
    return array.detach().double().numpy()


def plain(part: nn.Linear | nn.ConvTranspose2d, image: tuple[int, ...], output: str) -> Layer:
    """One linear part, in float64 as what folds into it is."""
    weight = double(part.weight)
    if isinstance(part, nn.Linear):
        return Layer("dense", weight, double(part.bias), output, (part.in_features,))
    bias = np.zeros(part.out_channels) if part.bias is None else double(part.bias)
    sizes = part.stride[0], part.padding[0], part.output_padding[0]
    return Layer("convt", weight, bias, output, image, *sizes)


def normalised(layer: Layer, part: nn.BatchNorm2d) -> Layer:
    """The transposed convolution with the normalisation that follows it."""
    scale = double(part.weight) / np.sqrt(double(part.running_var) + part.eps)
    bias = double(part.bias) + scale * (layer.bias - double(part.running_mean))
    return replace(layer, weight=layer.weight * scale[:, None, None], bias=bias)


def folded(net: nn.Sequential, output: str) -> list[Layer]:
    """The layers in float32; where no ReLU follows, the activation is `output`."""
    layers: list[Layer] = []
    image: tuple[int, ...] = ()
    for part in net:
        if isinstance(part, nn.Unflatten):
            image = tuple(part.unflattened_size)
        elif isinstance(part, nn.Linear):
            layers.append(plain(part, image, output))
        elif isinstance(part, nn.ConvTranspose2d):
            layers.append(plain(part, image, output))
            with torch.no_grad():
                image = tuple(part(torch.zeros(1, *image)).shape[1:])
        elif isinstance(part, nn.BatchNorm2d):
            layers[-1] = normalised(layers[-1], part)
        elif isinstance(part, nn.ReLU):
            layers[-1] = replace(layers[-1], activation="relu")
    return [
        replace(layer, weight=layer.weight.astype("f4"), bias=layer.bias.astype("f4"))
        for layer in layers
    ]


def forward(layers: list[Layer], z: Tensor) -> Tensor:
    """Images (B, 784) of latents z (B, k), in z's precision."""
    for layer in layers:
        weight, bias = (torch.as_tensor(a).to(z.dtype) for a in (layer.weight, layer.bias))
        z = z.reshape(-1, *layer.input_shape)
        if layer.kind == "dense":
            z = functional.linear(z, weight, bias)
        else:
            steps = layer.stride, layer.padding, layer.output_padding
            z = functional.conv_transpose2d(z, weight, bias, *steps)
        z = getattr(torch, layer.activation)(z)
    return z.flatten(1)


def draws(layers: list[Layer], count: int, seed: int) -> Tensor:
    """Codes of N(0, I), (count, k), in float64."""
    latent = layers[0].input_shape[0]
    return torch.as_tensor(np.random.default_rng(seed).standard_normal((count, latent)))


def generator(layers: list[Layer]) -> jaxinv.Generator:
    """The net as jaxinv inverts it; ValueError where it does not do what the layers do."""

    def linear(layer: Layer) -> Any:
        if layer.kind == "dense":
            return layer.weight
        steps = layer.stride, layer.padding, layer.output_padding
        return jaxinv.TransposedConvolution(layer.weight, layer.input_shape, *steps)

    read = jaxinv.Generator.from_layers(
        (linear(layer), layer.bias, layer.activation) for layer in layers
    )
    latent = draws(layers, 3, 3)
    if not np.allclose(read(latent.numpy()), forward(layers, latent), rtol=0, atol=1e-12):
        raise ValueError("the generator that was written differs from the net that was trained")
    return read


def write(name: str, layers: list[Layer], out: Path) -> None:
    """The file of the net, its arrays in the float32 that they were trained in."""
    tensors, activations, described = to_tensors(generator(layers))
    metadata = {"format": "jaxinv", "activations": json.dumps(activations)}
    if described is not None:
        metadata["layers"] = described
    single = {key: array.astype(np.float32) for key, array in tensors.items()}
    write_atomically(out / f"{name}.safetensors", save(single, metadata))
