"""One observation after the other, one layer after the other: a loop over a general solver.

Layer i's input from its output x, noise-free: min delta s.t. |s_j (w_j z + b_j) - x_j| <= delta on
the rows whose pre-activation the output fixes (s_j the activation's slope there), w_j z + b_j <=
delta on a ReLU's dead rows, z >= 0 behind a ReLU (Algorithm 1 at its first tolerance). `by_lstsq`
solves the fixed rows alone by least squares. One process with one BLAS thread: several threads take
many times as long on matrices of this size.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.optimize import linprog
from scipy.special import logit
from threadpoolctl import threadpool_limits

import jaxinv
from benchmarks.peers_race import Progress
from jaxinv.model.layer import Layer

ACTIVE = 1e-6  # of max|x|: what a solver leaves of a zero


class Rows(NamedTuple):
    """fixed z = target on the rows that the output fixes, dead z <= ceiling on the others."""

    fixed: np.ndarray
    target: np.ndarray
    dead: np.ndarray
    ceiling: np.ndarray


def rows_of(layer: Layer, x: np.ndarray) -> Rows:
    w, b, activation = np.asarray(layer.weight), np.asarray(layer.bias), layer.activation
    if activation.kind == "relu":
        on = x > ACTIVE * x.max()
        return Rows(w[on], x[on] - b[on], w[~on], -b[~on])
    none = w[:0], b[:0]
    if activation.kind == "sigmoid":
        return Rows(w, logit(x) - b, *none)
    slope = np.where(x < 0, activation.slope, 1.0)
    return Rows(slope[:, None] * w, x - slope * b, *none)


def by_cvxpy(rows: Rows, least: float) -> np.ndarray:
    import cvxpy as cp  # slow to import, and hosts without it have the other rivals

    z, delta = cp.Variable(rows.fixed.shape[1]), cp.Variable(nonneg=True)
    limits = [cp.abs(rows.fixed @ z - rows.target) <= delta]
    if len(rows.dead):
        limits.append(rows.dead @ z - rows.ceiling <= delta)
    if np.isfinite(least):
        limits.append(z >= least)
    cp.Problem(cp.Minimize(delta), limits).solve(solver="CLARABEL")
    return np.asarray(z.value)


def by_linprog(rows: Rows, least: float) -> np.ndarray:
    k = rows.fixed.shape[1]
    sides = np.concatenate([rows.fixed, -rows.fixed, rows.dead])
    limits = np.concatenate([rows.target, -rows.target, rows.ceiling])
    answer = linprog(
        np.append(np.zeros(k), 1.0),
        A_ub=np.hstack([sides, -np.ones((len(sides), 1))]),
        b_ub=limits,
        bounds=[(least, None)] * k + [(0, None)],
        method="highs",
    )
    return answer.x[:k]


def by_lstsq(rows: Rows, least: float) -> np.ndarray:
    return np.maximum(np.linalg.lstsq(rows.fixed, rows.target, rcond=None)[0], least)


def one_by_one(
    solve: Callable[[Rows, float], np.ndarray], generator: jaxinv.Generator, x: np.ndarray
) -> Iterator[Progress]:
    latent = np.full((len(x), generator.latent_size), np.nan)
    least = [-np.inf, *(layer.activation.range[0] for layer in generator.layers[:-1])]
    for i, output in enumerate(x):
        with threadpool_limits(1, user_api="blas"):
            for layer, low in zip(reversed(generator.layers), reversed(least), strict=True):
                output = solve(rows_of(layer, output), low)
        latent[i] = output
        yield Progress(latent, i + 1)


LAYERWISE = {
    "CVXPY loop (Clarabel)": partial(one_by_one, by_cvxpy),
    "linprog loop (HiGHS)": partial(one_by_one, by_linprog),
    "lstsq loop (NumPy)": partial(one_by_one, by_lstsq),
}
