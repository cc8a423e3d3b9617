"""`jaxinv inspect`: a generator's layers, and what layer-wise inversion can expect of each."""

import numpy as np
from rich.console import Console
from rich.table import Table

from jaxinv.formats import load_generator
from jaxinv.model.layer import Layer, kind

NOISELESS, NOISY = 2.1, 5.0  # the paper's expansion factors for ReLU layers
LARGEST_SHOWN = 1 << 21  # entries of a convolution's matrix whose singular values take a second


def run(source: tuple[str, list[str] | None, str], console: Console) -> None:
    generator = load_generator(*source)
    table = Table(title=f"{source[0]}: {generator.latent_size} -> {generator.observation_size}")
    for heading in ("layer", "shape", "activation", "bias", "expansion", "rank", "condition"):
        table.add_column(heading, justify="left" if heading == "activation" else "right")
    expectations: list[str] = []
    for number, layer in enumerate(generator.layers, start=1):
        if not layer.is_dense and layer.width * layer.width_in > LARGEST_SHOWN:
            table.add_row(*_row(number, layer), "-", "-")
            expectations.append(
                f"Layer {number}: a {kind(layer.linear)} too large to be written out here; methods "
                "that treat all layers at once take it as it is."
            )
            continue
        singular = np.linalg.svd(np.asarray(layer.weight), compute_uv=False)
        rank = int((singular > 1e-10 * singular[0]).sum())
        full = rank == layer.width_in
        table.add_row(
            *_row(number, layer),
            "full" if full else f"{rank} of {layer.width_in}",
            f"{singular[0] / singular[-1]:.3g}" if full else "singular",
        )
        expectations.append(f"Layer {number}: {expectation(layer, full)}.")
    console.print(table)
    for line in expectations:
        console.print(line, highlight=False)
    console.print(
        f"Expansion n_i / n_(i-1): the paper asks ReLU layers for {NOISELESS} without noise "
        f"and {NOISY:g} under noise.",
        highlight=False,
    )


def _row(number: int, layer: Layer) -> tuple[str, ...]:
    return (
        str(number),
        f"{layer.width} x {layer.width_in}",
        str(layer.activation),
        "yes" if np.asarray(layer.bias).any() else "no",
        f"{layer.expansion:.2f}",
    )


def expectation(layer: Layer, full_rank: bool) -> str:
    """One sentence on inverting this layer alone."""
    if not full_rank:
        return "not invertible alone: its weight does not have full column rank"
    if layer.activation.kind != "relu":
        return "invertible for every code: each row tells its pre-activation"
    if layer.expansion < 1:
        return "not invertible alone: it contracts"
    if layer.expansion < NOISELESS:
        return "invertible for some codes: often fewer active rows than unknowns"
    if layer.expansion < NOISY:
        return "invertible without noise, with fewer guarantees under noise"
    return "invertible, also under noise"
