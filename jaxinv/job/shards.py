"""Numbered immutable files of results: which are committed, and what they hold."""

import os
import re
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np

from jaxinv.formats.arrays import npy_layout, read_npy
from jaxinv.job import durable
from jaxinv.outcome.inversion import Inversion
from jaxinv.outcome.status import Status

_NAME = re.compile(r"(\d{8})\.npy")


def row_type(latent_size: int) -> np.dtype:
    """One row's result: as in `Inversion`, and the layer that failed.

    failed_layer: number of the first layer, coming from the output, that was not SOLVED; 0 where
    every one was, where the input was bad, or where the method treats all layers at once.
    """
    return np.dtype(
        [
            ("latent", "<f8", (latent_size,)),
            ("residual", "<f8"),
            ("allowed_error", "<f8"),
            ("undetermined", "<i4"),
            ("failed_layer", "<i2"),
            ("status", "<i2"),
        ]
    )


def _as_today(rows: np.ndarray, latent_size: int) -> np.ndarray:
    """Rows that an older version wrote, which knew no allowed_error."""
    today = row_type(latent_size)
    names = [name for name in today.names or () if name != "allowed_error"]
    if rows.dtype != np.dtype([(name, today[name]) for name in names]):
        return rows
    found = np.full(len(rows), np.nan, today)
    for name in names:
        found[name] = rows[name]
    return found


def pack(inversion: Inversion) -> np.ndarray:
    """An inversion's rows as they are stored."""
    latent = np.asarray(inversion.latent)
    rows = np.zeros(len(latent), row_type(latent.shape[1]))
    rows["latent"] = latent
    for name in ("residual", "allowed_error", "undetermined", "status"):
        rows[name] = np.asarray(getattr(inversion, name))
    reached = rows["status"] != int(Status.BAD_INPUT)
    for number, layer in enumerate(inversion.layers, start=1):
        status = np.asarray(layer.status)
        rows["failed_layer"][(status != int(Status.SOLVED)) & reached] = number
    return rows


@cache
def _header(rows: np.dtype, count: int) -> bytes:
    """What stands before the rows in the file of a shard of so many."""
    file = BytesIO()
    np.save(file, np.zeros(count, rows))
    return file.getvalue()[: -count * rows.itemsize]


class Shards:
    """The shards of one job: shard i holds the rows from i * shard_rows on."""

    def __init__(self, folder: Path, rows: int, shard_rows: int, latent_size: int) -> None:
        self.folder, self.rows, self.shard_rows = folder, rows, shard_rows
        self.type = row_type(latent_size)
        self.count = -(-rows // shard_rows)

    def span(self, number: int) -> tuple[int, int]:
        """First row, and the row behind the last."""
        start = number * self.shard_rows
        return start, min(start + self.shard_rows, self.rows)

    def path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.npy"

    def committed(self) -> list[int]:
        """Numbers of the shards that are there, ascending."""
        names = map(_NAME.fullmatch, os.listdir(self.folder))
        return sorted(n for match in names if match and (n := int(match[1])) < self.count)

    def missing(self) -> list[int]:
        return sorted(set(range(self.count)) - set(self.committed()))

    def commit(self, number: int, rows: np.ndarray) -> bool:
        """Write a shard for good; whether it was this call that did."""
        return durable.commit(self.path(number), lambda file: np.save(file, rows))

    def read(self, number: int) -> np.ndarray:
        """One shard's rows; raises ValueError where the file is not what was committed."""
        path, (start, stop) = self.path(number), self.span(number)
        data, head = bytearray(path.read_bytes()), _header(self.type, stop - start)
        # Nearly always the very bytes that were written: to parse a header takes ten times as long.
        if data.startswith(head) and len(data) == len(head) + (stop - start) * self.type.itemsize:
            return np.frombuffer(data, self.type, offset=len(head))
        rows = _as_today(read_npy(path), self.type["latent"].shape[0])
        if rows.dtype != self.type or rows.shape != (stop - start,):
            raise ValueError(f"{path} is not shard {number} of this job; remove it and resume")
        return np.array(rows)

    def between(self, start: int, stop: int) -> np.ndarray:
        """The rows from start to stop, out of as many shards as hold them."""
        parts = [np.zeros(0, self.type)]
        for number in range(start // self.shard_rows, -(-stop // self.shard_rows)):
            first, last = self.span(number)
            parts.append(self.read(number)[max(start - first, 0) : min(stop, last) - first])
        return np.concatenate(parts)

    def check(self) -> None:
        """Refuse a directory whose committed shards have another size than was written."""
        size = {entry.name: entry.stat().st_size for entry in os.scandir(self.folder)}
        for number in self.committed():
            start, stop = self.span(number)
            whole = len(_header(self.type, stop - start)) + (stop - start) * self.type.itemsize
            if size.get(self.path(number).name) == whole:
                continue  # what such a file holds is looked at when it is read
            if npy_layout(self.path(number)).shape != (stop - start,):
                raise ValueError(f"{self.path(number)} has another length; remove it and resume")

    def refuse_missing(self) -> None:
        """Raise ValueError, with what to do, where shards are missing."""
        missing = self.missing()
        if missing:
            raise ValueError(
                f"{self.folder.parent} lacks {len(missing)} of {self.count} shards; "
                f"run: jaxinv resume {self.folder.parent}"
            )

    def __iter__(self) -> Iterator[np.ndarray]:
        """Every shard in order; raises ValueError where some are missing."""
        self.refuse_missing()
        return (self.read(number) for number in range(self.count))
