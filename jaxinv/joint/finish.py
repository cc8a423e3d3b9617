"""The last word on an answer, whichever method found it: residuals, ranks, errors, statuses.

A method hands over latents with its own word on each. Here alone the residual is recomputed in
float64 from the latent, the Jacobian says what is determined and how far an error may reach, and
SOLVED falls where the residual, or that error, is larger than the caller allows.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxinv.certify.kinks import pinned_at_kinks
from jaxinv.certify.layered_gain import layered_gain
from jaxinv.certify.local_rank import Errors, LocalRank, local_rank
from jaxinv.certify.noise_level import noise_levels
from jaxinv.certify.reach import reach
from jaxinv.joint.descent.orthogonal_step import orthogonal_steps
from jaxinv.joint.problem import Problem
from jaxinv.linalg.on_device import on_device
from jaxinv.outcome.inversion import Inversion, LayerReport
from jaxinv.outcome.search_report import SearchReport
from jaxinv.outcome.status import Status

EXPLAINED = (int(Status.SOLVED), int(Status.UNDERDETERMINED))
SLIGHT = 0.1  # of the latent: an error below which a decoder hardly bends
EXACT = 1e-6  # relative misfit, and relative rounding
BY_RANK = -1  # in place of a dimension: the Jacobian's rank is to tell


@dataclass(frozen=True)
class Provisional:
    """What a method found, before the last word.

    latent: (B, k), NaN where there is none. status: (B,) of `Status`, the method's own word; where
    it says SOLVED or UNDERDETERMINED, and undetermined is BY_RANK, the rank decides between the
    two. undetermined: (B,) dimension left free, or BY_RANK. layers, search: as in `Inversion`.
    largest_residual: ||m (G(z) - x)||_2, m the mask, up to which the method calls a row SOLVED.
    largest_error: of the latent, relative to its norm, that the misfit of a row may allow which is
    SOLVED because nothing but rounding is left. minima: whether the latents are minima of the
    weighted least squares, as far as normal equations tell them.
    """

    latent: Float[np.ndarray, "B k"]
    status: Int[np.ndarray, " B"]
    undetermined: Int[np.ndarray, " B"]
    layers: tuple[LayerReport, ...] = ()
    search: SearchReport | None = None
    largest_residual: Float[np.ndarray, " B"] | float = np.inf
    largest_error: float = np.inf
    minima: bool = False


def moved(
    before: Provisional, latent: Float[np.ndarray, "B k"], which: Bool[np.ndarray, " B"]
) -> Provisional:
    """The same answer with some latents moved: the Jacobian there says what is determined."""
    return replace(
        before,
        latent=np.where(which[:, None], latent, before.latent),
        undetermined=np.where(which, BY_RANK, before.undetermined),
        minima=False,
    )


def finished(
    problem: Problem, answer: Provisional, largest_residual: Float[np.ndarray, " B"] | float
) -> Inversion:
    """Residuals ||m (G(z) - x)||_2, m the mask, what is determined, the errors, and the status.

    SOLVED, UNDERDETERMINED and CLOSEST become INEXACT where the residual is above the method's own
    limit, or above the largest that the caller allows, and SOLVED where rounding allows too large
    an error.
    """
    there = np.isfinite(answer.latent).all(-1)
    latent = np.where(there[:, None], answer.latent, 0.0)
    fit = problem.fit(latent)
    left = np.where(there, fit.weighted, 0.0)
    residual = np.where(there, fit.residual, np.nan)
    # A residual that overflows was not seen to be small.
    limit = np.minimum(answer.largest_residual, largest_residual)
    small = (residual <= limit) & np.isfinite(residual)
    explained = np.isin(answer.status, EXPLAINED)
    closest = answer.status == int(Status.CLOSEST)
    status = np.where((explained | closest) & ~small, int(Status.INEXACT), answer.status)
    known = _around(problem, fit.latent, np.where(explained & small, left, 0.0), there)
    if answer.minima and (ill := there & ~known.well).any():
        sharper = orthogonal_steps(problem, latent, ill)
        if (sharper != latent).any():
            return finished(problem, _at(problem, answer, sharper), largest_residual)
    undetermined = _undetermined(
        problem, latent, answer.undetermined, known, there, explained & small
    )
    # Where nothing moves the image, runs have not met in a minimum: they have stopped.
    status = np.where(closest & (known.rank == 0), int(Status.INEXACT), status)
    word = np.where(undetermined > 0, int(Status.UNDERDETERMINED), int(Status.SOLVED))
    status = np.where(explained & small, word, status)
    fine = _exact(problem, left)
    exact = (status == int(Status.SOLVED)) & fine
    tolerated = exact & (fit.loss > problem.certain)
    noise = _noise_norm(problem, residual, np.isin(status, EXPLAINED) & ~fine)
    error = _allowed_error(
        problem, latent, residual, noise, np.where(there, known.gain, np.inf), tolerated
    )
    bends = there & np.isin(status, EXPLAINED) & ~fine & (undetermined == 0)
    error = _bent(problem, latent, residual + noise, error, bends)
    with np.errstate(invalid="ignore"):  # no bound on nothing
        wide = error > answer.largest_error * np.linalg.norm(latent, axis=-1)
    status = np.where(exact & wide, int(Status.INEXACT), status)
    return Inversion(
        latent=fit.latent if there.all() else on_device(answer.latent),
        status=on_device(status),
        undetermined=on_device(undetermined),
        residual=on_device(residual),
        allowed_error=on_device(np.where(there, error, np.nan)),
        layers=answer.layers,
        search=answer.search,
    )


def _allowed_error(
    problem: Problem,
    latent: Float[np.ndarray, "B k"],
    residual: Float[np.ndarray, " B"],
    noise: Float[np.ndarray, " B"],
    gain: Float[np.ndarray, " B"],
    tolerated: Bool[np.ndarray, " B"],
) -> Float[np.ndarray, " B"]:
    """(||r|| + ||e||) ||J^+||; what the layers one by one allow of what is merely tolerated.

    noise: ||e||, of x = G(z*) + e.

    That is neither rounding nor stated noise: it may be a false minimum's, in another cell.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        size = residual + noise
        # What is pinned at kinks has no gain, and where nothing is off no error.
        error = np.where(size > 0, size * gain, 0.0)
    for row in np.flatnonzero(tolerated):
        reach = layered_gain(problem.generator, latent[row], problem.weight[row] > 0)
        if np.isfinite(reach):
            error[row] = max(error[row], residual[row] * reach)
    return error


