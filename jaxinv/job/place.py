"""Where data lie: at a path of this machine, or in a store that fsspec reaches by a URL."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

# Two letters or more: one letter and a colon are a drive of Windows.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_WEB = ("http", "https")
# What stores call the thing that changes when a file does; the first that is given is taken.
_MARKS = (
    *("ETag", "etag", "md5Hash", "Content-MD5", "Last-Modified", "LastModified", "last_modified"),
    *("updated", "modified", "mtime", "created"),
)
AHEAD = 1 << 22  # bytes that are fetched at once where a file is read through


@dataclass(frozen=True)
class Stored:
    """A file or folder in a store, with those words of a `Path` that sources and results need.

    Its methods raise ValueError where the store cannot be reached or refuses.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "Stored":
        return Stored(f"{self.url.rstrip('/')}/{name}")

    @property
    def name(self) -> str:
        return self.url.rstrip("/").rpartition("/")[2]

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    @property
    def store(self) -> tuple[Any, str]:
        """The file system, and the path in it."""
        from fsspec.core import url_to_fs

        with told(self.url, "reached"):
            return url_to_fs(self.url)

    def facts(self) -> dict[str, Any] | None:
        """What the store says of it now, None where there is nothing."""
        fs, path = self.store
        with told(self.url, "reached"):
            fs.invalidate_cache()  # a listing that is kept would hide what has changed since
            try:
                return fs.info(path)
            except FileNotFoundError:
                return None

    def exists(self) -> bool:
        return self.facts() is not None

    def is_file(self) -> bool:
        return (self.facts() or {}).get("type") == "file"

    def is_dir(self) -> bool:
        return (self.facts() or {}).get("type") == "directory"

    def open(self, mode: str = "rb", cache: str = "readahead") -> IO[bytes]:
        """A file that can be read at any place; cache: as fsspec calls the ways to read ahead."""
        fs, path = self.store
        with told(self.url, "read"):
            return fs.open(path, mode, block_size=AHEAD, cache_type=cache)

    def read_text(self) -> str:
        fs, path = self.store
        with told(self.url, "read"):
            return fs.cat_file(path).decode()


Place = Path | Stored


def place(text: "str | Place") -> Place:
    """The place of this name: a URL, or a path; file:///... is a path.

    Raises ValueError for a URL that holds a password or a query, since it would be written into
    manifests and logs, and of a scheme that nobody knows; ImportError where fsspec is missing.
    """
    match = _URL.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return text if isinstance(text, Stored) else Path(text)
    scheme, rest = match[1].lower(), match[2]
    if scheme == "file":
        return Path(rest)
    _refuse_secrets(scheme, rest)
    try:
        from fsspec import get_filesystem_class
    except ImportError as error:
        raise ImportError(
            f"{scheme}:// needs fsspec: pip install 'jaxinv[stores]'; without it data are files "
            "and folders of this machine"
        ) from error
    try:
        get_filesystem_class(scheme)
    except ValueError:
        raise ValueError(
            f"{text}: no file system is known by {scheme}://; expected a path, or a URL such as "
            "s3://bucket/x.npy, gs://... or https://..."
        ) from None
    except ImportError as error:
        raise ImportError(f"{scheme}:// needs another package of fsspec's: {error}") from error
    return Stored(f"{scheme}://{rest}")


def local_folder(text: str | Path) -> Path:
    """The directory of a job; raises ValueError for a URL of a store."""
    found = _local(text)
    if isinstance(found, str):
        raise ValueError(
            f"a job's directory must lie on this machine or on a shared file system, since it is "
            f"locked and its shards are linked, which {found} cannot do. Give a path; "
            f"observations may lie at a URL, and `jaxinv export` writes results to one"
        )
    return found


def local_file(text: str | Path, word: str) -> Path:
    """A file that is read or written by its path alone; ValueError for a URL of a store."""
    found = _local(text)
    if isinstance(found, str):
        raise ValueError(f"{word} is a file of this machine, which {found} is not; give a path")
    return found


