"""What an inversion returns: one entry a row, on the device, with an honest word on each."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxinv.outcome.search_report import SearchReport
from jaxinv.outcome.status import Status


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["tolerance", "active", "residual", "status", "undetermined", "steps", "fallback"],
    meta_fields=[],
)
@dataclass(frozen=True)
class LayerReport:
    """What a layer-wise method did at one layer, one entry a row.

    tolerance: the accepted tolerance (0 where the layer was solved as realizable). active: number
    of rows that bound the layer's input from both sides. residual: max_j |phi(W z + b)_j - x_j|
    over the observed rows for the linear programs, the 2-norm over the active rows for least
    squares. undetermined: dimension the active rows leave free. steps: linear programs solved, or
    refinements of the least squares. fallback: how many of them the method's solver did not certify
    by itself, so that the Clarabel pool was asked.

    >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
    >>> r = jaxinv.invert(g, g(np.ones((3, 2))), "exact")
    >>> [report.active.tolist() for report in r.layers]
    [[2, 2, 2], [8, 8, 8]]
    """

    tolerance: Float[Array, "*batch"]
    active: Int[Array, "*batch"]
    residual: Float[Array, "*batch"]
    status: Int[Array, "*batch"]
    undetermined: Int[Array, "*batch"]
    steps: Int[Array, "*batch"]
    fallback: Int[Array, "*batch"]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "latent",
        "status",
        "undetermined",
        "residual",
        "allowed_error",
        "layers",
        "search",
        "objective",
        "prior_pull",
    ],
    meta_fields=[],
)
@dataclass(frozen=True)
class Inversion:
    """The codes found for a batch of observations (or for one, without the batch axis).

    latent: (B, k) float64, NaN only where the row failed. status: (B,) of `Status`. undetermined:
    (B,) dimension the method left free, 0 where it found the latent unique. residual: (B,)
    ||mask * (G(latent) - x)||_2, recomputed in float64. allowed_error: (B,) how far a latent may be
    off, ||z - latent||_2, where x = G(z) + e leaves such a residual: the sum of its norm and that
    of e (the rounding of x, or of a row explained as noise what the residual shows of it) times
    ||J^+||_F, J the Jacobian of the observed entries with units whose side is open on the flatter
    one, true where G is about linear between the two; infinite where the latent is not determined.
    layers: one `LayerReport` a layer, first layer first; empty for methods that treat all layers at
    once. search: what "auto" and "lm" did for each row; None for other methods. objective: (B,)
    what was minimised where there is a prior, the misfit's part and the prior's together, as
    `GaussianPrior` states it; prior_pull: (B,) the prior's part alone. Both are None without one.

    >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
    >>> x = np.array(g(np.ones((3, 2))))
    >>> x[1, 0] = np.nan
    >>> r = jaxinv.invert(g, x, "exact")
    >>> r.ok.tolist(), np.isnan(np.asarray(r.latent)).any(1).tolist()
    ([True, False, True], [False, True, False])
    """

    latent: Float[Array, "*batch k"]
    status: Int[Array, "*batch"]
    undetermined: Int[Array, "*batch"]
    residual: Float[Array, "*batch"]
    allowed_error: Float[Array, "*batch"]
    layers: tuple[LayerReport, ...] = ()
    search: SearchReport | None = None
    objective: Float[Array, "*batch"] | None = None
    prior_pull: Float[Array, "*batch"] | None = None

    @property
    def ok(self) -> Bool[Array, "*batch"]:
        """Where the status is SOLVED or CLOSEST: an answer that was confirmed."""
        with jax.enable_x64(True):
            solved, closest = int(Status.SOLVED), int(Status.CLOSEST)
            return (self.status == solved) | (self.status == closest)

    @property
    def explained(self) -> Bool[Array, "*batch"]:
        """Where the status is SOLVED or UNDERDETERMINED: the misfit is shown to be noise, or
        rounding, or within what the method's own programs were asked for.
        """
        with jax.enable_x64(True):
            solved, free = int(Status.SOLVED), int(Status.UNDERDETERMINED)
            return (self.status == solved) | (self.status == free)

    def counts(self) -> dict[Status, int]:
        """How many rows ended with each status, the most frequent first.

        >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
        >>> jaxinv.invert(g, g(np.ones((3, 2))), "exact").counts()
        {<Status.SOLVED: 0>: 3}
        """
        tally = Counter(np.atleast_1d(np.asarray(self.status)).tolist())
        return {Status(value): count for value, count in tally.most_common()}

    def __repr__(self) -> str:
        words = ", ".join(f"{count} {status.name}" for status, count in self.counts().items())
        searched = f"; {self.search}" if self.search else ""
        return f"Inversion(latent {tuple(self.latent.shape)}: {words or 'no rows'}{searched})"


def concatenate(parts: Sequence[Inversion]) -> Inversion:
    """Join the inversions of consecutive chunks along the batch axis."""
    with jax.enable_x64(True):
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def take_rows(inversion: Inversion, rows: slice | int) -> Inversion:
    """The same inversion for some of its rows; an integer drops the batch axis."""
    with jax.enable_x64(True):
        return jax.tree.map(lambda leaf: leaf[rows], inversion)
