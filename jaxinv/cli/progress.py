"""How far a job has come: a bar on a terminal, a line every so often elsewhere."""

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jaxinv.job.work import Done
from jaxinv.outcome.status import unconfirmed

SECONDS = 30.0  # between lines, where nothing else is asked for; the option's help says it too


class Bar:
    """For terminals: rows, rate, time left, rows not solved."""

    def __init__(self, console: Console) -> None:
        self._failed, self._rows, self._begun = 0, 0, time.time()
        self._progress = Progress(
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.4g} rows/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failed]} not solved"),
            console=console,
        )

    def begin(self, rows: int, done: int) -> None:
        self._begun = time.time()
        self._task = self._progress.add_task("", total=rows, completed=done, rate=0.0, failed=0)
        self._progress.start()

    def advance(self, done: Done, rows: int) -> None:
        self._failed += unconfirmed(done.counts)
        self._rows += rows
        rate = self._rows / max(time.time() - self._begun, 1e-9)
        self._progress.update(self._task, advance=rows, rate=rate, failed=self._failed)

    def end(self) -> None:
        self._progress.stop()


class Lines:
    """For log files: one line an interval, and one at the end."""

    def __init__(self, console: Console, interval: float | None) -> None:
        self._console, self._interval = console, SECONDS if interval is None else interval
        self._failed = 0

    def begin(self, rows: int, done: int) -> None:
        self._rows, self._done, self._before = rows, done, done
        self._begun = self._told = time.time()
        self._console.print(f"{done} of {rows} rows done before", highlight=False)

    def advance(self, done: Done, rows: int) -> None:
        self._done += rows
        self._failed += unconfirmed(done.counts)
        if time.time() - self._told >= self._interval:
            self._tell()

    def end(self) -> None:
        # Where nothing was left to do there is no rate, and nothing to count.
        if self._before < self._rows:
            self._tell()

    def _tell(self) -> None:
        self._told = time.time()
        rate = (self._done - self._before) / max(self._told - self._begun, 1e-9)
        left = f"{(self._rows - self._done) / rate:.0f} s left" if rate else "time left unknown"
        self._console.print(
            f"{self._done} of {self._rows} rows, {rate:.4g} rows/s, {left}, "
            f"{self._failed} not solved",
            highlight=False,
            soft_wrap=True,
        )