def byte_size(at: Place) -> int:
    """The bytes of a file."""
    if isinstance(at, Path):
        return at.stat().st_size
    return int((at.facts() or {}).get("size") or 0)


def stamp(at: Place) -> tuple[Any, ...]:
    """What changes when a file does; of a folder in a store nothing."""
    if isinstance(at, Path):
        status = at.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns
    return stored_stamp(at.facts() or {})


def stored_stamp(facts: dict[str, Any]) -> tuple[Any, ...]:
    """Size, and the store's word for this version of the file, None where it has none."""
    marks = (str(facts[name]) for name in _MARKS if facts.get(name))
    return facts.get("size"), next(marks, None)


def children(folder: Place) -> list[Place]:
    """What lies in a folder, by name."""
    if isinstance(folder, Path):
        return [*sorted(folder.iterdir())]
    fs, path = folder.store
    with told(folder.url, "listed"):
        return [folder / Path(name).name for name in sorted(fs.ls(path, detail=False))]


def read_spans(at: Place, spans: Sequence[tuple[int, int]]) -> list[bytearray]:
    """Bytes [start, stop) of a file for each span; fewer where it ends before."""
    if isinstance(at, Path):
        with open(at, "rb") as file:
            return [_span(file, start, stop) for start, stop in spans]
    fs, path = at.store
    asked = [span for span in spans if span[1] > span[0]]
    starts, stops = ([span[end] for span in asked] for end in (0, 1))
    with told(at.url, "read"):
        found = iter(fs.cat_ranges([path] * len(asked), starts, stops, on_error="raise"))
    return [bytearray(next(found) if stop > start else b"") for start, stop in spans]


def fetched(files: Sequence[Stored]) -> list[bytes | None]:
    """Whole small files, fetched together; None for one that is not there any more."""
    fs = files[0].store[0]
    paths = [file.store[1] for file in files]
    contents: list[bytes | None] = []
    for file, data in zip(files, fs.cat_ranges(paths, None, None, on_error="return"), strict=True):
        # A store that fails for a moment must not make a row bad for ever.
        with told(file.url, "read"):
            if isinstance(data, Exception) and not isinstance(data, FileNotFoundError):
                raise data
        contents.append(data if isinstance(data, bytes) else None)
    return contents


@contextmanager
def told(url: str, done: str) -> Iterator[None]:
    """One sentence for whatever a store raises: each has kinds of its own."""
    try:
        yield
    except Exception as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{url} cannot be {done}: {text}") from None


def _local(text: str | Path) -> Path | str:
    """The path of what lies on this machine, else how the URL begins."""
    match = _URL.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return Path(text)
    return Path(match[2]) if match[1].lower() == "file" else f"{match[1]}://"


def _span(file: IO[bytes], start: int, stop: int) -> bytearray:
    data = bytearray(stop - start)
    file.seek(start)
    del data[file.readinto(data) :]  # type: ignore[attr-defined]
    return data


def _refuse_secrets(scheme: str, rest: str) -> None:
    """Refuse what may be a key to the data; the sentence does not repeat it."""
    host, _, path = rest.partition("/")
    user, at, bare = host.rpartition("@")
    shown = f"{scheme}://{bare}/{path.partition('?')[0]}"
    if at and (":" in user or scheme in _WEB):
        raise ValueError(
            f"{shown} was given with a user's password or token in front of '@', which a job's "
            "manifest and log would show; leave it out and put it where fsspec looks for it, into "
            "the environment or its configuration"
        )
    if "?" in rest:
        raise ValueError(
            f"{shown} was given with a query behind '?', which is often a key to the data and "
            "would be shown by a job's manifest and log; give the plain URL, and the key to "
            "fsspec by the environment or its configuration"
        )
    if "::" in rest:
        raise ValueError(f"{shown} is a chain of file systems; give the URL of the file itself")
