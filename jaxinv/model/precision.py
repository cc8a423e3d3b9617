"""How exactly observations are known: the rounding of the numbers in which they arrive."""

from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from jax import lax
from jaxtyping import Bool, Float

from jaxinv.model.decoder import Decoder

# Half the distance between neighbours at one, 2^-p with p bits in the significand.
UNIT = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
PIXEL = {"uint8": 1.0 / 255.0}  # the step of what was scaled to [0, 1] afterwards
# Images are bytes scaled to [0, 1] or [-1, 1], as far as single precision shows it. Two different
# values inside a range are not multiples of its step by chance; multiples of a fifth, 51 steps, may
# be, which are written by hand. A value alone is none either where it is one as exactly as single
# precision can be, and no multiple of a fifteenth.
LOWS = (0.0, -1.0)
MULTIPLE, FIFTH = 2.0**-12, 51
EXACT_MULTIPLE, FIFTEENTH = 2.0**-15, 17
# Roundings on the way through a net add up to a few of the last one, of entries near zero as well:
# they are of the size of the sums that cancelled there.
ACCUMULATED = 8.0
SURELY = 2.0  # so many every net makes, that rounds each layer's outputs
# Coarser numbers than this are what was computed in finer ones and then rounded once.
COMPUTED_IN = 2.0**-20


class Rounding(NamedTuple):
    """unit: half the relative distance of neighbouring numbers. step: their distance, if fixed.

    step: of all rows or (B,) of each; None where nobody says so: a row's own values tell then
    whether they were bytes.
    """

    unit: float
    step: Float[Any, " B"] | float | None = 0.0

    def steps(self, x: Float[Any, "B n"], seen: Bool[Any, "#B n"], xp: Any = np) -> Any:
        """The step of each of these rows. xp: `numpy`, or `jax.numpy` in a traced computation."""
        return byte_steps(x, seen, xp) if self.step is None else xp.broadcast_to(self.step, len(x))


def rounding_of(observations: Any, precision: Any) -> Rounding:
    """As the dtype that arrived says, or the caller.

    precision: a dtype's name, "uint8" for bytes scaled to [0, 1], the step between two values, or
    None. Raises ValueError for anything else.
    """
    exact = UNIT["float64"]
    if precision is None:
        name = getattr(getattr(observations, "dtype", None), "name", None)
        name = name or np.asarray(observations).dtype.name
        # Bytes as they are: their step is one.
        return Rounding(exact, 1.0) if name == "uint8" else Rounding(UNIT.get(name, exact), None)
    if isinstance(precision, Real) and not isinstance(precision, bool):
        if not 0 <= float(precision) < np.inf:
            raise ValueError(f"precision={precision!r} must be a step of 0 or more, and finite")
        return Rounding(exact, float(precision))
    if isinstance(precision, str) and precision in UNIT:
        return Rounding(UNIT[precision])
    if isinstance(precision, str) and precision in PIXEL:
        return Rounding(exact, PIXEL[precision])
    raise ValueError(
        f"precision={precision!r} is not known; expected one of {(*UNIT, *PIXEL)}, or the step "
        "between two values"
    )


def entry_rounding(
    rounding: Rounding,
    x: Float[Any, "B n"],
    observed: Float[Any, "#B n"],
    decoder: Decoder,
    accumulated: Any = ACCUMULATED,
    xp: Any = np,
) -> Any:
    """The deviation of each observed entry from what G made, were rounding all there is: (B, n).

    accumulated: how many roundings of the last one those on the way through the net make. xp:
    `numpy`, or `jax.numpy` in a traced computation.

    Small entries are what is left of large ones, but for those behind a sigmoid, whose rounding is
    relative to each.
    """
    cancelled = not (decoder.layers and decoder.layers[-1].activation.kind == "sigmoid")
    seen = observed > 0
    largest = xp.abs(x).max(-1, keepdims=True, initial=0.0)
    scale = xp.where((largest > 0) & xp.isfinite(largest), largest, 1.0)
    square = (xp.where(seen, x, 0.0) / scale) ** 2
    typical = scale * xp.sqrt(square.sum(-1, keepdims=True) / xp.maximum(seen.sum(-1), 1)[:, None])
    relative = rounding.unit * xp.abs(x)
    if rounding.unit <= COMPUTED_IN:
        relative = accumulated * (relative + rounding.unit * typical * cancelled)
    step = rounding.steps(x, seen, xp)[:, None]
    return xp.where(seen, xp.hypot(relative, step / np.sqrt(12.0)), 0.0)


def byte_steps(x: Float[Any, "B n"], seen: Bool[Any, "#B n"], xp: Any = np) -> Any:
    """The step of rows that are bytes scaled to [0, 1] or [-1, 1], 0 of others: (B,)."""

    def step(low: Any) -> Any:
        return _step_above(low, x, seen, xp)

    # In a traced computation one after the other: it is compiled once.
    each = [step(low) for low in LOWS] if xp is np else lax.map(step, xp.array(LOWS))
    return xp.where(each[0] > 0, each[0], each[1])


def _step_above(low: Any, x: Float[Any, "B n"], seen: Bool[Any, "#B n"], xp: Any) -> Any:
    """The step of rows that are bytes scaled to [low, 1]."""
    step = (1.0 - low) / 255.0
    level = (xp.where(seen, x, low) - low) / step
    nearest = xp.round(level)
    with np.errstate(invalid="ignore"):
        off = xp.abs(level - nearest)
        within = (nearest > 0) & (nearest < 255)
        told = within & (nearest % FIFTH != 0)
        alone = (within & (nearest % FIFTEENTH != 0)).any(-1)
    # NaN and infinity are no levels.
    furthest = xp.where((level > -0.5) & (level < 255.5), off, 1.0).max(-1, initial=0.0)
    least = xp.where(told, nearest, 255.0).min(-1, initial=255.0)
    different = least < xp.where(told, nearest, 0.0).max(-1, initial=0.0)
    multiple = (furthest <= MULTIPLE) & (different | alone & (furthest <= EXACT_MULTIPLE))
    return xp.where(multiple, step, 0.0)
