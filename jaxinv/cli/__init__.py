"""The command line. Nothing here imports JAX before a command runs, so that --help is immediate."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

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
    rows: Annotated[int, typer.Option(min=1, help="Observations a generator.")] = 8,
    noise: Annotated[float, typer.Option(min=0.0, help="Uniform noise, +- this much.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Seed of the codes and of the noise.")] = 0,
) -> None:
    """Invert noisy digits through the shipped generators: a table, and a picture."""
    from jaxinv.cli.demo import run

    run(out, rows, noise, seed, Console())


@app.command()
def invert(
    generator: Annotated[str, typer.Argument(help="A file, or a shipped generator's name.")],
    observations: Annotated[Path, typer.Argument(help=".npy, or .npz with one array.")],
    out: Annotated[Path, typer.Option(help="Where latent, status and residual go (.npz).")],
    method: Annotated[str, typer.Option(help="auto, lm, exact, linf, l1, relaxed or gd.")] = "auto",
    chunk: Annotated[int | None, typer.Option(min=1, help="Rows computed together.")] = None,
    noise: Annotated[float | None, typer.Option(min=0.0, help="Noise level per entry.")] = None,
) -> None:
    """Find the latent code of every row of OBSERVATIONS and write them to a file."""
    from jaxinv.cli.invert import run

    failed = run(generator, observations, out, method, chunk, noise, Console(stderr=True))
    raise typer.Exit(SOME_FAILED if failed else 0)


@app.command()
def inspect(
    generator: Annotated[str, typer.Argument(help="A file, or a shipped generator's name.")],
) -> None:
    """Show a generator's layers and what inversion can be expected to do with it."""
    from jaxinv.cli.inspect import run

    run(generator, Console())


@app.command()
def doctor() -> None:
    """Check versions, devices, float64 and the solvers on this machine."""
    from jaxinv.cli.doctor import run

    healthy = run(Console())
    raise typer.Exit(0 if healthy else 1)


def main() -> None:
    """Run the command line; bad input ends with one sentence and exit code 2."""
    try:
        app()
    except (ValueError, OSError) as error:
        Console(stderr=True, highlight=False).print(f"jaxinv: {error}", style="red", markup=False)
        sys.exit(BAD_INPUT)
