r"""A radius that no noise within a bound can break: |x_j - G(z*)_j| <= a for every observed j.

A ReLU row with x_j > a is truly active, a LeakyReLU row with |x_j| > a has the sign it shows. On
those rows I the pre-activation is known up to rho_j (a, a / c on the leaky side, the image of the
interval under the inverse of a sigmoid or tanh), so with a left inverse L of W_I

    h = L (u_I - b_I),     |h - h*|_j <= sum_i |M_ji| rho_i,     M = L at the last layer,

and M = L M_I further down, over the hidden rows that the radius itself certifies. Where that
certifies the activity of every hidden unit, the net is affine around the latent and one left
inverse of the whole Jacobian gives the far smaller radius sum_i |J^+_ji| rho_i.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxinv.certify.identifiability import observed_rows
from jaxinv.model.activation import Activation
from jaxinv.model.generator import Generator, undone_by_layers

ROUNDING = 1e-13  # of what is multiplied: far above the rounding of these sums, far below noise
LARGEST_EXCESS = 0.5  # ||L W - I|| up to which an inverse is one
SINGULAR = 1e-10
REWEIGHTINGS = 6


@dataclass(frozen=True)
class Known:
    """A vector known as `value` + operator e, |e_i| <= 1, up to `rounding`."""

    value: Float[np.ndarray, " m"]
    operator: Float[np.ndarray, "m r"]
    rounding: float = 0.0

    @property
    def radius(self) -> Float[np.ndarray, " m"]:
        return np.abs(self.operator).sum(1) + self.rounding


def rigorous_radius(
    generator: Generator, observations: Any, bound: Any, mask: Any = None
) -> tuple[Float[np.ndarray, "*batch k"], Float[np.ndarray, "*batch k"]]:
    """centre, radius, each (B, k) or (k,), with |centre - z*| <= radius entry by entry.

    It holds for every z* with |x_j - G(z*)_j| <= bound on the observed entries, around this centre
    and no other (for another estimate add its distance to the centre). bound: a number, or (n,).
    The radius is infinite, and the centre NaN, where the certified rows do not suffice. Raises
    ValueError where a shape does not fit or the bound is not positive and finite.

    >>> g = jaxinv.Generator.random((2, 8, 200), seed=0)
    >>> noise = np.random.default_rng(0).uniform(-1e-4, 1e-4, 200)
    >>> x = np.asarray(g(np.ones(2))) + noise
    >>> centre, radius = jaxinv.rigorous_radius(g, x, 1e-4)
    >>> (abs(centre - 1.0) <= radius).tolist(), bool((radius < 0.01).all())
    ([True, True], True)
    """
    undone_by_layers(generator, "rigorous_radius", "jaxinv.confidence needs none")
    x = np.asarray(observations, dtype=np.float64)
    rows = np.atleast_2d(x)
    n = generator.observation_size
    if x.ndim not in (1, 2) or rows.shape[1] != n:
        raise ValueError(f"observations have shape {x.shape}; expected ({n},) or (B, {n})")
    a = np.asarray(bound, dtype=np.float64)
    if a.shape not in ((), (n,)) or not (np.isfinite(a).all() and (a >= 0).all()):
        raise ValueError(f"bound must be 0 or more and finite, a number or of shape ({n},)")
    observed = observed_rows(mask, rows.shape)
    found = [
        _smallest(generator, row, np.broadcast_to(a, (n,)), seen & np.isfinite(row))
        for row, seen in zip(rows, observed, strict=True)
    ]
    centre, radius = (
        np.array(part).reshape(-1, generator.latent_size) for part in zip(*found, strict=True)
    )
    return (centre[0], radius[0]) if x.ndim == 1 else (centre, radius)


def _smallest(
    generator: Generator, x: np.ndarray, a: np.ndarray, seen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """By least squares; where that certifies too little, by left inverses of small l1 norm."""
    quick = _radius(generator, x, a, seen, 0)
    if np.isfinite(quick[1]).all():
        return quick
    return _radius(generator, x, a, seen, REWEIGHTINGS)


def _radius(
    generator: Generator, x: np.ndarray, a: np.ndarray, seen: np.ndarray, reweightings: int
) -> tuple[np.ndarray, np.ndarray]:
    k = generator.latent_size
    outputs = rows, known = _certified_outputs(generator.layers[-1].activation, x, a, seen)
    for number in reversed(range(generator.depth)):
        layer = generator.layers[number]
        if number < generator.depth - 1:
            rows, known = _certified_inputs(layer.activation, known)
        below = _invert(
            np.asarray(layer.weight)[rows], np.asarray(layer.bias)[rows], known, reweightings
        )
        if below is None:
            return np.full(k, np.nan), np.full(k, np.inf)
        known = below
    affine = _certified_cell(generator, known)
    if affine is not None:
        rows, whole = outputs
        jacobian, offset = affine
        better = _invert(jacobian[rows], offset[rows], whole, reweightings)
        if better is not None and better.radius.max() < known.radius.max():
            known = better
    return known.value, known.radius


def _certified_outputs(
    activation: Activation, x: np.ndarray, a: np.ndarray, seen: np.ndarray
) -> tuple[np.ndarray, Known]:
    """Which outputs x, known up to a, fix their pre-activation, and what is known of it."""
    if activation.squashing:
        low, high = activation.range
        rows = seen & (x - a > low) & (x + a < high)
        ends = [activation.inverse(v) for v in (x[rows] - a[rows], x[rows] + a[rows])]
        return rows, Known((ends[0] + ends[1]) / 2, np.diag((ends[1] - ends[0]) / 2))
    rows, slope = _sides(activation, x, a)
    rows = rows & seen
    return rows, Known(x[rows] / slope[rows], np.diag(a[rows] / slope[rows]))


def _certified_inputs(activation: Activation, known: Known) -> tuple[np.ndarray, Known]:
    """The hidden outputs whose side of the kink is certain, as pre-activations."""
    h, radius = known.value, known.radius
    if activation.squashing:
        # The interval's image is not linear in the errors: each row becomes an error of its own.
        return _certified_outputs(activation, h, radius, np.ones(len(h), bool))
    rows, slope = _sides(activation, h, radius)
    slope = slope[rows]
    rounding = known.rounding / slope.min(initial=1.0)
    return rows, Known(h[rows] / slope, known.operator[rows] / slope[:, None], rounding)


def _sides(
    activation: Activation, x: np.ndarray, radius: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a piecewise linear activation whose side is certain, and the slope on that side."""
    if activation.kind == "identity":
        return np.ones(len(x), bool), np.ones(len(x))
    if activation.kind == "relu":
        return x > radius, np.ones(len(x))
    return np.abs(x) > radius, np.where(x > 0, 1.0, activation.slope)


