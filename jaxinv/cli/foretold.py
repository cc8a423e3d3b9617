"""What can be told of any decoder before a run: ranks at random codes, memory, seconds of a row."""

import time

import jax
import numpy as np

from jaxinv.call.invert import default_chunk, invert
from jaxinv.joint.descent.lanes import default_lanes
from jaxinv.joint.descent.matrix_free import LONG_LATENT
from jaxinv.model.decoder import Decoder, linearized_at
from jaxinv.outcome.status import Status
from jaxinv.outcome.words import number, seconds

CODES = 8
SINGULAR = 1e-10  # of the largest singular value
JACOBIAN_BYTES = 1 << 28  # of all the Jacobians that are looked at
REPEATS, LONG_ENOUGH = 3, 2.0  # later calls that are timed; seconds after which one is enough
OF_A_RUN = 3  # Jacobians that a run keeps room for


def jointly(decoder: Decoder) -> str:
    """What the Jacobian at random codes says of inverting the whole decoder."""
    k, n = decoder.latent_size, decoder.observation_size
    codes = min(CODES, JACOBIAN_BYTES // (8 * k * max(n, decoder.scratch)))
    if not codes:
        return (
            f"All at once: a Jacobian has {n:,} x {k:,} entries, too many to look at its rank here."
        )
    latent = np.random.default_rng(0).standard_normal((codes, k))
    with jax.enable_x64(True):
        columns = np.asarray(linearized_at(decoder, latent).columns)
    columns = columns[np.isfinite(columns).all((1, 2))]
    if not len(columns):
        return f"All at once: the Jacobian is finite at none of {codes} codes of N(0, I)."
    singular = np.linalg.svd(columns, compute_uv=False)
    ranks = (singular > SINGULAR * singular[:, :1]).sum(1)
    full = ranks == k
    if not full.any():
        return (
            f"All at once: at {len(columns)} codes of N(0, I) the image leaves {k - ranks.max()} "
            "or more directions of the code free."
        )
    condition = singular[full, 0] / singular[full, -1]
    least, middle, most = (number(float(np.quantile(condition, q))) for q in (0.0, 0.5, 1.0))
    told = middle if least == most else f"{middle} in the median, {least} to {most}"
    return (
        f"All at once: {full.sum()} of {len(columns)} codes of N(0, I) are determined by their "
        f"image, around themselves (rank {k}); the condition number there is {told}: so many times "
        "better than its faintest direction the image shows the clearest of the code."
    )


def memory(decoder: Decoder) -> str:
    """Rows and runs that 'auto' takes together here, and what their arrays take."""
    rows = default_chunk(decoder, "auto")
    k, n = decoder.latent_size, decoder.observation_size
    given = f"{rows:,} rows at a time, {size(8 * n)} each as given"
    if k >= LONG_LATENT and not decoder.is_dense:
        return f"Memory ('auto'): {given}; a latent of {k:,} entries is fitted without a Jacobian."
    lanes, one = default_lanes(decoder, None), OF_A_RUN * 8 * k * decoder.scratch
    return (
        f"Memory ('auto'): {given}; {lanes:,} runs of them at a time, each with room for up to "
        f"{size(one)} of Jacobians, {size(lanes * one)} together."
    )


def seconds_of_a_row(decoder: Decoder) -> str:
    """The time that one planted row takes on this machine, and how far that may be off."""
    planted = np.random.default_rng(1).standard_normal(decoder.latent_size)
    x = np.asarray(decoder(planted))
    if not np.isfinite(x).all():
        return "Seconds: the image of a code of N(0, I) is not finite, so that none was measured."

    def timed() -> tuple[float, Status, float]:
        begun = time.perf_counter()
        found = invert(decoder, x[None], "auto", chunk=1)
        latent = np.asarray(found.latent)[0]
        taken = time.perf_counter() - begun
        off = float(np.linalg.norm(latent - planted) / np.linalg.norm(planted))
        return taken, Status(int(found.status[0])), off

    first, status, off = timed()
    later: list[float] = []
    while len(later) < REPEATS and sum(later) < LONG_ENOUGH:
        later.append(timed()[0])
    apart = f", {seconds(min(later))} to {seconds(max(later))}" if len(later) > 1 else ""
    calls = f"{len(later)} later call{'' if len(later) == 1 else 's'}"
    return (
        f"Seconds ('auto', on this machine): {seconds(float(np.median(later)))} for one planted "
        f"row without noise ({calls}{apart}), after {seconds(first)} for the first call, which "
        f"compiles; {status.name}, the code off by {number(off)} of its norm. In a full chunk a "
        "row takes less; under noise, or where no code makes it, several times more: jaxinv "
        "compare measures your own rows."
    )


def size(count: int) -> str:
    """Bytes in the unit that one would name them in."""
    for unit, length in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= length:
            return f"{count / length:.3g} {unit}"
    return f"{count} B"
