"""Bring a generator in and out: one file a format, and the generators that are shipped."""

from collections.abc import Sequence
from importlib import import_module
from importlib.resources import as_file, files
from pathlib import Path

from jaxinv.formats import npz, safetensors
from jaxinv.model.generator import Generator

_FORMATS = {".npz": npz, ".safetensors": safetensors}
# These need an extra each, imported when such a file comes.
_EXTRAS = {".onnx": "onnx", ".pt": "torch", ".pth": "torch"}
_DATA = files("jaxinv") / "data"


def load_generator(
    source: str | Path, layers: Sequence[str] | None = None, prefix: str = ""
) -> Generator:
    """Load a generator from a file, or a shipped one by its name.

    .safetensors and .npz as `save_generator` writes them; .onnx; .pt and .pth of a state dict.
    layers: what a bare state dict (.pt, .safetensors or .npz) cannot say itself, its activations
    in order, ["relu", "sigmoid"], or its parameters' names too, ["fc1", "bn1", "relu", "fc2"], and
    how convolutions move, "up1:transposed,stride=2,padding=1". prefix: where the names of the
    generator's part of that state dict start, such as "decoder.". Raises ValueError where the file
    is damaged, lacks a tensor or names an unknown activation, and FileNotFoundError where there is
    neither such a file nor such a name. Nothing is unpickled but tensors.

    >>> jaxinv.load_generator("mnist-relu-20-60-784")
    Generator(20 -> 60 relu, 784 relu)
    """
    if str(source) in shipped_generators():
        if layers is not None or prefix:
            raise ValueError(f"{source} is shipped with its layers; leave layers= and prefix= out")
        with as_file(_DATA / f"{source}.safetensors") as path:
            return safetensors.load(path, None)
    path = Path(source)
    if not path.exists() and not path.suffix:
        raise FileNotFoundError(
            f"no file {str(source)!r} and no shipped generator of that name; "
            f"shipped are {', '.join(shipped_generators())}"
        )
    if prefix and layers is None:
        raise ValueError(f"prefix={prefix!r} picks a part of a state dict; pass layers= as well")
    if path.suffix in _EXTRAS:
        extra = import_module(f"jaxinv.formats.{_EXTRAS[path.suffix]}")
        return extra.load(_existing(path), layers, prefix)
    return _format(path, (*_FORMATS, *_EXTRAS)).load(_existing(path), layers, prefix)


def save_generator(generator: Generator, path: str | Path) -> None:
    """Save as .npz or .safetensors, by the file's ending; weights keep their float64.

    >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
    >>> jaxinv.save_generator(g, "net.npz")
    >>> np.array_equal(jaxinv.load_generator("net.npz")(np.ones(2)), g(np.ones(2)))
    True
    """
    if not isinstance(generator, Generator):
        raise ValueError(
            f"a {type(generator).__name__} cannot be saved: it is no chain of layers; keep the "
            "code that makes it"
        )
    _format(Path(path), tuple(_FORMATS)).save(generator, Path(path))


def shipped_generators() -> tuple[str, ...]:
    """The names of the generators that come with the package.

    >>> jaxinv.shipped_generators()
    ('mnist-conv-vae-13', 'mnist-dcgan-64', 'mnist-leaky-20-200-500-784', 'mnist-relu-20-60-784', \
'mnist-vae-20-400-784')
    """
    suffix = ".safetensors"
    names = (entry.name for entry in _DATA.iterdir() if entry.name.endswith(suffix))
    return tuple(sorted(name.removesuffix(suffix) for name in names))


def _format(path: Path, known: tuple[str, ...]):  # type: ignore[no-untyped-def]
    if path.suffix not in _FORMATS:
        raise ValueError(f"{path} ends in {path.suffix or 'nothing'!r}; expected one of {known}")
    return _FORMATS[path.suffix]


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file")
    return path
