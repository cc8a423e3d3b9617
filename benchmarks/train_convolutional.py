"""Train the two convolutional MNIST generators that jaxinv ships: a VAE's decoder and a DCGAN.

The decoder of mnist-conv-vae-13 maximises, over images x with binary pixels drawn anew each epoch,

    E_q(z|x) sum_j [x_j log G_j(z) + (1 - x_j) log(1 - G_j(z))] - KL(q(z|x) || N(0, I)),

G ending in a sigmoid; the encoder q is thrown away, and so are latents on which the image does not
depend, KL(q(z_i|x) || N(0, 1)) being about zero: of 16, 13 remain.

The generator of mnist-dcgan-64 (Radford et al. 2016) ends in a tanh and plays against a
discriminator D, x being digits scaled to [-1, 1],

    D: min E_x [softplus(-D(x)) + (1 - t) D(x)] + E_z softplus(D(G(z))),
    G: min E_z softplus(-D(G(z))),

t < 1 being what D is told that a digit is. The weights w of G are averaged over the last steps,
a <- 0.999 a + 0.001 w, the moments of its batch normalisation are measured afresh for the average
a, and are folded into the layers.

    python -m benchmarks.train_convolutional mnist-conv-vae-13 [--mnist FILE.npz] [--epochs N]
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from benchmarks import convolutional_card as cards
from benchmarks.convolutional_layers import folded, write
from benchmarks.mnist import load_mnist, write_atomically

RUNS = Path("runs/conv")
SIDE = 7  # of the first image; every further layer doubles it
DEAD = 0.05  # nats: a latent whose KL is below tells nothing of the image
SLOPE = 0.2  # of D's hidden units
AVERAGING = 0.999  # of the DCGAN's weights, about two epochs' memory
MOMENTS = 20_000  # codes on which they are measured


@dataclass(frozen=True)
class Recipe:
    """Latent size, dense widths before the first image, channels of the images, and the training.

    output: the last activation, which also says the family. critic: widths of the encoder,
    or channels of D. digit: t above.
    """

    latent: int
    hidden: tuple[int, ...]
    channels: tuple[int, ...]
    output: str
    critic: tuple[int, int]
    epochs: int
    batch: int
    rate: float
    digit: float = 1.0


RECIPES = {
    "mnist-conv-vae-13": Recipe(16, (128,), (32, 16, 1), "sigmoid", (400, 400), 20, 200, 2e-3),
    "mnist-dcgan-64": Recipe(64, (), (64, 32, 1), "tanh", (16, 32), 14, 100, 2e-4, digit=0.9),
}


def doubling(channels: int, next_channels: int, bias: bool = True) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, next_channels, 4, stride=2, padding=1, bias=bias)


def new_decoder(recipe: Recipe) -> nn.Sequential:
    """Dense layers to the first image, then transposed convolutions; ends in logits."""
    widths = (recipe.latent, *recipe.hidden, recipe.channels[0] * SIDE**2)
    parts: list[nn.Module] = []
    for width_in, width in pairwise(widths):
        parts += [nn.Linear(width_in, width), nn.ReLU()]
    parts.append(nn.Unflatten(1, (recipe.channels[0], SIDE, SIDE)))
    for channels in pairwise(recipe.channels):
        parts += [doubling(*channels), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def new_dcgan(recipe: Recipe) -> nn.Sequential:
    """Transposed convolutions from a 1 x 1 image on, batch normalisation after all but the last."""
    first, *rest = recipe.channels
    parts = [nn.Unflatten(1, (recipe.latent, 1, 1))]
    parts.append(nn.ConvTranspose2d(recipe.latent, first, SIDE, bias=False))
    for channels, next_channels in pairwise((first, *rest)):
        # The shift of the normalisation stands for the bias of the layer before it.
        last = next_channels == rest[-1]
        parts += [nn.BatchNorm2d(channels), nn.ReLU(), doubling(channels, next_channels, bias=last)]
    return nn.Sequential(*parts, nn.Tanh()).apply(small)


def new_encoder(recipe: Recipe) -> nn.Sequential:
    """Mean and log standard deviation of q(z|x); dense, at half the time of convolutions."""
    parts: list[nn.Module] = [nn.Flatten()]
    for width_in, width in pairwise((16 * SIDE**2, *recipe.critic)):
        parts += [nn.Linear(width_in, width), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(recipe.critic[-1], 2 * recipe.latent))


def new_discriminator(recipe: Recipe) -> nn.Sequential:
    """The logit that an image is a digit."""
    first, second = recipe.critic
    net = nn.Sequential(
        nn.Conv2d(1, first, 4, stride=2, padding=1),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(first, second, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(second),
        nn.LeakyReLU(SLOPE),
        nn.Flatten(),
        nn.Linear(second * SIDE**2, 1),
    )
    return net.apply(small)


def small(part: nn.Module) -> None:
    """Weights N(0, 0.02^2), as Radford et al. begin."""
    if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(part.weight, std=0.02)


def batches(images: Tensor, batch: int) -> Iterator[Tensor]:
    """The images (N, 1, 28, 28) in random order, with ink in [0, 1]."""
    for rows in torch.randperm(len(images)).split(batch):
        if len(rows) == batch:
            yield images[rows].float() / 255.0


def bound(encoder: nn.Module, decoder: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean reconstruction BCE at a draw of q(z|x), and the KL of every latent (k,), in nats."""
    mean, log_sd = encoder(x).chunk(2, dim=1)
    logits = decoder(mean + log_sd.exp() * torch.randn_like(mean))
    bce = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    return bce, (0.5 * ((2 * log_sd).exp() + mean**2 - 1) - log_sd).mean(0)


