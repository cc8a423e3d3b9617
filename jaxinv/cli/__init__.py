"""The command line. Nothing here imports JAX before a command runs, so that --help is immediate."""

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from jaxinv.cli import job_commands
from jaxinv.cli.options import (
    AllowCodeOption,
    ChunkOption,
    ClusterOption,
    DatasetOption,
    DevicesOption,
    IntervalOption,
    LayersOption,
    MaskOption,
    MemoryOption,
    NoCacheOption,
    ObservationsArgument,
    PixelsOption,
    PrecisionOption,
    PrefixOption,
    PriorMeanOption,
    PriorScaleOption,
    PriorWeightOption,
    Question,
    WorkersOption,
    byte_count,
    plain,
    source_of,
    spoken_precision,
)

SOME_FAILED, BAD_INPUT = 1, 2

app = typer.Typer(
    help="Batch inversion of deep generative models, one layer at a time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the picture goes.")] = Path("jaxinv-demo.png"),
    rows: Annotated[int, typer.Option(min=1, help="Observations for each generator.")] = 8,
    noise: Annotated[float, typer.Option(min=0.0, help="Uniform noise, +- this much.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Seed of the codes and of the noise.")] = 0,
    generator: Annotated[
        list[str] | None, typer.Option(help="Only this shipped generator; may be repeated.")
    ] = None,
    no_cache: NoCacheOption = False,
) -> None:
    """Invert noisy digits through the shipped generators: a table, and a picture."""
    from jaxinv.cli.demo import run
    from jaxinv.job.compiled import keep_programs

    keep_programs(not no_cache)
    run(out, rows, noise, seed, generator or (), Console())


@app.command()
def invert(
    generator: Annotated[
        str, typer.Argument(help="A file, a shipped generator or module.py:name.")
    ],
    observations: ObservationsArgument,
    out: Annotated[
        str,
        typer.Option(
            help="A file (.npz, .npy, .parquet, .arrow, .feather, .zarr) or its URL for the codes, "
            "or a directory for a job."
        ),
    ],
    method: Annotated[str, typer.Option(help="auto, lm, exact, linf, l1, relaxed or gd.")] = "auto",
    effort: Annotated[
        str | None, typer.Option(help="How long auto searches: fast, default or thorough.")
    ] = None,
    noise: Annotated[
        float | None, typer.Option(min=0.0, help="Standard deviation of the noise.")
    ] = None,
    mask: MaskOption = None,
    start: Annotated[
        str | None,
        typer.Option(help="File of latents to begin at: (k,), (B, k) or (B, s, k)."),
    ] = None,
    layers: LayersOption = None,
    prefix: PrefixOption = "",
    allow_code: AllowCodeOption = False,
    dataset: DatasetOption = None,
    pixels: PixelsOption = "unit",
    seed: Annotated[int, typer.Option(help="Seed of random starting points.")] = 0,
    precision: PrecisionOption = None,
    prior_scale: PriorScaleOption = None,
    prior_mean: PriorMeanOption = None,
    prior_weight: PriorWeightOption = None,
    shard_rows: Annotated[
        int | None, typer.Option(min=1, help="Job: rows of one shard, saved together.")
    ] = None,
    chunk: ChunkOption = None,
    memory: MemoryOption = None,
    devices: DevicesOption = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    interval: IntervalOption = None,
    no_cache: NoCacheOption = False,
) -> None:
    """Find the latent code of every row of OBSERVATIONS; with a directory as --out, in a job that
    can be interrupted and resumed."""
    source = source_of(generator, layers, prefix, allow_code)
    precise = spoken_precision(precision)
    question = Question(
        method,
        effort,
        noise,
        mask,
        start,
        dataset,
        pixels,
        seed,
        precise,
        prior_scale,
        prior_mean,
        prior_weight,
    )
    from jaxinv.job.sinks import ENDINGS

    if out.endswith(ENDINGS):
        from jaxinv.cli.invert import run
        from jaxinv.job.compiled import keep_programs

        if workers or cluster or devices or shard_rows or interval:
            raise ValueError(
                "--workers, --cluster, --devices, --shard-rows and --interval need a directory"
            )
        keep_programs(not no_cache)
        room, console = byte_count(memory), plain(stderr=True)
        failed = run(source, observations, out, question, chunk, room, console)
        raise typer.Exit(SOME_FAILED if failed else 0)
    from jaxinv.cli.job import Machines, begin

    machines = Machines(chunk, memory, devices, workers, cluster, interval, not no_cache)
    raise typer.Exit(begin(source, observations, out, question, shard_rows, machines))


