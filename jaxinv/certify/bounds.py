r"""The error bounds of Theorems 3 and 4 and Corollary 1, for a given net, code and noise bound.

One layer, any of the norms p = inf, 1, 2. The method sees y = phi(W z* + b) + e, ||e||_p <= eps,
counts row j as active when y_j > t, and returns z minimising the p-norm of the slacks s_j with
|w_j . z + b_j - y_j| <= s_j on active rows, w_j . z + b_j <= y_j + s_j on the others (and z >= 0
where z* is known to be so). Let A hold rows that are active for the method and at z*. Then

1. z* fits with slacks |e_j|: on a row that is active for both, w_j . z* + b_j = y_j - e_j; on the
   others, w_j . z* + b_j <= phi(w_j . z* + b_j) = y_j - e_j. So the least slack is at most eps.
   This needs every row that the method counts to be active at z*, which t >= eps ensures.
2. Hence ||W_A (z - z*)||_p <= ||s||_p + ||e||_p <= 2 eps, and ||z - z*||_p <= 2 eps / c_p(W_A).
3. This error is the next layer's e. Over d layers the bound is eps prod_i 2 / c_p(W_i[A_i]), at
   most (2 / c)^d eps with c the smallest of the constants: the form in which the paper has it.

p = inf does not need t >= eps. Algorithm 1 accepts the smallest t of its grid with slack s <= t.
At t >= eps step 1 holds, so t never exceeds the first grid point above eps; and at t < eps the
accepted slack is at most t < eps by itself. A = {j : y_j > max(t, eps)} serves both cases.

W_i has shape (n_i, n_{i-1}), and biases cancel in step 2. Before an observation is seen, a row is
in A for certain when its clean value exceeds t + eps: with a grid, (1 + growth) eps and not 2 eps.

LeakyReLU, slope c, p = inf: every z that is feasible at t has |phi(u_j) - y_j| <= t on all rows, so
|phi(u_j) - phi(u*_j)| <= t + eps, and ||D W (z - z*)||_inf <= t + eps with D_j = 1 on rows that are
positive for both and D_j = c elsewhere: no assumption on activity is left. For p = 1, 2 a row with
|y_j| <= t can cost z* more slack than |e_j|, so all rows must exceed t in size; then 2 eps holds
with D as before. An identity layer has D = 1 on all rows.

Least squares over the active rows, p = 2, has z - z* = W_I^+ e_I: eps takes the place of 2 eps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxinv.certify.constants import Effort, Norm, check_norm, lower_bound
from jaxinv.model.generator import Generator, undone_by_layers
from jaxinv.model.layer import Layer

# As the methods do: the first tolerance tried, relative to the largest value seen.
FIRST_TOLERANCE = 1e-6


@dataclass(frozen=True)
class LayerBound:
    """One layer's share of an `ErrorBound`.

    layer: counted from 1. noise: eps_i, bound on the p-norm of the error in what the method sees
    at this layer's output. tolerance: the largest threshold t_i the method may have used; for l1
    and l2 also at least `noise`. rows: how many rows enter W_A. constant: proven lower bound of c_p
    of those rows. error: eps_{i-1}, bound on the p-norm of the error at the layer's input.

    >>> from jaxinv.certify import error_bound
    >>> g = jaxinv.Generator.random((2, 20, 200), seed=0)
    >>> [(share.layer, share.rows) for share in error_bound(g, np.ones(2), 1e-6).layers]
    [(1, 8), (2, 102)]
    """

    layer: int
    noise: float
    tolerance: float
    rows: int
    constant: float
    error: float


@dataclass(frozen=True)
class ErrorBound:
    """A bound on ||z - z*||_p, with the assumptions it rests on (Theorems 3 and 4, Corollary 1).

    value: the bound, in units of the latent; infinite where an assumption fails. failed: one
    sentence for each assumption that fails, empty where all hold. layers: first layer first; a
    layer below one that failed has no entry.

    >>> from jaxinv.certify import error_bound
    >>> bound = error_bound(jaxinv.Generator.random((2, 20, 200), seed=0), np.ones(2), 1.0)
    >>> bound.value, bound.holds
    (inf, False)
    >>> bound.failed[0]
    'layer 2: the 0 of 200 rows that are active for certain ... do not determine its 20 inputs'
    """

    value: float
    norm: Norm
    failed: tuple[str, ...]
    layers: tuple[LayerBound, ...]

    @property
    def holds(self) -> bool:
        """Whether every assumption holds, so that the value is proven."""
        return not self.failed


@dataclass(frozen=True)
class _Seen:
    """What is known of one layer's output: certain sizes, and what the slack can reach."""

    values: Float[np.ndarray, " n"]
    cutoff: float
    tolerance: float
    distance: float


