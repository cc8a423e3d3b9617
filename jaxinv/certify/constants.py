r"""The constants c_p of a weight matrix, ||W z||_p >= c_p ||z||_p for every z, p = inf, 1, 2.

They stretch a layer's error in the theorems (Assumptions 1 and 2), so a number that enters a bound
must lie below c_p, whatever rounding and solvers did. Every lower bound here rests on one check: a
matrix L with L W = I + R and ||R||_p = rho < 1 gives (1 - rho) ||z||_p <= ||L||_p ||W z||_p, hence

    c_p >= (1 - rho) / ||L||_p.

Any L will do; linear programs only look for a better one, and a bad answer costs tightness, never
truth. For p = inf the best L attains c_p: its row i solves min ||l||_1 subject to W' l = e_i, the
dual of max z_i subject to ||W z||_inf <= 1.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float
from scipy import sparse

Norm = Literal["linf", "l1", "l2"]
Effort = Literal["fast", "thorough"]

ORDER: dict[Norm, float] = {"linf": np.inf, "l1": 1, "l2": 2}

ROUNDING = float(np.finfo(np.float64).eps)

# Beyond these sizes the l1 programs take more than a few seconds.
SIGN_COLUMNS = 8
JOINT_ENTRIES = 3000


@dataclass(frozen=True)
class LowerBound:
    """A proven number below c_p: ||W z||_p >= value ||z||_p for every z.

    value: 0 where nothing is proven (rank below k, or too ill-conditioned to tell). exact: a z was
    found with ||W z||_p <= (1 + 1e-6) value ||z||_p, so that no larger constant exists.

    >>> from jaxinv.certify import lower_bound
    >>> round(lower_bound(np.eye(3), "linf", effort="thorough").value, 12)
    1.0
    """

    value: float
    norm: Norm
    exact: bool = False


@dataclass(frozen=True)
class SampledUpperEstimate:
    """The smallest ||W z||_p / ||z||_p among some directions: at least c_p, often far above it.

    No bound accepts one. It tells how much room there is between a `LowerBound` and the truth.

    >>> from jaxinv.certify import sampled_upper_estimate
    >>> estimate = sampled_upper_estimate(np.eye(3), "l2", samples=10)
    >>> round(estimate.value, 12), estimate.directions
    (1.0, 16)
    """

    value: float
    norm: Norm
    directions: int


def lower_bound(weight: Any, norm: Norm, effort: Effort = "fast") -> LowerBound:
    r"""A proven lower bound of c_p = min_z ||W z||_p / ||z||_p (Assumptions 1 and 2).

    weight: W, (m, k), a weight matrix or its active rows. effort: "fast" takes the pseudo-inverse
    as L, which is at least as good as sigma_min / sqrt(m) for p = inf and sigma_min / sqrt(k) for
    p = 1. "thorough" gives the exact c_inf by k linear programs; the exact c_1 by up to 2^(k-1)
    programs for k <= 8, and for k m <= 3,000 the best L by one program. p = 2 is exact either way:
    sigma_min less the rounding of the decomposition. Raises ValueError for a weight that is no
    finite matrix and for an unknown norm or effort.

    >>> from jaxinv.certify import lower_bound
    >>> weight = np.array([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    >>> c = lower_bound(weight, "linf", effort="thorough")
    >>> round(c.value, 6), c.exact
    (2.0, True)
    """
    w = _checked_matrix(weight)
    check_norm(norm)
    if effort not in get_args(Effort):
        raise ValueError(f"effort={effort!r} is not known; expected one of {get_args(Effort)}")
    rows, columns = w.shape
    if rows < columns:
        return LowerBound(0.0, norm)
    if norm == "l2":
        return _smallest_singular_value(w)
    try:
        pseudo_inverse = np.linalg.pinv(w)
    except np.linalg.LinAlgError:
        return LowerBound(0.0, norm)
    value = _proven_by(pseudo_inverse, w, norm)
    if effort == "fast" or value == 0.0:
        return LowerBound(value, norm)
    return _linf_programs(w, pseudo_inverse) if norm == "linf" else _l1_programs(w, pseudo_inverse)


def sampled_upper_estimate(
    weight: Any, norm: Norm, samples: int = 1000, seed: int = 0
) -> SampledUpperEstimate:
    """The smallest ||W z||_p / ||z||_p among random and a few chosen directions z.

    W has shape (m, k). The chosen ones are the right singular vectors and the columns of
    (W' W)^+, which random directions miss. Raises ValueError like `lower_bound`.

    >>> from jaxinv.certify import lower_bound, sampled_upper_estimate
    >>> weight = np.random.default_rng(0).standard_normal((20, 3))
    >>> lower_bound(weight, "l1").value <= sampled_upper_estimate(weight, "l1").value
    True
    """
    w = _checked_matrix(weight)
    check_norm(norm)
    if samples < 1:
        raise ValueError(f"samples={samples} must be at least 1")
    random = np.random.default_rng(seed).standard_normal((samples, w.shape[1]))
    singular = np.linalg.svd(w)[2]
    directions = np.concatenate([random, singular, np.linalg.pinv(w.T @ w)])
    directions = directions[np.abs(directions).sum(axis=1) > 0]
    order = ORDER[norm]
    ratios = np.linalg.norm(directions @ w.T, order, axis=1) / np.linalg.norm(
        directions, order, axis=1
    )
    return SampledUpperEstimate(float(ratios.min()), norm, len(directions))


def check_norm(norm: str) -> None:
    """Raise ValueError for a norm that is none of "linf", "l1", "l2"."""
    if norm not in ORDER:
        raise ValueError(f"norm={norm!r} is not known; expected one of {tuple(ORDER)}")


def _checked_matrix(weight: Any) -> Float[np.ndarray, "m k"]:
    w = np.asarray(weight, dtype=np.float64)
    if w.ndim != 2 or w.shape[1] == 0:
        raise ValueError(f"weight has shape {w.shape}; expected (m, k) with k >= 1")
    if not np.isfinite(w).all():
        raise ValueError("weight holds NaN or infinity; every entry must be finite")
    return w


def _proven_by(left: Float[np.ndarray, "k m"], w: Float[np.ndarray, "m k"], norm: Norm) -> float:
    """(1 - rho) / ||L||_p, with the rounding of L W counted into rho (p = inf or 1)."""
    rows, columns = w.shape
    order = ORDER[norm]
    # Every inner product of length m is off by at most gamma |L| |W|, gamma about m units of
    # rounding; the factor 2 covers the sums and divisions that follow.
    gamma = 2.0 * (rows + columns + 2) * ROUNDING
    defect = np.abs(left @ w - np.eye(columns)) + gamma * (np.abs(left) @ np.abs(w))
    rho = float(np.linalg.norm(defect, order))
    size = float(np.linalg.norm(left, order)) * (1.0 + gamma)
    return (1.0 - rho) / size if rho < 1.0 and 0.0 < size < np.inf else 0.0


def _smallest_singular_value(w: Float[np.ndarray, "m k"]) -> LowerBound:
    singular = np.linalg.svd(w, compute_uv=False)
    # Computed singular values are exact for a matrix within this distance of W.
    rounding = 4.0 * max(w.shape) * ROUNDING * float(singular[0])
    value = float(singular[-1]) - rounding
    if value <= 0.0:
        return LowerBound(0.0, "l2")
    return LowerBound(value, "l2", exact=bool(rounding <= 1e-6 * value))


def _linf_programs(
    w: Float[np.ndarray, "m k"], pseudo_inverse: Float[np.ndarray, "k m"]
) -> LowerBound:
    rows, columns = w.shape
    left = pseudo_inverse.copy()
    witnessed = np.inf
    for i in range(columns):
        answer = _solved(np.ones(2 * rows), A_eq=np.hstack([w.T, -w.T]), b_eq=np.eye(columns)[i])
        if answer is None:
            continue
        left[i] = answer.x[:rows] - answer.x[rows:]
        witnessed = min(witnessed, _ratio(w, answer.eqlin.marginals, np.inf))
    return _better_of(
        _exactly_inverse(left, w, pseudo_inverse), pseudo_inverse, w, "linf", witnessed
    )


def _l1_programs(
    w: Float[np.ndarray, "m k"], pseudo_inverse: Float[np.ndarray, "k m"]
) -> LowerBound:
    left = pseudo_inverse
    if w.size <= JOINT_ENTRIES:
        left = _exactly_inverse(_smallest_column_sums(w, pseudo_inverse), w, pseudo_inverse)
    if w.shape[1] <= SIGN_COLUMNS:
        return _sign_programs(w, left, pseudo_inverse)
    return _better_of(left, pseudo_inverse, w, "l1", np.inf)


def _better_of(
    left: Float[np.ndarray, "k m"],
    other: Float[np.ndarray, "k m"],
    w: Float[np.ndarray, "m k"],
    norm: Norm,
    witnessed: float,
) -> LowerBound:
    value = max(_proven_by(left, w, norm), _proven_by(other, w, norm))
    return LowerBound(value, norm, exact=bool(witnessed <= (1.0 + 1e-6) * value))


def _exactly_inverse(
    left: Float[np.ndarray, "k m"],
    w: Float[np.ndarray, "m k"],
    pseudo_inverse: Float[np.ndarray, "k m"],
) -> Float[np.ndarray, "k m"]:
    """L + (I - L W) W^+: a solver leaves L W about 1e-9 from I, this leaves rounding."""
    corrected: np.ndarray = left + (np.eye(w.shape[1]) - left @ w) @ pseudo_inverse
    return corrected


def _smallest_column_sums(
    w: Float[np.ndarray, "m k"], pseudo_inverse: Float[np.ndarray, "k m"]
) -> Float[np.ndarray, "k m"]:
    """The L with L W = I whose largest column sum of |L_ij|, the norm for p = 1, is smallest."""
    rows, columns = w.shape
    entries = columns * rows
    inverse = sparse.kron(sparse.eye_array(columns), w.T)
    column_sums = sparse.hstack([sparse.eye_array(rows)] * columns)
    answer = _solved(
        np.append(np.zeros(2 * entries), 1.0),
        A_ub=sparse.hstack([column_sums, column_sums, sparse.csr_array(-np.ones((rows, 1)))]),
        b_ub=np.zeros(rows),
        A_eq=sparse.hstack([inverse, -inverse, sparse.csr_array((columns**2, 1))]),
        b_eq=np.eye(columns).ravel(),
    )
    if answer is None:
        return pseudo_inverse
    left: np.ndarray = (answer.x[:entries] - answer.x[entries:-1]).reshape(columns, rows)
    return left


def _sign_programs(
    w: Float[np.ndarray, "m k"],
    left: Float[np.ndarray, "k m"],
    pseudo_inverse: Float[np.ndarray, "k m"],
) -> LowerBound:
    r"""c_1 = min over sign vectors s of 1 / min{||y||_inf : W' y = s}, with s and -s alike.

    For s = sign(z), ||z||_1 = s' z = y' W z <= ||y||_inf ||W z||_1, and duality says that the best
    y attains it. y = L' s is feasible for every s, so only the signs where it is worse than the
    worst one proven so far need a program.
    """
    rows, columns = w.shape
    bits = np.arange(2 ** (columns - 1))[:, None] >> np.arange(columns) & 1
    signs = np.where(bits, -1.0, 1.0)
    multipliers = signs @ left
    sizes = np.abs(multipliers).max(axis=1)
    largest, witnessed = 0.0, np.inf
    for index in np.argsort(-sizes):
        if sizes[index] <= largest:
            break
        # With y scaled to |y_j| <= 1, W' y = tau s, and the largest tau is 1 / min ||y||_inf.
        answer = _solved(
            np.append(np.zeros(rows), -1.0),
            A_eq=np.hstack([w.T, -signs[index][:, None]]),
            b_eq=np.zeros(columns),
            bounds=[(-1.0, 1.0)] * rows + [(0.0, None)],
        )
        if answer is not None and answer.x[-1] > 0:
            y = answer.x[:-1] / answer.x[-1]
            y = y + (signs[index] - y @ w) @ pseudo_inverse
            if np.abs(y).max() < sizes[index]:
                multipliers[index], sizes[index] = y, np.abs(y).max()
            witnessed = min(witnessed, _ratio(w, answer.eqlin.marginals, 1))
        largest = max(largest, sizes[index])
    gamma = 2.0 * (rows + columns + 2) * ROUNDING
    defect = np.abs(multipliers @ w - signs) + gamma * (np.abs(multipliers) @ np.abs(w))
    rho = defect.max(axis=1)
    proven = float(((1.0 - rho) / (sizes * (1.0 + gamma))).min())
    value = max(proven, _proven_by(left, w, "l1"), _proven_by(pseudo_inverse, w, "l1"))
    return LowerBound(value, "l1", exact=bool(witnessed <= (1.0 + 1e-6) * value))


def _solved(cost: np.ndarray, **constraints: Any) -> Any:
    """HiGHS's answer, or None where it has none; its word is checked by what is proven from it."""
    from scipy.optimize import linprog  # slow to import

    answer = linprog(cost, method="highs", **constraints)
    return answer if answer.status == 0 else None


def _ratio(w: Float[np.ndarray, "m k"], z: Float[np.ndarray, " k"], order: float) -> float:
    size = float(np.linalg.norm(z, order))
    return float(np.linalg.norm(w @ z, order)) / size if size > 0.0 else np.inf
