"""Compiled programs, kept between processes in a folder that is the user's alone.

The folder is $XDG_CACHE_HOME/jaxinv/compiled/NAME, ~/.cache where the variable is not set. NAME
holds the versions of JAX and jaxlib and a digest of what the processor can do: a program is machine
code, and runs as it is found. JAX writes the files, reads them and names them by what was compiled;
here is what it leaves open: who else may write there, how much is kept, and what happens to a file
that cannot be read. None of that ever stops the work: one sentence says why nothing is kept.
"""

import atexit
import hashlib
import math
import os
import platform
import stat
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, TextIO

import jax

_ONE_AT_A_TIME, _TOLD = threading.Lock(), threading.Event()
BOUND = 256 << 20  # bytes of all versions' programs together
_PRIVATE = 0o700
# As JAX words its warnings, of which each would come once a program.
_UNREADABLE = "Error reading persistent compilation cache entry"
_UNWRITTEN = "Error writing persistent compilation cache entry"


class Kept(NamedTuple):
    """Where programs are kept, and why they are not; `refusal` is empty where they are."""

    folder: Path
    refusal: str


def keep_programs(wanted: bool = True) -> Kept:
    """Let JAX keep this process's programs, and find those of earlier ones; says on stderr if not.

    wanted: False keeps none. JAX's own variables, where the user has set them, go first and are
    left alone.
    """
    if not wanted:
        jax.config.update("jax_enable_compilation_cache", False)
        return Kept(place(), "--no-cache")
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if chosen:
        return Kept(Path(chosen), "JAX_COMPILATION_CACHE_DIR is set, and JAX keeps them there")
    if not jax.config.values["jax_enable_compilation_cache"]:
        return Kept(place(), "JAX_ENABLE_COMPILATION_CACHE is false")
    with _ONE_AT_A_TIME:
        return _kept(place())


def place() -> Path:
    """This version's folder, for this user and this processor."""
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not home.is_absolute():  # as the XDG specification asks
        home = Path.home() / ".cache"
    versions = "-".join(f"{name}{version(name)}" for name in ("jax", "jaxlib"))
    return home / "jaxinv" / "compiled" / f"{versions}-{_processor()}"


def held(folder: Path) -> int:
    """Bytes of the programs in this folder."""
    return sum(size for _, size, _ in _entries(folder))


@cache  # JAX takes one folder a process
def _kept(folder: Path) -> Kept:
    try:
        for step in (folder.parent.parent, folder.parent, folder):
            _make_private(step)
        trim(folder.parent, BOUND)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"room?")
            probe.flush()
    except OSError as error:
        refusal = f"{error.strerror}: {error.filename or folder}"
        _tell(f"Compiled programs are not kept ({refusal}).")
        return Kept(folder, refusal)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    _answer_warnings(folder)
    atexit.register(trim, folder.parent, BOUND)
    return Kept(folder, "")


def _make_private(folder: Path) -> None:
    """Create the folder for this user alone; OSError where it is, or could be, somebody else's."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(_PRIVATE)
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise OSError(0, "a symbolic link stands there", folder)
    if not stat.S_ISDIR(found.st_mode):
        raise OSError(0, "no folder stands there", folder)
    if found.st_uid != os.geteuid():
        raise OSError(0, "it belongs to somebody else", folder)
    if found.st_mode & 0o022:
        raise OSError(0, "others may write to it", folder)
    if stat.S_IMODE(found.st_mode) != _PRIVATE:
        folder.chmod(_PRIVATE)


def trim(root: Path, bound: int) -> None:
    """Remove what was longest not used, of whatever version, until `bound` bytes are left."""
    entries = sorted(_entries(root))
    excess = sum(size for _, size, _ in entries) - bound
    for _, size, path in entries:
        if excess <= 0:
            break
        with suppress(OSError):  # another process was first
            path.unlink()
        excess -= size


def _entries(root: Path) -> Iterator[tuple[float, int, Path]]:
    """Last use, size and path of every file below; links are not followed."""
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            with suppress(OSError):
                found = path.lstat()
                # File systems write times of access at most once a day, or never.
                yield max(found.st_atime, found.st_mtime), found.st_size, path


def _answer_warnings(folder: Path) -> None:
    """One sentence in place of JAX's warnings, one a program, of what it cannot read or write."""
    begun, usual = time.time(), warnings.showwarning

    def remove(chosen: Callable[[float], bool]) -> None:
        for _, _, path in _entries(folder):
            with suppress(OSError):
                if chosen(path.lstat().st_mtime):
                    path.unlink()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = str(message)
        reason = text.rpartition("': ")[2]
        if text.startswith(_UNREADABLE):
            # JAX names no file and replaces none, so what is damaged would stay. Another thread
            # may have begun to write its own anew.
            remove(lambda written: written < begun)
            _tell(f"Compiled programs in {folder} were damaged ({reason}) and are made anew.")
        elif text.startswith(_UNWRITTEN):
            # What would be written now would fail, and be left behind in part, as this one is.
            jax.config.update("jax_persistent_cache_min_compile_time_secs", math.inf)
            remove(lambda written: written >= begun)
            _tell(f"Compiled programs are no longer kept in {folder} ({reason}).")
        else:
            usual(message, category, filename, lineno, file, line)

    for warning in (_UNREADABLE, _UNWRITTEN):
        warnings.filterwarnings("always", warning)
    warnings.showwarning = show


def _tell(sentence: str) -> None:
    """Say it unless something was said: one word on a cache is enough."""
    if not _TOLD.is_set():
        _TOLD.set()
        print(f"jaxinv: {sentence}", file=sys.stderr)


def _processor() -> str:
    """A digest of what this processor can do: a home may be shared by machines that differ."""
    abilities = platform.machine()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features", "model name")):
                abilities += line
            elif not line:  # the other cores are the same
                break
    return hashlib.sha256(abilities.encode()).hexdigest()[:8]
