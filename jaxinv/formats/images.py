"""What networks do to images, put on a chain: the part that PyTorch, ONNX and state dicts share.

An axis is padded before and after by different amounts, interpolated or averaged by a small matrix
of its own (`Separable`); sizes are checked before such a matrix is made.
"""

from collections.abc import Callable, Sequence
from math import floor
from typing import NamedTuple

import numpy as np

from jaxinv.formats.folding import WAY_OUT, Chain
from jaxinv.model.linear import resampling
from jaxinv.model.linear.convolution import Convolution, TransposedConvolution
from jaxinv.model.linear.map import LinearMap

LARGEST_SIZE = 1 << 12  # of an axis that gets a matrix of its own: 128 MB at most
INTERPOLATIONS = ("linear", "bilinear", "trilinear")

Amounts = Sequence[tuple[int, int]]


class Geometry(NamedTuple):
    """How a kernel moves: one number an axis, and for padding one before and one after."""

    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1
    output_padding: tuple[int, ...] | None = None


def spaces(chain: Chain, what: str, axes: int | None = None) -> tuple[int, ...]:
    """The sizes of the images that arrive, refused where none do, or of other than `axes` axes."""
    shape = chain.shape
    if shape is None or len(shape) < 2 or (axes is not None and len(shape) != axes + 1):
        wanted = "axes of sizes" if axes is None else f"{axes} axes of sizes"
        ones = ", 1" * (axes or 2)
        raise ValueError(
            f"{what} needs an image, channels and {wanted}; it gets {shape}. Put "
            f"nn.Unflatten(1, (k{ones})) or a Reshape before it"
        )
    return shape[1:]


def convolve(
    chain: Chain,
    what: str,
    kernel: np.ndarray,
    bias: np.ndarray | None,
    geometry: Geometry,
    transposed: bool,
    padding_mode: str = "constant",
) -> None:
    """A convolution, or a transposed one where `output_padding` is given."""
    if kernel.ndim < 3:
        raise ValueError(f"{what} has a kernel of shape {kernel.shape}; expected taps")
    spaces(chain, what, kernel.ndim - 2)
    assert chain.shape is not None
    channels = kernel.shape[0] if transposed else kernel.shape[1] * geometry.groups
    if chain.shape[0] == -1:
        chain.shape = (channels, *chain.shape[1:])
    if chain.shape[0] != channels:
        raise ValueError(f"{what} needs {channels} channels first; it gets {chain.shape}")
    if any(amount < 0 for pair in geometry.padding for amount in pair):
        raise ValueError(f"{what} has negative padding {geometry.padding}")
    if transposed:
        _transposed(chain, what, kernel, bias, geometry)
        return
    within = tuple(before for before, _ in geometry.padding)
    if padding_mode != "constant" or any(b != a for b, a in geometry.padding):
        pad(chain, what, geometry.padding, padding_mode)
        within = (0,) * len(within)
    settings = (geometry.stride, within, geometry.dilation, geometry.groups)
    _add(chain, what, lambda shape: Convolution(kernel, shape, *settings), bias)


def _transposed(
    chain: Chain, what: str, kernel: np.ndarray, bias: np.ndarray | None, geometry: Geometry
) -> None:
    extra = geometry.output_padding or (0,) * len(geometry.stride)
    # `before` is cut on both sides; what should stay behind is output padding, or is cut later.
    more = [e + b - a for e, (b, a) in zip(extra, geometry.padding, strict=True)]
    settings = (
        geometry.stride,
        tuple(before for before, _ in geometry.padding),
        tuple(max(m, 0) for m in more),
        geometry.dilation,
        geometry.groups,
    )
    cut = min(more) < 0

    def linear(shape: tuple[int, ...]) -> LinearMap:
        return TransposedConvolution(kernel, shape, *settings)

    _add(chain, what, linear, None if cut else bias)
    if cut:
        pad(chain, what, [(0, min(m, 0)) for m in more])
        if bias is not None:
            chain.scale(what, np.ones(1), bias)


def _add(
    chain: Chain,
    what: str,
    make: Callable[[tuple[int, ...]], LinearMap],
    bias: np.ndarray | None = None,
) -> None:
    """Add the map that `make` builds for the images that arrive."""
    assert chain.shape is not None
    try:
        linear = make(chain.shape)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None
    chain.map(what, linear, bias)


def along(chain: Chain, what: str, matrices: Sequence[np.ndarray]) -> None:
    """One matrix an axis."""
    _add(chain, what, lambda shape: resampling.separable(matrices, shape))


