"""The commands on a job directory: resume, status, export, report."""

from typing import Annotated

import typer

from jaxinv.cli.options import (
    AllowCodeOption,
    ChunkOption,
    ClusterOption,
    DevicesOption,
    IntervalOption,
    MemoryOption,
    NoCacheOption,
    WorkersOption,
    plain,
)

FolderArgument = Annotated[str, typer.Argument(help="The job's directory.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (resume, status, export, report):
        app.command()(command)


def resume(
    folder: FolderArgument,
    retry_failed: Annotated[
        bool, typer.Option(help="Try again the rows that were not solved.")
    ] = False,
    method: Annotated[str | None, typer.Option(help="Method of the new attempt.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the new attempt.")] = None,
    chunk: ChunkOption = None,
    memory: MemoryOption = None,
    devices: DevicesOption = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    interval: IntervalOption = None,
    allow_code: AllowCodeOption = False,
    no_cache: NoCacheOption = False,
) -> None:
    """Go on with a job that was interrupted; nothing that was committed is computed again."""
    from jaxinv.cli.job import Machines, go_on

    if not retry_failed and (method is not None or seed is not None):
        raise ValueError("--method and --seed belong to --retry-failed; a job keeps its own")
    machines = Machines(chunk, memory, devices, workers, cluster, interval, not no_cache)
    raise typer.Exit(go_on(folder, retry_failed, method, seed, machines, allow_code))


def status(folder: FolderArgument) -> None:
    """Show how far a job has come and what was found; safe while it runs."""
    from jaxinv.cli.job import show

    show(folder, plain())


def export(
    folder: FolderArgument,
    out: Annotated[
        str,
        typer.Argument(
            help="out.npz, out.npy (latents alone), out.parquet, out.arrow, out.feather or "
            "out.zarr; a path, or a URL such as s3://bucket/out.parquet."
        ),
    ],
) -> None:
    """Write the results of a finished job to one file, or one zarr group."""
    from jaxinv.job.export import export as write
    from jaxinv.job.job import Job

    write(Job.open(folder), out)


def report(
    folder: FolderArgument,
    other: Annotated[
        str | None, typer.Argument(help="Another job on the same observations, to compare with.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="File to write, .html; if not given, report.html in the job's directory, or "
            "compared.html in the first of two."
        ),
    ] = None,
    truth: Annotated[
        str | None, typer.Option(help="True codes (B, k), .npy, to show recovery errors.")
    ] = None,
    allow_code: AllowCodeOption = False,
    no_cache: NoCacheOption = False,
) -> None:
    """Write one HTML file: how many rows, how good, which are bad, why, and what to do; or two jobs
    compared."""
    from jaxinv.job.compiled import keep_programs
    from jaxinv.job.job import Job
    from jaxinv.job.report import write
    from jaxinv.job.report.comparison import write_comparison

    if other is not None and truth is not None:
        raise ValueError("--truth belongs to the report of one job; leave it or the second out")
    keep_programs(not no_cache)
    job = Job.open(folder, allow_code)
    if other is None:
        path = write(job, out or job.folder / "report.html", truth)
    else:
        beside = Job.open(other, allow_code)
        path = write_comparison(job, beside, out or job.folder / "compared.html")
    plain(stderr=True).print(f"Report: {path}", soft_wrap=True)
