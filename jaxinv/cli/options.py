"""Options that several commands share."""

import re
from typing import Annotated, NamedTuple, cast

import typer
from rich.console import Console

from jaxinv.settings import Auto, Effort, Method, resolve


def plain(stderr: bool = False) -> Console:
    """A console that takes text as it is: names of files may hold brackets and :words:."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


LayersOption = Annotated[
    str | None,
    typer.Option(
        help="Layers of a bare state dict, separated by commas, as in relu,relu,sigmoid; or by "
        "spaces where an entry has options, as in 'fc1 relu reshape:8x4x4 "
        "up1:transposed,stride=2,padding=1 sigmoid'."
    ),
]
PrefixOption = Annotated[
    str, typer.Option(help="Read only what a state dict names with this beginning, as in decoder.")
]
ObservationsArgument = Annotated[
    str,
    typer.Argument(
        help=".npy, .npz, .h5, .zarr, .parquet, .arrow, .feather, or a folder of images; a path, "
        "or a URL such as s3://bucket/x.parquet."
    ),
]
DatasetOption = Annotated[
    str | None,
    typer.Option(
        help="Array inside .npz, .h5 or .zarr; column of .parquet or .arrow, or a pattern of "
        "columns such as 'pixel*'."
    ),
]
MaskOption = Annotated[
    str | None, typer.Option(help="File of booleans (n,) or (B, n), True: seen.")
]
ChunkOption = Annotated[int | None, typer.Option(min=1, help="Rows computed together.")]
MemoryOption = Annotated[
    str | None, typer.Option(help="Memory for the rows computed together, such as 256M or 2G.")
]
DevicesOption = Annotated[
    int | None, typer.Option(min=1, help="Job: devices to use; all of this machine if not given.")
]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, help="Job: processes of this machine instead of threads.")
]
ClusterOption = Annotated[
    str | None, typer.Option(help="Job: Dask scheduler, tcp://host:8786 or a scheduler file.")
]
IntervalOption = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        help="Job: seconds between progress lines if not a terminal.",
        show_default="30",
    ),
]
NoCacheOption = Annotated[
    bool, typer.Option("--no-cache", help="Neither keep compiled programs nor use kept ones.")
]
AllowCodeOption = Annotated[
    bool, typer.Option("--allow-code", help="Let GENERATOR be module.py:name, and run that file.")
]


class Question(NamedTuple):
    """What is asked about the observations, as the command line says it."""

    method: str
    effort: str | None
    noise: float | None
    mask: str | None
    start: str | None
    dataset: str | None
    pixels: str
    seed: int
    precision: str | float | None
    prior_scale: float | None
    prior_mean: float | None
    prior_weight: float | None

    @property
    def settings(self) -> Method:
        """The method's settings: a ValueError where it has no such effort."""
        if self.effort is None:
            return resolve(self.method)
        if self.method != "auto":
            raise ValueError(f"--effort {self.effort} is for --method auto, not {self.method}")
        return Auto(effort=cast(Effort, self.effort))


PixelsOption = Annotated[
    str, typer.Option(help="Scale images to [0, 1] (unit) or [-1, 1] (signed).")
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        help="How observations were rounded, if not as the file's dtype: float32, uint8, ..., "
        "or a step."
    ),
]
PriorScaleOption = Annotated[
    float | None,
    typer.Option(help="Standard deviation of a Gaussian prior on the code; needs --noise."),
]
PriorMeanOption = Annotated[float | None, typer.Option(help="Mean of the prior; 0 if not given.")]
PriorWeightOption = Annotated[
    float | None,
    typer.Option(help="Weight of the prior against the squared misfit: CSGM's lambda."),
]


def spoken_precision(text: str | None) -> str | float | None:
    """--precision as `invert` takes it: a number where it is one, else a name."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def byte_count(size: str | None) -> int | None:
    """--memory in bytes; raises ValueError where it is not a size."""
    if size is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", size.strip(), re.IGNORECASE)
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"--memory {size!r} is not a size; write 256M or 2G")
    return int(float(match[1]) * _UNITS[match[2].upper()])


class Source(NamedTuple):
    """Where the generator comes from, as the command line names it."""

    name: str
    layers: list[str] | None
    prefix: str
    allow_code: bool


def source_of(name: str, layers: str | None, prefix: str, allow_code: bool) -> Source:
    """What the options say of the generator."""
    return Source(name, spelled(layers), prefix, allow_code)


def spelled(layers: str | None) -> list[str] | None:
    """The entries of --layers: separated by spaces where there are any, else by commas."""
    if not layers:
        return None
    return layers.split() if len(layers.split()) > 1 else layers.strip().split(",")
