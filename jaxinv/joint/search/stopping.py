r"""What another run is worth: the chance that it lowers the residual by 1%.

Minima whose residuals are within 1% of each other, counted from the lowest, are one class. Of m
independent runs that ended in d classes, s of them met once, or fell behind those of their race,

    (s + 1) / (m + 1)

estimates the chance that the next run ends in a class not met yet (Good 1953; one is added so that
few runs promise nothing), and where no class is known to be harder to meet than another, the new
one is the lowest of d + 1 with chance 1 / (d + 1). Their product is the estimate: 1/6 after two
runs that agree, 1/10 after four, 1 / (m + 1) after m that all differ. A run that fell behind is
taken for one that meets no new class: it would have ended above those that it fell behind.
"""

import numpy as np
from jaxtyping import Float, Int

LOWER = 0.01  # relative difference of residuals that matters


def chance_of_lower(
    losses: Float[np.ndarray, "B m"], made: Int[np.ndarray, " B"]
) -> Float[np.ndarray, " B"]:
    """The estimate for each row.

    losses: squared residuals of the runs that reached their end, in any order, infinite where there
    was none. made: runs, those dropped on the way among them.
    """
    ordered = np.sort(losses, axis=1)
    met = np.isfinite(ordered)
    with np.errstate(divide="ignore", invalid="ignore"):
        above = np.log(ordered / ordered.min(axis=1, initial=np.inf, keepdims=True))
    # A loss of zero is a class of its own, and what is above it another.
    above = np.nan_to_num(above, nan=0.0, posinf=np.finfo(float).max / 1e3)
    number = np.where(met, np.floor(above / (2.0 * np.log1p(LOWER))), -1.0)
    first = met & np.pad(number[:, 1:] != number[:, :-1], ((0, 0), (1, 0)), constant_values=True)
    last = met & np.pad(number[:, 1:] != number[:, :-1], ((0, 0), (0, 1)), constant_values=True)
    classes, once = first.sum(axis=1), (first & last).sum(axis=1)
    return np.asarray((once + 1.0) / ((made + 1.0) * (classes + 1.0)))
