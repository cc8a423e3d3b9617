"""One layer inverted for a batch: its input from its output, without noise or under it."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxinv.layerwise import least_squares
from jaxinv.layerwise.active_rows import LinearRows, linear_rows
from jaxinv.layerwise.constraints import Box, Rows
from jaxinv.layerwise.freedom import undetermined
from jaxinv.layerwise.grid import Grid
from jaxinv.layerwise.layer_program import LayerProgram
from jaxinv.layerwise.optimum import breakpoints, least_misfit
from jaxinv.layerwise.signs import best_of_sets
from jaxinv.layerwise.tolerance import Accepted, literal_loop, smallest_accepted
from jaxinv.layerwise.true_residual import L1, RELAXED, best_of_grid, walk
from jaxinv.linalg.on_device import on_device, on_host
from jaxinv.linalg.shared import shared
from jaxinv.model.layer import Layer
from jaxinv.outcome.status import Status
from jaxinv.settings import L1LP, Exact, LayerLP, LinfLP, RelaxedLP

DEFAULT_TOLERANCE = 1e-6  # of max|x|


@dataclass(frozen=True)
class LayerInput:
    """One layer inverted: its input (B, k), and a report without the rows that had failed.

    error: deviation of an entry of the input by rounding, 0 where that is not known.
    """

    latent: Float[Array, "B k"]
    tolerance: Float[np.ndarray, " B"]
    active: Int[np.ndarray, " B"]
    residual: Float[np.ndarray, " B"]
    undetermined: Int[np.ndarray, " B"]
    status: Int[np.ndarray, " B"]
    error: Float[np.ndarray, " B"]
    steps: Int[np.ndarray, " B"]
    fallback: Int[np.ndarray, " B"]


def where_realizable(
    layer: Layer,
    x: Float[Array, "B n"],
    row_weight: Float[np.ndarray, "B n"],
    live: Bool[np.ndarray, " B"],
    method: Exact,
    error: Float[Array, "B _"],
) -> LayerInput:
    """Section 3: least squares on the active rows, with the rank of each observation's rows.

    error: deviation of each output by rounding, or one for all entries of a row; an output no
    larger is not known to be active. x: anything in rows that are not live.
    """
    weight = on_device(shared(row_weight))
    there = on_device(live)
    found = _solved(layer, x, weight, there, method.threshold, error, method.noise)
    rows, attempt, amplified = found
    # One round trip has all that is to be known of them.
    said, moved = on_host((attempt.said, amplified))
    answer = least_squares.decided(
        layer.weight, rows, attempt.latent, said, live, method.rank_tolerance
    )
    free = layer.width_in - answer.rank
    return LayerInput(
        latent=answer.latent,
        tolerance=np.zeros(len(live)),
        active=answer.active,
        residual=answer.residual,
        undetermined=free,
        status=np.where(free > 0, int(Status.UNDERDETERMINED), int(Status.SOLVED)),
        error=moved * np.where(np.isfinite(answer.gain), answer.gain, 0.0),
        steps=np.full(len(live), least_squares.REFINEMENTS),
        fallback=np.zeros(len(live), np.int64),
    )


@jax.jit
def _solved(
    layer: Layer,
    x: Float[Array, "B n"],
    row_weight: Float[Array, "#B n"],
    live: Bool[Array, " B"],
    threshold: float,
    error: Float[Array, "B _"],
    noise: float,
) -> tuple[LinearRows, least_squares.Attempt, Float[Array, " B"]]:
    """Least squares on the rows above a threshold; and what errors of x are of their targets.

    The threshold is a share of the observation's largest entry, and no less than a typical error.
    """
    x = jnp.where(live[:, None], x, 0.0)
    seen = row_weight > 0
    size = jnp.max(jnp.where(seen, jnp.abs(x), 0.0), axis=-1)
    square = jnp.broadcast_to(error, x.shape) ** 2
    typical = jnp.sqrt(square.sum(-1) / jnp.maximum(seen.sum(-1), 1))
    rows = linear_rows(layer, x, row_weight, jnp.maximum(threshold * size, typical), noise)
    return rows, least_squares.attempt(layer.weight, rows), _amplified(layer, x, rows, error)


def _amplified(
    layer: Layer,
    x: Float[Array, "B n"],
    rows: LinearRows,
    error: Float[Array, "B _"],
) -> Float[Array, " B"]:
    """What errors of x are of D t, the weighted targets: their root mean square, active rows."""
    slope: Array | float = 1.0
    if layer.activation.kind == "leaky_relu":
        slope = jnp.where(x < 0, layer.activation.slope, 1.0)
    elif layer.activation.squashing:
        low, high = layer.activation.range
        inside = jnp.where(rows.active, x, (low + high) / 2)
        slope = layer.activation.slope_of_output(inside, jnp)
    square = jnp.where(rows.active, (rows.weight / slope * error) ** 2, 0.0)
    return jnp.sqrt(square.sum(-1) / jnp.maximum(rows.active.sum(-1), 1))


def under_noise(
    layer: Layer,
    x: Float[Array, "B n"],
    row_weight: Float[np.ndarray, "B n"],
    live: Bool[np.ndarray, " B"],
    method: LayerLP,
    box: Box,
    above: int,
    carried: Float[np.ndarray, " B"],
) -> LayerInput:
    """Algorithm 1, 2 or 3 on a layer with `above` layers above it.

    carried: the tolerances that the layer above accepted, 0 where there is none.
    """
    weight, bias = layer.on_host
    rows = Rows(
        weight,
        bias,
        layer.activation,
        np.where(live[:, None], np.asarray(x), 0.0),
        row_weight,
        box,
        one_sided=layer.activation.kind == "leaky_relu" and method.negative == "inactive",
    )
    program = LayerProgram(layer, rows, method.solver)
    accepted = _search(program, _grid(rows, method, above, carried), live, method)
    free = undetermined(program, accepted.latent, accepted.tolerance)
    misfit = np.abs(rows.output(accepted.latent) - rows.x)
    return LayerInput(
        latent=on_device(accepted.latent),
        tolerance=accepted.tolerance,
        active=_two_sided(rows, accepted),
        residual=np.max(misfit, axis=-1, where=rows.observed, initial=0.0),
        undetermined=free,
        status=_status(accepted, free),
        error=np.zeros(len(live)),
        steps=accepted.steps,
        fallback=program.fallback,
    )


def _search(program: LayerProgram, grid: Grid, live: np.ndarray, method: LayerLP) -> Accepted:
    if isinstance(method, LinfLP):
        if method.schedule == "optimum":
            return least_misfit(program, live)
        quick = method.schedule == "smallest"
        return (smallest_accepted if quick else literal_loop)(program, grid, live)
    objective = L1 if isinstance(method, L1LP) else RELAXED
    if method.schedule in ("loop", "fixed"):
        return walk(objective, program, grid, live)
    if isinstance(method, L1LP):
        return best_of_sets(program, live, method.schedule == "best")
    return best_of_grid(program, grid, live)


def _grid(rows: Rows, method: LayerLP, above: int, carried: np.ndarray) -> Grid:
    size = rows.size
    if isinstance(method, RelaxedLP) and rows.activation.squashing:
        # Beyond this fewer than k rows pull: any point would do. The grid ends two steps above it.
        size = breakpoints(rows)[:, -min(rows.matrix.shape)] / method.growth**2
    start = np.full(len(size), method.initial_tolerance or 0.0)
    if method.initial_tolerance is None:
        # An observation of zeros has no scale; any positive start serves it.
        start = np.where(rows.size > 0, DEFAULT_TOLERANCE * rows.size, 1.0)
    start = start * method.layer_growth**above
    if method.carry_tolerance:
        start = np.where(carried > 0, carried, start)
    return (
        Grid.single(start) if method.schedule == "fixed" else Grid.up_to(start, method.growth, size)
    )


def _two_sided(rows: Rows, accepted: Accepted) -> Int[np.ndarray, " B"]:
    bound = rows.observed
    if rows.like_relu:
        bound = bound & (rows.row_weight * rows.x > accepted.tolerance[:, None])
    return bound.sum(-1)


def _status(accepted: Accepted, free: Int[np.ndarray, " B"]) -> Int[np.ndarray, " B"]:
    status = np.where(free > 0, int(Status.UNDERDETERMINED), int(Status.SOLVED))
    status = np.where(accepted.exhausted, int(Status.TOLERANCE_EXHAUSTED), status)
    return np.where(accepted.failed, int(Status.SOLVER_FAILED), status)
