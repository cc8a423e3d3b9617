"""The files that a result must not replace: those that it was made from."""

from collections.abc import Mapping
from pathlib import Path

from jaxinv.job.job import Job
from jaxinv.job.place import Place, place
from jaxinv.job.retry import INDEX


def refuse_replacing(out: Place, inputs: Mapping[str, Place | None]) -> None:
    """Raise ValueError where `out` is one of these files, under whatever name, or a job's own.

    inputs: by what they are called; a path at which nothing lies is no input.
    """
    if isinstance(out, Path) and _kept_by_a_job(out):
        raise ValueError(f"{out} lies among the job's results; name another place")
    for word, given in inputs.items():
        if given is not None and _same(given, out):
            raise ValueError(
                f"{out} is the file of the {word}, {given}, which would be replaced; name another"
            )


def refuse_replacing_inputs_of(job: Job, out: Place) -> None:
    """The same of the files that a job reads or has written, wherever they lie."""
    m = job.manifest
    read = {"observations": m.observations, "mask": m.mask, "starting points": m.start}
    paths = {word: place(given.spec["path"]) if given else None for word, given in read.items()}
    kept: dict[str, Place | None] = {
        f"job's {name}": job.folder / name for name in ("manifest.json", "layout.json")
    }
    kept["job's generator"] = job.folder / "generator.safetensors"
    code = Path(m.code.path) if m.code else None
    # As it was named where the job was begun: the job has a copy, its owner may have none.
    named = None if m.code else Path(m.generator_name)
    refuse_replacing(out, {**paths, "generator": named, "generator's code": code, **kept})


def _kept_by_a_job(out: Path) -> bool:
    """Whether it is a shard, or the row numbers of a retry, of whatever job."""
    folder = out.resolve().parent
    if folder.name == "shards":
        return (folder.parent / "manifest.json").exists()
    return out.name == INDEX and (folder / "manifest.json").exists()


def _same(one: Place, other: Place) -> bool:
    if isinstance(one, Path) and isinstance(other, Path):
        return one.exists() and other.exists() and one.samefile(other)
    if isinstance(one, Path) or isinstance(other, Path):
        return False
    return one.store == other.store
