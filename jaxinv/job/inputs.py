"""The files that a result must not replace: those that it was made from."""

from collections.abc import Mapping
from pathlib import Path

from jaxinv.job.job import Job


def refuse_replacing(out: Path, inputs: Mapping[str, Path | None]) -> None:
    """Raise ValueError where `out` is one of these files, under whatever name.

    inputs: by what they are called; a path at which nothing lies is no input.
    """
    for word, path in inputs.items():
        if path is not None and path.exists() and out.exists() and out.samefile(path):
            raise ValueError(
                f"{out} is the file of the {word}, {path}, which would be replaced; name another"
            )


def refuse_replacing_inputs_of(job: Job, out: Path) -> None:
    """The same of the files that a job reads or has written, wherever they lie."""
    m = job.manifest
    read = {"observations": m.observations, "mask": m.mask, "starting points": m.start}
    paths = {word: Path(given.spec["path"]) if given else None for word, given in read.items()}
    kept = {f"job's {name}": job.folder / name for name in ("manifest.json", "layout.json")}
    kept["job's generator"] = job.folder / "generator.safetensors"
    code = Path(m.code.path) if m.code else None
    refuse_replacing(out, {**paths, "generator's code": code, **kept})
    if out.resolve().parent == (job.folder / "shards").resolve():
        raise ValueError(f"{out} lies among the job's results; name another place")
