"""`jaxinv compare`: methods side by side on a sample of one's own rows, and which to take."""

import json
import shlex
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.table import Table

from jaxinv.cli.options import Question, Source
from jaxinv.cli.prior import prior_of
from jaxinv.cli.recommendation import Figures, Recommendation, figures, recommended
from jaxinv.cli.source import loaded
from jaxinv.cli.trials import Trial, fitting, options_of, settings_of, tried
from jaxinv.job.sources import open_mask, open_rows, precision_of
from jaxinv.job.sources.rows import Rows
from jaxinv.outcome.words import rows as told_rows
from jaxinv.outcome.words import seconds
from jaxinv.settings import Auto


def run(
    source: Source,
    observations: str,
    question: Question,
    names: list[str] | None,
    sample: int,
    as_json: bool,
    console: Console,
) -> bool:
    """Try the methods, and print figures and a recommendation; whether there is one."""
    wanted = list(dict.fromkeys(names or ()))
    for name in wanted:
        settings_of(name)
    generator = loaded(source)
    rows = open_rows(observations, question.dataset, question.pixels)
    if rows.width != generator.observation_size:
        raise ValueError(
            f"{observations} has {rows.width} entries a row; the generator makes "
            f"{generator.observation_size}"
        )
    x, options = _asked(rows, sampled(rows.count, sample, question.seed), question)
    trials = []
    for name in wanted or fitting(generator, len(x), options["prior"] is not None):
        with console.status(f"{name} on {len(x)} rows ..."):
            trials.append(tried(generator, x, name, options))
    seen = options.get("mask", True)
    with np.errstate(over="ignore", invalid="ignore"):
        floor = Auto.tolerance * np.nan_to_num(np.linalg.norm(np.where(seen, x, 0.0), axis=1))
    told, choice = figures(trials, floor), recommended(trials, floor)
    sizes = rows.count, len(x)
    if as_json:
        print(json.dumps(_record(source, observations, question, sizes, trials, told, choice)))
    else:
        _show(console, sizes, trials, told)
        line = _line(source, observations, question, choice)
        _advise(console, sizes, trials, choice, line)
    return choice.name is not None


def _asked(rows: Rows, chosen: np.ndarray, question: Question) -> tuple[np.ndarray, dict[str, Any]]:
    """The chosen rows, and what `invert` is asked about them."""
    x = _read(rows, chosen)
    options: dict[str, Any] = {
        "noise": question.noise,
        "seed": question.seed,
        "precision": precision_of(rows, question.precision),
        "prior": prior_of(question),
        "prior_weight": question.prior_weight,
    }
    if options["precision"] is None and rows.dtype == np.uint8:
        options["precision"] = 1.0
    if question.mask is not None:
        mask = open_mask(question.mask, rows.count, rows.width)
        seen = mask.read(0, 1) if mask.count == 1 else _read(mask, chosen)
        # A row of which nothing is seen is bad input, as in a job.
        hidden = ~seen.any(-1, keepdims=True)
        x = np.where(hidden, np.nan, x) if hidden.any() else x
        options["mask"] = np.broadcast_to(seen | hidden, x.shape)
    return x, options


def sampled(count: int, sample: int, seed: int) -> np.ndarray:
    """Numbers of so many rows, ascending; the same for the same seed."""
    if sample >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(abs(seed)).choice(count, sample, replace=False))


def _read(rows: Rows, chosen: np.ndarray) -> np.ndarray:
    return np.concatenate([rows.read(int(number), int(number) + 1) for number in chosen])


def _show(
    console: Console, sizes: tuple[int, int], trials: list[Trial], told: list[Figures]
) -> None:
    count, shown = sizes
    table = Table(title=f"{shown:,} of {count:,} rows", title_justify="left", pad_edge=False)
    for heading in ("method", "first call", "a row, later", "residual", "at 95%", "statuses"):
        left = heading in ("method", "statuses")
        table.add_column(heading, justify="left" if left else "right")
    for trial, found in zip(trials, told, strict=True):
        if trial.failure:
            table.add_row(trial.name, "-", "-", "-", "-", "failed, see below")
            continue
        counts = ", ".join(f"{n} {status.name}" for status, n in trial.counts.items())
        table.add_row(
            trial.name,
            seconds(trial.first),
            _spread(trial, shown),
            _ratio(found.median),
            _ratio(found.tail),
            counts,
        )
    console.print(table)
    for trial in trials:
        if trial.failure:
            console.print(f"{trial.name} failed: {trial.failure}")
    console.print(
        "Residual: over the lowest that any of them left of the row, in the median and at the 95th "
        "percentile; below 1e-6 of the observation it counts as none. A first call compiles what "
        "none before it has.",
    )


