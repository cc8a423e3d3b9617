"""A finished file, or folder of a zarr group, into a store: whole or not at all."""

from contextlib import suppress
from pathlib import Path
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
    try:
        fs.put_file(str(here), beside)
        if fs.exists(path):
            fs.rm_file(path)
        fs.mv(beside, path)
    except BaseException:
        with suppress(Exception):
            fs.rm_file(beside)
        raise


def _put_group(here: Path, out: Stored) -> None:
    """Without its root's metadata it is no group: these go first, and come last."""
    fs, path = out.store
    fs.invalidate_cache()
    if fs.exists(f"{path}/{ROOT}"):
        fs.rm_file(f"{path}/{ROOT}")
    if fs.exists(path):
        fs.rm(path, recursive=True)
    names = [str(p.relative_to(here)) for p in sorted(here.rglob("*")) if p.is_file()]
    names.remove(ROOT)
    fs.put([str(here / name) for name in names], [f"{path}/{name}" for name in names])
    _put(here / ROOT, out / ROOT)


def _beside(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/{PREFIX}-{uuid4().hex}-{name}"
