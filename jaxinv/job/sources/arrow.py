"""Rows of Parquet and Arrow IPC (Feather) files, by groups of rows, never a whole file."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Int, Shaped

from jaxinv.job.place import AHEAD, Place
from jaxinv.job.sources.columns import Chosen, arrow, choose, matrix, number_type, stated_width
from jaxinv.job.sources.rows import Rows, check_shape

LARGEST_BATCH = 1 << 29  # bytes of one record batch of an IPC file, which is read as a whole
BATCH = 1 << 23  # bytes of rows that are taken out of a Parquet file at once, about
# Of each column that is being read a page and its dictionary lie in memory, usually a MiB each.
# Where those of all columns take more than OPEN bytes, some columns are read at a time, for WINDOW
# bytes of rows; rows of their group that lie before the window are then decoded once more.
PAGES, OPEN, WINDOW = 2 << 20, 1 << 27, 1 << 27
LARGEST_FETCH = 1 << 28  # bytes of a group of rows up to which a store is asked for it at once
_MAGIC = b"ARROW1"


class Reader(Protocol):
    """A file open for one thread: rows of each group, and batches from a group on."""

    schema: Any
    counts: list[int]

    def may_hold_null(self, chosen: Chosen) -> bool: ...

    def batches(self, group: int, chosen: Chosen, rows: int) -> Iterator[Any]: ...


class _Block(NamedTuple):
    """Rows from number `first` of the file on."""

    first: int
    rows: Shaped[np.ndarray, "B n"]

    @property
    def end(self) -> int:
        return self.first + len(self.rows)


@dataclass
class ColumnRows:
    """Rows of a column of lists, or of several columns of numbers; null is NaN.

    starts: number of the first row of each group, and of the row behind the last. Each thread has
    a file of its own, and its place in it: it reads forwards, and begins anew at a group.
    """

    path: Place
    dataset: str | None
    reader: Callable[[], Reader]
    chosen: Chosen
    starts: Int[np.ndarray, " G"]
    width: int
    dtype: np.dtype
    step: float | None
    _local: threading.local = field(default_factory=threading.local)

    @property
    def count(self) -> int:
        return int(self.starts[-1])

    @property
    def spec(self) -> dict[str, Any]:
        return {"path": str(self.path), "dataset": self.dataset}

    def read(self, start: int, stop: int) -> np.ndarray:
        rows = np.empty((stop - start, self.width), self.dtype)
        filled = start
        while filled < stop:
            block = self._block(filled)
            part = block.rows[filled - block.first : stop - block.first]
            if part.dtype.kind == "f" and self.dtype.kind != "f":
                raise ValueError(f"{self.path} holds nulls which its statistics deny")
            rows[filled - start :][: len(part)] = part
            filled += len(part)
        return rows

    def _block(self, row: int) -> _Block:
        """The block of rows that holds this one."""
        local = self._local
        block = getattr(local, "block", None)
        group = int(np.searchsorted(self.starts, row, "right")) - 1
        try:
            if block is None or row < block.first or self.starts[group] > block.end:
                if not hasattr(local, "reader"):
                    local.reader = self.reader()
                local.batches = local.reader.batches(group, self.chosen, _batch_rows(self.width))
                block = _Block(int(self.starts[group]), np.zeros((0, self.width), self.dtype))
            local.block = None  # a batch that cannot be read leaves no place behind
            while row >= block.end:
                columns = _columns(next(local.batches), self.chosen)
                block = _Block(block.end, matrix(str(self.path), block.end, columns, self.width))
        except StopIteration:
            raise ValueError(f"{self.path} ends too early; it has changed or is damaged") from None
        except (arrow.ArrowException, OSError, MemoryError) as error:
            raise ValueError(f"{self.path} cannot be read: {error}") from None
        local.block = block
        return block


class _Parquet:
    def __init__(self, path: Place) -> None:
        from pyarrow import parquet

        self.here = here = isinstance(path, Path)
        source = str(path) if isinstance(path, Path) else path.open(cache="none")
        metadata = parquet.read_metadata(source)
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        self.counts = [group.num_rows for group in groups]
        # Few large requests to a store, where memory holds the answer.
        largest = max((group.total_byte_size for group in groups), default=0)
        ahead = not here and largest <= LARGEST_FETCH
        buffer = max(1 << 16, AHEAD // max(1, metadata.num_columns))
        self.file = parquet.ParquetFile(
            source, metadata=metadata, pre_buffer=ahead, buffer_size=0 if ahead else buffer
        )
        self.schema = self.file.schema_arrow

    def may_hold_null(self, chosen: Chosen) -> bool:
        metadata = self.file.metadata
        for group in range(metadata.num_row_groups):
            for number in range(metadata.num_columns):
                column = metadata.row_group(group).column(number)
                name, told = column.path_in_schema, column.statistics
                if not any(name == c or name.startswith(f"{c}.") for c in chosen.names):
                    continue
                if told is None or not told.has_null_count or told.null_count:
                    return True
        return False

    def batches(self, group: int, chosen: Chosen, rows: int) -> Iterator[Any]:
        for number in range(group, len(self.counts)):
            parts = self._parts(number, chosen)
            if len(parts) > 1:
                yield from self._windows(number, parts, rows)
            else:
                yield from self._read(number, parts[0], rows)

    def _parts(self, group: int, chosen: Chosen) -> list[list[str]]:
        """The columns by how many may be read at once; all, where a store would be asked again."""
        names = list(chosen.names)
        if chosen.lists or not self.here:
            return [names]
        described = self.file.metadata.row_group(group)
        sizes = {}
        for number in range(described.num_columns):
            column = described.column(number)
            sizes[column.path_in_schema] = min(column.total_uncompressed_size, PAGES)
        count = -(-sum(sizes[name] for name in names) // OPEN)
        return [list(part) for part in np.array_split(names, max(count, 1))]

    def _windows(self, group: int, parts: list[list[str]], rows: int) -> Iterator[Any]:
        """The group's rows, a window of them in memory, in batches of `rows`."""
        types = [number_type(self.schema.field(name).type) for part in parts for name in part]
        size = max(1, WINDOW // sum(kind.itemsize for kind in types))
        for nth in range(-(-self.counts[group] // size)):
            columns: dict[str, Any] = {}
            for part in parts:
                found = next(islice(self._read(group, part, size), nth, None))
                columns |= dict(zip(part, found.columns, strict=True))
            window = arrow.RecordBatch.from_pydict(columns)
            yield from (window.slice(at, rows) for at in range(0, window.num_rows, rows))
            del window, columns, found  # before the next is read

    def _read(self, group: int, names: list[str], rows: int) -> Iterator[Any]:
        yield from self.file.iter_batches(
            rows, row_groups=[group], columns=names, use_threads=False
        )


class _Ipc:
    """An IPC file says how many rows a batch has only in the batch: `walk` goes through once."""

    def __init__(self, path: Place, counts: list[int] | None = None) -> None:
        self.path, self.counts = path, counts or []
        self.source = arrow.OSFile(str(path)) if isinstance(path, Path) else path.open()
        self.schema = arrow.ipc.open_file(self.source).schema
        self.holds_null = False

    def walk(self, chosen: Chosen) -> None:
        for batch in self.batches(0, chosen, 0):
            self.counts.append(batch.num_rows)
            self.holds_null |= any(map(_any_null, _columns(batch, chosen)))

    def may_hold_null(self, chosen: Chosen) -> bool:
        return self.holds_null

    def batches(self, group: int, chosen: Chosen, rows: int) -> Iterator[Any]:
        fields = [self.schema.get_field_index(name) for name in chosen.names]
        options = arrow.ipc.IpcReadOptions(included_fields=fields)
        file = arrow.ipc.open_file(self.source, options=options)
        for number in range(group, file.num_record_batches):
            batch = file.get_batch(number)
            # Nothing vouches for the offsets of lists: before this they must not be followed.
            batch.validate(full=True)
            if batch.nbytes > LARGEST_BATCH:
                raise ValueError(
                    f"{self.path} has a record batch of {batch.nbytes} bytes, which would be read "
                    "as a whole; write it with fewer rows a batch"
                )
            yield batch


def open_parquet(path: Place, dataset: str | None) -> Rows:
    """A column of lists or tensors, or columns of numbers, of a Parquet file."""
    try:
        reader = _Parquet(path)
        chosen = choose(str(path), reader.schema, dataset)
        return _rows(path, dataset, partial(_Parquet, path), reader, chosen)
    except (arrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a readable Parquet file: {error}") from None


def open_ipc(path: Place, dataset: str | None) -> Rows:
    """The same of an Arrow IPC file, which is Feather's second version."""
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise ValueError(
                    f"{path} is not an Arrow IPC file; a stream of Arrow or the first version of "
                    "Feather has no index of its rows: write it with pyarrow.feather.write_feather"
                )
        reader = _Ipc(path)
        chosen = choose(str(path), reader.schema, dataset)
        reader.walk(chosen)
        return _rows(path, dataset, partial(_Ipc, path, reader.counts), reader, chosen)
    except (arrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a readable Arrow file: {error}") from None


def _rows(
    path: Place, dataset: str | None, again: Callable[[], Reader], reader: Reader, chosen: Chosen
) -> Rows:
    stored = np.result_type(*(number_type(reader.schema.field(n).type) for n in chosen.names))
    starts = np.concatenate([[0], np.cumsum(reader.counts, dtype=np.int64)])
    width = _width(path, reader, chosen) if starts[-1] else 1
    check_shape(str(path), (int(starts[-1]), width), stored)
    whole = stored.kind in "iu"
    dtype = np.dtype(np.float64) if whole and reader.may_hold_null(chosen) else stored
    # Bytes as they are have a step of one, whatever they are held in.
    step = 1.0 if stored == np.uint8 else None
    return ColumnRows(path, dataset, again, chosen, starts, width, dtype, step)


def _width(path: Place, reader: Reader, chosen: Chosen) -> int:
    """Of a row: as the type says, or as the first that is not null has it."""
    if not chosen.lists:
        return len(chosen.names)
    stated = stated_width(reader.schema.field(chosen.names[0]).type)
    if stated is not None:
        return stated
    for batch in reader.batches(0, chosen, 64):
        (column,) = _columns(batch, chosen)
        found = matrix(str(path), 0, [column.drop_null().slice(0, 1)])
        if len(found) and found.shape[1]:
            return found.shape[1]
    raise ValueError(f"{path}, column {chosen.names[0]!r} holds null or empty lists alone")


def _columns(batch: Any, chosen: Chosen) -> list[Any]:
    return [batch.column(name) for name in chosen.names]


def _any_null(column: Any) -> bool:
    column = getattr(column, "storage", column)
    if column.null_count or not hasattr(column, "flatten"):
        return bool(column.null_count)
    return _any_null(column.flatten())


def _batch_rows(width: int) -> int:
    return max(1, min(1 << 16, BATCH // (8 * width)))
