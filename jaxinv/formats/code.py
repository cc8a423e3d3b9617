"""A decoder that Python code makes: `module.py:name`, which is run, and so asked for by a flag."""

import hashlib
import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxinv.model.decoder import Decoder


@dataclass(frozen=True)
class Code:
    """A name in a file of Python code, and the SHA-256 of that file when it was first read."""

    path: str
    name: str
    sha256: str

    @classmethod
    def of(cls, source: str) -> "Code":
        """Read the file of `module.py:name`; FileNotFoundError where there is none."""
        path, _, name = source.rpartition(":")
        return cls(str(Path(path).resolve()), name, hashlib.sha256(_read(Path(path))).hexdigest())

    def __str__(self) -> str:
        return f"{self.path}:{self.name}"

    def load(self) -> Decoder:
        """Run the file and take the decoder of that name: a FunctionGenerator or a Generator.

        Raises FileNotFoundError where there is no such file, and ValueError where it has changed,
        running it fails, or what bears the name is no decoder.
        """
        if hashlib.sha256(_read(Path(self.path))).hexdigest() != self.sha256:
            raise ValueError(f"{self.path} has changed since it was first read; put it back")
        try:
            # As a module of its own, which a dataclass asks for by name.
            names: dict[str, Any] = runpy.run_path(self.path)
        except Exception as error:  # the caller's code may raise anything
            raise ValueError(f"{self.path} fails with {type(error).__name__}: {error}") from error
        if self.name not in names:
            raise ValueError(f"{self.path} defines no {self.name!r}")
        decoder = names[self.name]
        if not isinstance(decoder, Decoder):
            raise ValueError(
                f"{self} is a {type(decoder).__name__}; expected a decoder, such as "
                f"{self.name} = jaxinv.FunctionGenerator(f, latent_size=k)"
            )
        return decoder


def is_code(source: str) -> bool:
    """Whether this names something in a file of Python code, `module.py:name`."""
    path, separator, name = source.rpartition(":")
    return bool(separator) and path.endswith(".py") and name.isidentifier()


def refusal(what: object) -> ValueError:
    """What is said where code would be run that the caller has not allowed."""
    return ValueError(
        f"{what} is Python code, which would be run; pass --allow-code if you trust it"
    )


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file")
    return path.read_bytes()
