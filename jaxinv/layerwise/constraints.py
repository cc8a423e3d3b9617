r"""From (layer, observation, tolerance) to interval rows: the linear program of Algorithm 1.

With I+ = {x_j > eps}, I- = {x_j < -eps}, I0 the rest, u = W z + b, and slack s shared by all rows:

    ReLU       I+   x_j - s <= u_j <= x_j + s         else          u_j <= x_j + s
    LeakyReLU  I+   as above      I-  (x_j - s)/c <= u_j <= (x_j + s)/c
               I0   (x_j - s)/c <= u_j <= x_j + s
    identity        x_j - s <= u_j <= x_j + s

minimise s >= 0. The paper's cap s <= eps is left out, so that the program is always feasible:
feasible at eps then means s* <= eps. Biases stay in u; activity is tested on x_j. Rows that are
not observed have no sides; a row weight omega_j scales the slack to s / omega_j.
"""

import numpy as np
from jaxtyping import Float

from jaxinv.generator import Activation
from jaxinv.lp.problem import IntervalLP, Slack

# Objective values below FLOOR * max|x| are rounding of the data, and count as zero.
FLOOR = 1e-9


def linf_rows(
    weight: Float[np.ndarray, "n k"],
    bias: Float[np.ndarray, " n"],
    activation: Activation,
    x: Float[np.ndarray, "B n"],
    row_weight: Float[np.ndarray, "B n"],
    tolerance: Float[np.ndarray, " B"],
    box: tuple[Float[np.ndarray, "B k"], Float[np.ndarray, "B k"]],
) -> IntervalLP:
    """The l_inf program of Algorithm 1 for each observation at its own tolerance."""
    eps = tolerance[:, None]
    positive, negative = x > eps, x < -eps
    lower, upper = x.copy(), x.copy()
    a, b = np.ones_like(x), np.ones_like(x)
    if activation.kind == "relu":
        lower[~positive] = -np.inf
    elif activation.kind == "leaky_relu":
        c = activation.slope
        lower[~positive] /= c
        a[~positive] /= c
        upper[negative] /= c
        b[negative] /= c
    observed = row_weight > 0
    per_slack = np.where(observed, row_weight, 1.0)
    scale = np.max(np.abs(x), axis=-1, where=observed, initial=0.0)
    return IntervalLP(
        matrix=weight,
        lower=np.where(observed, lower - bias, -np.inf),
        upper=np.where(observed, upper - bias, np.inf),
        lower_slack=a / per_slack,
        upper_slack=b / per_slack,
        box_lower=box[0],
        box_upper=box[1],
        cost=np.zeros_like(box[0]),
        slack=Slack.SHARED,
        floor=np.maximum(FLOOR * scale, np.finfo(float).tiny),
    )


def ambiguous_rows(
    activation: Activation, x: Float[np.ndarray, "B n"], tolerance: Float[np.ndarray, " B"]
) -> Float[np.ndarray, " B"]:
    """How many rows the tolerance leaves undecided; equal counts mean equal linear programs."""
    if activation.kind == "identity":
        return np.zeros(len(x))
    size = x if activation.kind == "relu" else np.abs(x)
    return (size <= tolerance[:, None]).sum(-1)
