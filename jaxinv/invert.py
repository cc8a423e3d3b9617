"""The two doors: invert a batch, or a stream of chunks in bounded memory."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxinv.generator import Generator, forward
from jaxinv.joint.gradient_descent import gradient_descent
from jaxinv.layerwise.sweep import LatentBounds, sweep
from jaxinv.methods import Exact, GradientDescent, LinfLP, Method, resolve
from jaxinv.result import Inversion, concatenate, take_rows
from jaxinv.status import Status

# Chunks in flight: one in the pool of linear programs while the device works on the next.
IN_FLIGHT = 2
CHUNK_BYTES = 1 << 28
LARGEST_CHUNK = 1024


@dataclass(frozen=True)
class Request:
    """What every chunk of one call has in common."""

    generator: Generator
    method: Method
    latent_bounds: LatentBounds
    noise: float | None
    seed: int


def invert(
    generator: Generator,
    observations: Any,
    method: str | Method = "linf",
    *,
    mask: Any = None,
    weights: Any = None,
    latent_bounds: tuple[Any, Any] | None = None,
    noise: float | None = None,
    seed: int = 0,
    chunk: int | None = None,
) -> Inversion:
    """Find latents z with G(z) close to each observation x = G(z) + e.

    observations: (B, n), or (n,) for one. method: a name ("exact", "linf") or its settings. mask:
    (n,) or (B, n) bool, True where observed. weights: (n,) or (B, n) > 0, importance of each
    observed entry. latent_bounds: (low, high), scalars or (k,). noise: standard deviation per
    entry; where stated, a row whose residual exceeds it (by three standard deviations of a
    chi-square) is INEXACT. seed: of random
    starting points, by row. chunk: rows computed together; None chooses by memory. A row that
    cannot be inverted becomes NaN with a status and changes no other row. Raises ValueError where
    an argument's shape or type does not fit.
    """
    x = _real("observations", observations)
    if x.ndim not in (1, 2):
        raise ValueError(f"observations have shape {x.shape}; expected (n,) or (B, n)")
    rows = np.atleast_2d(x)
    request, row_weight = _checked(
        generator, rows, method, mask, weights, latent_bounds, noise, seed, chunk
    )
    size = min(chunk or default_chunk(generator), max(len(rows), 1))
    starts = range(0, max(len(rows), 1), size)
    pieces = ((rows[s : s + size], row_weight[s : s + size]) for s in starts)
    inversion = concatenate(list(_in_flight(request, pieces, size)))
    return take_rows(inversion, 0) if x.ndim == 1 else inversion


def invert_stream(
    generator: Generator,
    chunks: Iterable[Any],
    method: str | Method = "linf",
    *,
    mask: Any = None,
    weights: Any = None,
    latent_bounds: tuple[Any, Any] | None = None,
    noise: float | None = None,
    seed: int = 0,
    chunk: int | None = None,
) -> Iterator[Inversion]:
    """Yield one `Inversion` a chunk of observations (B_i, n), in order and in bounded memory.

    At most IN_FLIGHT chunks are held: while one waits for the pool of linear programs the device
    works on the next. All chunks are padded to one shape (the first chunk's size, unless `chunk`
    says), so that each computation compiles once; a larger chunk is refused. mask and weights are
    (n,) here. Other arguments as for `invert`.
    """
    size = chunk
    request: Request | None = None

    def pieces() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        nonlocal size, request
        for number, observations in enumerate(chunks):
            rows = _real(f"chunk {number}", observations)
            if rows.ndim != 2:
                raise ValueError(f"chunk {number} has shape {rows.shape}; expected (B, n)")
            request, row_weight = _checked(
                generator, rows, method, mask, weights, latent_bounds, noise, seed, chunk
            )
            size = size or max(len(rows), 1)
            if len(rows) > size:
                raise ValueError(
                    f"chunk {number} has {len(rows)} rows, more than {size}; "
                    "put the largest chunk first or pass chunk="
                )
            yield rows, row_weight

    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="chunk") as workers:
        waiting: deque[Future[Inversion]] = deque()
        done = 0
        for rows, row_weight in pieces():
            assert request is not None
            assert size is not None
            waiting.append(workers.submit(_invert_chunk, request, rows, row_weight, size, done))
            done += len(rows)
            if len(waiting) == IN_FLIGHT:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def default_chunk(generator: Generator) -> int:
    """Rows whose normal matrices fit into CHUNK_BYTES, at most LARGEST_CHUNK."""
    widest = max(layer.width_in**2 + 4 * layer.width for layer in generator.layers)
    return int(np.clip(CHUNK_BYTES // (3 * 8 * widest), 1, LARGEST_CHUNK))


def _in_flight(
    request: Request, pieces: Iterable[tuple[np.ndarray, np.ndarray]], size: int
) -> Iterator[Inversion]:
    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="chunk") as workers:
        waiting: deque[Future[Inversion]] = deque()
        done = 0
        for rows, row_weight in pieces:
            waiting.append(workers.submit(_invert_chunk, request, rows, row_weight, size, done))
            done += len(rows)
            if len(waiting) == IN_FLIGHT:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _invert_chunk(
    request: Request,
    rows: Float[np.ndarray, "B n"],
    row_weight: Float[np.ndarray, "B n"],
    size: int,
    first_row: int,
) -> Inversion:
    """One chunk, padded to `size` rows; padding is never live and costs no linear program."""
    padding = ((0, size - len(rows)), (0, 0))
    seen = np.where(row_weight > 0, rows, 0.0)
    live = np.asarray(np.isfinite(seen).all(-1) & (row_weight > 0).any(-1))
    x = np.pad(np.where(live[:, None], seen, 0.0), padding)
    weight = np.pad(row_weight, padding)
    # enable_x64 holds for one thread: each worker sets its own.
    with jax.enable_x64(True):
        padded_live = np.pad(live, padding[0])
        if isinstance(request.method, GradientDescent):
            whole = _descend(request, request.method, x, weight, padded_live, first_row)
        else:
            whole = _sweep(request, request.method, x, weight, padded_live)
        return take_rows(whole, slice(0, len(rows)))


def _sweep(
    request: Request, method: Exact | LinfLP, x: np.ndarray, weight: np.ndarray, live: np.ndarray
) -> Inversion:
    swept = sweep(request.generator, jnp.asarray(x), weight, live, method, request.latent_bounds)
    residual = _residual(request.generator, swept.latent, x, weight)
    status = _final_status(request, swept.status, np.asarray(residual), x, weight)
    undetermined = jnp.asarray(swept.undetermined)
    return Inversion(swept.latent, jnp.asarray(status), undetermined, residual, swept.layers)


def _descend(
    request: Request,
    method: GradientDescent,
    x: np.ndarray,
    weight: np.ndarray,
    live: np.ndarray,
    first_row: int,
) -> Inversion:
    # A row's starting points follow its place in the whole call, not its place in a chunk.
    row_ids = jnp.asarray(first_row + np.arange(len(x)))
    observed = jnp.asarray(weight > 0)
    found = gradient_descent(
        request.generator,
        jnp.asarray(x),
        observed,
        jnp.asarray(weight),
        method,
        request.seed,
        row_ids,
    )
    status = np.where(live, np.asarray(found.status), int(Status.BAD_INPUT))
    status = _final_status(request, status, np.asarray(found.residual), x, weight)
    return replace(
        found,
        latent=jnp.where(live[:, None], found.latent, jnp.nan),
        residual=jnp.where(live, found.residual, jnp.nan),
        status=jnp.asarray(status),
    )


@jax.jit
def _residual(generator: Generator, latent: Array, x: Array, weight: Array) -> Array:
    return jnp.linalg.norm(jnp.where(weight > 0, forward(generator, latent) - x, 0.0), axis=-1)


def _final_status(
    request: Request,
    status: np.ndarray,
    residual: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
) -> np.ndarray:
    """SOLVED becomes INEXACT where the recomputed residual is above what was asked."""
    excess = np.zeros(len(status), bool)
    if isinstance(request.method, Exact):
        excess |= residual > request.method.tolerance * np.linalg.norm(x * (weight > 0), axis=-1)
    if request.noise is not None:
        excess |= residual > noise_limit(request.noise, (weight > 0).sum(-1))
    return np.where((status == int(Status.SOLVED)) & excess, int(Status.INEXACT), status)


def noise_limit(noise: float, observed: np.ndarray) -> np.ndarray:
    """Largest credible ||e||_2 of m entries of deviation noise: noise sqrt(m + 3 sqrt(2 m))."""
    return noise * np.sqrt(observed + 3.0 * np.sqrt(2.0 * observed))


def _checked(
    generator: Generator,
    rows: np.ndarray,
    method: str | Method,
    mask: Any,
    weights: Any,
    latent_bounds: tuple[Any, Any] | None,
    noise: float | None,
    seed: int,
    chunk: int | None,
) -> tuple[Request, Float[np.ndarray, "B n"]]:
    """Check every argument at the door; returns the request and the rows' weights (0: masked)."""
    if not isinstance(generator, Generator):
        raise ValueError(f"generator is a {type(generator).__name__}; expected jaxinv.Generator")
    if rows.shape[1] != generator.observation_size:
        raise ValueError(
            f"observations have {rows.shape[1]} entries each; "
            f"the generator makes {generator.observation_size}"
        )
    if noise is not None and not noise >= 0:
        raise ValueError(f"noise={noise} must be a standard deviation, 0 or more")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk={chunk} must be at least 1 row")
    bounds = _bounds(generator.latent_size, latent_bounds)
    observed = _mask(rows.shape, mask)
    importance = np.ones(rows.shape)
    if weights is not None:
        importance = _per_entry("weights", weights, rows.shape)
        if not (np.isfinite(importance).all() and (importance > 0).all()):
            raise ValueError("weights must be positive and finite; use mask= to leave entries out")
    return Request(generator, resolve(method), bounds, noise, seed), observed * importance


