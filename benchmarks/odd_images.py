"""Odd images among MNIST digits, ranked by how well a code of the VAE decoder explains them.

    python -m benchmarks.odd_images [--quick] [--mnist FILE] [--rows N] [--epochs N] [--out FILE]
                                    [--plot]

Regular are test digits; odd are others of them, turned, mirrored, inverted, with patches or pixels
in another order, two in one, or digits that another decoder (mnist-dcgan-64) draws. Contestants:
`GeneratorInverter` with the shipped decoder mnist-vae-20-400-784, by residual and by log-density
with its prior; an encoder for the same decoder (`odd_encoder`: the VAE's own was thrown away), by
residual and by evidence; PCA of as many components, by residual and by log-likelihood. None of
them sees an odd image before it ranks. Areas under the ROC curve have DeLong's intervals (95%); the
curves are drawn beside the results, and --plot only draws what is there.

PCA and encoder learn from the training digits of --mnist; without it PCA learns from a third of the
shipped digits, and the encoder from draws of the decoder. Extra `bench`.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.decomposition import PCA

import jaxinv
from benchmarks.joint_rivals import real_digits
from benchmarks.mnist import load_mnist
from benchmarks.odd_curves import LOOKS, curve, draw
from benchmarks.odd_encoder import NAME, Encoder, trained
from benchmarks.record import RESULTS, machine, write
from benchmarks.roc import areas, difference, interval

SIDE, PATCH = 28, 7
CALIBRATED = 64  # digits of training, by which the noise of the log-density is chosen
NOISES = tuple(round(0.05 * 2 ** (i / 4), 4) for i in range(20))
PRIOR = jaxinv.GaussianPrior()
RIVAL = "mnist-dcgan-64"
OURS, WITH_PRIOR, PRINCIPAL = "inverter, residual", "inverter, log-density", "PCA, residual"
ENCODED, EVIDENCE = "encoder, residual", "encoder, evidence"


class Digits(NamedTuple):
    """Ink in [0, 1], (N, 784): learned from, shown as they are, made odd. note: whence they are."""

    learned: np.ndarray
    regular: np.ndarray
    odd: np.ndarray
    note: str


def split(file: str | None, rows: int) -> Digits:
    """`rows` test digits of each kind, no digit being of two."""
    if file is not None:
        all_digits = load_mnist(Path(file))
        test = all_digits.test[: 2 * rows].reshape(2 * rows, -1) / 255.0
        learned = all_digits.train.reshape(len(all_digits.train), -1) / 255.0
        return Digits(learned, test[:rows], test[rows:], all_digits.note)
    shipped = real_digits()
    third = min(rows, len(shipped) // 3)
    note = f"the first {3 * third} of the test digits that are shipped, a third each"
    return Digits(*(shipped[i * third : (i + 1) * third] for i in range(3)), note)


def _patches(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    parts = images.reshape(-1, SIDE // PATCH, PATCH, SIDE // PATCH, PATCH).swapaxes(2, 3)
    flat = parts.reshape(len(images), -1, PATCH**2)
    orders = np.argsort(rng.random(flat.shape[:2]), axis=1)
    mixed = np.take_along_axis(flat, orders[:, :, None], axis=1)
    return mixed.reshape(parts.shape).swapaxes(2, 3).reshape(len(images), SIDE, SIDE)


def _drawn(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    generator = jaxinv.load_generator(RIVAL)
    made = np.asarray(generator(rng.standard_normal((len(images), generator.latent_size))))
    return (made + 1.0) / 2.0


KINDS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "turned by 90 degrees": lambda x, rng: np.rot90(x, axes=(1, 2)),
    "mirrored": lambda x, rng: x[:, :, ::-1],
    "inverted": lambda x, rng: 1.0 - x,
    "patches in another order": _patches,
    "pixels in another order": lambda x, rng: rng.permuted(x.reshape(len(x), -1), axis=1),
    "two in one": lambda x, rng: np.maximum(x, np.roll(x, 1, axis=0)),
    "drawn by another decoder": _drawn,
}


class Contestants(NamedTuple):
    """What ranks, after it has learned."""

    residual: jaxinv.GeneratorInverter
    density: jaxinv.GeneratorInverter
    encoder: Encoder
    components: PCA

    def scores(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Of each contestant, (B,), higher for odder."""
        decoder, pca = self.residual.generator_, self.components
        encoded = np.asarray(decoder(self.encoder.codes(x)))
        projected = pca.inverse_transform(pca.transform(x))
        return {
            OURS: -self.residual.score_samples(x),
            WITH_PRIOR: -self.density.score_samples(x),
            ENCODED: np.sum((x - encoded) ** 2, axis=1),
            EVIDENCE: -self.encoder.evidence(x),
            PRINCIPAL: np.sum((x - projected) ** 2, axis=1),
            "PCA, log-likelihood": -pca.score_samples(x),
        }


