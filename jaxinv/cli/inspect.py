"""`jaxinv inspect`: a generator's layers, and what inversion can expect of each and of all."""

import numpy as np
from rich.console import Console
from rich.table import Table

from jaxinv.cli.foretold import SINGULAR, jointly, memory, seconds_of_a_row
from jaxinv.cli.options import Source
from jaxinv.cli.source import loaded
from jaxinv.model.generator import Generator
from jaxinv.model.layer import Layer, kind

NOISELESS, NOISY = 2.1, 5.0  # the paper's expansion factors for ReLU layers
LARGEST_MATRIX = 1 << 22  # entries up to which a layer's singular values are taken


def run(source: Source, console: Console, measure: bool = True) -> None:
    """Load the generator of this name and print what can be said of it; measure: time a row."""
    generator = loaded(source)
    if isinstance(generator, Generator):
        _show_layers(source.name, generator, console)
    else:
        console.print(f"{source.name}: {generator}")
        console.print("It has no layers to look at: 'auto', 'lm' and 'gd' invert it as a whole.")
    for told in (jointly, memory, *([seconds_of_a_row] if measure else [])):
        console.print(told(generator))


def _show_layers(name: str, generator: Generator, console: Console) -> None:
    table = Table(title=f"{name}: {generator.latent_size} -> {generator.observation_size}")
    for heading in ("layer", "map", "shape", "activation", "bias", "expansion", "rank", "cond."):
        table.add_column(heading, justify="left" if heading in ("map", "activation") else "right")
    expectations: list[str] = []
    for number, layer in enumerate(generator.layers, start=1):
        full, figures = singular_values(layer)
        table.add_row(
            str(number),
            kind(layer.linear),
            shape(layer),
            str(layer.activation),
            "yes" if np.asarray(layer.bias).any() else "no",
            f"{layer.expansion:.2f}",
            *figures,
        )
        expectations.append(f"Layer {number}: {expectation(layer, full)}.")
    console.print(table)
    for line in expectations:
        console.print(line)
    console.print(
        f"Expansion n_i / n_(i-1): the paper asks ReLU layers for {NOISELESS} without noise "
        f"and {NOISY:g} under noise.",
    )


def shape(layer: Layer) -> str:
    """A matrix's shape, or that of the images which a map makes."""
    if layer.is_dense:
        return f"{layer.width} x {layer.width_in}"
    return "x".join(map(str, layer.linear.output_shape))


def singular_values(layer: Layer) -> tuple[bool | None, tuple[str, str]]:
    """Whether W has full column rank, None where W is too large to tell; rank and condition."""
    if layer.width * layer.width_in > LARGEST_MATRIX and not layer.is_dense:
        return None, ("-", "-")
    singular = np.linalg.svd(np.asarray(layer.weight), compute_uv=False)
    rank = int((singular > SINGULAR * singular[0]).sum())
    if rank < layer.width_in:
        return False, (f"{rank} of {layer.width_in}", "singular")
    return True, ("full", f"{singular[0] / singular[-1]:.3g}")


def expectation(layer: Layer, full_rank: bool | None) -> str:
    """One sentence on inverting this layer alone."""
    if not layer.activation.layerwise:
        return (
            f"not invertible alone: methods that go layer by layer cannot undo {layer.activation}"
        )
    if full_rank is None:
        return "not inverted alone: written out as a matrix it is too large; for 'auto', 'lm', 'gd'"
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
