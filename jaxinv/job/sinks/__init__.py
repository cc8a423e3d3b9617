"""Results into one file, or one zarr group: in a stream, and whole or not at all."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from jaxinv.job import durable
from jaxinv.job.place import Place, Stored
from jaxinv.job.sinks import arrays, store, tables
from jaxinv.job.sinks.results import CREATOR, Results

__all__ = ["ENDINGS", "Results", "check", "probe", "write"]

FILES: dict[str, Callable[[Results, IO[bytes]], None]] = {
    ".npz": arrays.write_npz,
    ".npy": arrays.write_npy,
    ".parquet": tables.write_parquet,
    ".arrow": tables.write_ipc,
    ".feather": tables.write_ipc,
}
ZARR = ".zarr"
ENDINGS = (*FILES, ZARR)


def check(out: Place) -> None:
    """Raise ValueError where results cannot go there: another ending, no folder, other contents."""
    if out.suffix not in ENDINGS:
        raise ValueError(f"{out} ends in {out.suffix!r}; expected one of {sorted(ENDINGS)}")
    if isinstance(out, Path) and not out.parent.is_dir():
        raise ValueError(f"{out}: there is no folder {out.parent}")
    if out.suffix != ZARR:
        if out.is_dir():
            raise ValueError(f"{out} is a folder; name a file")
    elif out.exists() and not _ours(out):
        raise ValueError(
            f"{out} holds something else than results of jaxinv, or a part of them that was cut "
            "short; name another place, or remove it if you know what it is"
        )


def probe(out: Place) -> None:
    """Raise ValueError where nothing can be written there, before there is anything to lose."""
    if isinstance(out, Stored):
        store.probe(out)
    else:
        durable.probe(out)


def write(results: Results, out: Place, scratch: Path) -> None:
    """Write the results, in place of what lies there; scratch: a folder with room for them.

    In a store they appear when they are complete: they are written into `scratch` first. What a
    writer that was killed has left beside them is removed before.
    """
    durable.sweep(scratch if isinstance(out, Stored) else out.parent)
    check(out)
    if isinstance(out, Stored):
        with durable.scratch(scratch) as folder:
            whole = folder / out.name
            write(results, whole, folder)
            store.deliver(whole, out)
    elif out.suffix == ZARR:
        # zarr is an extra.
        from jaxinv.job.sinks.zarr import write_zarr

        durable.replace_folder(out, lambda folder: write_zarr(results, folder))
    else:
        durable.replace(out, lambda file: FILES[out.suffix](results, file))


def _ours(folder: Place) -> bool:
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads((folder / "zarr.json").read_text())
        return bool(found["attributes"]["creator"] == CREATOR)
    return False
