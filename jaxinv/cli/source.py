"""The generator that a command names: a shipped one, a file, or what Python code makes."""

from pathlib import Path

from jaxinv.cli.options import Source
from jaxinv.formats import load_generator
from jaxinv.formats.code import Code, is_code, refusal
from jaxinv.model.decoder import Decoder


def file_of(source: Source) -> Path:
    """The file that the source would be read from, if there is one."""
    return Path(source.name.rpartition(":")[0] if is_code(source.name) else source.name)


def loaded(source: Source) -> Decoder:
    """Load it; ValueError where that would run code which the caller did not allow."""
    if not is_code(source.name):
        return load_generator(source.name, source.layers, source.prefix)
    if not source.allow_code:
        raise refusal(source.name)
    return Code.of(source.name).load()