def _bounds(k: int, latent_bounds: tuple[Any, Any] | None) -> LatentBounds:
    if latent_bounds is None:
        return np.full(k, -np.inf), np.full(k, np.inf)
    if len(latent_bounds) != 2:
        raise ValueError("latent_bounds must be a pair (low, high), scalars or of shape (k,)")
    low, high = (_per_entry("latent_bounds", side, (k,)) for side in latent_bounds)
    if not (low < high).all():
        raise ValueError("latent_bounds has a low that is not below its high")
    return low, high


def _mask(shape: tuple[int, ...], mask: Any) -> Bool[np.ndarray, "B n"]:
    if mask is None:
        return np.ones(shape, bool)
    given = np.asarray(mask)
    if given.dtype != bool:
        raise ValueError(f"mask has dtype {given.dtype}; expected bool, True where observed")
    if not given.any():
        raise ValueError("the mask hides every entry; True means observed")
    return np.broadcast_to(_fits("mask", given, shape), shape)


def _per_entry(what: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(_fits(what, _real(what, values), shape), shape)


def _fits(what: str, given: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if given.shape not in (shape, shape[-1:], ()):
        raise ValueError(f"{what} has shape {given.shape}; expected {shape[-1:]} or {shape}")
    return given


def _real(what: str, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"dtype {array.dtype}")
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must be an array of real numbers ({error})") from None
