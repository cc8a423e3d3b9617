"""What was said of a row, held against what the oracle finds. Of each judgement, True is a failure,
but for the two of `SHARES`.

A row is judged only where the judgement asks about it: what is neither clear nor claimed is left
out.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg, stats

import jaxinv
from benchmarks import honesty_oracle as oracle
from benchmarks.honesty_noise import CODELESS
from benchmarks.honesty_problems import ROWS, Batch

SHARES = ("interval covers", "called reliable")
SOLVED, UNDERDETERMINED = int(jaxinv.Status.SOLVED), int(jaxinv.Status.UNDERDETERMINED)
BAD_INPUT = int(jaxinv.Status.BAD_INPUT)
CLOSEST = int(jaxinv.Status.CLOSEST)
ERROR = 1e-3  # ||z - z*|| / ||z*|| that is forgiven where a row reports no error of its own
BETTER = 1.01  # factor by which another fit's residual must be lower
REPRODUCED = 2e-6  # ||w r|| / ||w x||: twice the tolerance up to which a row counts as reproduced
WIDE = 1e-3  # of a preimage, over ||z*||: narrower ones determine the code for all purposes
ROUNDED = 1e-14  # of a latent's error, which is its own rounding
HALF = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "uint8": 0.5 / 255}
ROUNDINGS = 4  # bounds by which a reported residual may be off
LARGEST_ROUNDING = 2.0  # of the data, over what it is in the root mean square
REGION = 0.999
RANDOM_STARTS = 20


# BLAS scales before it squares: latents of 1e-195 are met.
norm = partial(linalg.norm, check_finite=False)


class Told(NamedTuple):
    """What jaxinv said of a row; None where it was not asked or said nothing.

    noise: deviation of an entry of weight one that `confidence` goes by, rounding included. unique:
    `identifiability` at the true code and at the one found. layerwise: by such a method.
    """

    latent: np.ndarray
    status: int
    undetermined: int
    residual: float
    allowed_error: float | None
    reliable: bool | None
    low: np.ndarray | None
    high: np.ndarray | None
    noise: float | None
    unique: tuple[bool, bool]
    layerwise: bool = False


class Row(NamedTuple):
    """One problem as the oracle sees it. weight: 0 where not observed. coded: a code made it.

    stored: 2-norm of half the distance between neighbouring numbers of the dtype, observed.
    """

    layers: list[oracle.Affine]
    x: np.ndarray
    weight: np.ndarray
    seen: np.ndarray
    truth: np.ndarray
    rounding: float
    coded: bool
    noise: str
    problem: int
    stored: float


def row_of(batch: Batch, number: int) -> Row:
    """Row `number` of a batch. rounding: 2-norm of how far the data are from G(z*), observed."""
    layers = batch.net.layers
    x = np.asarray(batch.observation[number], np.float64)
    seen = np.ones(len(x), bool)
    if batch.mask is not None:
        seen = batch.mask if batch.mask.ndim == 1 else batch.mask[number]
    weight = seen * (1.0 if batch.weights is None else batch.weights)
    truth, noise = batch.latent[number], batch.noise[number]
    forward = oracle.rounding(layers, truth)[-1]
    rounded = norm((np.abs(x - batch.clean[number]) + forward)[seen])
    coded = noise not in CODELESS
    problem = batch.number * ROWS + number
    half = HALF[batch.dtype] * (np.ones_like(x) if batch.dtype == "uint8" else np.abs(x))
    stored = float(norm(half[seen]))
    return Row(layers, x, weight, seen, truth, float(rounded), coded, noise, problem, stored)


def judged(row: Row, told: Told, seed: int) -> tuple[dict[str, bool], dict[str, Any]]:
    """The judgements, and the figures behind them."""
    verdicts, figures = _consistent(row, told)
    if not np.isfinite(told.latent).all() or not np.isfinite(row.x).all():
        return verdicts, figures
    with np.errstate(all="ignore"):
        for part in (_residual, _rank, _noiseless, _fit, _intervals):
            more, behind = part(row, told, seed)
            verdicts |= more
            figures |= behind
    return verdicts, figures


def _consistent(row: Row, told: Told) -> tuple[dict[str, bool], dict[str, Any]]:
    """Statuses, NaN, and dimensions go together."""
    status = jaxinv.Status(told.status)
    finite = bool(np.isfinite(told.latent).all())
    wrong = finite != status.has_latent
    wrong |= finite != bool(np.isfinite(told.residual))
    wrong |= status == SOLVED and told.undetermined != 0
    wrong |= status == UNDERDETERMINED and told.undetermined <= 0
    wrong |= status == BAD_INPUT and bool(np.isfinite(row.x).all())
    return {"status contradicts itself": bool(wrong)}, {}


def _misfit(row: Row, z: np.ndarray, weight: np.ndarray) -> float:
    return float(norm(weight * (oracle.image(row.layers, z) - row.x)))


def _residual(row: Row, told: Told, _: int) -> tuple[dict[str, bool], dict[str, Any]]:
    own = _misfit(row, told.latent, row.seen)
    forward = oracle.rounding(row.layers, told.latent)[-1][row.seen]
    allowed = ROUNDINGS * (norm(forward) + 1e-14 * (own + norm(row.x)))
    off = abs(own - told.residual)
    figures = {"own residual": own, "relative residual": own / (norm(row.x) or 1.0)}
    # A bound that overflowed allows all there is.
    return {"residual is another": bool(off > allowed)}, figures


def _rank(row: Row, told: Told, _: int) -> tuple[dict[str, bool], dict[str, Any]]:
    """Fewer free directions are reported than the Jacobian at the answer has."""
    there, true = (oracle.rank(row.layers, z, row.seen) for z in (told.latent, row.truth))
    figures: dict[str, Any] = {"rank": there.rank, "condition": there.condition}
    verdicts = {}
    k = len(row.truth)
    # Layer by layer what is left free is counted within one layer: of it only 0 is a claim.
    counted = told.undetermined == 0 or not told.layerwise
    if there.clear and counted and told.status in (SOLVED, UNDERDETERMINED, CLOSEST):
        verdicts["free directions missed"] = told.undetermined < k - there.rank
    if not row.coded:
        return verdicts, figures
    figures |= {"rank at truth": true.rank, "condition at truth": true.condition}
    if true.clear and true.rank < k and told.reliable is not None:
        width = oracle.preimage_width(
            row.layers, row.truth, row.seen, np.random.default_rng(row.problem)
        )
        figures["preimage width"] = width
        if width is None or width > WIDE:
            claimed = told.undetermined == 0 and told.reliable
            verdicts["no code, called determined and reliable"] = bool(claimed)
    return verdicts, figures


def _noiseless(row: Row, told: Told, _: int) -> tuple[dict[str, bool], dict[str, Any]]:
    """Errors of codes that the data determine, and preimages that were said to be the only one."""
    if row.noise != "none":
        return {}, {}
    verdicts, figures = {}, {}
    size = float(norm(row.truth)) or 1.0
    error = float(norm(told.latent - row.truth))
    figures["error"] = error / size
    layers, seen = row.layers, row.seen
    k, true = len(row.truth), oracle.rank(layers, row.truth, seen)
    forward = sum(
        float(norm(oracle.rounding(layers, z)[-1][seen])) for z in (row.truth, told.latent)
    )
    apart = oracle.image(layers, told.latent) - oracle.image(layers, row.truth)
    twin = float(norm(apart[seen])) <= forward and error > ERROR * size
    for claimed, where in zip(told.unique, ("truth", "answer"), strict=True):
        if claimed:
            verdicts["another preimage of a unique one"] = twin | verdicts.get(
                "another preimage of a unique one", False
            )
            if twin:
                figures["called unique at"] = where
    if told.status != SOLVED or told.undetermined != 0 or true.rank < k:
        return verdicts, figures
    # Another code with this very image, not reached along a flat way: the data do not tell which.
    level = 10 * row.rounding
    rival = _misfit(row, told.latent, row.seen) <= level and error > ERROR * size
    figures["another preimage"] = rival and not oracle.flat_between(
        layers, row.truth, told.latent, seen, level
    )
    if figures["another preimage"]:
        return verdicts, figures
    expected = (
        oracle.first_order_error(
            layers, row.truth, row.x - oracle.image(layers, row.truth), row.weight
        )
        + np.finfo(float).eps * true.condition * size
    )
    allowed = ERROR * size if told.allowed_error is None else told.allowed_error
    allowed = max(allowed, ROUNDED * size)
    figures |= {"expected error": expected / size, "allowed error": allowed / size}
    where = (
        "the data tell the code" if expected <= 0.1 * ERROR * size else "rounding hides the code"
    )
    verdicts[f"latent error above what is allowed, {where}"] = bool(error > allowed)
    return verdicts, figures


def _fit(row: Row, told: Told, seed: int) -> tuple[dict[str, bool], dict[str, Any]]:
    """Is there a lower minimum, and is it called solved where no code made the observation?"""
    verdicts: dict[str, bool] = {}
    own, size = (_misfit(row, told.latent, row.weight), norm(row.weight * row.x))
    off = own > max(REPRODUCED * float(size), 10 * np.finfo(float).eps * float(size))
    # What the rounding of the data leaves is no misfit that another fit could be better by.
    rounding = row.rounding if row.noise == "none" else row.stored
    off &= _misfit(row, told.latent, row.seen) > LARGEST_ROUNDING * rounding
    if not row.coded and off:
        verdicts["made by no code, SOLVED"] = told.status == SOLVED
    words = {SOLVED: "a better fit than a SOLVED one", CLOSEST: "a better fit than a CLOSEST one"}
    if told.status not in words or not off:
        return verdicts, {}
    rng = np.random.default_rng([seed, 6, row.problem])
    k, scale = len(row.truth), float(np.sqrt(np.mean(row.truth**2)))
    drawn = list(scale * rng.standard_normal((RANDOM_STARTS, k)))
    starts = ([row.truth] if row.coded else []) + [told.latent, *drawn]
    found = oracle.best_fit(row.layers, row.x, row.weight, starts, own / BETTER)
    if found is None:
        return verdicts, {}
    verdicts[words[told.status]] = found.residual < own / BETTER
    names = (["truth"] if row.coded else []) + ["answer"]
    start = names[found.start] if found.start < len(names) else "random"
    return verdicts, {"better by": own / max(found.residual, 1e-300), "better from": start}


def _intervals(row: Row, told: Told, _: int) -> tuple[dict[str, bool], dict[str, Any]]:
    """Coverage, by one entry a row: trials are independent. The joint region, by our own J.

    Its size is that of the noise that was told, which is never below the rounding of the data, and
    no smaller than the misfit says.
    """
    if told.reliable is None or row.noise in ("none", *CODELESS):
        return {}, {}
    verdicts = {}
    if told.status in (SOLVED, CLOSEST):
        verdicts["called reliable"] = told.reliable
    if not told.reliable:
        return verdicts, {}
    k, m = len(row.truth), int(row.seen.sum())
    entry = row.problem % k
    assert told.low is not None
    assert told.high is not None
    inside = (told.low <= row.truth) & (row.truth <= told.high)
    verdicts["interval covers"] = bool(inside[entry])
    weighted = row.weight[:, None] * oracle.jacobian(row.layers, told.latent)
    moved = float(np.sum((weighted @ (row.truth - told.latent)) ** 2)) / k
    variance = max(_misfit(row, told.latent, row.weight) ** 2 / (m - k), (told.noise or 0.0) ** 2)
    statistic = moved / variance if variance > 0 else np.inf
    figures = {"joint statistic": statistic, "entries covered": float(inside.mean())}
    outside = bool(statistic > stats.f.ppf(REGION, k, m - k))
    # A minimum beside the true code, as low as the one told: the data do not choose between them.
    own = _misfit(row, told.latent, row.weight)
    there = oracle.best_fit(row.layers, row.x, row.weight, [row.truth]) if outside else None
    twin = there is not None and abs(there.residual - own) <= (BETTER - 1) * own
    twin = twin and float(np.sum((weighted @ (there.latent - told.latent)) ** 2)) > moved * k / 4
    verdicts["outside its joint 99.9% region"] = outside and not twin
    verdicts["the true code is another minimum, as low"] = bool(outside and twin)
    return verdicts, figures
