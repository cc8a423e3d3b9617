"""What ONNX's operators on images do to a chain of layers."""

import numpy as np

from jaxinv.formats import images
from jaxinv.formats.folding import WAY_OUT, Chain
from jaxinv.formats.onnx_step import Operator, Step, text


def _convolution(chain: Chain, step: Step) -> None:
    kernel = step.values[1] if len(step.values) > 1 else None
    bias = step.values[2] if len(step.values) > 2 else None
    if kernel is None or kernel.ndim < 3:
        raise ValueError(f"{step.what} needs images and a constant kernel; it gets {chain.shape}")
    taps, options = kernel.shape[2:], step.attributes
    if tuple(options.get("kernel_shape", taps)) != taps or "output_shape" in options:
        raise ValueError(f"{step.what}: kernel_shape or output_shape differ from its kernel's own")
    ones, zeros = [1] * len(taps), [0] * len(taps)
    lists = [
        tuple(options.get(name, default))
        for name, default in (("strides", ones), ("dilations", ones), ("output_padding", zeros))
    ]
    if any(len(entries) != len(taps) for entries in lists):
        raise ValueError(f"{step.what} has {lists} for {len(taps)} axes")
    stride, dilation, extra = lists
    groups = int(options.get("group", 1))
    geometry = images.Geometry(stride, _pads(step, len(taps)), dilation, groups, extra)
    transposed = step.kind == "ConvTranspose"
    images.convolve(chain, step.what, kernel, bias, geometry, transposed)


def _pads(step: Step, axes: int) -> tuple[tuple[int, int], ...]:
    """Padding before and after each axis; ONNX lists all befores first."""
    if text(step, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise ValueError(f"{step.what} pads as it likes (auto_pad); export it with explicit pads")
    flat = [int(n) for n in step.attributes.get("pads", [0] * (2 * axes))]
    if len(flat) != 2 * axes:
        raise ValueError(f"{step.what} has pads {flat} for {axes} axes")
    return tuple(zip(flat[:axes], flat[axes:], strict=True))


def _pool(chain: Chain, step: Step) -> None:
    window = [int(n) for n in step.attributes.get("kernel_shape", ())]
    pads, options = _pads(step, len(window)), step.attributes
    stride = options.get("strides", [1] * len(window))
    dilated = any(n != 1 for n in options.get("dilations", ()))
    if options.get("ceil_mode") or dilated or any(before != after for before, after in pads):
        raise ValueError(f"{step.what} rounds up, is dilated or pads unevenly; {WAY_OUT}")
    if len(stride) != len(window) or not window:
        raise ValueError(f"{step.what} has strides {stride} for windows {window}")
    counted = bool(options.get("count_include_pad", 0))
    images.pool(chain, step.what, window, stride, [before for before, _ in pads], counted)


def _global_pool(chain: Chain, step: Step) -> None:
    images.adaptive_pool(chain, step.what, [1] * len(images.spaces(chain, step.what)))


def _pad(chain: Chain, step: Step) -> None:
    values = [*step.values[1:], None, None, None][:3]
    amounts, value, chosen = values
    if amounts is None:
        amounts = np.asarray(step.attributes.get("pads", ()))
    filled = step.attributes.get("value", 0.0) if value is None else float(np.max(value, initial=0))
    lowest = 0.0 if value is None else float(np.min(value, initial=0))
    sizes = images.spaces(chain, step.what)
    axes = len(sizes) + 2
    pairs = [(0, 0)] * axes
    where = range(axes) if chosen is None else [int(n) % axes for n in chosen.reshape(-1)]
    flat = [int(n) for n in amounts.reshape(-1)]
    if filled or lowest or len(flat) != 2 * len(where):
        raise ValueError(f"{step.what} pads with other than zeros, or {flat} on {axes} axes")
    for axis, pair in zip(
        where, zip(flat[: len(where)], flat[len(where) :], strict=True), strict=True
    ):
        pairs[axis] = pair
    if pairs[0] != (0, 0) or pairs[1] != (0, 0):
        raise ValueError(f"{step.what} pads rows or channels; {WAY_OUT}")
    mode = {"edge": "replicate", "wrap": "circular"}.get(text(step, "mode", "constant"))
    images.pad(chain, step.what, pairs[2:], mode or text(step, "mode", "constant"))


def _resize(chain: Chain, step: Step) -> None:
    """Resize (data, roi, scales, sizes), or Upsample (data, scales)."""
    operands = step.values[1:] if step.kind == "Upsample" else step.values[2:]
    scales, sizes = [None if v is None or not v.size else v for v in (*operands, None, None)][:2]
    before = images.spaces(chain, step.what)
    given = scales if sizes is None else sizes
    if given is None or len(given) != len(before) + 2 or "axes" in step.attributes:
        raise ValueError(f"{step.what} needs constant scales or sizes, one for every axis")
    if "keep_aspect_ratio_policy" in step.attributes or "antialias" in step.attributes:
        raise ValueError(f"{step.what} keeps ratios or smooths; {WAY_OUT}")
    kept = [1, 1] if sizes is None else [int(given[0]), (chain.shape or (0,))[0]]
    if list(given[:2]) != kept:
        raise ValueError(f"{step.what} resizes rows or channels; {WAY_OUT}")
    mode = text(step, "mode", "nearest")
    upsample = step.kind == "Upsample"
    place = "asymmetric" if upsample else text(step, "coordinate_transformation_mode", "half_pixel")
    rounding = "floor" if upsample else text(step, "nearest_mode", "round_prefer_floor")
    aligned = {
        "nearest": (("asymmetric",), ("floor",)),
        "linear": (("half_pixel", "pytorch_half_pixel", "align_corners"), (rounding,)),
    }.get(mode, ((), ()))
    if place not in aligned[0] or rounding not in aligned[1]:
        raise ValueError(
            f"{step.what}: {mode} by {place} and {rounding} cannot be represented; nearest by "
            f"asymmetric and floor can, and linear by half_pixel or align_corners; {WAY_OUT}"
        )
    spatial = given[2:].tolist()
    sized, scaled = (None, spatial) if sizes is None else (spatial, None)
    images.resize(chain, step.what, mode, sized, scaled, place == "align_corners")


def _depth_to_space(chain: Chain, step: Step) -> None:
    by_block = text(step, "mode", "DCR") == "DCR"
    images.shuffle(chain, step.what, int(step.attributes.get("blocksize", 0)), by_block)


def _transpose(chain: Chain, step: Step) -> None:
    axes = len(chain.shape or ()) + 1
    images.transpose(chain, step.what, step.attributes.get("perm", list(range(axes))[::-1]))


IMAGE_OPERATORS: dict[str, Operator] = {
    "ConvTranspose": _convolution,
    "Conv": _convolution,
    "DepthToSpace": _depth_to_space,
    "Resize": _resize,
    "Upsample": _resize,
    "AveragePool": _pool,
    "GlobalAveragePool": _global_pool,
    "Pad": _pad,
    "Transpose": _transpose,
}
