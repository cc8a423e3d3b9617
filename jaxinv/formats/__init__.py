"""Bring a generator in and out: one file a format, and the generators that are shipped."""

from importlib.resources import as_file, files
from pathlib import Path

from jaxinv.formats import npz, safetensors
from jaxinv.generator import Generator

_FORMATS = {".npz": npz, ".safetensors": safetensors}
_DATA = files("jaxinv") / "data"


def load_generator(source: str | Path) -> Generator:
    """Load a generator from a .safetensors or .npz file, or a shipped one by its name.

    Raises ValueError where the file is damaged, lacks a tensor or names an unknown activation, and
    FileNotFoundError where there is neither such a file nor such a name. Nothing is unpickled.
    """
    if str(source) in shipped_generators():
        with as_file(_DATA / f"{source}.safetensors") as path:
            return safetensors.load(path)
    path = Path(source)
    if not path.exists() and not path.suffix:
        raise FileNotFoundError(
            f"no file {str(source)!r} and no shipped generator of that name; "
            f"shipped are {', '.join(shipped_generators())}"
        )
    return _format(path).load(_existing(path))


def save_generator(generator: Generator, path: str | Path) -> None:
    """Save as .npz or .safetensors, by the file's ending; weights keep their float64."""
    _format(Path(path)).save(generator, Path(path))


def shipped_generators() -> tuple[str, ...]:
    """The names of the generators that come with the package."""
    suffix = ".safetensors"
    names = (entry.name for entry in _DATA.iterdir() if entry.name.endswith(suffix))
    return tuple(sorted(name.removesuffix(suffix) for name in names))


def _format(path: Path):  # type: ignore[no-untyped-def]
    if path.suffix not in _FORMATS:
        raise ValueError(
            f"{path} ends in {path.suffix or 'nothing'!r}; expected {' or '.join(_FORMATS)}"
        )
    return _FORMATS[path.suffix]


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file")
    return path