def _spread(trial: Trial, rows: int) -> str:
    """Seconds a row of later calls, and how far these lie apart."""
    told = seconds(trial.seconds / rows)
    if len(trial.later) < 2:
        return told
    apart = (max(trial.later) - min(trial.later)) / (2 * trial.seconds)
    return f"{told} ±{apart:.0%}"


def _ratio(value: float) -> str:
    return "-" if np.isnan(value) else "no code" if np.isinf(value) else f"{value:.4g}"


def _advise(
    console: Console, sizes: tuple[int, int], trials: list[Trial], choice: Recommendation, line: str
) -> None:
    console.print(f"\n{choice.reason}")
    if choice.name is None:
        return
    length = seconds(_all_rows(trials, choice, sizes))
    whole = "The one row" if sizes[0] == 1 else f"All {told_rows(sizes[0])}"
    console.print(f"{whole} would take about {length} on this machine:")
    console.print(f"    {line}", soft_wrap=True)


def _all_rows(trials: list[Trial], choice: Recommendation, sizes: tuple[int, int]) -> float:
    """Seconds for the file: a first call, and later ones for the rows that it leaves."""
    (trial,) = (one for one in trials if one.name == choice.name)
    count, shown = sizes
    return trial.first + trial.seconds * max(count - shown, 0) / shown


def _line(source: Source, observations: str, question: Question, choice: Recommendation) -> str:
    """The command that inverts the whole file so."""
    words = ["jaxinv", "invert", source.name, observations, *options_of(choice.name or "")]
    if source.layers:
        words += ["--layers", " ".join(source.layers)]
    given = {
        "--prefix": source.prefix or None,
        "--noise": question.noise,
        "--mask": question.mask,
        "--dataset": question.dataset,
        "--pixels": None if question.pixels == "unit" else question.pixels,
        "--seed": question.seed or None,
        "--precision": question.precision,
        "--prior-scale": question.prior_scale,
        "--prior-mean": question.prior_mean,
        "--prior-weight": question.prior_weight,
    }
    for option, value in given.items():
        words += [] if value is None else [option, str(value)]
    words += ["--allow-code"] if source.allow_code else []
    return shlex.join([*words, "--out", "JOB/"])


def _record(
    source: Source,
    observations: str,
    question: Question,
    sizes: tuple[int, int],
    trials: list[Trial],
    told: list[Figures],
    choice: Recommendation,
) -> dict[str, Any]:
    """The same as data; what is not finite is null."""
    count, shown = sizes
    methods = [
        {
            "method": trial.name,
            "failure": trial.failure or None,
            "first_call_seconds": _finite(trial.first),
            "seconds_a_row": _finite(trial.seconds / shown),
            "later_calls_seconds": list(trial.later),
            "residual_over_lowest_median": _finite(found.median),
            "residual_over_lowest_95": _finite(found.tail),
            "solved_rows_lost": found.lost,
            "status": {status.name: n for status, n in trial.counts.items()},
        }
        for trial, found in zip(trials, told, strict=True)
    ]
    taken = choice.name is not None
    return {
        "generator": source.name,
        "observations": observations,
        "rows": count,
        "sample": shown,
        "seed": question.seed,
        "methods": methods,
        "recommended": choice.name,
        "reason": choice.reason,
        "seconds_for_all": _all_rows(trials, choice, sizes) if taken else None,
        "command": _line(source, observations, question, choice) if taken else None,
    }


def _finite(value: Float[np.ndarray, ""] | float) -> float | None:
    return float(value) if np.isfinite(value) else None
