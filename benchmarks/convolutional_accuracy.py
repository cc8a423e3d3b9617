r"""What `auto` makes of convolutional decoders' images: without noise, in float32, and with noise.

Codes z* ~ N(0, I). With noise of deviation s, a share of the image's root mean square,

    error over the bound = sqrt(mean_r ||z_r - z*_r||^2 / (s_r^2 tr (J'J)^-1)),  J at z*_r,

whose denominator is the Cramer-Rao bound on the mean square error of unbiased estimates.
"""

import time
import warnings
from collections import Counter
from typing import Any

import numpy as np

import jaxinv
from benchmarks.convolutional_nets import images, module
from benchmarks.joint_success import SUCCESS, error, planted
from jaxinv.certify.identifiability import identifiability

LEVELS = (0.01, 0.1)
LOST = 10.0  # times the bound: an error that no noise within the code's own neighbourhood makes


def statuses(status: Any) -> dict[str, int]:
    return {
        jaxinv.Status(value).name: count
        for value, count in sorted(Counter(np.asarray(status).tolist()).items())
    }


def recovery(generator: jaxinv.Generator, rows: int) -> dict[str, Any]:
    """Shares by status from float64 images, and from those of PyTorch's forward pass in float32."""
    truth, x = planted(generator, rows, 30_000)
    unique = identifiability(generator, truth).locally_unique
    single = images(module(generator), truth).astype(np.float64)
    return {
        "rows": rows,
        "locally unique": int(unique.sum()),
        "float64": recovered(generator, truth, x),
        "float32": recovered(generator, truth, single),
    }


def recovered(generator: jaxinv.Generator, truth: np.ndarray, x: np.ndarray) -> dict[str, Any]:
    begin = time.perf_counter()
    found = jaxinv.invert(generator, x)
    off, status = error(found.latent, truth), np.asarray(found.status)
    spent = time.perf_counter() - begin
    misfit = np.asarray(found.residual) / np.linalg.norm(x, axis=-1)
    good = off <= SUCCESS
    assert found.search is not None
    return {
        "recovered": int(good.sum()),
        "statuses": statuses(status),
        "recovered, by status": statuses(status[good]),
        "median error of the recovered": float(np.median(off[good])) if good.any() else None,
        "largest misfit of the recovered": float(misfit[good].max()) if good.any() else None,
        "seconds": spent,
        "runs a row": float(np.asarray(found.search.runs).mean()),
        "not recovered": [
            {
                "row": int(r),
                "status": jaxinv.Status(int(status[r])).name,
                "misfit": float(misfit[r]),
                "error": float(off[r]),
                "undetermined": int(found.undetermined[r]),
                "runs": int(found.search.runs[r]),
            }
            for r in np.flatnonzero(~good)
        ],
    }


def noise(generator: jaxinv.Generator, rows: int) -> dict[str, Any]:
    """Errors over the bound, and the share of the 95% intervals that cover, at each level."""
    truth, clean = planted(generator, rows, 40_000)
    singular = np.concatenate([_singular(generator, part) for part in np.split(truth, rows)])
    result: dict[str, Any] = {"rows": rows}
    for level in LEVELS:
        sd = level * np.sqrt((clean**2).mean(-1, keepdims=True))
        x = clean + sd * np.random.default_rng(40_001).standard_normal(clean.shape)
        begin = time.perf_counter()
        found = jaxinv.invert(generator, x)
        latent = np.asarray(found.latent)
        spent = time.perf_counter() - begin
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # rows that are not reliable are counted below
            interval = jaxinv.confidence(generator, x, found)
        with np.errstate(divide="ignore"):
            square = sd[:, 0] ** 2 * (singular**-2.0).sum(-1)
        over = ((latent - truth) ** 2).sum(-1) / square
        lost = ~(over <= LOST**2)
        inside = (interval.low <= truth) & (truth <= interval.high)
        misfit = np.asarray(found.residual) / (sd[:, 0] * np.sqrt(x.shape[1]))
        assert found.search is not None
        some = interval.reliable
        result[f"sd {level:g}"] = {
            "rms over bound": float(np.sqrt(over.mean())),
            "median over bound": float(np.sqrt(np.median(over))),
            f"above {LOST:g} times the bound": int(lost.sum()),
            "those, by status": statuses(np.asarray(found.status)[lost]),
            "rms over bound of the others": float(np.sqrt(over[~lost].mean())),
            "95% intervals cover": float(inside.mean()),
            "of reliable rows": float(inside[some].mean()) if some.any() else None,
            "reliable": float(interval.reliable.mean()),
            "largest residual over noise": float(misfit.max()),
            "statuses": statuses(found.status),
            "seconds": spent,
            "runs a row": float(np.asarray(found.search.runs).mean()),
        }
    return result


def _singular(generator: jaxinv.Generator, latent: np.ndarray) -> np.ndarray:
    return np.linalg.svd(np.asarray(generator.jacobian(latent)), compute_uv=False)
