"""From the last layer to the first: invert one layer, hand its input on as the next output."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxinv.generator import Generator, Layer
from jaxinv.layerwise import least_squares
from jaxinv.layerwise.active_rows import linear_rows
from jaxinv.layerwise.constraints import ambiguous_rows, linf_rows
from jaxinv.layerwise.tolerance import (
    Accepted,
    Grid,
    LayerProgram,
    literal_loop,
    smallest_accepted,
)
from jaxinv.methods import Exact, LinfLP
from jaxinv.result import LayerReport
from jaxinv.status import Status

DEFAULT_TOLERANCE = 1e-6  # of max|x|
LatentBounds = tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]


@dataclass(frozen=True)
class Swept:
    """The codes of a sweep before the final residual: latent (B, k), status and dimension (B,)."""

    latent: Float[Array, "B k"]
    status: Int[np.ndarray, " B"]
    undetermined: Int[np.ndarray, " B"]
    layers: tuple[LayerReport, ...]


@dataclass(frozen=True)
class LayerInput:
    """One layer inverted: its input (B, k), and a report without the rows that had failed."""

    latent: Float[Array, "B k"]
    tolerance: Float[np.ndarray, " B"]
    active: Int[np.ndarray, " B"]
    residual: Float[np.ndarray, " B"]
    undetermined: Int[np.ndarray, " B"]
    status: Int[np.ndarray, " B"]
    steps: Int[np.ndarray, " B"]


def sweep(
    generator: Generator,
    observations: Float[Array, "B n"],
    row_weight: Float[np.ndarray, "B n"],
    live: Bool[np.ndarray, " B"],
    method: Exact | LinfLP,
    latent_bounds: LatentBounds,
) -> Swept:
    """Invert every live observation; a row that fails at a layer stays failed below it.

    row_weight: the caller's weights, 0 where a pixel is not observed. Hidden vectors carry weight
    one. A row whose layer is underdetermined goes on with one of its solutions, and says so.
    """
    batch = len(live)
    status = np.where(live, int(Status.SOLVED), int(Status.BAD_INPUT))
    undetermined = np.zeros(batch, np.int64)
    reports: list[LayerReport] = []
    x, carried = observations, np.zeros(batch)
    for i in reversed(range(generator.depth)):
        layer = generator.layers[i]
        if i < generator.depth - 1:
            row_weight = np.ones((batch, layer.width))
        box = _box(generator, i, batch, latent_bounds)
        if isinstance(method, Exact) or layer.activation.squashing:
            settings = method if isinstance(method, Exact) else Exact()
            found = _realizable(layer, x, row_weight, live, settings)
        else:
            found = _smallest_tolerance(layer, x, row_weight, live, method, box, carried)
            carried = found.tolerance
        status = np.where(live, _worse(status, found.status), status)
        # The outermost layer that leaves freedom says how much; what follows builds on a choice.
        undetermined = np.where(live & (undetermined == 0), found.undetermined, undetermined)
        live = live & _has_latent(status)
        reports.append(_report(found, live, status))
        x = jnp.where(live[:, None], found.latent, 0.0)
    latent = jnp.where(live[:, None], x, jnp.nan)
    return Swept(latent, status, np.where(live, undetermined, 0), tuple(reversed(reports)))


def _realizable(
    layer: Layer,
    x: Float[Array, "B n"],
    row_weight: Float[np.ndarray, "B n"],
    live: Bool[np.ndarray, " B"],
    method: Exact,
) -> LayerInput:
    """Section 3: least squares on the active rows, with the rank of each observation's rows."""
    observed = jnp.asarray(row_weight)
    size = jnp.max(jnp.where(observed > 0, jnp.abs(x), 0.0), axis=-1)
    rows = linear_rows(layer, x, observed, method.threshold * size, method.noise)
    answer = least_squares.solve(layer.weight, rows, live, method.rank_tolerance)
    free = layer.width_in - answer.rank
    return LayerInput(
        latent=answer.latent,
        tolerance=np.zeros(len(live)),
        active=np.asarray(rows.active.sum(-1)),
        residual=np.asarray(answer.residual),
        undetermined=free,
        status=np.where(free > 0, int(Status.UNDERDETERMINED), int(Status.SOLVED)),
        steps=np.full(len(live), least_squares.REFINEMENTS),
    )


