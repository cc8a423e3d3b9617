"""What share of linear programs the device solver certifies by itself, and what the pool rescues.

    python -m benchmarks.lp_certified [--quick] [--nets NAME ...] [--out FILE]

Programs of the layers of random nets (2,000 in all) and of the shipped generators, l_inf, l1 and
relaxed, at noise 1e-6 .. 1e-1 of the layer's largest output, at a tolerance of twice the noise. A
layer's input is what the code's own forward pass gives it. Certified: primal, dual and gap,
recomputed, within 1e-8. By the pool: the device's answer was not, and Clarabel's was, or that of
HiGHS after it.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import jaxinv
from benchmarks.record import machine, write
from jaxinv.layerwise.constraints import Rows, l1_rows, linf_rows, relaxed_rows
from jaxinv.layerwise.layer_program import LayerProgram

OUT = Path(__file__).parent / "results" / "lp_certified.json"
NOISES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
BUILD = {"linf": linf_rows, "l1": l1_rows, "relaxed": relaxed_rows}
RANDOM = (((20, 100, 500), "relu"), ((20, 100, 500), "leaky_relu:0.1"), ((60, 250, 600), "relu"))


def layer_program(generator: Any, i: int, z: np.ndarray, noise: float, rng: Any) -> Any:
    """The programs of layer i, its outputs disturbed by noise times the largest of them."""
    with jax.enable_x64(True):
        outputs = [z, *(np.asarray(out) for out in generator.outputs(z))]
    layer = generator.layers[i]
    x = outputs[i + 1]
    level = noise * np.abs(x).max(-1)
    x = x + level[:, None] * rng.uniform(-1, 1, x.shape)
    low, high = (-np.inf, np.inf) if i == 0 else generator.layers[i - 1].activation.range
    box = tuple(np.full((len(z), layer.width_in), side) for side in (low, high))
    weight, bias = np.asarray(layer.weight), np.asarray(layer.bias)
    rows = Rows(weight, bias, layer.activation, x, np.ones_like(x), box)
    return LayerProgram(layer, rows, jaxinv.InteriorPoint()), 2 * level


def counted(name: str, generator: Any, count: int) -> list[dict[str, Any]]:
    results = []
    for i, layer in enumerate(generator.layers):
        for objective, build in BUILD.items():
            row = {"net": name, "layer": f"{layer.width}x{layer.width_in}", "objective": objective}
            totals = np.zeros(4, int)
            began = time.perf_counter()
            for number, noise in enumerate(NOISES):
                rng = np.random.default_rng([number, i])
                z = rng.standard_normal((count, generator.latent_size))
                program, tolerance = layer_program(generator, i, z, noise, rng)
                with jax.enable_x64(True):
                    found = program.solve(build, np.arange(count), tolerance)
                alone = found.certified & ~found.fallback
                rescued = found.certified & found.fallback
                totals += [count, alone.sum(), rescued.sum(), (~found.certified).sum()]
            names = ("programs", "certified alone", "by the pool", "lost")
            row |= {key: int(v) for key, v in zip(names, totals, strict=True)}
            results.append(row | {"seconds": round(time.perf_counter() - began, 2)})
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one net, a few programs a layer")
    parser.add_argument("--nets", nargs="+", help="those whose name begins so; all by default")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    count = 2 if arguments.quick else 19
    names = arguments.nets or (["20-100-500 relu"] if arguments.quick else [""])
    nets = {
        f"{'-'.join(map(str, widths))} {activation}": jaxinv.Generator.random(
            widths, seed=0, activation=activation
        )
        for widths, activation in RANDOM
    }
    nets |= {name: jaxinv.load_generator(name) for name in jaxinv.shipped_generators()}
    nets = {k: v for k, v in nets.items() if k.startswith(tuple(names))}
    console, rows = Console(), []
    for name, generator in nets.items():
        fresh = counted(name, generator, count)
        rows += fresh
        table = Table(title=name, title_justify="left")
        for column in fresh[0]:
            if column != "net":
                table.add_column(column)
        for row in fresh:
            table.add_row(*(str(v) for k, v in row.items() if k != "net"))
        console.print(table)
        write(arguments.out, {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
