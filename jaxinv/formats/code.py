"""A decoder that Python code makes: `module.py:name`, which is run, and so asked for by a flag."""

import runpy
from pathlib import Path
from typing import Any

from jaxinv.model.decoder import Decoder


def is_code(source: str) -> bool:
    """Whether this names something in a file of Python code, `module.py:name`."""
    path, separator, name = source.rpartition(":")
    return bool(separator) and path.endswith(".py") and name.isidentifier()


def load(source: str) -> Decoder:
    """Run the file and take the decoder of that name: a FunctionGenerator or a Generator.

    Raises FileNotFoundError where there is no such file, and ValueError where running it fails, or
    what bears the name is no decoder.
    """
    path, _, name = source.rpartition(":")
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is not a file")
    try:
        names: dict[str, Any] = runpy.run_path(path)
    except Exception as error:  # the caller's code may raise anything
        raise ValueError(f"{path} fails with {type(error).__name__}: {error}") from error
    if name not in names:
        raise ValueError(f"{path} defines no {name!r}")
    if not isinstance(names[name], Decoder):
        raise ValueError(
            f"{source} is a {type(names[name]).__name__}; expected a decoder, such as "
            f"{name} = jaxinv.FunctionGenerator(f, latent_size=k)"
        )
    return names[name]
