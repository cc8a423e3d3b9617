"""Observations beside what the generator makes of their codes, as images."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxinv.model.decoder import Decoder
from jaxinv.model.given import real_array
from jaxinv.model.image import COLOURS, as_image, image_shape
from jaxinv.outcome.inversion import Inversion
from jaxinv.plots.canvas import checked_inversion, chosen_rows, new_figure, words

SHOWN = 8
SIDE = 1.1  # inches
MISSING = "#d9c8a9"  # no grey, which an image may hold


class _Pictured(NamedTuple):
    """rows: by number. x, made: (R, n), NaN where nothing is known. shape: of an image."""

    rows: list[int]
    x: Float[np.ndarray, "R n"]
    made: Float[np.ndarray, "R n"]
    shape: tuple[int, ...]
    titles: list[str]


def reconstructions(
    generator: Decoder,
    observations: Any,
    inversion: Inversion,
    *,
    rows: int | Iterable[int] | None = None,
    image_shape: tuple[int, ...] | None = None,
    limits: tuple[float, float] | None = None,
) -> Any:
    """A figure of x, G(z) and G(z) - x, one column an observation, with status and residual.

    observations: (B, n) or (n,), what was inverted, or the images themselves where an operator
    measured them; NaN is left blank. rows: which, by number; the first eight where not said.
    image_shape: (h, w), or (3, h, w), where the generator's last layer does not say it. limits:
    the values that are black and white; of all that is shown where not said. Differences share one
    scale, white being none. Raises ValueError where shapes do not fit, and ImportError without
    matplotlib (extra `plots`).

    >>> g = jaxinv.load_generator("mnist-conv-vae-13")
    >>> x = np.asarray(g(np.ones((2, 13))))
    >>> figure = jaxinv.plots.reconstructions(g, x, jaxinv.invert(g, x))
    >>> [axes.get_title().split()[:3] for axes in figure.axes[:2]]
    [['row', '0', 'SOLVED'], ['row', '1', 'SOLVED']]
    """
    drawn = _pictured(generator, observations, inversion, rows, image_shape)
    low, high = _limits(limits, np.stack([drawn.x, drawn.made]))
    difference = drawn.made - drawn.x
    largest = _largest(difference)
    figure, axes = _grid(3, drawn)
    for column, title in enumerate(drawn.titles):
        axes[0, column].set_title(title, fontsize=7)
        for line, values in enumerate((drawn.x, drawn.made)):
            image = as_image(values[column], drawn.shape)
            _shaded(axes[line, column], image, "gray", low, high)
        _signed(axes[2, column], difference[column], drawn.shape, largest)
    scale = f"G(z) - x\n±{largest:.2g}" if largest else "G(z) - x"
    for line, name in zip(axes, ("x", "G(z)", scale), strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    return figure


def residual_maps(
    generator: Decoder,
    observations: Any,
    inversion: Inversion,
    *,
    noise: Any = None,
    rows: int | Iterable[int] | None = None,
    image_shape: tuple[int, ...] | None = None,
) -> Any:
    """A figure of where G(z) misses x: the root mean square over all rows, and single rows.

    noise: standard deviation of each entry, one for all or (n,); residuals are then in units of
    it, so that a map of nothing but noise lies between -2 and 2 nearly everywhere. Other arguments
    as for `reconstructions`; of coloured images the mean over colours is shown.

    >>> g = jaxinv.load_generator("mnist-conv-vae-13")
    >>> x = np.asarray(g(np.ones((2, 13))))
    >>> figure = jaxinv.plots.residual_maps(g, x, jaxinv.invert(g, x), noise=0.1)
    >>> figure.axes[0].get_title()
    'all 2 rows,\\nroot mean square'
    """
    deviation = _deviation(noise, generator.observation_size)
    single = _pictured(generator, observations, inversion, rows, image_shape)
    whole = _pictured(generator, observations, inversion, None, image_shape, None)
    misfit = (single.made - single.x) / deviation
    known = np.isfinite(whole.made).any(1)
    square = ((whole.made - whole.x)[known] / deviation) ** 2
    told = np.isfinite(square)
    count = told.sum(0)
    total = np.where(told, square, 0.0).sum(0)
    average = np.sqrt(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    largest = _largest(misfit) if noise is None else 4.0
    figure = new_figure(SIDE * (len(single.rows) + 2) + 0.8, 1.9)
    axes = figure.subplots(1, len(single.rows) + 1, squeeze=False)[0]
    image = _one_colour(average, single.shape)
    drawn = _shaded(axes[0], image, "magma", 0.0, _largest(average) or 1.0)
    axes[0].set_title(f"all {known.sum()} rows,\nroot mean square", fontsize=7)
    unit = "G(z) - x" if noise is None else "(G(z) - x) / noise"
    figure.colorbar(drawn, ax=axes[0], shrink=0.7).ax.tick_params(labelsize=7)
    for column, title in enumerate(single.titles):
        axes[column + 1].set_title(title, fontsize=7)
        drawn = _signed(axes[column + 1], misfit[column], single.shape, largest)
    if single.rows:
        scale = figure.colorbar(drawn, ax=list(axes[1:]), shrink=0.7)
        scale.set_label(unit, fontsize=7)
        scale.ax.tick_params(labelsize=7)
    return figure


def _pictured(
    generator: Decoder,
    observations: Any,
    inversion: Inversion,
    rows: int | Iterable[int] | None,
    shape: tuple[int, ...] | None,
    most: int | None = SHOWN,
) -> _Pictured:
    latent = np.atleast_2d(np.asarray(checked_inversion(inversion).latent))
    x = np.atleast_2d(real_array("observations", observations))
    n, k = generator.observation_size, generator.latent_size
    if latent.shape[1] != k or x.shape != (len(latent), n):
        raise ValueError(
            f"observations have shape {x.shape} and latents {latent.shape}; expected "
            f"(B, {n}) and (B, {k}), as this generator makes them"
        )
    found = image_shape(generator) if shape is None else _checked_shape(shape, n)
    if found is None:
        raise ValueError(
            f"nothing says what images {n} values are; give image_shape=(h, w) or (3, h, w)"
        )
    chosen = chosen_rows(rows, len(latent), len(latent) if most is None else most)
    made = np.full((len(chosen), n), np.nan)
    there = np.isfinite(latent[chosen]).all(1)
    made[there] = np.asarray(generator(latent[chosen][there]))
    status, residual = (
        np.atleast_1d(np.asarray(part)) for part in (inversion.status, inversion.residual)
    )
    titles = [f"row {row}\n{words(status[row], residual[row])}" for row in chosen]
    return _Pictured(chosen, x[chosen], made, found, titles)


def _checked_shape(shape: Any, n: int) -> tuple[int, ...]:
    sides = tuple(shape) if isinstance(shape, tuple | list) else ()
    whole = all(isinstance(side, int) and side > 0 for side in sides)
    if not whole or len(sides) not in (2, 3) or (len(sides) == 3 and sides[0] not in COLOURS):
        raise ValueError(f"image_shape={shape!r}; expected (h, w), (1, h, w) or (3, h, w)")
    if np.prod(sides) != n:
        raise ValueError(f"image_shape={shape!r} holds {np.prod(sides)} values, observations {n}")
    return sides[1:] if sides[0] == 1 and len(sides) == 3 else sides


def _deviation(noise: Any, n: int) -> Float[np.ndarray, "..."]:
    given = real_array("noise", 1.0 if noise is None else noise)
    if given.shape not in ((), (n,)):
        raise ValueError(f"noise has shape {given.shape}; expected one number or ({n},)")
    if not (np.isfinite(given) & (given > 0)).all():
        raise ValueError("noise must be positive and finite, a standard deviation")
    return given


def _limits(limits: Any, values: np.ndarray) -> tuple[float, float]:
    if limits is not None:
        pair = real_array("limits", limits)
        if pair.shape != (2,) or not (np.isfinite(pair).all() and pair[0] < pair[1]):
            raise ValueError(f"limits={limits!r}; expected two numbers, the value of black first")
        return float(pair[0]), float(pair[1])
    finite = values[np.isfinite(values)]
    if not finite.size or finite.min() == finite.max():
        return 0.0, 1.0
    return float(finite.min()), float(finite.max())


def _largest(difference: np.ndarray) -> float:
    """0 where nothing is known."""
    return float(np.abs(difference[np.isfinite(difference)]).max(initial=0.0))


def _grid(lines: int, drawn: _Pictured) -> tuple[Any, Any]:
    columns = max(len(drawn.rows), 1)
    height, width = drawn.shape[-2:]
    figure = new_figure(SIDE * columns + 0.7, lines * SIDE * min(height / width, 4.0) + 0.5)
    axes = figure.subplots(lines, columns, squeeze=False)
    if not drawn.rows:
        figure.suptitle("no rows", fontsize=8)
    for panel in axes.flat:
        _bare(panel)
    return figure, axes


def _bare(axes: Any) -> None:
    axes.set_xticks([])
    axes.set_yticks([])


def _one_colour(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    image = as_image(values, shape)
    return image.mean(-1) if image.ndim == 3 else image


def _signed(axes: Any, values: np.ndarray, shape: tuple[int, ...], largest: float) -> Any:
    largest = largest or 1.0
    return _shaded(axes, _one_colour(values, shape), "RdBu_r", -largest, largest)


def _shaded(axes: Any, image: np.ndarray, colours: str, low: float, high: float) -> Any:
    _bare(axes)
    axes.set_facecolor(MISSING)
    if image.ndim == 3:
        missing = ~np.isfinite(image).all(-1, keepdims=True)
        scaled = np.clip((np.where(missing, low, image) - low) / (high - low), 0.0, 1.0)
        return axes.imshow(np.concatenate([scaled, 1.0 - missing], -1))
    finite = np.ma.masked_invalid(image)
    return axes.imshow(finite, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