def error_bound(
    generator: Generator,
    latent: Any,
    noise: float,
    norm: Norm = "linf",
    *,
    growth: float | None = None,
    initial_tolerance: float | None = None,
    least_squares: bool = False,
    solver_error: float = 0.0,
    effort: Effort = "fast",
) -> ErrorBound:
    r"""How far from a known code z* a layer-wise inversion of G(z*) + e can end, ||e||_p <= noise.

        ||z - z*||_p <= noise prod_i 2 / c_p(W_i[A_i])

    with A_i the rows whose clean value exceeds tolerance_i + noise_i (derivation: this module's
    head).

    "linf" is Theorem 3 for Algorithm 1, whose tolerances lie on the grid initial_tolerance *
    growth^t, anew at each layer; growth defaults to 1.2, initial_tolerance to 1e-6 of the largest
    value seen.

    "l1" is Theorem 4 and "l2" Corollary 1, for programs whose threshold at layer i lies between
    `noise` and `tolerance` of that layer's `LayerBound`; growth, their ratio, defaults to 1, and
    initial_tolerance to 0.

    latent: (k,). noise: in units of the observation. least_squares: "l2" only, for least squares
    over the active rows: noise instead of 2 noise at each layer. solver_error: by how much a
    solver's answer may miss rows and optimum together, in the p-norm. effort: as in `lower_bound`.
    Raises ValueError for a latent of another shape, a negative or non-finite number, growth below
    1, or an unknown norm.

    >>> from jaxinv.certify import error_bound
    >>> g = jaxinv.Generator.random((2, 20, 200), seed=0)
    >>> bound = error_bound(g, np.ones(2), noise=1e-6)
    >>> noise = np.random.default_rng(0).uniform(-1e-6, 1e-6, 200)
    >>> x = np.asarray(g(np.ones(2))) + noise
    >>> error = abs(np.asarray(jaxinv.invert(g, x, "linf").latent) - 1.0).max()
    >>> bound.holds, bool(error <= bound.value)
    (True, True)
    """
    undone_by_layers(generator, "error_bound", "jaxinv.confidence needs none")
    z = np.asarray(latent, dtype=np.float64)
    if z.shape != (generator.latent_size,) or not np.isfinite(z).all():
        raise ValueError(
            f"latent has shape {z.shape}; expected one finite code ({generator.latent_size},)"
        )
    if growth is None:
        growth = 1.2 if norm == "linf" else 1.0
    if not 1.0 <= growth < np.inf:
        raise ValueError(f"growth={growth} must be at least 1: tolerances are multiplied by it")
    if initial_tolerance is not None:
        _check_size("initial_tolerance", initial_tolerance)
    outputs = [np.asarray(values) for values in generator.outputs(z)]

    def seen(index: int, eps: float) -> _Seen:
        first = initial_tolerance
        if first is None:
            largest = float(np.abs(outputs[index]).max()) + eps
            first = FIRST_TOLERANCE * largest if norm == "linf" else 0.0
        tolerance = max(growth * eps, first)
        distance = eps + (tolerance if _slack_reaches_tolerance(generator, index, norm) else eps)
        return _Seen(outputs[index], tolerance + eps, tolerance, distance)

    return _all_layers(generator, noise, norm, seen, least_squares, solver_error, effort)


