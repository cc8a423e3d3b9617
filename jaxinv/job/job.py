"""A job directory: manifest, layout, a copy of the generator, shards, log, summary."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from jaxinv.call.request import Options, requested
from jaxinv.formats import load_generator
from jaxinv.formats.code import Code, refusal
from jaxinv.formats.safetensors import encoded
from jaxinv.job import durable, settings
from jaxinv.job.layout import Layout
from jaxinv.job.manifest import (
    Manifest,
    generator_digest,
    mask_input,
    observations_input,
    start_input,
)
from jaxinv.job.place import Place, local_folder
from jaxinv.job.prior import to_record as prior_record
from jaxinv.job.shards import Shards
from jaxinv.model.decoder import Decoder
from jaxinv.model.generator import Generator
from jaxinv.model.precision import rounding_of
from jaxinv.model.prior import GaussianPrior
from jaxinv.settings import Method, resolve

SHARD_BYTES = 1 << 26  # of observations in float64
LARGEST_SHARD = 4096
# What a job that was killed before its manifest was written may have left.
_FIRST = {"generator.safetensors", "shards", "lock"}


@dataclass(frozen=True)
class Job:
    """A directory and what its manifest says; allow_code: code that it names may be run."""

    folder: Path
    manifest: Manifest
    allow_code: bool = False

    @classmethod
    def open(cls, folder: str | Path, allow_code: bool = False) -> "Job":
        """An existing job; raises FileNotFoundError where the directory holds none."""
        folder = local_folder(folder)
        return cls(folder, Manifest.load(folder / "manifest.json"), allow_code)

    @classmethod
    def create(
        cls,
        folder: str | Path,
        generator: Decoder,
        observations: str | Place,
        method: str | Method = "auto",
        *,
        name: str = "generator",
        mask: str | Place | None = None,
        noise: float | None = None,
        seed: int = 0,
        shard_rows: int | None = None,
        dataset: str | None = None,
        pixels: str = "unit",
        code: Code | None = None,
        start: str | Place | None = None,
        precision: str | float | None = None,
        prior: GaussianPrior | None = None,
        prior_weight: float | None = None,
    ) -> "Job":
        """Start a job, or take up the same one; raises ValueError where the directory's differs.

        folder: on a file system that locks and links, which no store behind a URL does.
        observations, dataset, pixels: as `open_rows`. mask: a file (n,) or (B, n) of booleans.
        noise, seed, precision, prior, prior_weight: as `invert`. shard_rows: rows of one shard, the
        unit of work that is lost when a process dies; None chooses. code: what makes a generator
        that is no chain of layers: it is run by every process that works on the job. start: a file
        (k,), (B, k) or (B, s, k) of starting points.
        """
        if isinstance(generator, Generator):
            code = None  # the directory holds a copy
        elif code is None:
            raise ValueError(
                "a job needs a chain of layers, which can be written to a file, or the code that "
                f"makes its generator anew; a {type(generator).__name__} alone is neither"
            )
        folder = local_folder(folder)
        before = cls.open(folder).manifest if (folder / "manifest.json").exists() else None
        if before is None and folder.exists() and _strangers(folder):
            raise ValueError(f"{folder} is not empty and holds no job; choose another directory")
        rows, described = observations_input(
            observations, dataset, pixels, generator, before.observations if before else None
        )
        # What every chunk would refuse is refused before there is a directory.
        asked = Options(noise=noise, seed=seed, prior=prior, prior_weight=prior_weight)
        requested(generator, rows.width, method, asked)
        rounding_of(np.empty(0), precision)
        wanted = Manifest(
            generator=generator_digest(generator, code),
            generator_name=name,
            widths=_widths(generator),
            observations=described,
            mask=mask_input(mask, rows, before.mask if before else None),
            method=settings.to_record(resolve(method)),
            noise=noise,
            seed=seed,
            shard_rows=shard_rows or (before.shard_rows if before else _shard_rows(rows.width)),
            code=code,
            start=start_input(
                start,
                rows.count,
                generator.latent_size,
                before.start if before else None,
            ),
            precision=precision,
            prior=prior_record(prior),
            prior_weight=prior_weight,
        )
        if before is not None:
            before.refuse_other(wanted, folder)
            return cls(folder, before, code is not None)
        return cls.begin(folder, wanted, generator)

    @classmethod
    def begin(cls, folder: Path, wanted: Manifest, generator: Decoder) -> "Job":
        """Make the directory; the manifest comes last, so that a job that has one is whole."""
        try:
            (folder / "shards").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"no job can be kept in {folder}: {error.strerror}") from None
        if isinstance(generator, Generator):
            data = encoded(generator)
            durable.replace(folder / "generator.safetensors", lambda file: file.write(data))
        wanted.write(folder / "manifest.json")
        return cls(folder, wanted, wanted.code is not None)

    @cached_property
    def generator(self) -> Decoder:
        """The job's own copy, or what its code makes.

        Raises ValueError where it is not the one that the job began with, or would have to be made
        by code that nobody has allowed.
        """
        code = self.manifest.code
        if code is not None and not self.allow_code:
            raise refusal(f"the generator of {self.folder}, {code},")
        generator: Decoder
        generator = code.load() if code else load_generator(self.folder / "generator.safetensors")
        if generator_digest(generator, code) != self.manifest.generator:
            raise ValueError(
                f"{self.folder} holds another generator than the one it was begun with"
            )
        return generator

    @cached_property
    def shards(self) -> Shards:
        m = self.manifest
        return Shards(self.folder / "shards", m.observations.rows, m.shard_rows, m.widths[0])

    @property
    def layout_path(self) -> Path:
        return self.folder / "layout.json"

    @property
    def layout(self) -> Layout | None:
        return Layout.frozen(self.layout_path)

    @property
    def method(self) -> Method:
        return settings.from_record(self.manifest.method)

    def sweep(self) -> None:
        """Remove what writers that were killed have left."""
        durable.sweep(self.folder)
        durable.sweep(self.folder / "shards")


def _shard_rows(width: int) -> int:
    return max(1, min(LARGEST_SHARD, SHARD_BYTES // (8 * width)))


def _widths(generator: Decoder) -> tuple[int, ...]:
    if isinstance(generator, Generator):
        return generator.widths
    return generator.latent_size, generator.observation_size


def _strangers(folder: Path) -> bool:
    names = {entry.name for entry in folder.iterdir()}
    return any(n not in _FIRST and not n.startswith(durable.PREFIX) for n in names)
