"""The two doors: invert a batch, or a stream of chunks in bounded memory."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from jaxinv.call.in_flight import Devices, Piece, chosen_devices, in_flight
from jaxinv.call.operators import of_both_parts, stacked
from jaxinv.call.request import (
    Options,
    check_entries,
    checked,
    data_of,
    requested,
)
from jaxinv.call.runners import runner
from jaxinv.linalg.device_memory import share_of_memory, stated_memory
from jaxinv.model.decoder import Decoder
from jaxinv.model.given import observed_array
from jaxinv.model.layer import Layer
from jaxinv.model.precision import rounding_of
from jaxinv.model.prior import GaussianPrior
from jaxinv.outcome.inversion import Inversion, concatenate, take_rows
from jaxinv.settings import Method, resolve

# Of a CPU: rows enough to keep it busy. A device that states its memory is given what fills it.
CHUNK_BYTES, LARGEST_CHUNK, LARGEST_SEARCH = 1 << 28, 1024, 256
SHARE_OF_DEVICE, LARGEST_ON_DEVICE = 4, 1 << 14  # for each of the chunks in flight


def invert(
    generator: Decoder,
    observations: Any,
    method: str | Method = "auto",
    *,
    mask: Any = None,
    weights: Any = None,
    latent_bounds: tuple[Any, Any] | None = None,
    operator: Any = None,
    noise: Any = None,
    refine: str | None = None,
    seed: int = 0,
    chunk: int | None = None,
    devices: Devices = None,
    start: Any = None,
    precision: str | float | None = None,
    prior: GaussianPrior | None = None,
    prior_weight: float | None = None,
) -> Inversion:
    """Find latents z with G(z) close to each observation x = G(z) + e.

    generator: a `Generator`, or a `FunctionGenerator` for the methods "auto", "lm" and "gd".
    observations: (B, n), or (n,) for one. method: a name ("auto", "exact", "linf", ...) or its
    settings. mask: (n,) or (B, n) bool, True where observed; what a masked array of NumPy hides is
    not observed either. weights: (n,) or (B, n) > 0, importance of each observed entry.
    latent_bounds: (low, high), scalars or (k,). operator: A of y = A G(z) + e, observations being
    y: a matrix (m, n), complex for complex y, a scipy sparse one, or a pair of linear callables
    (forward, adjoint) on one vector each; or f of y = f(G(z)) + e, a differentiable JAX function of
    one output (n,) -> (m,), or one of `jaxinv.measurements`, for "auto", "lm" and "gd"; or a list
    of these, the first of which is applied first. noise: standard deviation of each entry, one for
    all, (n,) or (B, n), which then say how entries weigh; where stated, a row whose residual
    exceeds it (by three standard deviations of a chi-square) is INEXACT; or a noise model,
    `Poisson`, `StudentT`, `Huber` or `Bernoulli`, for "auto" and "lm": the least-squares latent is
    then carried to the most likely one, and a row whose misfit the model does not explain is
    INEXACT. refine: "lm" carries a layer-wise answer to the nearest minimum over all layers; "linf"
    and "l1" then minimise that norm of the residual instead (bounded noise; gross outliers). seed:
    of random starting points, by row. chunk: rows computed together; None chooses by memory.
    devices: the first so many local devices, or those named; None takes all, each its share of the
    rows. start: latents (k,), (B, k) or (B, s, k) to begin at, an encoder's say, for "auto", which
    searches on where they do not suffice, and for "lm" and "gd", which take them for their random
    points; one that is not finite is left out, one outside latent_bounds is clipped. precision: in
    which the observations are known, where it is not the dtype that arrives, nor rows that show
    that they were bytes scaled to [0, 1] or [-1, 1]: a dtype's name, "uint8" for bytes scaled to
    [0, 1], or the step between two values; what such a rounding leaves of a misfit counts as
    reproduced. prior: a `GaussianPrior` of the latent, for "auto", "lm" and
    "gd", beside the misfit as noise= weighs it, or as prior_weight= does: lambda of ||W (y - A
    G(z))||^2 + lambda ||z||^2, with the standard Gaussian where no other prior is given. What is
    said of a row (status, residual, undetermined, allowed_error) is what the data alone say of the
    latent; `objective` and `prior_pull` say what was minimised.

    A row that cannot be inverted becomes NaN with a status and changes no other row. Raises
    ValueError where an argument's shape or type does not fit.

    >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
    >>> z = np.random.default_rng(1).standard_normal((3, 2))
    >>> r = jaxinv.invert(g, g(z), "exact")
    >>> r
    Inversion(latent (3, 2): 3 SOLVED)
    >>> np.allclose(r.latent, z)
    True
    """
    given = observed_array("observations", stacked(operator, observations))
    x = given.values
    if x.ndim not in (1, 2):
        raise ValueError(f"observations have shape {x.shape}; expected (n,) or (B, n)")
    rows = np.atleast_2d(x)
    options = Options(
        of_both_parts(operator, mask),
        of_both_parts(operator, weights),
        latent_bounds,
        operator,
        of_both_parts(operator, noise),
        refine,
        seed,
        chunk,
        start,
        precision,
        prior,
        prior_weight,
    )
    hidden = None if given.hidden is None else np.atleast_2d(given.hidden)
    rounding = rounding_of(given, precision)
    request, data = checked(generator, rows, method, options, rounding, hidden)
    share = -(-len(rows) // len(chosen_devices(devices)))
    size = min(chunk or default_chunk(generator, request.method), max(share, 1))
    starts = range(0, max(len(rows), 1), size)
    pieces = (Piece(request, data.some(slice(s, s + size)), size) for s in starts)
    inversion = concatenate(list(in_flight(pieces, devices)))
    return take_rows(inversion, 0) if x.ndim == 1 else inversion


def invert_stream(
    generator: Decoder,
    chunks: Iterable[Any],
    method: str | Method = "auto",
    *,
    mask: Any = None,
    weights: Any = None,
    latent_bounds: tuple[Any, Any] | None = None,
    operator: Any = None,
    noise: Any = None,
    refine: str | None = None,
    seed: int = 0,
    chunk: int | None = None,
    devices: Devices = None,
    start: Any = None,
    precision: str | float | None = None,
    prior: GaussianPrior | None = None,
    prior_weight: float | None = None,
) -> Iterator[Inversion]:
    """Yield one `Inversion` a chunk of observations (B_i, n), in order and in bounded memory.

    At most two chunks a device are held: while one waits for the pool of linear programs the device
    works on the next. All chunks are padded to one shape (the first chunk's size, unless `chunk`
    says), so that each computation compiles once; a larger chunk is refused. mask, weights and
    noise are (n,) here; start is (k,), or an iterator that gives each chunk's own. Other arguments
    as for `invert`.

    >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
    >>> rng = np.random.default_rng(1)
    >>> chunks = (g(rng.standard_normal((3, 2))) for _ in range(2))
    >>> [int(r.ok.sum()) for r in jaxinv.invert_stream(g, chunks, "exact")]
    [3, 3]
    """

    options = Options(
        of_both_parts(operator, mask),
        of_both_parts(operator, weights),
        latent_bounds,
        operator,
        of_both_parts(operator, noise),
        refine,
        seed,
        chunk,
        start,
        precision,
        prior,
        prior_weight,
    )

    def pieces() -> Iterator[Piece]:
        # Checked with the first chunk, which says how many entries an observation has: the
        # operator is multiplied into the last layer once.
        request, size = None, chunk
        for number, observations in enumerate(chunks):
            given = observed_array(f"chunk {number}", stacked(operator, observations))
            rows = given.values
            if rows.ndim != 2:
                raise ValueError(f"chunk {number} has shape {rows.shape}; expected (B, n)")
            if request is None:
                request = requested(generator, rows.shape[1], method, options)
            check_entries(request.generator, rows.shape[1])
            size = size or max(len(rows), 1)
            if len(rows) > size:
                raise ValueError(
                    f"chunk {number} has {len(rows)} rows, more than {size}; "
                    "put the largest chunk first or pass chunk="
                )
            own = options
            if isinstance(start, Iterator):
                own = replace(options, start=next(start, None))
            rounding = rounding_of(given, precision)
            yield Piece(request, data_of(request, rows, own, rounding, given.hidden), size)

    yield from in_flight(pieces(), devices)


def default_chunk(generator: Decoder, method: str | Method, memory: int | None = None) -> int:
    """Rows whose normal matrices fit into so many bytes; None takes a share of the device's.

    A search over all layers has its own lanes for its runs, and forms a matrix a row in single
    precision for the ReLU layers alone. On a CPU at most LARGEST_CHUNK rows, and more than
    LARGEST_SEARCH gain a search nothing; on a device that states its memory, LARGEST_ON_DEVICE.
    """
    if memory is None:
        memory = share_of_memory(SHARE_OF_DEVICE, CHUNK_BYTES)
    k, joint = generator.latent_size, runner(resolve(method)).to_minima

    def formed(layer: Layer) -> float:
        if not joint:
            return layer.width_in**2
        return layer.width_in**2 / 2 if layer.activation.kind == "relu" else 0

    dense = [layer for layer in generator.layers if layer.is_dense]
    matrices = [formed(layer) + 4 * layer.width for layer in dense]
    widest = max(matrices, default=k**2 + 4 * generator.observation_size)
    most = LARGEST_SEARCH if joint else LARGEST_CHUNK
    if stated_memory() is not None:
        most = LARGEST_ON_DEVICE
    return int(np.clip(memory // (3 * 8 * widest), 1, most))
