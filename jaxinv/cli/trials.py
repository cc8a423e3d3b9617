"""Methods tried one after the other on the same few rows: seconds, residuals, statuses."""

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from jaxtyping import Float, Int

from jaxinv.call.invert import invert
from jaxinv.model.decoder import Decoder
from jaxinv.model.generator import Generator, undone_by_layers
from jaxinv.outcome.status import Status
from jaxinv.settings import METHODS, Auto, Effort, Exact, LayerLP, Method, resolve

REPEATS, LONG_ENOUGH = 3, 2.0  # later calls that are timed; seconds after which one is enough
FEW = 64  # rows up to which linear programs are tried without being asked for
JOINT, LAYERWISE = ("auto:fast", "auto", "lm", "gd"), ("exact", "linf")


@dataclass(frozen=True)
class Trial:
    """What one method made of the rows.

    name: as --methods spells it. first: seconds of the first call, with what it compiles. later:
    seconds of each later call. residual: (B,) NaN where there is no code. failure: why there is
    nothing, empty where there is.
    """

    name: str
    first: float = np.nan
    later: tuple[float, ...] = ()
    residual: Float[np.ndarray, " B"] | None = None
    status: Int[np.ndarray, " B"] | None = None
    failure: str = ""

    @property
    def seconds(self) -> float:
        """Of a later call, in the median."""
        return float(np.median(self.later)) if self.later else np.nan

    @property
    def counts(self) -> dict[Status, int]:
        """Rows by status, the most frequent first."""
        tally = Counter([] if self.status is None else self.status.tolist())
        return {Status(value): count for value, count in tally.most_common()}


def settings_of(name: str) -> Method:
    """The settings behind `lm`, `auto:fast` and the like; ValueError where there are none."""
    method, _, effort = name.partition(":")
    if not effort:
        return resolve(method)
    if method != "auto" or effort not in get_args(Effort):
        known = ", ".join(f"auto:{one}" for one in get_args(Effort))
        raise ValueError(
            f"--methods names {name!r}; expected some of {known}, {', '.join(METHODS)}"
        )
    return Auto(effort=effort)  # type: ignore[arg-type]


def options_of(name: str) -> list[str]:
    """The same as options of `jaxinv invert`."""
    method, _, effort = name.partition(":")
    return ["--method", method, *(["--effort", effort] if effort else [])]


def fitting(generator: Decoder, rows: int, prior: bool = False) -> tuple[str, ...]:
    """The methods that are tried where none is named: layer by layer where that is possible."""
    if prior:  # which a layer alone does not know
        return JOINT
    return (*JOINT, *(name for name in LAYERWISE if _goes(generator, resolve(name), rows)))


def _goes(generator: Decoder, method: Method, rows: int) -> bool:
    assert isinstance(method, Exact | LayerLP)
    if not isinstance(generator, Generator) or (isinstance(method, LayerLP) and rows > FEW):
        return False
    try:
        undone_by_layers(generator, "", "")
    except ValueError:
        return False
    largest = method.largest_matrix
    return all(
        layer.is_dense or layer.width * layer.width_in <= largest for layer in generator.layers
    )


def tried(
    generator: Decoder, x: Float[np.ndarray, "B n"], name: str, options: dict[str, Any]
) -> Trial:
    """Call the method once, and again while that is quick; a failure is told, not raised."""
    try:
        method = settings_of(name)
        first, found = _timed(generator, x, method, options)
        later: list[float] = []
        while len(later) < REPEATS and sum(later) < LONG_ENOUGH:
            later.append(_timed(generator, x, method, options)[0])
    except Exception as error:  # a method that fails, however it does, leaves the others their turn
        told = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Trial(name, failure=told)
    return Trial(name, first, tuple(later), *found)


def _timed(
    generator: Decoder, x: Float[np.ndarray, "B n"], method: Method, options: dict[str, Any]
) -> tuple[float, tuple[np.ndarray, np.ndarray]]:
    begun = time.perf_counter()
    found = invert(generator, x, method, chunk=len(x), **options)
    arrays = np.asarray(found.residual), np.asarray(found.status)
    return time.perf_counter() - begun, arrays
