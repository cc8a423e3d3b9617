r"""Which of many preimages: points of the polytope that the cell of a latent leaves free.

Around a z with rank J < k, G is constant on { z + N y : s_i (a_i . y + u_i) >= 0 }, N an
orthonormal basis of J's null space, u_i the pre-activations with a kink (observed outputs that are
off included), s_i their signs and a_i their gradients along N. Its Chebyshev centre

    max t   subject to   s_i (a_i . y + u_i) >= t ||a_i||,   t <= cap,

is one interval program with the shared slack cap - t; its point of least norm is Lawson and
Hanson's least-distance problem, a non-negative least-squares problem.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxinv.certify.local_rank import local_rank
from jaxinv.joint.finish import Provisional, moved
from jaxinv.joint.problem import Problem
from jaxinv.linalg.on_device import on_device
from jaxinv.lp.problem import IntervalLP, Slack
from jaxinv.lp.solve import solve_certified
from jaxinv.model import walk
from jaxinv.model.decoder import Decoder
from jaxinv.model.layer import Layer
from jaxinv.outcome.status import Status
from jaxinv.settings import Auto, ClarabelPool

NULL = 1e-10  # of the largest singular value
FLAT = 1e-9  # gradients this small along the null space, relative to the largest, are rounding
INSIDE = 1.0 - 1e-9


class Polytope(NamedTuple):
    """{ origin + basis y : rows y >= -margin }, rows (m, q), margin (m,) >= 0, basis (k, q)."""

    origin: Float[np.ndarray, " k"]
    basis: Float[np.ndarray, "k q"]
    rows: Float[np.ndarray, "m q"]
    margin: Float[np.ndarray, " m"]


def chosen_preimage(problem: Problem, found: Provisional, method: Auto) -> Provisional:
    """Move every UNDERDETERMINED latent within its cell's polytope to the point asked for."""
    latent, there = found.latent.copy(), np.isfinite(found.latent).all(-1)
    known = local_rank(problem.generator, np.where(there[:, None], latent, 0.0), problem.weight > 0)
    free = (found.status == int(Status.SOLVED)) & there & (known.rank < latent.shape[1])
    choose = chebyshev_centre if method.preimage == "chebyshev" else least_norm
    changed = np.zeros(len(latent), bool)
    for row in np.flatnonzero(free):
        polytope = cell_polytope(problem.generator, latent[row], problem.weight[row] > 0)
        if polytope is None:
            continue
        point = np.clip(choose(polytope), problem.box.low, problem.box.high)
        if _same_image(problem, int(row), latent[row], point, method.tolerance):
            latent[row], changed[row] = point, True
    return moved(found, latent, changed)


def cell_polytope(decoder: Decoder, z: np.ndarray, seen: np.ndarray) -> Polytope | None:
    """The preimages of G(z) in z's cell; None where a hidden layer is not piecewise linear."""
    hidden = decoder.layers[:-1]
    if not decoder.layers or not all(layer.activation.piecewise_linear for layer in hidden):
        return None
    with jax.enable_x64(True):
        cell = _cell(decoder.layers, on_device(z))
    _, singular, right = np.linalg.svd(np.asarray(cell.columns).T[seen], full_matrices=True)
    rank = int((singular > NULL * singular.max(initial=1e-300)).sum())
    basis = right[rank:].T
    rows, margins = [], []
    for layer, *parts in zip(decoder.layers, *cell[:3], strict=True):
        if not layer.activation.has_kink:
            continue
        u, slope, gradient = (np.asarray(part) for part in parts)
        on = slope == 1.0
        side = np.where(on, 1.0, -1.0)
        # Outputs that are on are held by the null space; those not seen may do as they like.
        kept = seen & ~on if layer is decoder.layers[-1] else np.ones(len(u), bool)
        rows.append((side[:, None] * (gradient.T @ basis))[kept])
        margins.append((side * u)[kept])
    a = np.concatenate(rows) if rows else np.zeros((0, basis.shape[1]))
    margin = np.concatenate(margins) if margins else np.zeros(0)
    size = np.linalg.norm(a, axis=1)
    held = size > FLAT * np.max(size, initial=0.0)
    return Polytope(z, basis, a[held], np.maximum(margin[held], 0.0))