def pad(chain: Chain, what: str, amounts: Amounts, mode: str = "constant") -> None:
    """Padding of every axis, before and after; negative amounts crop."""
    if mode not in resampling.PADDINGS:
        raise ValueError(f"{what}: padding by {mode!r} cannot be represented; {WAY_OUT}")
    sizes = spaces(chain, what, len(amounts))
    after = [n + before + behind for n, (before, behind) in zip(sizes, amounts, strict=True)]
    _checked(what, sizes, after)
    if all(amount == 0 for pair in amounts for amount in pair):
        return
    furthest = [max(pair) for pair in amounts]
    reach = {"reflect": 1, "circular": 0}.get(mode, -LARGEST_SIZE)
    if any(far + reach > n for n, far in zip(sizes, furthest, strict=True)):
        raise ValueError(f"{what}: {sizes} cannot be padded by {tuple(amounts)}")
    along(
        chain,
        what,
        [resampling.padded(n, *pair, mode) for n, pair in zip(sizes, amounts, strict=True)],
    )


def resize(
    chain: Chain,
    what: str,
    mode: str,
    sizes: Sequence[int] | None = None,
    scales: Sequence[float] | None = None,
    align_corners: bool = False,
) -> None:
    """Interpolation to sizes, or by scales, one an axis."""
    before = spaces(chain, what)
    if scales is not None and len(scales) == len(before):
        if not all(0.0 < s <= LARGEST_SIZE for s in scales):
            raise ValueError(f"{what} scales by {tuple(scales)}; an axis has 1 to {LARGEST_SIZE}")
        sizes = [floor(n * s) for n, s in zip(before, scales, strict=True)]
    if sizes is None or len(sizes) != len(before):
        raise ValueError(f"{what} resizes {before} to {sizes or scales}; expected one an axis")
    after = [int(n) for n in sizes]
    _checked(what, before, after)
    # A scale says more than the sizes only where it is no ratio of theirs.
    ratios = [
        None if scales is None or n * scales[axis] == m else float(scales[axis])
        for axis, (n, m) in enumerate(zip(before, after, strict=True))
    ]
    pairs = list(zip(before, after, ratios, strict=True))
    if mode == "nearest":
        along(chain, what, [resampling.nearest(n, m, s) for n, m, s in pairs])
    elif mode in INTERPOLATIONS:
        along(chain, what, [resampling.linear(n, m, align_corners, s) for n, m, s in pairs])
    else:
        raise ValueError(
            f"{what}: interpolation {mode!r} cannot be represented; 'nearest', 'linear', "
            f"'bilinear' and 'trilinear' can: {WAY_OUT}"
        )


def pool(
    chain: Chain,
    what: str,
    window: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    count_padding: bool,
) -> None:
    """Averages over windows."""
    sizes = spaces(chain, what, len(window))
    if min((*window, *stride)) < 1 or min(padding) < 0 or max((*window, *padding)) > LARGEST_SIZE:
        raise ValueError(f"{what} has windows of {window} every {stride}, padding {padding}")
    after = [
        (n + 2 * p - w) // s + 1 for n, w, s, p in zip(sizes, window, stride, padding, strict=True)
    ]
    _checked(what, sizes, after)
    matrices = [
        resampling.average(n, w, s, p, count_padding)
        for n, w, s, p in zip(sizes, window, stride, padding, strict=True)
    ]
    along(chain, what, matrices)


def adaptive_pool(chain: Chain, what: str, sizes: Sequence[int | None]) -> None:
    """Averages over as many windows an axis as asked for; None keeps an axis."""
    before = spaces(chain, what, len(sizes))
    after = [n if m is None else int(m) for n, m in zip(before, sizes, strict=True)]
    _checked(what, before, after)
    pairs = zip(before, after, strict=True)
    along(chain, what, [resampling.adaptive_average(n, m) for n, m in pairs])


def shuffle(chain: Chain, what: str, factor: int, by_block: bool = False) -> None:
    """Channels to pixels; by_block where the channels that stay stand last."""
    spaces(chain, what, 2)
    make = resampling.pixel_shuffle_by_block if by_block else resampling.pixel_shuffle
    _add(chain, what, lambda shape: make(int(factor), shape))


def transpose(chain: Chain, what: str, order: Sequence[int]) -> None:
    """Axes in another order, the rows' axis first in `order` and left where it is."""
    if not order or order[0] != 0 or chain.width is None:
        raise ValueError(f"{what} takes axes in the order {tuple(order)}; rows must stay first")
    if tuple(order) != tuple(range(len(order))):
        _add(chain, what, lambda shape: resampling.transposed(shape, [n - 1 for n in order[1:]]))


def _checked(what: str, before: Sequence[int], after: Sequence[int]) -> None:
    if -1 in before or min(after) < 1 or max((*before, *after)) > LARGEST_SIZE:
        raise ValueError(
            f"{what} makes images of sizes {tuple(after)} of {tuple(before)}; an axis has 1 to "
            f"{LARGEST_SIZE}"
        )
