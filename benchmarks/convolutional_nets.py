"""Convolutional decoders to invert, and each as a PyTorch module made from its own layers.

Random ones are drawn as He et al. (2015) draw them, N(0, 2 / fan-in), so that signals keep their
size and every layer can be undone; the fan-in of a transposed convolution of stride s is its
channels times its taps over s^2, the number of products that meet in one output.
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import jaxinv
from jaxinv.formats.arrays import read_npz
from jaxinv.model.activation import Activation
from jaxinv.model.linear.dense import Dense

SHIPPED = ("mnist-conv-vae-13", "mnist-dcgan-64")
# Latents, widths of the dense layers, the first image, channels after it, what the output is.
RANDOM: dict[str, tuple[tuple[int, ...], tuple[int, int, int], tuple[int, ...], str]] = {
    "random-conv-vae-16": ((16, 128), (16, 7, 7), (8, 1), "sigmoid"),
    "random-dcgan-32": ((32,), (64, 4, 4), (32, 16, 3), "tanh"),
}
# A DCGAN of the usual size: 100 latents, then 512 x 4 x 4 to 3 x 64 x 64.
USUAL = (100, (512, 4, 4), (256, 128, 64, 3))
SMALL = (32, (64, 4, 4), (16, 3))
NORMALISED_OVER = 64  # latents whose activations give batch normalisation its statistics
EPSILON = 1e-5  # of batch normalisation

Triple = tuple[Any, Any, str]


def loaded(name: str) -> jaxinv.Generator:
    """A net by its name, random or shipped; else the generator in a file of that name.

    An .npz with an array "meta" is one that benchmarks.train_convolutional writes.
    """
    if name in RANDOM:
        return drawn(name)
    path = Path(name)
    if path.suffix == ".npz" and path.is_file() and "meta" in (arrays := read_npz(path)):
        return described(arrays)
    return jaxinv.load_generator(name)


def described(arrays: dict[str, np.ndarray]) -> jaxinv.Generator:
    """Layers W0, b0, W1, ... with "meta", a JSON list of what each is."""
    layers: list[Triple] = []
    for i, layer in enumerate(json.loads(str(arrays["meta"]))):
        weight: Any = arrays[f"W{i}"]
        if layer["kind"] == "convt":
            steps = {name: layer[name] for name in ("stride", "padding", "output_padding")}
            weight = jaxinv.TransposedConvolution(weight, layer["input_shape"], **steps)
        layers.append((weight, arrays[f"b{i}"], layer["activation"]))
    return jaxinv.Generator.from_layers(layers)


def drawn(name: str) -> jaxinv.Generator:
    """A random net: dense layers, then transposed convolutions that double the image's sides."""
    widths, image, channels, output = RANDOM[name]
    rng = np.random.default_rng(0)
    layers: list[Triple] = []
    if image[1:] == (4, 4):
        layers.append((first_image(rng, widths[0], image, np.sqrt(2 / widths[0])), None, "relu"))
    else:
        sizes = (*widths, int(np.prod(image)))
        for k, n in pairwise(sizes):
            layers.append((rng.standard_normal((n, k)) * np.sqrt(2 / k), None, "relu"))
    for channel in channels:
        # Four of the sixteen taps meet in an output.
        layer = doubling(rng, image, channel, np.sqrt(2 / (4 * image[0])))
        layers.append((layer, None, "relu"))
        image = layer.output_shape
    layers[-1] = (*layers[-1][:2], output)
    return jaxinv.Generator.from_layers(layers)


def first_image(
    rng: np.random.Generator, latent: int, image: Sequence[int], scale: float
) -> jaxinv.TransposedConvolution:
    """DCGAN's first layer: from 1 x 1 pixels to a whole image (c, h, w)."""
    kernel = scale * rng.standard_normal((latent, *image))
    return jaxinv.TransposedConvolution(kernel, (latent, 1, 1))


def doubling(
    rng: np.random.Generator, image: Sequence[int], channels: int, scale: float
) -> jaxinv.TransposedConvolution:
    """From an image (c, h, w) to (channels, 2 h, 2 w): kernel 4, stride 2, padding 1."""
    kernel = scale * rng.standard_normal((image[0], channels, 4, 4))
    return jaxinv.TransposedConvolution(kernel, image, stride=2, padding=1)