def _smallest_tolerance(
    layer: Layer,
    x: Float[Array, "B n"],
    row_weight: Float[np.ndarray, "B n"],
    live: Bool[np.ndarray, " B"],
    method: LinfLP,
    box: LatentBounds,
    carried: Float[np.ndarray, " B"],
) -> LayerInput:
    """Algorithm 1 on one layer."""
    target = np.asarray(x)
    size = np.max(np.abs(target), axis=-1, where=row_weight > 0, initial=0.0)
    program = layer_program(layer, target, row_weight, size, method, box)
    start = np.full(len(live), method.initial_tolerance or 0.0)
    if method.initial_tolerance is None:
        # An observation of zeros has no scale; any positive start serves it.
        start = np.where(size > 0, DEFAULT_TOLERANCE * size, 1.0)
    if method.carry_tolerance:
        start = np.where(carried > 0, carried, start)
    grid = Grid.up_to(start, method.growth, size)
    search = literal_loop if method.schedule == "loop" else smallest_accepted
    accepted = search(program, grid, live, layer.width_in)
    latent = jnp.asarray(accepted.latent)
    misfit = np.abs(np.asarray(layer(latent)) - target)
    return LayerInput(
        latent=latent,
        tolerance=accepted.tolerance,
        active=_two_sided(layer, target, row_weight, accepted),
        residual=np.max(misfit, axis=-1, where=row_weight > 0, initial=0.0),
        undetermined=accepted.free,
        status=_search_status(accepted),
        steps=accepted.steps,
    )


def layer_program(
    layer: Layer,
    x: Float[np.ndarray, "B n"],
    row_weight: Float[np.ndarray, "B n"],
    size: Float[np.ndarray, " B"],
    method: LinfLP,
    box: LatentBounds,
) -> LayerProgram:
    """The layer's programs as functions of (rows, tolerance)."""
    weight, bias = np.asarray(layer.weight), np.asarray(layer.bias)
    observed = jnp.asarray(row_weight)
    device_x = jnp.asarray(x)
    batch = len(x)

    def build(which: np.ndarray, tolerance: np.ndarray):  # type: ignore[no-untyped-def]
        limits = (box[0][which], box[1][which])
        return linf_rows(
            weight, bias, layer.activation, x[which], row_weight[which], tolerance, limits
        )

    def centre(which: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
        # One fixed batch shape, so that no row's bits depend on which others are still open.
        full = np.ones(batch)
        full[which] = tolerance
        rows = linear_rows(layer, device_x, observed, jnp.asarray(full), 0.0)
        z = np.asarray(least_squares.centre(layer.weight, rows))[which]
        return np.clip(np.nan_to_num(z), box[0][which], box[1][which])

    def ambiguous(which: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
        return ambiguous_rows(layer.activation, x[which], tolerance)

    monotone = layer.activation.kind != "leaky_relu"
    return LayerProgram(build, centre, ambiguous, size, monotone, method.solver)


def _box(generator: Generator, i: int, batch: int, latent_bounds: LatentBounds) -> LatentBounds:
    """The set in which layer i's input lies: the range below it, or the caller's bounds on z."""
    if i == 0:
        sides: tuple[np.ndarray | float, np.ndarray | float] = latent_bounds
    else:
        sides = generator.layers[i - 1].activation.range
    shape = (batch, generator.layers[i].width_in)
    return np.broadcast_to(sides[0], shape), np.broadcast_to(sides[1], shape)


def _two_sided(
    layer: Layer, x: np.ndarray, row_weight: np.ndarray, accepted: Accepted
) -> Int[np.ndarray, " B"]:
    rows = row_weight > 0
    if layer.activation.kind == "relu":
        rows = rows & (x > accepted.tolerance[:, None])
    return rows.sum(-1)


def _search_status(accepted: Accepted) -> Int[np.ndarray, " B"]:
    status = np.where(accepted.free > 0, int(Status.UNDERDETERMINED), int(Status.SOLVED))
    status = np.where(accepted.exhausted, int(Status.TOLERANCE_EXHAUSTED), status)
    return np.where(accepted.failed, int(Status.SOLVER_FAILED), status)


def _worse(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """A failure replaces what was said before; otherwise the outer layer's word stands."""
    return np.where((before == int(Status.SOLVED)) | ~_has_latent(now), now, before)


def _has_latent(status: np.ndarray) -> Bool[np.ndarray, " B"]:
    return np.isin(status, [int(s) for s in Status if s.has_latent])


def _report(found: LayerInput, live: np.ndarray, status: np.ndarray) -> LayerReport:
    """Rows that had failed above carry their failure and no numbers."""
    return LayerReport(
        tolerance=jnp.asarray(np.where(live, found.tolerance, np.nan)),
        active=jnp.asarray(np.where(live, found.active, 0)),
        residual=jnp.asarray(np.where(live, found.residual, np.nan)),
        status=jnp.asarray(np.where(live, found.status, status)),
        undetermined=jnp.asarray(np.where(live, found.undetermined, 0)),
        steps=jnp.asarray(found.steps),
    )
