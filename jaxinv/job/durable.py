"""Files that are there whole or not at all, and stay there when the power fails.

Temporary file, fsync, link (or rename), fsync of the folder.
"""

import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4

PREFIX = ".writing"
REPLACED = "old"
STALE_SECONDS = 24 * 3600
_TEMPORARY = re.compile(rf"{re.escape(PREFIX)}-(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]{{32}}")


def commit(path: Path, write: Callable[[IO[bytes]], object]) -> bool:
    """Create the file unless it exists; of two writers, one succeeds. Whether it was this one."""
    temporary = _written(path, write)
    try:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:
            # A file system without links: what others write under this name is the same.
            if path.exists():
                return False
            temporary.replace(path)
        _sync(path.parent)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Create the file, or put the new one in the old one's place."""
    temporary = _written(path, write)
    try:
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def replace_folder(path: Path, write: Callable[[Path], object]) -> None:
    """The same of a folder; the old one is removed when the new one is in its place."""
    with scratch(path.parent) as temporary:
        whole, before = temporary / "new", temporary / REPLACED / path.name
        whole.mkdir()
        before.parent.mkdir()
        try:
            write(whole)
            for entry in (*whole.rglob("*"), whole):
                _sync(entry)
            if path.exists():
                path.rename(before)
            whole.rename(path)
        except OSError as error:
            if before.exists():
                before.rename(path)
            raise unwritable(path, error) from None
        _sync(path.parent)


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A folder for what is not finished; removed behind, or swept where the process was killed."""
    folder = parent / _temporary_name()
    try:
        folder.mkdir()
    except OSError as error:
        raise unwritable(folder, error) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def probe(path: Path) -> None:
    """Refuse a path that cannot be written, before there is anything to lose."""
    _written(path, lambda _: None).unlink()


def unwritable(path: Path, error: OSError) -> ValueError:
    """The sentence for a full disk, a read-only folder and the like."""
    return ValueError(
        f"{path} cannot be written ({error.strerror}); what was committed before is safe: "
        "make room or choose another place, and run again"
    )


def sweep(folder: Path) -> None:
    """Remove what writers that are gone have left: of this machine, or untouched for a day.

    Nothing else is touched, and nothing that cannot be removed is an error: the folder may be one
    that others write into as well.
    """
    for leftover in folder.glob(f"{PREFIX}-*"):
        written_by = _TEMPORARY.fullmatch(leftover.name)
        if written_by is None:
            continue
        here = written_by["host"] == socket.gethostname()
        try:
            gone = not _alive(int(written_by["pid"])) if here else False
            if not gone and time.time() - _touched(leftover) <= STALE_SECONDS:
                continue
            if leftover.is_dir():
                _put_back(leftover)
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
        except OSError:
            continue


def _touched(leftover: Path) -> float:
    """When anything of it was last written: a folder's own time stands still meanwhile."""
    return max(path.stat().st_mtime for path in (leftover, *leftover.rglob("*")))


def _put_back(leftover: Path) -> None:
    """A folder whose writer was killed after it was moved away and before the new one had come."""
    for before in leftover.glob(f"{REPLACED}/*"):
        place = leftover.parent / before.name
        if not place.exists():
            before.rename(place)


def _written(path: Path, write: Callable[[IO[bytes]], object]) -> Path:
    temporary = path.parent / _temporary_name()
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise unwritable(path, error) from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _temporary_name() -> str:
    return f"{PREFIX}-{socket.gethostname()}-{os.getpid()}-{uuid4().hex}"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
