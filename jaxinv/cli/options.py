"""Options that several commands share."""

from typing import Annotated

import typer

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
    float, typer.Option(min=0.1, help="Job: seconds between lines where there is no terminal.")
]
