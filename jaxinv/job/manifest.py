"""What a job is: a fingerprint of everything its numbers depend on, written once."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxinv.formats.code import Code
from jaxinv.formats.tensors import to_tensors
from jaxinv.job import durable, settings
from jaxinv.job.place import Place, place
from jaxinv.job.sources import open_mask, open_rows, open_start, reopen
from jaxinv.job.sources.rows import Rows, fingerprint, stamps
from jaxinv.model.decoder import Decoder
from jaxinv.model.generator import Generator

FORMAT = 1
# Words for people, in the order in which a difference is reported.
_COMPARED = {
    "generator": "generator",
    "observations": "observations",
    "mask": "mask",
    "start": "start",
    "method": "method",
    "noise": "noise",
    "prior": "prior",
    "prior_weight": "prior weight",
    "precision": "precision",
    "seed": "seed",
    "shard_rows": "shard size",
}


@dataclass(frozen=True)
class Input:
    """A file or folder of rows: where it is, what it holds, and how it looked when it was read.

    spec: its path, or its URL, which holds no password: a resume finds keys where fsspec does.
    """

    spec: dict[str, Any]
    rows: int
    width: int
    sha256: str
    stamps: list[list[Any]]

    @classmethod
    def of(cls, rows: Rows, known: "Input | None" = None) -> "Input":
        """Fingerprint the rows, unless the file is the one that `known` describes, untouched."""
        at = place(rows.spec["path"])
        now = stamps(at)
        whole = str(at.resolve() if isinstance(at, Path) else at)
        spec = {k: v for k, v in rows.spec.items() if v is not None} | {"path": whole}
        if known is not None and (known.spec, known.stamps) == (spec, now):
            return known
        return cls(spec, rows.count, rows.width, fingerprint(rows), now)

    def open(self) -> Rows:
        """Reopen the rows; raises ValueError where they are not those that were fingerprinted."""
        rows = reopen(self.spec)
        if Input.of(rows, self).sha256 != self.sha256:
            raise ValueError(
                f"{self.spec['path']} has changed since this job began; put the old file back, "
                "or start a job in a new directory"
            )
        return rows


@dataclass(frozen=True)
class Manifest:
    """generator, observations, mask, start: fingerprints. method: its settings as plain data.
    precision: as for `invert`, None for what the source of observations says. prior: as plain data.
    prior_weight: as for `invert`.

    shard_rows: rows of one shard. code: the Python code that makes the generator, where it is no
    chain of layers that the directory could hold.
    """

    generator: str
    generator_name: str
    widths: tuple[int, ...]
    observations: Input
    mask: Input | None
    method: dict[str, Any]
    noise: float | None
    seed: int
    shard_rows: int
    code: Code | None = None
    start: Input | None = None
    precision: str | float | None = None
    prior: dict[str, Any] | None = None
    prior_weight: float | None = None
    format: int = FORMAT

    def write(self, path: Path) -> None:
        """Write the manifest unless there is one."""
        data = json.dumps(asdict(self), indent=1).encode()
        durable.commit(path, lambda file: file.write(data))

    @classmethod
    def load(cls, path: Path) -> "Manifest":
        """Read a manifest; raises ValueError where it is damaged or from another version."""
        try:
            data = json.loads(path.read_text())
            if data["format"] != FORMAT:
                raise ValueError(f"its format is {data['format']}, this version reads {FORMAT}")
            data["observations"] = Input(**data["observations"])
            data["mask"] = data["mask"] and Input(**data["mask"])
            data["start"] = data.get("start") and Input(**data["start"])
            data["code"] = data.get("code") and Code(**data["code"])
            data["widths"] = tuple(data["widths"])
            return cls(**data)
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(
                f"{path.parent} is not a job directory (no {path.name})"
            ) from None
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged or from another version: {error}") from None

    def refuse_other(self, wanted: "Manifest", folder: Path) -> None:
        """Raise ValueError where the directory's job is not the one that is wanted."""
        for name, word in _COMPARED.items():
            here, there = getattr(self, name), getattr(wanted, name)
            if name == "method":
                here = settings.completed(here)
            if isinstance(here, Input) and isinstance(there, Input):
                here, there = here.sha256, there.sha256
            if here != there:
                raise ValueError(
                    f"{folder} holds a job with another {word} ({_short(here)}; "
                    f"asked for: {_short(there)}); choose another directory"
                )

    def open_mask(self) -> Rows | None:
        return None if self.mask is None else self.mask.open()

    def open_start(self) -> Rows | None:
        return None if self.start is None else self.start.open()


def generator_digest(generator: Decoder, code: Code | None) -> str:
    """SHA-256 over every weight, bias and activation; of a function, over its code and arrays."""
    digest = hashlib.sha256()
    if not isinstance(generator, Generator):
        digest.update(f"{code and code.sha256} {code and code.name}".encode())
        for array in map(np.asarray, jax.tree.leaves(generator)):
            digest.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
        return digest.hexdigest()
    if not generator.is_dense:
        # What the file of the generator says: a convolution is not written out for a fingerprint.
        tensors, activations, described = to_tensors(generator)
        digest.update(f"{activations} {described}".encode())
        for name, array in sorted(tensors.items()):
            digest.update(f"{name} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()
    for layer in generator.layers:
        for array in (np.asarray(layer.weight), np.asarray(layer.bias)):
            digest.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        digest.update(str(layer.activation).encode())
    return digest.hexdigest()


def mask_input(path: str | Place | None, observations: Rows, known: Input | None) -> Input | None:
    if path is None:
        return None
    return Input.of(open_mask(path, observations.count, observations.width), known)


def start_input(path: str | Place | None, rows: int, k: int, known: Input | None) -> Input | None:
    return None if path is None else Input.of(open_start(path, rows, k), known)


def observations_input(
    path: str | Place, dataset: str | None, pixels: str, generator: Decoder, known: Input | None
) -> tuple[Rows, Input]:
    """Open and fingerprint the observations; they must have the generator's width."""
    rows = open_rows(path, dataset, pixels)
    if rows.width != generator.observation_size:
        raise ValueError(
            f"{path} has {rows.width} entries a row; the generator makes "
            f"{generator.observation_size}"
        )
    return rows, Input.of(rows, known)


def _short(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= 90 else text[:16] + "..."


assert set(_COMPARED) <= {f.name for f in fields(Manifest)}