def _invert(weight: np.ndarray, bias: np.ndarray, known: Known, reweightings: int) -> Known | None:
    """The layer's input from certified rows, by least squares weighted with their radii."""
    m, k = weight.shape
    if m < k:
        return None
    radius = known.radius
    scale = 1.0 / np.maximum(radius, max(1e-9 * radius.max(), 1e-300))
    scale = scale / scale.max()
    left, singular, right = np.linalg.svd(scale[:, None] * weight, full_matrices=False)
    if singular[-1] <= SINGULAR * singular[0]:
        return None
    inverse = (right.T / singular) @ left.T * scale
    for _ in range(reweightings):
        sharper = _reweighted(inverse, weight, radius)
        if not _excess(sharper, weight) < LARGEST_EXCESS:
            break
        inverse = sharper
    target = known.value - bias
    value, operator = inverse @ target, inverse @ known.operator
    size = np.abs(inverse)
    # L W = I + R: the input is off by R times itself, and by what L makes of earlier rounding.
    excess = _excess(inverse, weight)
    if not excess < LARGEST_EXCESS:
        return None
    largest = np.abs(value).max() + np.abs(operator).sum(1).max()
    rounding = excess * largest / (1.0 - excess) + size.sum(1).max() * known.rounding
    return Known(value, operator, rounding + ROUNDING * (size @ np.abs(target)).max())


def _excess(inverse: np.ndarray, weight: np.ndarray) -> float:
    """||L W - I||_inf, NaN where L is not finite."""
    return float(np.abs(inverse @ weight - np.eye(weight.shape[1])).sum(1).max())


def _reweighted(inverse: np.ndarray, weight: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """A left inverse whose rows have smaller sum_i |L_ji| radius_i (iterated least squares)."""
    size = np.abs(inverse) / np.maximum(radius, 1e-300)
    d = size / size.max(axis=1, keepdims=True) + 1e-9
    weighted = d[:, :, None] * weight
    normal = weight.T @ weighted
    unit = np.eye(weight.shape[1])[:, :, None]
    try:
        rows: np.ndarray = (weighted @ np.linalg.solve(normal, unit))[:, :, 0]
    except np.linalg.LinAlgError:  # weights so far apart that the normal matrix is singular
        return np.full_like(inverse, np.nan)
    return rows


def _certified_cell(generator: Generator, known: Known) -> tuple[np.ndarray, np.ndarray] | None:
    """J and c with last pre-activation = J z + c, if z's radius fixes every hidden unit's side."""
    product, offset = np.eye(len(known.value)), np.zeros(len(known.value))
    for layer in generator.layers[:-1]:
        weight = np.asarray(layer.weight)
        product, offset = weight @ product, weight @ offset + np.asarray(layer.bias)
        if layer.activation.squashing:
            return None
        u = product @ known.value + offset
        radius = np.abs(product @ known.operator).sum(1) + np.abs(product).sum(1) * known.rounding
        if layer.activation.kind != "identity" and (np.abs(u) <= radius).any():
            return None
        slope = np.where(u > 0, 1.0, layer.activation.slope)
        product, offset = slope[:, None] * product, slope * offset
    last = generator.layers[-1]
    weight = np.asarray(last.weight)
    return weight @ product, weight @ offset + np.asarray(last.bias)
