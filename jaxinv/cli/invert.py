"""`jaxinv invert`: a file of observations in, a file of codes out, a bar in between."""

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from jaxinv.formats import load_generator
from jaxinv.formats.arrays import read_npy, read_npz
from jaxinv.invert import default_chunk, invert_stream
from jaxinv.result import Inversion, concatenate


def run(
    generator_name: str,
    observations: Path,
    out: Path,
    method: str,
    chunk: int | None,
    noise: float | None,
    console: Console,
) -> bool:
    """Invert the file; returns whether any row was not SOLVED."""
    if out.suffix != ".npz":
        raise ValueError(f"--out {out} must end in .npz")
    if not out.parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {out.parent}")
    generator = load_generator(generator_name)
    rows = read_observations(observations)
    size = min(chunk or default_chunk(generator), max(len(rows), 1))
    pieces = (rows[start : start + size] for start in range(0, max(len(rows), 1), size))
    parts: list[Inversion] = []
    with _progress(console) as progress:
        bar = progress.add_task(f"{method}", total=len(rows))
        for part in invert_stream(generator, pieces, method, noise=noise, chunk=size):
            parts.append(part)
            progress.advance(bar, len(part.status))
    inversion = concatenate(parts)
    with open(out, "wb") as file:
        np.savez(
            file,
            allow_pickle=False,
            latent=np.asarray(inversion.latent),
            status=np.asarray(inversion.status),
            residual=np.asarray(inversion.residual),
            undetermined=np.asarray(inversion.undetermined),
        )
    for status, count in inversion.counts().items():
        console.print(f"{count:>8} {status.name}: {status.sentence}", highlight=False)
    return not bool(np.asarray(inversion.ok).all())


def read_observations(path: Path) -> np.ndarray:
    """Rows (B, n) from an .npy file, or from an .npz file that holds a single array."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file")
    if path.suffix == ".npy":
        rows = read_npy(path)
    elif path.suffix == ".npz":
        arrays = read_npz(path)
        if len(arrays) != 1 and "observations" not in arrays:
            raise ValueError(
                f"{path} holds {sorted(arrays)}; expected one array, or one named 'observations'"
            )
        rows = arrays.get("observations", next(iter(arrays.values())))
    else:
        raise ValueError(f"{path} ends in {path.suffix!r}; expected .npy or .npz")
    if rows.ndim not in (1, 2):
        raise ValueError(f"{path} holds an array of shape {rows.shape}; expected (B, n)")
    return np.atleast_2d(rows)


class RateColumn(ProgressColumn):
    """Rows per second since the start: chunks are too few for a rate of the last moments."""

    def render(self, task: Task) -> Text:
        if not task.completed or not task.elapsed:
            return Text("- rows/s")
        return Text(f"{task.completed / task.elapsed:.3g} rows/s")


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        console=console,
    )