def train_vae(recipe: Recipe, images: Tensor, epochs: int) -> tuple[nn.Module, nn.Sequential]:
    """Encoder and decoder; Adam's rate warms up for an epoch and decays as a cosine."""
    encoder, decoder = new_encoder(recipe), new_decoder(recipe)
    steps = len(images) // recipe.batch
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], recipe.rate)

    def rate(step: int) -> float:
        return min(step / steps, 1.0) * 0.5 * (1.0 + math.cos(math.pi * step / (epochs * steps)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    begin = time.perf_counter()
    for epoch in range(epochs):
        total = 0.0
        for ink in batches(images, recipe.batch):
            bce, kl = bound(encoder, decoder, (torch.rand_like(ink) < ink).float())
            optimizer.zero_grad()
            (bce + kl.sum()).backward()
            optimizer.step()
            schedule.step()
            total += float(bce.detach() + kl.detach().sum()) / steps
        print(
            f"epoch {epoch + 1}: {total:.2f} nats, {time.perf_counter() - begin:.0f} s", flush=True
        )
    return encoder, decoder


def train_dcgan(recipe: Recipe, images: Tensor, epochs: int) -> nn.Sequential:
    """The averaged generator, with batch normalisation's moments measured for it."""
    generator, judge = new_dcgan(recipe), new_discriminator(recipe)
    average = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(AVERAGING))
    adam_g, adam_d = (
        torch.optim.Adam(net.parameters(), recipe.rate, betas=(0.5, 0.999))
        for net in (generator, judge)
    )
    softplus, steps = functional.softplus, len(images) // recipe.batch
    begin = time.perf_counter()
    for epoch in range(epochs):
        told = fooled = 0.0
        for ink in batches(images, recipe.batch):
            fake = generator(torch.randn(recipe.batch, recipe.latent))
            # Digits and fakes are normalised apart: together, their moments would tell them apart.
            real, made = judge(2.0 * ink - 1.0), judge(fake.detach())
            telling = (softplus(-real) + (1.0 - recipe.digit) * real + softplus(made)).mean()
            adam_d.zero_grad()
            telling.backward()
            adam_d.step()

            judge.requires_grad_(False)  # D's own gradient is a third of this pass, and unused
            fooling = softplus(-judge(fake)).mean()
            adam_g.zero_grad()
            fooling.backward()
            adam_g.step()
            judge.requires_grad_(True)
            average.update_parameters(generator)
            told += float(telling.detach()) / steps
            fooled += float(fooling.detach()) / steps
        spent = time.perf_counter() - begin
        print(f"epoch {epoch + 1}: D {told:.3f}, G {fooled:.3f}, {spent:.0f} s", flush=True)
    # The running moments belong to the last weights, not to their average.
    update_bn(torch.randn(MOMENTS, recipe.latent).split(1000), average.module)
    return average.module.eval()


@torch.no_grad()
def bound_rows(
    encoder: nn.Module, decoder: nn.Module, test: Tensor
) -> tuple[dict[str, str], Tensor]:
    """The card's rows on the evidence lower bound of the test digits, and which latents live."""
    x = test.float() / 255.0
    binary = (torch.rand_like(x) < x).float()
    (grey_bce, grey_kl), (bce, kl) = (bound(encoder, decoder, part) for part in (x, binary))
    rows = {
        "test BCE at a sample of q": f"{grey_bce:.1f} nats; with binarised pixels {bce:.1f}",
        "test KL": f"{grey_kl.sum():.1f} nats; with binarised pixels {kl.sum():.1f}",
        "test BCE + KL (negative ELBO)": (
            f"{grey_bce + grey_kl.sum():.1f} nats; with binarised pixels {bce + kl.sum():.1f}"
        ),
        "latents": f"{len(kl)} trained; kept where the test KL is above {DEAD:g} nats "
        f"(the largest: {grey_kl.max():.2f})",
    }
    return rows, grey_kl > DEAD


def kept(decoder: nn.Sequential, alive: Tensor) -> nn.Sequential:
    """The decoder with the dead latents at their mean, zero: without their columns."""
    if not alive.any():
        raise ValueError(f"no latent has a test KL above {DEAD} nats; train for more epochs")
    first = nn.Linear(int(alive.sum()), decoder[0].out_features)
    first.weight, first.bias = nn.Parameter(decoder[0].weight[:, alive]), decoder[0].bias
    return nn.Sequential(first, *decoder[1:])


def save(name: str, epochs: int, seed: int, mnist: Path | None, out: Path) -> dict[str, Any]:
    """Train the net, and write its weights, samples and card; returns the card's figures."""
    recipe, data = RECIPES[name], load_mnist(mnist)
    train, test = (torch.as_tensor(images)[:, None] for images in (data.train, data.test))
    torch.manual_seed(seed)
    rows = {"data": f"MNIST training images ({len(train):,}); {data.note}"}
    if recipe.output == "sigmoid":
        kind = "Decoder of a convolutional variational autoencoder of MNIST digits"
        encoder, decoder = train_vae(recipe, train, epochs)
        bounds, alive = bound_rows(encoder, decoder, test)
        net = kept(decoder, alive)
        widths = "-".join(map(str, (data.train[0].size, *recipe.critic)))
        rows |= {
            "encoder": f"{widths}-2x{recipe.latent}, ReLU, thrown away",
            "loss": "sum of binary cross-entropies + KL to N(0, I), in nats; pixels binarised at "
            "random anew each epoch",
            "optimizer": f"Adam, batch {recipe.batch}, one epoch of warm-up to {recipe.rate:g}, "
            "cosine decay",
            **bounds,
        }
    else:
        kind = "Generator of a deep convolutional GAN of MNIST digits"
        net = train_dcgan(recipe, train, epochs)
        rows |= {
            "discriminator": f"convolutions of {recipe.critic[0]} and {recipe.critic[1]} channels, "
            f"kernel 4 x 4, stride 2, LeakyReLU({SLOPE:g}), and a dense layer; thrown away",
            "loss": f"non-saturating, digits labelled {recipe.digit:g}",
            "optimizer": f"Adam, batch {recipe.batch}, rate {recipe.rate:g}, beta_1 0.5",
            "after training": f"weights averaged, {AVERAGING:g} a step; batch normalisation folded",
        }
    command = f"`python -m benchmarks.train_convolutional {name} --epochs {epochs} --seed {seed}`"
    rows |= {"epochs, seed": f"{epochs}, {seed}", "command": command}
    layers = folded(net, recipe.output)
    figures = cards.figures(layers, data.train, data.test)
    text = cards.card(name, kind, layers, rows, figures)
    write_atomically(out / f"{name}.md", text.encode())
    cards.sample_grid(layers, out / f"{name}.png")
    write(name, layers, out)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--mnist", type=Path, help="an .npz with train_images and test_images")
    parser.add_argument("--epochs", type=int, help="other than the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RUNS)
    arguments = parser.parse_args()
    name, epochs = arguments.name, arguments.epochs or RECIPES[arguments.name].epochs
    torch.set_num_threads(1)  # the order of a sum, and with it the weights, depends on the number
    figures = save(name, epochs, arguments.seed, arguments.mnist, arguments.out)
    print(json.dumps({"name": name, **figures}))


if __name__ == "__main__":
    main()