def observed_error_bound(
    generator: Generator,
    estimates: Sequence[Any],
    tolerances: Sequence[float],
    noise: float,
    norm: Norm = "linf",
    *,
    least_squares: bool = False,
    solver_error: float = 0.0,
    effort: Effort = "fast",
) -> ErrorBound:
    r"""The bound of `error_bound` from what an inversion saw, without the true code.

    estimates: d arrays, the values that each layer was inverted from, first layer first, so the
    last one is the observation. tolerances: the d thresholds used there, for "linf" the accepted
    ones. A_i holds the rows with estimate above max(tolerance_i, noise_i); for "linf" the slack is
    at most min(tolerance_i, noise_i). For "l1" and "l2" tolerance_i >= noise_i is an assumption,
    and is checked. Other arguments, units and errors as in `error_bound`.

    >>> from jaxinv.certify import observed_error_bound
    >>> g = jaxinv.Generator.random((2, 200), seed=0)
    >>> noise = np.random.default_rng(0).uniform(-1e-6, 1e-6, 200)
    >>> x = np.asarray(g(np.ones(2))) + noise
    >>> r = jaxinv.invert(g, x, "linf")
    >>> bound = observed_error_bound(g, [x], [float(r.layers[0].tolerance)], noise=1e-6)
    >>> bool(abs(np.asarray(r.latent) - 1.0).max() <= bound.value < 1e-4)
    True
    """
    undone_by_layers(generator, "observed_error_bound", "jaxinv.confidence needs none")
    arrays = [np.asarray(estimate, dtype=np.float64) for estimate in estimates]
    shapes = [array.shape for array in arrays]
    if shapes != [(width,) for width in generator.widths[1:]]:
        raise ValueError(f"estimates have shapes {shapes}; expected sizes {generator.widths[1:]}")
    if len(tolerances) != generator.depth:
        raise ValueError(f"{len(tolerances)} tolerances arrived for {generator.depth} layers")
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("estimates hold NaN or infinity; leave out rows whose inversion failed")
    for tolerance in tolerances:
        _check_size("tolerance", tolerance)

    def seen(index: int, eps: float) -> _Seen:
        t = float(tolerances[index])
        if _slack_reaches_tolerance(generator, index, norm):
            distance = eps + t
        else:
            distance = eps + (min(t, eps) if norm == "linf" else eps)
        return _Seen(arrays[index], max(t, eps), t, distance)

    return _all_layers(generator, noise, norm, seen, least_squares, solver_error, effort)


def _slack_reaches_tolerance(generator: Generator, index: int, norm: Norm) -> bool:
    return norm == "linf" and generator.layers[index].activation.kind == "leaky_relu"


def _all_layers(
    generator: Generator,
    noise: float,
    norm: Norm,
    seen: Callable[[int, float], _Seen],
    least_squares: bool,
    solver_error: float,
    effort: Effort,
) -> ErrorBound:
    check_norm(norm)
    _check_size("noise", noise)
    _check_size("solver_error", solver_error)
    if least_squares and norm != "l2":
        raise ValueError(f"least_squares=True bounds the 'l2' error; norm is {norm!r}")
    eps = float(noise)
    layers: list[LayerBound] = []
    for index in reversed(range(generator.depth)):
        layer, known = generator.layers[index], seen(index, eps)
        # A grid's tolerances never matter to "linf"; to the others too small a threshold does.
        too_small = norm != "linf" and layer.activation.kind != "identity" and known.tolerance < eps
        if too_small:
            sentence = (
                f"layer {index + 1}: the tolerance {known.tolerance:.3g} is below the noise bound "
                f"{eps:.3g}, so rows that are not active may have counted as active"
            )
            return ErrorBound(np.inf, norm, (sentence,), tuple(layers))
        rows = _certain_rows(layer, known, norm)
        if isinstance(rows, str):
            return ErrorBound(np.inf, norm, (f"layer {index + 1}: {rows}",), tuple(layers))
        constant = lower_bound(rows, norm, effort).value
        distance = (eps if least_squares else known.distance) + solver_error
        error = distance / constant if constant > 0.0 else np.inf
        layers.insert(
            0, LayerBound(index + 1, eps, known.tolerance, len(rows), constant, float(error))
        )
        if not np.isfinite(error):
            sentence = (
                f"layer {index + 1}: the {len(rows)} of {layer.width} rows that are active for "
                f"certain (above {known.cutoff:.3g}) do not determine its {layer.width_in} inputs"
            )
            return ErrorBound(np.inf, norm, (sentence,), tuple(layers))
        eps = float(error)
    return ErrorBound(eps, norm, (), tuple(layers))


def _certain_rows(layer: Layer, known: _Seen, norm: Norm) -> Float[np.ndarray, "m k"] | str:
    """D W restricted to the rows that bind z and z* alike, or why there is no such statement."""
    weight, activation = np.asarray(layer.weight), layer.activation
    if activation.kind == "relu":
        return weight[known.values > known.cutoff]
    if activation.kind == "identity":
        return weight
    if activation.kind != "leaky_relu":
        return f"the theorems do not speak of {activation}"
    ambiguous = int((np.abs(known.values) <= known.cutoff).sum())
    if norm != "linf" and ambiguous:
        return f"{ambiguous} rows are within {known.cutoff:.3g} of LeakyReLU's kink"
    return weight * np.where(known.values > known.cutoff, 1.0, activation.slope)[:, None]


def _check_size(what: str, value: float) -> None:
    if not 0.0 <= value < np.inf:
        raise ValueError(f"{what}={value} must be a finite number, zero or above")
