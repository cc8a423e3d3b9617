"""Where a report goes: a file of HTML on this machine, never the place of anything else."""

from pathlib import Path

from jaxinv.job.place import local_file

ENDINGS = (".html", ".htm")


def destination(out: str | Path) -> Path:
    """The path of the report; raises ValueError where it would stand in the place of other data."""
    path = local_file(out, "a report")
    if path.suffix.lower() not in ENDINGS:
        # Whatever has another ending, such as a generator or a manifest, is no report to replace.
        raise ValueError(
            f"{path} ends in {path.suffix!r}; a report is a file of HTML: name it report.html or so"
        )
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}")
    return path
