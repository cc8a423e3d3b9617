"""Files that are there whole or not at all, and stay there when the power fails.

Temporary file, fsync, link (or rename), fsync of the folder.
"""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO
from uuid import uuid4

PREFIX = ".writing"
STALE_SECONDS = 24 * 3600


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
        _sync_folder(path.parent)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Create the file, or put the new one in the old one's place."""
    temporary = _written(path, write)
    try:
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def probe(path: Path) -> None:
    """Refuse a path that cannot be written, before there is anything to lose."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file")
    _written(path, lambda _: None).unlink()


def unwritable(path: Path, error: OSError) -> ValueError:
    """The sentence for a full disk, a read-only folder and the like."""
    return ValueError(
        f"{path} cannot be written ({error.strerror}); what was committed before is safe: "
        "make room or choose another place, and run again"
    )


def sweep(folder: Path) -> None:
    """Remove what writers that are gone have left: of this machine, or older than a day."""
    for leftover in folder.glob(f"{PREFIX}-*"):
        host, pid = leftover.name.removeprefix(f"{PREFIX}-").rsplit("-", 2)[:2]
        try:
            stale = time.time() - leftover.stat().st_mtime > STALE_SECONDS
            if stale or (host == socket.gethostname() and not _alive(int(pid))):
                leftover.unlink(missing_ok=True)
        except (FileNotFoundError, ValueError):
            continue


def _written(path: Path, write: Callable[[IO[bytes]], object]) -> Path:
    name = f"{PREFIX}-{socket.gethostname()}-{os.getpid()}-{uuid4().hex}"
    temporary = path.parent / name
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


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
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
