"""What the caller asked for, checked once at the door: settings, and the weight of every entry."""

from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxinv.call.noise import check_noise, deviations, is_level, requested_model
from jaxinv.call.operators import behind
from jaxinv.call.priors import Prior, requested_prior
from jaxinv.layerwise.sweep import LatentBounds
from jaxinv.linalg.shared import shared
from jaxinv.model.decoder import Decoder
from jaxinv.model.generator import undone_by_layers
from jaxinv.model.given import given_array, positive_weights, real_array, refuse_traced
from jaxinv.model.likelihood.base import NoiseModel
from jaxinv.model.precision import Rounding
from jaxinv.settings import (
    REFINEMENTS,
    Auto,
    Exact,
    GradientDescent,
    LayerLP,
    LevenbergMarquardt,
    Method,
    resolve,
)


@dataclass(frozen=True)
class Request:
    """What every chunk of one call has in common; the generator includes the forward operator.

    step: of a quantisation, 0 where none is. blanks: the image of the code 0 by rows of a chunk,
    filled by the first chunk of that many.
    """

    generator: Decoder
    method: Method
    latent_bounds: LatentBounds
    refine: str | None
    seed: int
    prior: Prior | None = None
    model: NoiseModel | None = None
    step: float = 0.0
    blanks: dict[int, Float[np.ndarray, " n"]] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Options:
    """What a caller may say beside generator, observations and method, as `invert` documents it."""

    mask: Any = None
    weights: Any = None
    latent_bounds: tuple[Any, Any] | None = None
    operator: Any = None
    noise: Any = None
    refine: str | None = None
    seed: int = 0
    chunk: int | None = None
    start: Any = None
    precision: Any = None
    prior: Any = None
    prior_weight: float | None = None


class Data(NamedTuple):
    """Observations as they are asked about.

    rows: as they came. weight: of every entry, 0 where masked. start: the caller's starting points,
    None where there are none, NaN where one is left out. rounding: of the numbers that arrived.
    noise: the stated deviation of every entry, None where none is stated. level: (B,) of the noise
    of an entry of weight one.
    """

    rows: Float[np.ndarray, "B n"]
    weight: Float[np.ndarray, "B n"]
    start: Float[np.ndarray, "B s k"] | None
    rounding: Rounding
    noise: Float[np.ndarray, "B n"] | None = None
    level: Float[np.ndarray, " B"] | None = None

    def some(self, which: slice) -> "Data":
        """A few of the rows."""
        return Data(
            self.rows[which],
            self.weight[which],
            None if self.start is None else self.start[which],
            self.rounding,
            None if self.noise is None else self.noise[which],
            None if self.level is None else self.level[which],
        )


def checked(
    generator: Decoder,
    rows: np.ndarray,
    method: str | Method,
    options: Options,
    rounding: Rounding,
    hidden: Bool[np.ndarray, "B n"] | None = None,
) -> tuple[Request, Data]:
    """Check every argument at the door. hidden: what the observations' own mask leaves out."""
    request = requested(generator, rows.shape[1], method, options)
    return request, data_of(request, rows, options, rounding, hidden)


def data_of(
    request: Request,
    rows: np.ndarray,
    options: Options,
    rounding: Rounding,
    hidden: Bool[np.ndarray, "B n"] | None = None,
) -> Data:
    """Observations with what the options, and their own mask, say of each."""
    weight = entry_weights(rows.shape, options)
    if hidden is not None:
        weight = np.where(hidden, 0.0, weight)
    start = _given_starts(request, len(rows), options.start)
    model = request.model
    if model is not None:
        model.check(rows[(weight > 0) & np.isfinite(rows)])
    if request.step:
        rounding = rounding._replace(step=request.step)
    noise = deviations(options.noise, rows)
    if noise is None:
        return Data(rows, weight, start, rounding)
    if model is None and is_level(options.noise):
        return Data(rows, weight, start, rounding, noise, noise.min(-1, initial=np.inf))
    # Entries weigh as they are known: the best of a row weighs one.
    level = np.where(weight > 0, noise, np.inf).min(-1, initial=np.inf)
    weight = np.where(weight > 0, np.where(np.isfinite(level), level, 0.0)[:, None] / noise, 0.0)
    known = model is None or model.level_known
    return Data(rows, weight, start, rounding, noise if known else None, level)


