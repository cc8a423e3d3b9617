"""Inverse problems: compressed sensing beside CSGM's own descent, phases, rails, cells, counts.

    python -m benchmarks.inverse [--parts csgm phase rails counts posterior] [--nets NAME ...]
                                 [--measurements M ...] [--rows N] [--quick]

csgm: y = A x + e of MNIST digits through a shipped VAE, A ~ N(0, 1 / m), ||e|| about .1, for each
number of measurements: mean squared error a pixel and seconds of a second call, of `auto` with
prior_weight=.1 and of Adam as CSGM's script for MNIST sets it (rate .01, 1,000 steps, 10 restarts,
the lowest loss kept), in one run; and of the most probable code under the standard Gaussian. phase:
codes recovered from |A x|, and by Adam from the same starts. rails: clipped and quantised outputs.
counts: error of the most likely code over the Cramer-Rao bound, by photons a pixel. posterior:
draws beside exact posteriors and quadrature, and what their regions hold. Parts that are not run
keep what the file has.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxinv
from benchmarks.inverse_posterior import posterior
from benchmarks.real_images import digits
from benchmarks.record import RESULTS, machine, write
from jaxinv.measurements import clip, magnitude, quantise

VAE, CONVOLUTIONAL = "mnist-vae-20-400-784", "mnist-conv-vae-13"
LEAKY, RANDOM = "mnist-leaky-20-200-500-784", "20-100-500"
SENSED, MAGNITUDES, FEW = (10, 25, 50, 100, 300), (100, 200, 400), (25, 100)
LAMBDA, NOISE, RATE, STEPS, RESTARTS = 0.1, 0.1, 0.01, 1000, 10
RECOVERED = 1e-3


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """The answer of a second call, and its seconds."""
    call()
    begun = time.perf_counter()
    answer = jax.block_until_ready(call())
    return answer, time.perf_counter() - begun


def adam(value: Callable, rate: float, steps: int) -> Callable:
    """The lowest loss ||y - f(G(z))||^2 + lambda ||z||^2 of several starts, in float32."""
    optimizer = optax.adam(rate)

    def loss(z, y, weight):
        return ((value(z) - y) ** 2).sum(-1) + weight * (z**2).sum(-1)

    @jax.jit
    def run(starts, y, weight):
        def step(_, state):
            z, memory = state
            gradient = jax.grad(lambda p: loss(p, y[:, None], weight).sum())(z)
            update, memory = optimizer.update(gradient, memory)
            return optax.apply_updates(z, update), memory

        z, _ = jax.lax.fori_loop(0, steps, step, (starts, optimizer.init(starts)))
        best = loss(z, y[:, None], weight).argmin(1)
        return jnp.take_along_axis(z, best[:, None, None], 1)[:, 0]

    return run


def csgm(name: str, numbers: tuple[int, ...], rows: int) -> list[dict[str, Any]]:
    """Compressed sensing of digits, and of images that the decoder makes."""
    g, rng = jaxinv.load_generator(name), np.random.default_rng(0)
    drawn = np.asarray(g(rng.standard_normal((rows, g.latent_size))))
    shown = digits(rows, None)
    told = []
    for of, x in (("digits", shown), ("drawn", drawn)):
        for m in numbers:
            a = rng.standard_normal((m, 784)) / np.sqrt(m)
            y = x @ a.T + NOISE / np.sqrt(m) * rng.standard_normal((len(x), m))
            shape = len(x), RESTARTS, g.latent_size
            starts = jnp.asarray(rng.standard_normal(shape), jnp.float32)
            matrix = jnp.asarray(a, jnp.float32)
            descent = adam(lambda z, a=matrix: g.value(z) @ a.T, RATE, STEPS)
            data = jnp.asarray(y, jnp.float32)
            z, seconds = timed(lambda f=descent, s=starts, d=data: f(s, d, LAMBDA))
            said = {"net": name, "images": of, "m": m, "rows": len(x)}
            told.append(_error(said, "adam", x, g(np.asarray(z, float)), seconds))
            asked = {
                "auto": {"prior_weight": LAMBDA},
                "auto, fast": {"prior_weight": LAMBDA, "method": jaxinv.Auto(effort="fast")},
                "most probable": {"prior": jaxinv.GaussianPrior(), "noise": NOISE / np.sqrt(m)},
            }
            for method, ask in asked.items():
                r, seconds = timed(lambda k=ask, y=y, a=a: jaxinv.invert(g, y, operator=a, **k))
                told.append(_error(said, method, x, g(r.latent), seconds))
                print(told[-1], flush=True)
    return told


def _error(said: dict, name: str, x: np.ndarray, image: Any, seconds: float) -> dict[str, Any]:
    error = float(((np.asarray(image) - x) ** 2).mean())
    return {**said, "method": name, "error": round(error, 6), "seconds": round(seconds, 3)}


def phase(nets: list[str], numbers: tuple[int, ...], rows: int) -> list[dict[str, Any]]:
    """Codes from magnitudes, up to a sign where the decoder makes both."""
    rng, told = np.random.default_rng(1), []
    for name in nets:
        random = name == RANDOM
        g = jaxinv.Generator.random((20, 100, 500), 0) if random else jaxinv.load_generator(name)
        for m in numbers:
            a = rng.standard_normal((m, g.observation_size)) / np.sqrt(m)
            z = rng.standard_normal((rows, g.latent_size))
            x = np.asarray(g(z))
            f = magnitude(a)
            y = np.abs(x @ a.T)
            r, seconds = timed(lambda g=g, y=y, f=f: jaxinv.invert(g, y, operator=f))
            starts = jnp.asarray(rng.standard_normal((rows, RESTARTS, z.shape[1])), jnp.float32)
            matrix = jnp.asarray(a, jnp.float32)
            descent = adam(lambda u, g=g, a=matrix: jnp.abs(g.value(u) @ a.T), RATE, STEPS)
            data = jnp.asarray(y, jnp.float32)
            found, adams = timed(lambda f=descent, s=starts, d=data: f(s, d, 0.0))
            for method, code, took in (
                ("auto", r.latent, seconds),
                ("adam", np.asarray(found, float), adams),
            ):
                image = np.asarray(g(code))
                away = np.minimum(_away(image, x), _away(-image, x))
                share = float((away <= RECOVERED).mean())
                said = {"net": name, "m": m, "method": method, "rows": rows}
                told.append({**said, "recovered": share, "seconds": round(took, 3)})
                print(told[-1], flush=True)
    return told


def _away(image: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.linalg.norm(image - x, axis=1) / np.linalg.norm(x, axis=1)


def rails(rows: int) -> list[dict[str, Any]]:
    """Outputs of the leaky net of which 30% stand at a rail, and of three bits."""
    g, rng = jaxinv.load_generator(LEAKY), np.random.default_rng(2)
    z = rng.standard_normal((rows, g.latent_size))
    x = np.asarray(g(z))
    low, high = np.quantile(x, [0.15, 0.85])
    step = float(x.max() - x.min()) / 7
    told = []
    for name, f, y in (
        ("clipped", clip(low, high), np.clip(x, low, high)),
        ("3 bits", quantise(step), quantise(step)(x)),
    ):
        r, seconds = timed(lambda y=y, f=f: jaxinv.invert(g, y, operator=f))
        error = np.linalg.norm(np.asarray(r.latent) - z, axis=1) / np.linalg.norm(z, axis=1)
        inside = float((np.asarray(r.residual) <= 1e-9).mean())
        held = np.linalg.norm(np.asarray(r.latent) - z, axis=1) <= np.asarray(r.allowed_error)
        told.append(
            {
                "case": name,
                "rows": rows,
                "solved": float(np.asarray(r.ok).mean()),
                "no misfit": inside,
                "median error": float(np.median(error)),
                "largest error": float(error.max()),
                "within allowed_error": float((held | (error < 1e-9)).mean()),
                "seconds": round(seconds, 3),
            }
        )
    return told


def counts(levels: tuple[float, ...], rows: int) -> list[dict[str, Any]]:
    """Root mean square error of the code over the Cramer-Rao bound sqrt(tr (J' D^-1 J)^-1)."""
    rng, told = np.random.default_rng(3), []
    net = jaxinv.Generator.random((4, 30, 400), seed=0, activation="tanh")
    for photons in levels:

        def measure(image, photons=photons):
            return photons * (1.0 + 0.9 * image)

        z = rng.standard_normal((rows, 4))
        rate = np.asarray(measure(np.asarray(net(z))))
        x = rng.poisson(rate).astype(float)
        r, seconds = timed(
            lambda x=x, f=measure: jaxinv.invert(net, x, operator=f, noise=jaxinv.Poisson())
        )
        j = 0.9 * photons * np.asarray(net.jacobian(z))
        information = np.einsum("bnk,bn,bnl->bkl", j, 1 / rate, j)
        bound = np.trace(np.linalg.inv(information), axis1=1, axis2=2)
        error = ((np.asarray(r.latent) - z) ** 2).sum(1)
        told.append(
            {
                "photons": photons,
                "rows": rows,
                "error over bound": float(np.sqrt(error.mean() / bound.mean())),
                "its own deviation": float(0.5 * error.std() / error.mean() / np.sqrt(rows)),
                "explained": float(np.asarray(r.explained).mean()),
                "seconds": round(seconds, 3),
            }
        )
    return told


PARTS = ("csgm", "phase", "rails", "counts", "posterior")
PHOTONS = (1.0, 3.0, 10.0, 30.0, 100.0)


def measured(part: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """One part, on what is asked for."""
    rows, quick = given.rows or (8 if given.quick else 100), given.quick
    asked = tuple(given.measurements or ())
    if part == "csgm":
        numbers = asked or (FEW if quick else SENSED)
        nets = given.nets or ([VAE] if quick else [VAE, CONVOLUTIONAL])
        return [line for net in nets for line in csgm(net, numbers, rows)]
    if part == "phase":
        numbers = asked or ((200,) if quick else MAGNITUDES)
        return phase(given.nets or [RANDOM, VAE, LEAKY, CONVOLUTIONAL], numbers, rows)
    if part == "rails":
        return rails(rows)
    if part == "counts":
        return counts((10.0,) if quick else PHOTONS, rows)
    return posterior(rows, quick)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--nets", nargs="+", help="of csgm and phase")
    parser.add_argument("--measurements", nargs="+", type=int, help="of csgm and phase")
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS / "inverse.json")
    given = parser.parse_args()
    described = machine()
    for name in given.parts:
        lines = measured(name, given)
        # Read again: another run may have written its part meanwhile.
        known = json.loads(given.out.read_text()) if given.out.exists() else {}
        known[name] = {"machine": described, "lines": lines}
        write(given.out, known)


if __name__ == "__main__":
    main()