def prepared(digits: Digits, drawn: bool, epochs: int, effort: Any) -> Contestants:
    """drawn: whether the encoder learns from draws of the decoder."""
    generator = jaxinv.load_generator(NAME)
    method = jaxinv.Auto(effort=effort)
    residual = jaxinv.GeneratorInverter(generator, method).fit(digits.learned)
    density = _of_prior_size(generator, method, digits.learned[:CALIBRATED])
    images = digits.learned
    if drawn:
        codes = np.random.default_rng(1).standard_normal((20_000, generator.latent_size))
        images = np.asarray(generator(codes))
    components = min(generator.latent_size, len(digits.learned) // 2)
    pca = PCA(components, random_state=0).fit(digits.learned)
    return Contestants(residual, density, trained(images, epochs), pca)


def _of_prior_size(generator: Any, method: Any, x: np.ndarray) -> jaxinv.GeneratorInverter:
    """With the least noise at which codes of digits are no larger than N(0, I) says.

    Below it the codes fit what digits have by chance, and leave the prior; no odd image is asked.
    """
    for noise in NOISES:
        model = jaxinv.GeneratorInverter(generator, method, noise=noise, prior=PRIOR).fit(x)
        if np.mean(model.transform(x) ** 2) <= 1.0:
            break
    return model


def ranked(odd: dict[str, np.ndarray], regular: dict[str, np.ndarray]) -> dict[str, Any]:
    """Every contestant's area with its interval, and what the inverter gains on the encoder."""
    names = list(odd)
    found = areas(*(np.stack([scores[name] for name in names]) for scores in (odd, regular)))
    rows: dict[str, Any] = {}
    for i, name in enumerate(names):
        low, high = interval(found, i)
        rows[name] = {"area": float(found.area[i]), "low": low, "high": high}
    for ours, theirs in ((OURS, ENCODED), (WITH_PRIOR, EVIDENCE), (WITH_PRIOR, PRINCIPAL)):
        apart = difference(found, names.index(ours), names.index(theirs))
        rows[f"{ours}, less {theirs}"] = dict(zip(("area", "low", "high"), apart, strict=True))
    rows = {name: {k: round(v, 4) for k, v in row.items()} for name, row in rows.items()}
    return {
        name: row | (curve(odd[name], regular[name]) if name in LOOKS else {})
        for name, row in rows.items()
    }


def measured(digits: Digits, drawn: bool, epochs: int, effort: str) -> dict[str, Any]:
    """The areas of each kind of odd images, and of all kinds together."""
    begin = time.perf_counter()
    contestants = prepared(digits, drawn, epochs, effort)
    regular = contestants.scores(digits.regular)
    kinds: dict[str, Any] = {}
    everything: list[dict[str, np.ndarray]] = []
    images = digits.odd.reshape(-1, SIDE, SIDE)
    for number, (kind, made) in enumerate(KINDS.items()):
        odd = np.ascontiguousarray(made(images, np.random.default_rng(number)))
        everything.append(contestants.scores(odd.reshape(len(odd), -1)))
        kinds[kind] = ranked(everything[-1], regular)
        print(kind, {name: row["area"] for name, row in kinds[kind].items()}, flush=True)
    pooled = {name: np.concatenate([odd[name] for odd in everything]) for name in regular}
    return {
        "digits": digits.note,
        "regular": len(digits.regular),
        "odd of each kind": len(digits.odd),
        "encoder": f"stands in for the VAE's own, which is not shipped; {epochs} epochs on "
        + ("20,000 draws of the decoder" if drawn else f"{len(digits.learned)} training digits"),
        "PCA": f"{contestants.components.n_components_} components of {len(digits.learned)} digits",
        "noise of the log-density": contestants.density.noise,
        "method": f"auto, {effort}",
        "interval": "95%, DeLong; where the area is 1, of as many pairs that are all told apart",
        "kinds": kinds | {"all kinds": ranked(pooled, regular)},
        "seconds": round(time.perf_counter() - begin, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few digits and epochs")
    parser.add_argument("--mnist", help="an .npz file of all digits")
    parser.add_argument("--rows", type=int, help="digits of each kind")
    parser.add_argument("--epochs", type=int, help="of the encoder's training")
    parser.add_argument("--effort", choices=("fast", "default", "thorough"), default="fast")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", action="store_true", help="only draw what has been measured")
    given = parser.parse_args()
    quick = given.quick
    out = given.out or RESULTS / f"odd_images{'_quick' if quick else ''}.json"
    if not given.plot:
        about = machine()
        digits = split(given.mnist, given.rows or (32 if quick else 256))
        epochs = given.epochs or (2 if quick else 20)
        write(out, {"machine": about} | measured(digits, given.mnist is None, epochs, given.effort))
    picture = out.with_suffix(".png")
    draw(json.loads(out.read_text()), picture)
    print(f"results: {out}, picture: {picture}")


if __name__ == "__main__":
    main()