def requested(generator: Decoder, entries: int, method: str | Method, options: Options) -> Request:
    """What all chunks of observations with so many entries have in common, checked."""
    if not isinstance(generator, Decoder):
        raise ValueError(
            f"generator is a {type(generator).__name__}; expected jaxinv.Generator or "
            "jaxinv.FunctionGenerator"
        )
    refuse_traced("generator", generator)
    settings = resolve(method)
    if isinstance(settings, Exact | LayerLP):
        what, instead = type(settings).__name__, "use 'auto', 'lm' or 'gd'"
        generator = undone_by_layers(generator, what, instead).dense(settings.largest_matrix)
    noise, refine, chunk, seed = options.noise, options.refine, options.chunk, options.seed
    prior = requested_prior(options.prior, options.prior_weight, noise, settings, refine)
    forward = behind(generator, options.operator, entries, settings)
    generator = forward.decoder
    if forward.step and options.precision is not None:
        raise ValueError("quantise says how the observations are rounded; leave precision= out")
    model = requested_model(noise, settings, refine)
    if model is not None and (forward.step or options.weights is not None):
        raise ValueError(
            f"{model} says itself how far entries may be off; leave "
            + ("the quantisation" if forward.step else "weights=")
            + " out"
        )
    if refine is not None:
        _check_refinement(refine, settings)
    check_entries(generator, entries)
    if noise is not None and model is None:
        check_noise(noise)
        if not is_level(noise) and options.weights is not None:
            raise ValueError("noise= of each entry says how they weigh; leave weights= out")
    if chunk is not None and not (_is_integer(chunk) and chunk >= 1):
        raise ValueError(f"chunk={chunk!r} must be a whole number of rows, at least 1")
    if not (_is_integer(seed) and abs(seed) < 2**63):
        raise ValueError(f"seed={seed!r} must be a whole number of at most 63 bits")
    if options.latent_bounds is not None and isinstance(settings, Exact):
        raise ValueError("'exact' takes no latent_bounds: it solves equations; use 'auto'")
    bounds = _bounds(generator.latent_size, options.latent_bounds)
    if prior is not None:
        prior.check(generator.latent_size, options.latent_bounds is not None)
    return Request(generator, settings, bounds, refine, seed, prior, model, forward.step)


def check_entries(generator: Decoder, entries: int) -> None:
    """Refuse observations that are not as long as what the generator, operator included, makes."""
    if entries != generator.observation_size:
        raise ValueError(
            f"observations have {entries} entries each; "
            f"the generator makes {generator.observation_size}"
        )


def entry_weights(shape: tuple[int, ...], options: Options) -> Float[np.ndarray, "B n"]:
    """The weight of every entry of observations of this shape, 0 where it is not observed.

    Of one row in memory where neither mask nor weights differ from row to row.
    """
    observed = _mask(shape, options.mask)
    importance = np.broadcast_to(1.0, shape)
    if options.weights is not None:
        importance = positive_weights(_per_entry("weights", options.weights, shape))
    return np.broadcast_to(shared(observed) * shared(importance), shape)


def _given_starts(request: Request, batch: int, start: Any) -> Float[np.ndarray, "B s k"] | None:
    if start is None:
        return None
    if not isinstance(request.method, Auto | LevenbergMarquardt | GradientDescent):
        name = type(request.method).__name__
        raise ValueError(f"start= is for 'auto', 'lm' and 'gd'; {name} goes layer by layer")
    k = request.generator.latent_size
    given = real_array("start", start)
    shape = given.shape
    if given.shape in ((k,), (batch, k)):
        given = np.broadcast_to(given, (batch, k))[:, None]
    if given.ndim != 3 or given.shape[::2] != (batch, k) or not given.shape[1]:
        raise ValueError(
            f"start has shape {shape}; expected ({k},), ({batch}, {k}) or "
            f"({batch}, s, {k}), s starting points of each row"
        )
    return np.where(np.isfinite(given).all(-1, keepdims=True), given, np.nan)


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _check_refinement(refine: str, method: Method) -> None:
    if refine not in REFINEMENTS:
        raise ValueError(f"refine={refine!r} is not known; expected one of {REFINEMENTS}")
    if isinstance(method, GradientDescent):
        raise ValueError(f"refine={refine!r} does not go with 'gd', the baseline; use 'lm'")


def _bounds(k: int, latent_bounds: tuple[Any, Any] | None) -> LatentBounds:
    if latent_bounds is None:
        return np.full(k, -np.inf), np.full(k, np.inf)
    if not isinstance(latent_bounds, tuple | list) or len(latent_bounds) != 2:
        raise ValueError("latent_bounds must be a pair (low, high), scalars or of shape (k,)")
    low, high = (_per_entry("latent_bounds", side, (k,)) for side in latent_bounds)
    if not (low < high).all():
        raise ValueError("latent_bounds has a low that is not below its high")
    return low, high


def _mask(shape: tuple[int, ...], mask: Any) -> Bool[np.ndarray, "B n"]:
    if mask is None:
        return np.broadcast_to(True, shape)
    given = given_array("mask", mask)
    if given.dtype != bool:
        raise ValueError(f"mask has dtype {given.dtype}; expected bool, True where observed")
    if given.size and not given.any():
        raise ValueError("the mask hides every entry; True means observed")
    return np.broadcast_to(_fits("mask", given, shape), shape)


def _per_entry(what: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(_fits(what, real_array(what, values), shape), shape)


def _fits(what: str, given: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if given.shape not in (shape, shape[-1:], ()):
        raise ValueError(f"{what} has shape {given.shape}; expected {shape[-1:]} or {shape}")
    return given
