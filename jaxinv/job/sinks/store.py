"""A finished file, or folder of a zarr group, into a store: whole or not at all."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from jaxinv.job.durable import PREFIX
from jaxinv.job.place import Stored, byte_size, told

# Stores in which an object is there when all of it has arrived, and was not there before. In others
# a file is written under another name and moved.
WHOLE = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory")
ROOT = "zarr.json"


def deliver(here: Path, out: Stored) -> None:
    """Copy it there, in place of what was there; raises ValueError where that fails."""
    with told(out.url, "written"):
        if here.is_dir():
            _put_group(here, out)
        else:
            _put(here, out)
        arrived = byte_size(out / ROOT if here.is_dir() else out)
        size = (here / ROOT if here.is_dir() else here).stat().st_size
        if arrived != size:
            raise ValueError(f"{arrived} of {size} bytes have arrived")


def probe(out: Stored) -> None:
    """Write an empty file beside it and remove it; raises ValueError where that fails."""
    fs, path = out.store
    with told(out.url, "written"):
        beside = _beside(path)
        fs.pipe_file(beside, b"")
        with suppress(Exception):  # some let nothing be removed
            fs.rm_file(beside)


def _put(here: Path, out: Stored) -> None:
    fs, path = out.store
    if out.url.partition(":")[0] in WHOLE:
        fs.put_file(str(here), path)
        return
    beside = _beside(path)
    with _removed_if_cut_short(fs, beside):
        fs.put_file(str(here), beside)
    with _kept(beside):
        if fs.exists(path):
            fs.rm_file(path)
        fs.mv(beside, path)


def _put_group(here: Path, out: Stored) -> None:
    """A group that is replaced goes when the new one has arrived whole, beside it."""
    fs, path = out.store
    fs.invalidate_cache()
    names = [str(p.relative_to(here)) for p in sorted(here.rglob("*")) if p.is_file()]
    # Without its root's metadata it is no group: these come last.
    names.sort(key=lambda name: name == ROOT)
    sources = [str(here / name) for name in names]
    if not fs.exists(path):
        with _removed_if_cut_short(fs, path):
            _one_then_other(fs.put, sources, [f"{path}/{name}" for name in names])
        return
    beside = _beside(path)
    arrived = [f"{beside}/{name}" for name in names]
    with _removed_if_cut_short(fs, beside):
        _one_then_other(fs.put, sources, arrived)
    with _kept(beside):
        fs.rm_file(f"{path}/{ROOT}")
        fs.rm(path, recursive=True)
        _one_then_other(fs.copy, arrived, [f"{path}/{name}" for name in names])
    fs.rm(beside, recursive=True)


def _one_then_other(
    move: Callable[[list[str], list[str]], object], sources: list[str], targets: list[str]
) -> None:
    """All but the last, which comes when the others are there."""
    if sources[:-1]:
        move(sources[:-1], targets[:-1])
    move(sources[-1:], targets[-1:])


@contextmanager
def _removed_if_cut_short(fs: Any, path: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(Exception):
            fs.rm(path, recursive=True)
        raise


@contextmanager
def _kept(beside: str) -> Iterator[None]:
    """What was there may be gone: the new one stays beside it, and the sentence says where."""
    try:
        yield
    except Exception as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{text}; the results have arrived and lie whole at {beside}") from None


def _beside(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/{PREFIX}-{uuid4().hex}-{name}"
