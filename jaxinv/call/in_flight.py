"""Pieces of one call in flight: some on each device at a time, in order, halved for memory."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import jax

from jaxinv.call.chunk import invert_chunk
from jaxinv.call.memory import MEMORY_ERRORS, memory_ended
from jaxinv.call.request import Data, Request
from jaxinv.outcome.inversion import Inversion, concatenate

# Chunks in flight on a device: one in the pool of linear programs while it works on the next.
IN_FLIGHT = 2

Devices = int | Sequence[jax.Device] | None


class Piece(NamedTuple):
    """Rows of one chunk, and how many rows they are padded to.

    request: the same for all pieces of one call.
    """

    request: Request
    data: Data
    size: int


def chosen_devices(devices: Devices) -> list[jax.Device]:
    """All local devices, the first few of them, or those named."""
    local = jax.local_devices()
    if devices is None:
        return local
    if isinstance(devices, int) and not isinstance(devices, bool):
        if not 1 <= devices <= len(local):
            raise ValueError(f"devices={devices}; this process has {len(local)}: {local}")
        return local[:devices]
    if isinstance(devices, Sequence) and devices and all(device in local for device in devices):
        return list(devices)
    raise ValueError(f"devices={devices!r}; expected a number or some of {local}")


def in_flight(pieces: Iterable[Piece], devices: Devices) -> Iterator[Inversion]:
    """Invert the pieces in order, in turn on each device, IN_FLIGHT of them on each at a time."""
    chosen = chosen_devices(devices)
    most = IN_FLIGHT * len(chosen)
    with ThreadPoolExecutor(most, thread_name_prefix="chunk") as workers:
        waiting: deque[Future[Inversion]] = deque()
        copies: dict[jax.Device, Request] = {}
        done = 0
        for number, piece in enumerate(pieces):
            device = chosen[number % len(chosen)] if len(chosen) > 1 else None
            if device is not None:
                # One copy for the whole call: its layers keep the pseudo-inverses they compute.
                if device not in copies:
                    copies[device] = _copied(piece.request, device)
                piece = piece._replace(request=copies[device])
            waiting.append(workers.submit(_on_device, piece, done, device))
            done += len(piece.data.rows)
            if len(waiting) == most:
                yield _gathered(waiting.popleft().result(), chosen)
        while waiting:
            yield _gathered(waiting.popleft().result(), chosen)


def _copied(request: Request, device: jax.Device) -> Request:
    with jax.enable_x64(True):
        return replace(request, generator=jax.device_put(request.generator, device))


def _on_device(piece: Piece, first_row: int, device: jax.Device | None) -> Inversion:
    if device is None:
        return _halved(piece, first_row)
    # default_device, like enable_x64, holds for one thread.
    with jax.default_device(device), jax.enable_x64(True):
        return _halved(piece, first_row)


def _halved(piece: Piece, first_row: int) -> Inversion:
    """The piece at its shape or, where the device runs out of memory, at half of it."""
    try:
        return invert_chunk(*piece, first_row)
    except MEMORY_ERRORS as error:
        if not memory_ended(error) or piece.size == 1:
            raise
    size = -(-piece.size // 2)
    starts = range(0, max(len(piece.data.rows), 1), size)
    return concatenate(
        [
            _halved(
                Piece(piece.request, piece.data.some(slice(start, start + size)), size),
                first_row + start,
            )
            for start in starts
        ]
    )


def _gathered(inversion: Inversion, devices: list[jax.Device]) -> Inversion:
    """The answer on the first device, where pieces of several can be joined."""
    if len(devices) == 1:
        return inversion
    with jax.enable_x64(True):
        return jax.device_put(inversion, devices[0])
