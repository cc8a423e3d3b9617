r"""The minima that an observation has, each once, with what speaks for each.

Runs from random points end in minima. Two ends are one mode where the objective does not rise on
the straight line between them: by more than one, twice the logarithm of a factor sqrt(e) in
probability, where the noise is stated, and by more than a share of RISE of itself elsewhere.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxinv.call.invert import invert
from jaxinv.call.operators import of_both_parts, stacked
from jaxinv.call.request import Data, Options, Request, checked
from jaxinv.linalg.norms import row_norms
from jaxinv.model.decoder import Decoder
from jaxinv.model.given import observed_array
from jaxinv.model.precision import rounding_of
from jaxinv.model.prior import GaussianPrior
from jaxinv.sampling.target import Target, energies, informations, target_of
from jaxinv.settings import LevenbergMarquardt
from jaxinv.settings.checks import require

RISE = 1e-3  # of the objective, between ends of one mode where no noise is stated
TINY = 1e-12  # of ||W x||^2: the objective of what is reproduced
SAME = 1e-6  # of a latent's size: ends so close are one without a look between them
BETWEEN = 16  # points looked at on the line between two ends
METHOD = LevenbergMarquardt(restarts=1)
MOST = 8  # modes that are kept of a row


@dataclass(frozen=True)
class Modes:
    """Distinct minima of every row, the lowest first; of one observation, without the batch axis.

    latent: (B, M, k), NaN past the row's count. objective: (B, M), what is minimised: the squared
    misfit (with deviations or a model of the noise, minus twice the log-likelihood) and the prior's
    part. residual: (B, M), ||G(z) - x||_2 of the observed entries. weight: (B, M), each mode's
    share of the posterior probability by Laplace's approximation, NaN where no noise is stated.
    hits: (B, M), runs that ended there. count: (B,), modes found, at most M.

    >>> g = jaxinv.Generator.from_layers([([[1.0]], None, "identity")])
    >>> jaxinv.modes(g, [[2.0], [3.0]], operator=abs)
    Modes(latent (2, 2, 1): 2 to 2 a row)
    """

    latent: Float[np.ndarray, "*batch M k"]
    objective: Float[np.ndarray, "*batch M"]
    residual: Float[np.ndarray, "*batch M"]
    weight: Float[np.ndarray, "*batch M"]
    hits: Int[np.ndarray, "*batch M"]
    count: Int[np.ndarray, "*batch"]

    def of_row(self, row: int) -> "Modes":
        """The same for one row, without the batch axis.

        >>> g = jaxinv.Generator.from_layers([([[1.0]], None, "identity")])
        >>> jaxinv.modes(g, [[2.0], [3.0]], operator=abs).of_row(1).residual
        array([0., 0.])
        """
        return Modes(*(getattr(self, field.name)[row] for field in fields(self)))

    def __repr__(self) -> str:
        count = np.atleast_1d(self.count)
        told = f"{count.min()} to {count.max()} a row" if count.size else "no rows"
        return f"Modes(latent {self.latent.shape}: {told})"


def modes(
    generator: Decoder,
    observations: Any,
    *,
    runs: int = 64,
    most: int = MOST,
    mask: Any = None,
    weights: Any = None,
    operator: Any = None,
    noise: Any = None,
    prior: GaussianPrior | None = None,
    prior_weight: float | None = None,
    seed: int = 0,
    start: Any = None,
) -> Modes:
    """The distinct minima over latents z of the misfit of each observation, and of its prior.

    runs: Levenberg-Marquardt runs a row, each from a random point of its own, and one from each
    point of start, (k,) or (B, k), such as `Inversion.latent`. most: modes that are kept of a row,
    the lowest. What bends between two minima, as the preimages of an image may, comes in pieces.
    Other arguments are those of `invert`. Raises ValueError where an argument does not fit.

    >>> g = jaxinv.Generator.from_layers([([[1.0]], None, "identity")])
    >>> found = jaxinv.modes(g, [2.0], operator=abs, noise=0.1)
    >>> sorted(found.latent[: found.count, 0].round(3).tolist()), found.weight.round(3).tolist()
    ([-2.0, 2.0], [0.5, 0.5])
    """
    require(runs >= 1, f"runs={runs} must be at least 1")
    require(most >= 1, f"most={most} must be at least 1")
    options = Options(
        mask=of_both_parts(operator, mask),
        weights=of_both_parts(operator, weights),
        operator=operator,
        noise=of_both_parts(operator, noise),
        seed=seed,
        start=start,
        prior=prior,
        prior_weight=prior_weight,
    )
    asked = question(generator, observations, options)
    found = distinct(asked, ends(asked, options, runs), most)
    return found if asked.batched else found.of_row(0)


class Question(NamedTuple):
    """A checked call. target: its posterior distribution, if noise is stated."""

    request: Request
    data: Data
    target: Target
    stated: bool
    batched: bool


def question(generator: Decoder, observations: Any, options: Options) -> Question:
    """What is asked of the observations, every argument checked as `invert` checks it."""
    given = observed_array("observations", stacked(options.operator, observations))
    rows = np.atleast_2d(given.values)
    hidden = None if given.hidden is None else np.atleast_2d(given.hidden)
    rounding = rounding_of(given, None)
    request, data = checked(generator, rows, METHOD, options, rounding, hidden)
    if request.step:
        raise ValueError(
            "a quantisation gives every code of a cell the same misfit, which has no modes; leave "
            "it out of operator= and state noise=step / sqrt(12)"
        )
    target = target_of(request, data, options.prior_weight)
    stated = options.noise is not None and options.prior_weight is None
    return Question(request, data, target, stated, given.values.ndim == 2)


def ends(asked: Question, options: Options, runs: int) -> Float[np.ndarray, "B S k"]:
    """Where runs end, from random points and from those that were given."""

    def each(values: Any) -> Any:
        """What is said of every row, said of every run of it."""
        return np.repeat(values, runs, axis=0) if np.ndim(values) == 2 else values

    seen, start = asked.data.weight > 0, asked.data.start
    rows = np.where(seen, asked.data.rows, 0.0)
    said = {"prior": options.prior, "prior_weight": options.prior_weight, "seed": options.seed}
    drawn = invert(
        asked.request.generator,
        np.repeat(rows, runs, axis=0),
        METHOD,
        mask=np.repeat(seen, runs, axis=0),
        weights=each(options.weights),
        noise=each(options.noise),
        **said,
    )
    batch, k = len(rows), asked.request.generator.latent_size
    ended = np.asarray(drawn.latent).reshape(batch, runs, k)
    if start is None:
        return ended
    own = replace(METHOD, restarts=start.shape[1])
    given = invert(
        asked.request.generator,
        rows,
        own,
        mask=seen,
        weights=options.weights,
        noise=options.noise,
        start=start,
        **said,
    )
    return np.concatenate([ended, np.asarray(given.latent)[:, None]], axis=1)


def distinct(asked: Question, ended: Float[np.ndarray, "B S k"], most: int) -> Modes:
    """Every minimum once, the lowest first; of ends that are one, the lowest."""
    batch, runs, k = ended.shape
    target, owner = asked.target, np.repeat(np.arange(batch), runs)
    there = np.isfinite(ended).all(-1)
    height = energies(target, owner, np.where(there[..., None], ended, 0.0).reshape(-1, k))
    height = np.where(there, height.reshape(batch, runs), np.inf)
    order = np.argsort(height, axis=1, kind="stable")
    height = np.take_along_axis(height, order, axis=1)
    ended = np.take_along_axis(ended, order[..., None], axis=1)
    size = 0.5 * row_norms(np.asarray(target.weight) * np.nan_to_num(np.asarray(target.x))) ** 2
    latent = np.full((batch, most, k), np.nan)
    least = np.full((batch, most), np.inf)
    hits = np.zeros((batch, most), np.int64)
    count = np.zeros(batch, np.int64)
    for number in range(runs):
        z, energy = ended[:, number], height[:, number]
        rise = 0.5 if asked.stated else np.maximum(RISE * energy, TINY * size)
        home = _home(target, z, energy, latent, least, count, energy + rise)
        new = np.isfinite(energy) & (home < 0) & (count < most)
        rows = np.flatnonzero(new)
        latent[rows, count[rows]], least[rows, count[rows]] = z[rows], energy[rows]
        home = np.where(new, count, home)
        count += new
        met = np.flatnonzero(np.isfinite(energy) & (home >= 0))
        hits[met, home[met]] += 1
    kept = max(int(count.max(initial=0)), 1)
    latent, least, hits = latent[:, :kept], least[:, :kept], hits[:, :kept]
    value = np.asarray(target.decoder(np.nan_to_num(latent).reshape(-1, k)))
    misfit = value.reshape(batch, kept, -1) - np.asarray(target.x)[:, None]
    misfit = np.where((asked.data.weight > 0)[:, None], misfit, 0.0).reshape(batch * kept, -1)
    found = np.isfinite(least)
    residual = np.where(found, row_norms(misfit).reshape(batch, kept), np.nan)
    weight = _laplace(target, latent, least) if asked.stated else np.full_like(least, np.nan)
    return Modes(latent, np.where(found, 2.0 * least, np.nan), residual, weight, hits, count)


def _home(
    target: Target,
    z: Float[np.ndarray, "B k"],
    energy: Float[np.ndarray, " B"],
    latent: Float[np.ndarray, "B M k"],
    least: Float[np.ndarray, "B M"],
    count: Int[np.ndarray, " B"],
    ceiling: Float[np.ndarray, " B"],
) -> Int[np.ndarray, " B"]:
    """Which of a row's modes an end, no lower than they are, belongs to; -1 for none of them."""
    apart = np.linalg.norm(latent - z[:, None], axis=-1)
    close = apart <= SAME * (1.0 + np.linalg.norm(z, axis=-1))[:, None]
    home = np.where(close.any(1), close.argmax(1), -1)
    share = np.arange(1, BETWEEN + 1) / (BETWEEN + 1)
    for mode in range(int(count.max(initial=0))):
        rows = np.flatnonzero((home < 0) & (mode < count) & np.isfinite(energy))
        if not rows.size:
            continue
        line = z[rows, None] + share[:, None] * (latent[rows, None, mode] - z[rows, None])
        height = energies(target, np.repeat(rows, BETWEEN), line.reshape(-1, z.shape[1]))
        flat = height.reshape(-1, BETWEEN).max(1) <= ceiling[rows]
        home[rows[flat]] = mode
    return home


def _laplace(
    target: Target, latent: Float[np.ndarray, "B M k"], energy: Float[np.ndarray, "B M"]
) -> Float[np.ndarray, "B M"]:
    """exp(-U) / sqrt(det H) of each mode over the row's sum; NaN where H is singular."""
    batch, most, k = latent.shape
    there = np.isfinite(energy)
    owner = np.repeat(np.arange(batch), most)
    flat = np.where(there[..., None], latent, 0.0).reshape(-1, k)
    sign, logarithm = np.linalg.slogdet(informations(target, owner, flat))
    logarithm = np.where(sign > 0, logarithm, np.nan).reshape(batch, most)
    evidence = np.where(there, -energy - 0.5 * logarithm, -np.inf)
    top = np.where(there.any(1), evidence.max(1), 0.0)
    share = np.exp(evidence - top[:, None])
    with np.errstate(invalid="ignore"):
        return np.where(there, share / share.sum(1, keepdims=True), np.nan)