class _Cell(NamedTuple):
    """Of every layer: pre-activations, slopes, and the pre-activations' gradients; and J'."""

    preactivations: tuple[Array, ...]
    slopes: tuple[Array, ...]
    gradients: tuple[Array, ...]
    columns: Array


@jax.jit
def _cell(layers: tuple[Layer, ...], z: Float[Array, " k"]) -> _Cell:
    """The cell around z, a unit on its kink being off, as it is where ranks are taken.

    An answer may end on a kink. Smooth outputs count with slope one: they have no part in ranks.
    """

    def rule(layer: Layer, u: Array) -> walk.Passage:
        output = layer.activation(u)
        if not layer.activation.has_kink:
            return walk.Passage(output, jnp.ones_like(u))
        on = u > walk.AT_KINK * jnp.abs(u).max(initial=0.0)
        return walk.Passage(output, jnp.where(on, 1.0, layer.activation.slope))

    _, preactivations, slopes = walk.walk(layers, z, rule)
    gradients = tuple(walk.gradients(layers, slopes))
    return _Cell(preactivations, slopes, gradients, slopes[-1] * gradients[-1])


def chebyshev_centre(polytope: Polytope) -> Float[np.ndarray, " k"]:
    """Centre of the largest ball in the polytope, within reach of its point of least norm.

    The polytope is often unbounded; radius and centre are kept within the root mean square of the
    least-norm point's entries, the only length that the observation gives.
    """
    m, q = polytope.rows.shape
    nearest = least_norm(polytope)
    cap = float(np.sqrt(np.mean(nearest**2)))
    if not m or cap == 0.0:
        return nearest
    shift = polytope.basis.T @ (nearest - polytope.origin)
    margin = np.maximum(polytope.margin + polytope.rows @ shift, 0.0)
    size = np.linalg.norm(polytope.rows, axis=1)
    reach = np.full((1, q), cap)
    program = IntervalLP(
        matrix=polytope.rows,
        lower=(cap * size - margin)[None],
        upper=np.full((1, m), np.inf),
        lower_slack=size[None],
        upper_slack=np.ones((1, m)),
        box_lower=-reach,
        box_upper=reach,
        cost=np.zeros((1, q)),
        slack=Slack.SHARED,
        floor=np.full(1, 1e-9 * cap),
    )
    solved = solve_certified(program, ClarabelPool(threads=1), np.zeros((1, q)), np.full(1, cap))
    y = solved.latent[0] if solved.certified[0] else np.zeros(q)
    return nearest + polytope.basis @ y


def least_norm(polytope: Polytope) -> Float[np.ndarray, " k"]:
    """The polytope's point nearest to the origin of the latent space."""
    from scipy.optimize import nnls  # slow to import, and asked for by name

    own = polytope.basis.T @ polytope.origin
    bound = polytope.rows @ own - polytope.margin
    # min ||w|| subject to rows w >= bound (Lawson & Hanson, chapter 23), w = y + N' origin.
    matrix = np.vstack([polytope.rows.T, bound[None]])
    target = np.append(np.zeros(len(own)), 1.0)
    multipliers, distance = nnls(matrix, target) if len(bound) else (np.zeros(0), 1.0)
    residual = matrix @ multipliers - target
    if distance <= 1e-12 or residual[-1] == 0:
        return polytope.origin
    w = -residual[:-1] / residual[-1]
    # A hair inside, so that rounding does not cross into the next cell.
    return polytope.origin + polytope.basis @ (INSIDE * (w - own))


def _same_image(
    problem: Problem, row: int, before: np.ndarray, after: np.ndarray, tolerance: float
) -> bool:
    seen = problem.weight[row] > 0
    images = np.asarray(problem.generator(np.stack([before, after])))[:, seen]
    scale = max(float(np.linalg.norm(images[0])), 1e-300)
    return bool(np.linalg.norm(images[1] - images[0]) <= 0.1 * tolerance * scale)