def dcgan(quick: bool) -> jaxinv.Generator:
    """An untrained DCGAN: kernels N(0, 0.02^2), batch normalisation folded into all but the last.

    The statistics are those of its own activations at codes N(0, I).
    """
    import torch
    from torch.nn.functional import conv_transpose2d

    latent, image, channels = SMALL if quick else USUAL
    rng = np.random.default_rng(0)
    h = torch.tensor(rng.standard_normal((NORMALISED_OVER, latent, 1, 1)), dtype=torch.float32)
    maps = [first_image(rng, latent, image, 0.02)]
    for channel in channels:
        maps.append(doubling(rng, maps[-1].output_shape, channel, 0.02))
    layers: list[Triple] = []
    for linear in maps[:-1]:
        kernel = torch.tensor(np.asarray(linear.kernel), dtype=torch.float32)
        u = conv_transpose2d(h, kernel, None, linear.stride, linear.padding)
        variance, mean = torch.var_mean(u, (0, 2, 3), correction=0)
        scale = (variance + EPSILON).rsqrt()
        each = scale.double().numpy().repeat(u[0, 0].numel())
        layers.append((linear.scaled(each), (-scale * mean).numpy(), "relu"))
        h = (scale[:, None, None] * (u - mean[:, None, None])).relu()
    return jaxinv.Generator.from_layers([*layers, (maps[-1], None, "tanh")])


def module(generator: jaxinv.Generator, device: str = "cpu") -> Any:
    """The generator as torch.nn.Sequential in float32: from latents (B, k) to images (B, n)."""
    import torch
    from torch import nn
    from torch.nn.utils import skip_init

    parts: list[Any] = []
    for layer in generator.layers:
        linear = layer.linear
        if isinstance(linear, Dense):
            part: Any = skip_init(nn.Linear, linear.width_in, linear.width)
            weight, bias = linear.weight, layer.bias
        elif isinstance(linear, jaxinv.TransposedConvolution):
            into, out, *taps = linear.kernel.shape
            spaces = (linear.stride, linear.padding, linear.output_padding)
            part = nn.ConvTranspose2d(
                into,
                out * linear.groups,
                tuple(taps),
                *spaces,
                linear.groups,
                True,
                linear.dilation,
            )
            weight = linear.kernel
            each = np.asarray(layer.bias).reshape(len(part.bias), -1)
            if np.ptp(each, axis=1).any():
                raise ValueError("a bias that differs within a channel is no ConvTranspose2d's")
            bias = each[:, 0]
            parts.append(nn.Unflatten(1, linear.input_shape))
        else:
            raise ValueError(f"a {type(linear).__name__} has no module here")
        with torch.no_grad():
            part.weight.copy_(torch.tensor(np.asarray(weight)))
            part.bias.copy_(torch.tensor(np.asarray(bias)))
        parts += [part, _activation(layer.activation), nn.Flatten()]
    return nn.Sequential(*parts).to(device).requires_grad_(False)


def _activation(activation: Activation) -> Any:
    from torch import nn

    if activation.kind == "leaky_relu":
        return nn.LeakyReLU(activation.slope)
    kinds = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "identity": nn.Identity}
    return kinds[activation.kind]()


def images(net: Any, latent: np.ndarray) -> np.ndarray:
    """PyTorch's own forward pass in float32, (B, n)."""
    import torch

    with torch.no_grad():
        return np.asarray(net(torch.tensor(latent, dtype=torch.float32)).numpy())


def parity(generator: jaxinv.Generator, net: Any) -> float:
    """max |module - G| over max |G| at three codes; ValueError where they are not one net."""
    latent = np.random.default_rng(4).standard_normal((3, generator.latent_size))
    x = np.asarray(generator(latent))
    apart = float(np.abs(images(net, latent) - x).max() / np.abs(x).max())
    if not apart < 1e-4:
        raise ValueError(f"the PyTorch module is off by {apart:.1g}: it is another net")
    return apart
