"""All layers at once, measured: success, labels, noise, digits, outliers, rivals, speed.

    python -m benchmarks.joint [--quick] [--part NAME] ... [--mnist FILE.npz] [--out FILE]

Parts are added to the JSON file one by one. The seeds of starting points are fixed and independent
of the codes. The GAN parts first train their nets on MNIST, for minutes (`benchmarks.train_gan`).
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np

from benchmarks import joint_limits as limits
from benchmarks import joint_rivals as rivals
from benchmarks import joint_success as success
from benchmarks.record import machine
from benchmarks.train_gan import RECIPES

OUT = Path(__file__).parent / "results" / "joint.json"

# One part of a kind, each within half a minute.
QUICK = (
    "120-250-600",
    "shipped",
    "noise 20-100-500",
    "radii",
    f"digits {rivals.RELU}",
    "throughput",
)


def parts(mnist: Path | None) -> dict[str, Callable[[bool], dict[str, Any]]]:
    """Every part by name: a function of whether it is to be quick."""
    sizes, decoders = (109, 115, 120, 124), (rivals.RELU, rivals.LEAKY, rivals.VAE)
    return {
        **{f"{k}-250-600": partial(success.identifiable, k) for k in sizes},
        "contractive": success.contractive,
        "shipped": success.shipped,
        **{name: partial(success.gan, name, mnist) for name in RECIPES},
        **{f"noise {net}": partial(limits.noise, net) for net in ("20-100-500", rivals.LEAKY)},
        "radii": limits.radii,
        "measurements": limits.measurements,
        **{f"digits {name}": partial(rivals.digits, name) for name in decoders},
        "digits, gradient descent": rivals.descent,
        "singles noiseless": lambda quick: rivals.singles(rivals.noiseless_settings(quick)),
        "singles noisy": lambda quick: rivals.singles(rivals.noisy_settings(quick)),
        "singles leaky": lambda quick: rivals.singles(rivals.leaky_settings(quick)),
        "singles gan": lambda quick: rivals.singles(rivals.gan_settings(mnist, quick)),
        "throughput": rivals.throughput,
    }


def rounded(value: Any) -> Any:
    """Floats to four digits, NumPy's numbers as Python's."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return float(f"{value:.4g}") if isinstance(value, float | np.floating) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="some parts, small, to see that it works"
    )
    parser.add_argument("--part", choices=parts(None), action="append", help="all, if not given")
    parser.add_argument("--mnist", type=Path, help="an .npz with train_images and test_images")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    out = arguments.out or (OUT.with_stem("joint_quick") if arguments.quick else OUT)
    known = parts(arguments.mnist)
    for name in arguments.part or (QUICK if arguments.quick else known):
        described, begin = machine(), time.perf_counter()
        try:
            found = rounded(known[name](arguments.quick))
        except URLError as missing:
            if arguments.part:
                raise
            print(f"{name}: skipped, MNIST cannot be fetched ({missing}); pass --mnist", flush=True)
            continue
        found["seconds in all"] = round(time.perf_counter() - begin, 1)
        print(json.dumps({name: found}, indent=1), flush=True)
        # Read again: parts may run at the same time.
        results = json.loads(out.read_text()) if out.exists() else {}
        results[name] = {"machine": described} | found
        out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