@app.command()
def compare(
    generator: Annotated[
        str, typer.Argument(help="A file, a shipped generator or module.py:name.")
    ],
    observations: ObservationsArgument,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Methods, separated by commas: auto:fast, auto:thorough, auto, lm, gd, exact, "
            "linf, l1, relaxed; if not given, those that fit the generator."
        ),
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Rows to try them on, at random.")] = 32,
    noise: Annotated[
        float | None, typer.Option(min=0.0, help="Standard deviation of the noise.")
    ] = None,
    mask: MaskOption = None,
    layers: LayersOption = None,
    prefix: PrefixOption = "",
    allow_code: AllowCodeOption = False,
    dataset: DatasetOption = None,
    pixels: PixelsOption = "unit",
    seed: Annotated[int, typer.Option(help="Seed of the sample and of starting points.")] = 0,
    precision: PrecisionOption = None,
    prior_scale: PriorScaleOption = None,
    prior_mean: PriorMeanOption = None,
    prior_weight: PriorWeightOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    no_cache: NoCacheOption = False,
) -> None:
    """Try methods on a sample of OBSERVATIONS: seconds, residuals, statuses, and which to take."""
    from jaxinv.cli.compare import run
    from jaxinv.job.compiled import keep_programs

    question = Question(
        "auto",
        None,
        noise,
        mask,
        None,
        dataset,
        pixels,
        seed,
        spoken_precision(precision),
        prior_scale,
        prior_mean,
        prior_weight,
    )
    names = None if methods is None else [name.strip() for name in methods.split(",")]
    keep_programs(not no_cache)
    source = source_of(generator, layers, prefix, allow_code)
    console = plain(stderr=as_json)
    found = run(source, observations, question, names, sample, as_json, console)
    raise typer.Exit(0 if found else SOME_FAILED)


@app.command()
def inspect(
    generator: Annotated[
        str, typer.Argument(help="A file, a shipped generator or module.py:name.")
    ],
    layers: LayersOption = None,
    prefix: PrefixOption = "",
    allow_code: AllowCodeOption = False,
    no_measurement: Annotated[
        bool,
        typer.Option("--no-measurement", help="Do not time a row (which has to compile first)."),
    ] = False,
    no_cache: NoCacheOption = False,
) -> None:
    """Show a generator's layers, and what inversion can be expected to do with it and to cost."""
    from jaxinv.cli.inspect import run
    from jaxinv.job.compiled import keep_programs

    keep_programs(not no_cache)
    source = source_of(generator, layers, prefix, allow_code)
    run(source, plain(), measure=not no_measurement)


@app.command()
def doctor(
    require_gpu: Annotated[
        bool, typer.Option("--require-gpu", help="Fail, and say why, where JAX has no GPU.")
    ] = False,
    no_cache: NoCacheOption = False,
) -> None:
    """Check versions, devices, float64, the solvers and the cache of compiled programs."""
    from jaxinv.cli.doctor import run
    from jaxinv.job.compiled import keep_programs

    healthy = run(Console(), keep_programs(not no_cache), require_gpu)
    raise typer.Exit(0 if healthy else 1)


job_commands.register(app)


def main() -> None:
    """Run the command line; bad input ends with one sentence and exit code 2."""
    if isinstance(sys.stdout, TextIOWrapper):  # a file's name may hold bytes that are no text
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except (ValueError, OSError, ImportError) as error:
        plain(stderr=True).print(f"jaxinv: {error}", style="red")
        sys.exit(BAD_INPUT)
