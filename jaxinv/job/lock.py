"""One run a directory: the lock goes with the process that holds it, however that ends."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jaxinv.job import durable


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the directory's lock; raises ValueError where another run holds it.

    Where a network file system does not carry locks between machines, the two runs share the
    work: a shard is committed once, by whoever comes first.
    """
    try:
        file = open(path, "ab+", buffering=0)  # noqa: SIM115 - closed below
    except OSError as error:
        raise durable.unwritable(path, error) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().decode(errors="replace").strip() or "unknown"
            raise ValueError(
                f"{path.parent} is in use by another run ({holder}); "
                "wait for it, or stop it and run again"
            ) from None
        with suppress(OSError):  # who holds it is a courtesy; a full disk is told elsewhere
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
