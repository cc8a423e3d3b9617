"""Figure 3: noisy digits, and what each method makes of them.

    python -m benchmarks.figure3 [--quick] [--methods auto gd] [--out FILE.json]

The shipped MNIST test digits through the shipped generators. "codes": z* is the code `auto` finds
for a digit, and the truth is G(z*), which a generator can make; "digits": the truth is the digit
itself, which no code makes exactly (the VAE, whose output is a pixel's intensity). Gaussian noise
of deviation NOISE. The data are the codes; the images are G of them, black where there is no code.
"""

from typing import Any

import numpy as np

import jaxinv
from benchmarks.conditions import PAPER_MNIST, Data, arguments, tuned
from jaxinv.cli.demo import real_digits
from jaxinv.cli.picture import Panel, draw

RELU, LEAKY, VAE = "mnist-relu-20-60-784", "mnist-leaky-20-200-500-784", "mnist-vae-20-400-784"
PANELS = ((RELU, "codes"), (LEAKY, "codes"), (VAE, "digits"))
METHODS = ("linf", "auto", "gd", "gd tuned")
NOISE, DIGITS = 0.1, 8


def main() -> None:
    given = arguments(__doc__, "figure3").parse_args()
    data = Data("figure3", given, {"noise": NOISE, "digits": DIGITS, "seed": 4})
    panels = PANELS[:1] if given.quick else PANELS
    for net, truth in panels:
        generator = jaxinv.load_generator(net)
        descent = {"gd": PAPER_MNIST, "gd tuned": tuned("gd_tuning", net)}
        # Every method needs the codes whose images are the truth.
        wanted = [method for method in METHODS if data.wants(method)]
        for method in ("truth", *wanted) if wanted and truth == "codes" else wanted:
            condition = {"net": net, "truth": truth, "method": method}
            if data.find(**condition):
                continue
            if method == "truth":
                found = jaxinv.invert(generator, real_digits(DIGITS), seed=5)
                data.keep(condition | {"latent": np.asarray(found.latent).tolist()})
            else:
                settings = descent.get(method, method)
                data.keep(condition | inverted(data, generator, settings, net, truth))
    drawn = [panel(data, net, truth) for net, truth in panels if data.find(net=net, truth=truth)]
    draw([drawn[i : i + 2] for i in range(0, len(drawn), 2)], data.picture)
    report(data)
    print(f"data: {data.path}, picture: {data.picture}")


def images(data: Data, net: str, truth: str) -> tuple[np.ndarray, np.ndarray]:
    """What is to be recovered, and what is observed of it: (DIGITS, 784) each."""
    if truth == "digits":
        clean = real_digits(DIGITS)
    else:
        entry = data.find(net=net, truth=truth, method="truth")
        assert entry
        clean = np.asarray(jaxinv.load_generator(net)(entry["latent"]))
    return clean, clean + NOISE * np.random.default_rng(4).standard_normal(clean.shape)


def inverted(
    data: Data, generator: jaxinv.Generator, settings: Any, net: str, truth: str
) -> dict[str, Any]:
    """The codes found, their statuses, and ||G(z) - truth|| over the norm of the noise."""
    clean, noisy = images(data, net, truth)
    found = jaxinv.invert(generator, noisy, settings, seed=6)
    latent = np.asarray(found.latent)
    left = np.linalg.norm(np.asarray(generator(latent)) - clean, axis=1)
    left /= np.linalg.norm(noisy - clean, axis=1)
    return {
        "left": [float(f"{e:.3g}") if np.isfinite(e) else None for e in left],
        "status": np.asarray(found.status).tolist(),
        "latent": np.nan_to_num(latent).tolist(),
    }


def panel(data: Data, net: str, truth: str) -> Panel:
    """The lines of one net: truth, noisy, and a line for each method that has been measured."""
    generator = jaxinv.load_generator(net)
    lines = dict(zip(("truth", "noisy"), images(data, net, truth), strict=True))
    for method in METHODS:
        entry = data.find(net=net, truth=truth, method=method)
        if entry:
            there = np.array([e is not None for e in entry["left"]])[:, None]
            lines[method] = np.where(there, np.asarray(generator(entry["latent"])), 0.0)
    return Panel(f"{net}, {'its own images' if truth == 'codes' else 'real digits'}", lines)


def report(data: Data) -> None:
    """What is left of the noise in the image, by the median row: below 1 it was removed."""
    for entry in data:
        if entry["method"] != "truth":
            left = [np.inf if e is None else e for e in entry["left"]]
            lost = int(np.isinf(left).sum())
            print(entry["net"], entry["truth"], entry["method"], f"{np.median(left):.3g}", lost)


if __name__ == "__main__":
    main()
