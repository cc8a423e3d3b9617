"""The generator that a command names: a shipped one, a file, or what Python code makes."""

from jaxinv.cli.options import Source
from jaxinv.formats import code, load_generator
from jaxinv.model.decoder import Decoder
from jaxinv.model.generator import Generator


def loaded(source: Source) -> Decoder:
    """Load it; ValueError where that would run code which the caller did not allow."""
    if not code.is_code(source.name):
        return load_generator(source.name, source.layers, source.prefix)
    if not source.allow_code:
        raise ValueError(
            f"{source.name} is Python code, which would be run; pass --allow-code if you trust it"
        )
    return code.load(source.name)


def loaded_chain(source: Source, what: str) -> Generator:
    """Load a chain of layers, which `what` needs."""
    decoder = loaded(source)
    if not isinstance(decoder, Generator):
        raise ValueError(
            f"{what} needs a chain of layers, which can be written to a file; {source.name} is a "
            f"{type(decoder).__name__}: invert it with --out codes.npz"
        )
    return decoder
