"""From the last layer to the first: invert one layer, hand its input on as the next output."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxinv.layerwise.constraints import Box
from jaxinv.layerwise.layer_input import LayerInput, under_noise, where_realizable
from jaxinv.linalg.on_device import on_device
from jaxinv.model.generator import Generator
from jaxinv.outcome.inversion import LayerReport
from jaxinv.outcome.status import Status
from jaxinv.settings import Exact, LayerLP

LatentBounds = tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]


@dataclass(frozen=True)
class Swept:
    """The codes of a sweep before the final residual: latent (B, k), status and dimension (B,)."""

    latent: Float[np.ndarray, "B k"]
    status: Int[np.ndarray, " B"]
    undetermined: Int[np.ndarray, " B"]
    layers: tuple[LayerReport, ...]


def sweep(
    generator: Generator,
    observations: Float[Array, "B n"],
    entry_weight: Float[np.ndarray, "B n"],
    live: Bool[np.ndarray, " B"],
    method: Exact | LayerLP,
    latent_bounds: LatentBounds,
    rounding: Float[Array, "B n"],
) -> Swept:
    """Invert every live observation; a row that fails at a layer stays failed below it.

    entry_weight: the caller's weights, 0 where an entry is not observed. Hidden vectors carry
    weight one. rounding: deviation of an observed entry from what G made. A row whose layer is
    underdetermined goes on with one of its solutions, and says so.
    """
    batch = len(live)
    status = np.where(live, int(Status.SOLVED), int(Status.BAD_INPUT))
    undetermined = np.zeros(batch, np.int64)
    reports: list[LayerReport] = []
    x, carried, error = observations, np.zeros(batch), rounding  # x: of live rows, else anything
    for i in reversed(range(generator.depth)):
        layer = generator.layers[i]
        if i < generator.depth - 1:
            entry_weight = np.broadcast_to(1.0, (batch, layer.width))
        box = _box(generator, i, batch, latent_bounds)
        if isinstance(method, Exact):
            found = where_realizable(layer, x, entry_weight, live, method, error)
        else:
            above = generator.depth - 1 - i
            found = under_noise(layer, x, entry_weight, live, method, box, above, carried)
            carried = found.tolerance
        error = on_device(found.error[:, None])
        status = np.where(live, _worse(status, found.status), status)
        # The outermost layer that leaves freedom says how much; what follows builds on a choice.
        undetermined = np.where(live & (undetermined == 0), found.undetermined, undetermined)
        live = live & _has_latent(status)
        reports.append(_report(found, live, status))
        x = found.latent
    latent = np.where(live[:, None], np.asarray(x), np.nan)
    return Swept(latent, status, np.where(live, undetermined, 0), tuple(reversed(reports)))


def _box(generator: Generator, i: int, batch: int, latent_bounds: LatentBounds) -> Box:
    """The set in which layer i's input lies: the range below it, or the caller's bounds on z."""
    if i == 0:
        sides: tuple[np.ndarray | float, np.ndarray | float] = latent_bounds
    else:
        sides = generator.layers[i - 1].activation.range
    shape = (batch, generator.layers[i].width_in)
    return np.broadcast_to(sides[0], shape), np.broadcast_to(sides[1], shape)


def _worse(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """A failure replaces what was said before; otherwise the outer layer's word stands."""
    return np.where((before == int(Status.SOLVED)) | ~_has_latent(now), now, before)


def _has_latent(status: np.ndarray) -> Bool[np.ndarray, " B"]:
    return np.isin(status, [int(s) for s in Status if s.has_latent])


def _report(found: LayerInput, live: np.ndarray, status: np.ndarray) -> LayerReport:
    """Rows that had failed above carry their failure and no numbers."""
    return LayerReport(
        tolerance=on_device(np.where(live, found.tolerance, np.nan)),
        active=on_device(np.where(live, found.active, 0)),
        residual=on_device(np.where(live, found.residual, np.nan)),
        status=on_device(np.where(live, found.status, status)),
        undetermined=on_device(np.where(live, found.undetermined, 0)),
        steps=on_device(found.steps),
        fallback=on_device(found.fallback),
    )