def _bent(
    problem: Problem,
    latent: Float[np.ndarray, "B k"],
    size: Float[np.ndarray, " B"],
    error: Float[np.ndarray, " B"],
    asked: Bool[np.ndarray, " B"],
) -> Float[np.ndarray, " B"]:
    """The errors, of which those that are no small ones are looked at where G may bend.

    A chain of lines bends at kinks alone, which the gain takes for open.
    """
    layers = problem.generator.layers
    if layers and all(layer.activation.piecewise_linear for layer in layers):
        return error
    norm = np.linalg.norm(latent, axis=-1)
    asked = asked & np.isfinite(error) & (error > SLIGHT * norm)
    if not asked.any():
        return error
    # All rows are handed on, asked or not: their number must not change the bits of those that are.
    found = reach(problem.generator, latent, problem.observed, size, np.where(asked, error, 0.0))
    return np.where(asked, found, error)


def _noise_norm(
    problem: Problem, residual: Float[np.ndarray, " B"], noisy: Bool[np.ndarray, " B"]
) -> Float[np.ndarray, " B"]:
    """||e|| of x = G(z*) + e: that of the rounding, of noise where this is what is left.

    A fit takes k of the m observed entries' shares of it: ||r||^2 is (m - k) / m of ||e||^2.
    """
    rounding = problem.sizes.rounding
    m, k = problem.count, problem.generator.latent_size
    share = np.sqrt(m / np.maximum(m - k, 1))
    with np.errstate(over="ignore"):
        return np.where(noisy, np.fmax(rounding, share * residual), rounding)


def _exact(problem: Problem, left: Float[np.ndarray, " B"]) -> Bool[np.ndarray, " B"]:
    """Whether nothing but the rounding of exact data is left. left: weighted norm of the misfit.

    What more is left, or the rounding of coarse data, is noise: `confidence` states its errors.
    """
    rounding = problem.sizes.weighted
    fine = rounding <= EXACT * problem.sizes.whole
    return np.asarray(fine & (left <= np.maximum(EXACT * problem.size, rounding)))


def _at(problem: Problem, answer: Provisional, latent: Float[np.ndarray, "B k"]) -> Provisional:
    """The answer at latents of smaller misfit: what they reproduce is explained."""
    there = np.isfinite(answer.latent).all(-1)
    reproduced = there & (problem.fit(latent).loss <= problem.certain)
    return replace(
        answer,
        latent=np.where(there[:, None], latent, answer.latent),
        status=np.where(reproduced, int(Status.SOLVED), answer.status),
        minima=False,
    )


def _around(
    problem: Problem,
    latent: Float[Array, "B k"],
    noise: Float[np.ndarray, " B"],
    there: Bool[np.ndarray, " B"],
) -> LocalRank:
    """What the observation determines there, where the misfit is noise or rounding.

    noise: weighted norm of a misfit that is noise, 0 where it is of no known size. there: whether
    there is a latent, and not 0 in its place.
    """
    _, sure = noise_levels(noise, problem.count, latent.shape[1])
    _, weight, rounding = problem.entries
    error = Errors(on_device(sure), weight, rounding)
    return local_rank(problem.generator, latent, problem.observed, error, there)


def _undetermined(
    problem: Problem,
    latent: Float[np.ndarray, "B k"],
    stated: Int[np.ndarray, " B"],
    known: LocalRank,
    there: Bool[np.ndarray, " B"],
    explained: Bool[np.ndarray, " B"],
) -> Int[np.ndarray, " B"]:
    """Dimension left free, by the rank where that is to tell. stated: what the method says."""
    free = np.where(there, latent.shape[1] - known.rank, 0)
    undetermined = np.where(stated == BY_RANK, free, stated)
    for row in np.flatnonzero(explained & (undetermined > 0)):
        if pinned_at_kinks(problem.generator, latent[row], problem.weight[row] > 0):
            undetermined[row] = 0
    return undetermined
