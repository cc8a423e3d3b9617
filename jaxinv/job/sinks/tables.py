"""Results as Parquet, or as Arrow IPC (Feather): the columns of `Inversion.to_arrow`."""

from collections.abc import Callable
from importlib import import_module
from typing import IO, Any

from jaxinv.job.sinks.results import Results


def write_parquet(results: Results, file: IO[bytes]) -> None:
    """One group of rows a block."""
    library = _library("pyarrow.parquet")
    _write(results, lambda schema: library.ParquetWriter(file, schema))


def write_ipc(results: Results, file: IO[bytes]) -> None:
    """One record batch a block."""
    library = _library("pyarrow.ipc")
    _write(results, lambda schema: library.new_file(file, schema))


def _write(results: Results, writer: Callable[[Any], Any]) -> None:
    open_writer: Any = None
    for table in results.tables():
        open_writer = open_writer or writer(table.schema)
        open_writer.write_table(table)
    open_writer.close()


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            "writing .parquet and .arrow needs pyarrow: pip install 'jaxinv[export]'"
        ) from error
