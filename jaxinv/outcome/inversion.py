"""What an inversion returns: one entry a row, on the device, with an honest word on each."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxinv.outcome.notebook import summary
from jaxinv.outcome.search_report import SearchReport
from jaxinv.outcome.status import Status
from jaxinv.outcome.table import arrow_table, pandas_frame, worded


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

    def to_dict(self) -> dict[str, Any]:
        """NumPy arrays by name, one entry a row; statuses, starts and endings as words.

        latent, status, ok, explained, residual, undetermined and allowed_error; objective and
        prior_pull where there is a prior; the fields of `SearchReport` as search_runs, ..., and
        those of each `LayerReport` as layer_1_tolerance, ..., counted from the first layer. Of one
        observation, latent is (k,) and the others are single values.

        >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
        >>> r = jaxinv.invert(g, g(np.ones((3, 2))), "exact")
        >>> r.to_dict()["status"].tolist(), r.to_dict()["layer_2_active"].tolist()
        (['SOLVED', 'SOLVED', 'SOLVED'], [8, 8, 8])
        """
        return {name: worded(name, values) for name, values in self._columns().items()}

    def to_pandas(self) -> Any:
        """The columns of `to_dict` as a pandas DataFrame, one row a row (extra `pandas`).

        The latent's entries are the columns latent_0 to latent_{k-1}, behind all others; words are
        categories. Raises ImportError where pandas is not installed.

        >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
        >>> frame = jaxinv.invert(g, g(np.ones((3, 2))), "exact").to_pandas()
        >>> frame[["status", "latent_0"]].round(6).values.tolist()
        [['SOLVED', 1.0], ['SOLVED', 1.0], ['SOLVED', 1.0]]
        """
        return pandas_frame(self._columns())

    def to_arrow(self) -> Any:
        """The columns of `to_dict` as a table of Apache Arrow, one row a row (extra `export`).

        latent is a list of k doubles, as in the .parquet file of a job. Raises ImportError where
        pyarrow is not installed.

        >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
        >>> table = jaxinv.invert(g, g(np.ones((3, 2))), "exact").to_arrow()
        >>> table.num_rows, str(table.schema.field("latent").type)
        (3, 'fixed_size_list<item: double>[2]')
        """
        return arrow_table(self._columns())

    def _repr_html_(self) -> str:
        """What a notebook shows: counts by status, a histogram of residuals, the worst rows."""
        measures = {
            name: np.asarray(getattr(self, name))
            for name in ("status", "residual", "allowed_error", "undetermined")
        }
        return summary(tuple(self.latent.shape), self.counts(), measures)

    def _columns(self) -> dict[str, Any]:
        """The arrays of `to_dict`, with the numbers of words."""
        names = ("latent", "status", "ok", "explained", "residual", "undetermined", "allowed_error")
        columns = {name: getattr(self, name) for name in (*names, "objective", "prior_pull")}
        reports: dict[str, Any] = {"search_": self.search}
        reports |= {f"layer_{number}_": report for number, report in enumerate(self.layers, 1)}
        for prefix, report in reports.items():
            named = () if report is None else fields(report)
            columns |= {f"{prefix}{field.name}": getattr(report, field.name) for field in named}
        return {name: np.asarray(part) for name, part in columns.items() if part is not None}

    def __repr__(self) -> str:
        words = ", ".join(f"{count} {status.name}" for status, count in self.counts().items())
        searched = f"; {self.search}" if self.search else ""
        return f"Inversion(latent {tuple(self.latent.shape)}: {words or 'no rows'}{searched})"


def concatenate(parts: Sequence[Inversion]) -> Inversion:
    """Join the inversions of consecutive chunks along the batch axis."""
    if len(parts) == 1:
        return parts[0]
    with jax.enable_x64(True):
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def take_rows(inversion: Inversion, rows: slice | int) -> Inversion:
    """The same inversion for some of its rows; an integer drops the batch axis."""
    with jax.enable_x64(True):
        return jax.tree.map(lambda leaf: leaf[rows], inversion)
