"""Algorithms 1, 2 and 3 of Lei, Jalal, Dhillon and Dimakis (2019), written out in CVXPY.

To be laid beside the paper; where it is misprinted the corrected form stands, with a word on it.
One layer x = phi(W z + b) + e, one observation. I+ = {x_j > eps}, I- = {x_j < -eps}, I0 the rest.
Any solver that CVXPY has installed will do. Programs are solved in w, z = centre + scale w, so
that a solver's absolute tolerances mean something under little noise; the unit of slack is scale.
"""

from dataclasses import dataclass, field

import cvxpy as cp
import numpy as np

EXACT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


@dataclass
class Layer:
    """phi = ReLU for slope c = 0, else LeakyReLU; hidden: its input is a ReLU layer's output.

    omega: importance of each row, 0 where it is not observed; a tolerance or slack of eps means
    eps / omega_j in row j. box: further bounds on z. one_sided: Remark 2's first variant.
    """

    w: np.ndarray
    b: np.ndarray
    c: float = 0.0
    hidden: bool = False
    omega: np.ndarray | None = None
    box: tuple[float, float] = (-np.inf, np.inf)
    one_sided: bool = False
    centre: np.ndarray = field(init=False)
    scale: float = field(init=False, default=1.0)

    def __post_init__(self):
        self.centre = np.zeros(self.w.shape[1])
        self.omega = np.ones(len(self.b)) if self.omega is None else self.omega

    @property
    def bounds(self):
        low, high = self.box
        return (max(low, 0.0) if self.hidden else low), high

    def recentre(self, x, eps):
        """Centre on the least-squares point of the decided rows, in units of its violation."""
        seen = self.omega > 0
        decided = seen & ((x > eps) | (self.c > 0))
        u = np.where(x < 0, x / self.c, x) if self.c else x
        z = np.linalg.lstsq(self.w[decided], (u - self.b)[decided], rcond=None)[0]
        self.centre = np.clip(z, *self.bounds)
        self.scale = max(np.abs(self.phi(self.centre) - x)[seen].max(), 1e-9 * np.abs(x).max())

    def phi(self, z):
        u = self.w @ z + self.b
        return np.where(u > 0, u, self.c * u)

    def latent(self):
        """z's recentred variable w, the rows W w, and what z's bounds say of w."""
        w = cp.Variable(self.w.shape[1])
        low, high = ((bound - self.centre) / self.scale for bound in self.bounds)
        limits = [w >= low] if np.isfinite(low).all() else []
        limits += [w <= high] if np.isfinite(high).all() else []
        return w, self.w @ w, limits

    def at(self, y, rows):
        """The value that W w has on these rows where u has the value y."""
        return (y - self.b - self.w @ self.centre)[rows] / self.scale


def interval_rows(layer, x, eps, v, slack):
    """The constraints that Algorithms 1 and 2 share; slack is delta (the same in each row) or e."""
    c, at, omega = layer.c, layer.at, np.where(layer.omega > 0, layer.omega, 1.0)
    seen, s = layer.omega > 0, cp.multiply(1.0 / omega, slack)
    plus, minus = seen & (x > eps / omega), seen & (x < -eps / omega)
    rest = seen & ~plus & ~minus
    rows = [at(x, plus) - s[plus] <= v[plus], v[plus] <= at(x, plus) + s[plus]]
    if not c or layer.one_sided:
        # ReLU (eq. 3): u_j <= x_j + delta off I+.
        rest = rest | minus
        rows += [v[rest] <= at(x, rest) + s[rest]]
    else:
        # LeakyReLU: c u_j within delta of x_j on I-; either slope on I0 (-eps <= x_j <= eps).
        rows += [at(x / c, minus) - s[minus] / c <= v[minus]]
        rows += [v[minus] <= at(x / c, minus) + s[minus] / c]
        rows += [at(x / c, rest) - s[rest] / c <= v[rest], v[rest] <= at(x, rest) + s[rest]]
    return rows


def linf_program(layer, x, eps, capped=False):
    """Algorithm 1's linear program: min delta; the paper caps delta by eps, and may be infeasible.

    delta >= 0 is not printed: without it the program is unbounded where I+ is small.
    """
    w, v, limits = layer.latent()
    delta = cp.Variable(nonneg=True)
    rows = interval_rows(layer, x, eps, v, delta * np.ones(len(x)))
    cap = [delta <= eps / layer.scale] if capped else []
    return cp.Problem(cp.Minimize(delta), limits + rows + cap), w


def l1_program(layer, x, eps):
    """Algorithm 2's linear program: min sum_j e_j, e >= 0."""
    w, v, limits = layer.latent()
    e = cp.Variable(len(x), nonneg=True)
    rows = interval_rows(layer, x, eps, v, e)
    return cp.Problem(cp.Minimize(cp.sum(e[layer.omega > 0])), limits + rows), w


def relaxed_program(layer, x, eps):
    """Algorithm 3's linear program, eq. 6 (ReLU) and eq. 7 (LeakyReLU); z >= 0 is not printed."""
    w, v, limits = layer.latent()
    seen = layer.omega > 0
    t = eps / np.where(seen, layer.omega, 1.0)
    rows = [v[seen] <= layer.at(np.maximum(0.0, x + t), seen)]
    pull = layer.omega * np.maximum(x, 0.0)
    if layer.c and not layer.one_sided:
        rows += [layer.at(np.minimum(x - t, 0.0) / layer.c, seen) <= v[seen]]
        pull = layer.omega * x
    return cp.Problem(cp.Maximize((pull @ layer.w) @ w), limits + rows), w


PROGRAMS = {"linf": linf_program, "l1": l1_program, "relaxed": relaxed_program}


def solve(program, layer, solver="HIGHS"):
    """The optimum and z, or None where the solver finds none."""
    problem, w = program
    problem.solve(solver=solver, **(EXACT if solver == "HIGHS" else {}))
    if problem.status != cp.OPTIMAL:
        return None
    return float(problem.value), layer.centre + layer.scale * w.value


def algorithm_1(layer, x, eps0, alpha):
    """eps = eps0, alpha eps0, ... until the program is FEASIBLE (printed: infeasible)."""
    eps = eps0
    while True:
        layer.recentre(x, eps)
        answer = solve(linf_program(layer, x, eps, capped=True), layer)
        if answer is not None:
            return eps, answer[1]
        eps *= alpha


def first_no_better(program, norm, layer, x, eps0, alpha):
    """Algorithms 2 and 3: stop at the first z no better than the one before it, and return that.

    Printed: the ground truth x* in the place of the observation x, which is all there is.
    """
    eps, before = eps0, None
    while True:
        layer.recentre(x, eps)
        z = solve(program(layer, x, eps), layer)[1]
        residual = np.linalg.norm(layer.omega * (layer.phi(z) - x), norm)
        if before is not None and residual >= before[0] * (1 - 1e-6):
            return before[1], before[2]
        before, eps = (residual, eps, z), eps * alpha
