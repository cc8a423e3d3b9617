"""Bare parameters by name, as frameworks save them, with the layers named by the caller.

`layers` lists activations, parameters by the start of their names, and reshapes, in order:

    "relu", "leaky_relu:0.2", "sigmoid", ...       an activation
    "fc1"                                          a weight of two axes: a linear layer
    "bn1", "bn1:0.001"                             with running_mean: batch norm, its eps (1e-5)
    "conv1:stride=2,padding=1"                     a weight of three to five axes: a convolution
    "up1:transposed,stride=2,padding=1"            a transposed one; output_padding, dilation and
                                                   groups likewise; 2x1 where axes differ
    "reshape:32x4x4", "flatten"                    another shape for the same values
    "pixel_shuffle:2"                              (4 c, h, w) to (c, 2 h, 2 w)
    "upsample:2", "upsample:2,bilinear"            by the nearest value, or linearly; with
                                                   align_corners as a third word

as in ["lin1", "relu", "reshape:32x4x4", "convT1:transposed,stride=2,padding=1", "sigmoid"]. A list
of activations alone, ["relu", "sigmoid"], takes the linear weights in the file's order. `prefix`
picks a part of a file by how its names start, such as "decoder.", and that part must be used
entirely.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jaxinv.formats import images
from jaxinv.formats.folding import Chain
from jaxinv.model.activation import Activation
from jaxinv.model.generator import Generator

EPSILON = 1e-5
_PARTS = ("weight", "bias", "running_mean", "running_var")
_GEOMETRY = ("stride", "padding", "output_padding", "dilation", "groups")


def from_state_dict(
    source: str, tensors: Mapping[str, np.ndarray], layers: Sequence[str], prefix: str = ""
) -> Generator:
    """Build the generator that `layers` spells of the names that start with `prefix`."""
    if isinstance(layers, str) or not all(isinstance(entry, str) for entry in layers):
        raise ValueError(
            f"layers={layers!r} must be a list of activations and parameter names, "
            'such as ["relu", "sigmoid"] or ["fc1", "bn1", "relu", "fc2", "sigmoid"]'
        )
    part = {
        name[len(prefix) :].lstrip("."): values
        for name, values in tensors.items()
        if name.startswith(prefix)
    }
    if not part:
        raise ValueError(f"{source}: no name starts with {prefix!r}; it holds {list(tensors)}")
    steps = list(layers)
    if all(_is_activation(entry) for entry in steps):
        steps = _in_file_order(source, part, steps)
    chain, used = Chain(), set[str]()
    for entry in steps:
        word, _, options = entry.partition(":")
        if _is_activation(entry):
            chain.activation(entry, str(Activation.parse(entry)))
        elif word in _WORDS and f"{word}.weight" not in part:
            _WORDS[word](chain, f"{source}, layer {entry!r}", options)
        else:
            used |= _apply(source, chain, part, entry)
    unused = sorted(n for n in set(part) - used if not n.endswith("num_batches_tracked"))
    if unused:
        raise ValueError(
            f"{source}: layers= leaves out {unused}; name every layer in order, or only a part of "
            'the file by prefix=, such as "decoder."'
        )
    return chain.generator()


def _in_file_order(
    source: str, tensors: Mapping[str, np.ndarray], activations: list[str]
) -> list[str]:
    prefixes = [name.removesuffix("weight") for name in tensors if name.endswith("weight")]
    linear = [p for p in prefixes if tensors[f"{p}weight"].ndim == 2]
    if len(linear) != len(prefixes) or len(linear) != len(activations):
        raise ValueError(
            f"{source} holds the parameters {list(tensors)}; layers= gives {len(activations)} "
            'activations for them. Name the layers: ["fc1", "bn1", "relu", ...]'
        )
    return [step for p, a in zip(linear, activations, strict=True) for step in (p.rstrip("."), a)]


def _apply(source: str, chain: Chain, tensors: Mapping[str, np.ndarray], entry: str) -> set[str]:
    """Add the layer whose parameters start with this name; returns their names."""
    name, _, options = entry.partition(":")
    dot = f"{name}." if name else ""
    what = f"{source}, layer {entry!r}"
    parts = {part: tensors.get(dot + part) for part in _PARTS}
    mean, variance, weight = parts["running_mean"], parts["running_var"], parts["weight"]
    if mean is not None and variance is not None:
        try:
            eps = float(options or EPSILON)
        except ValueError:
            raise ValueError(f"{what}: {options!r} is not a number (batch norm's eps)") from None
        chain.batch_norm(what, mean, variance, weight, parts["bias"], eps)
    elif weight is not None and weight.ndim > 2:
        _convolve(chain, what, weight, parts["bias"], options)
    elif weight is not None and not options:
        chain.affine(what, weight, parts["bias"])
    else:
        raise ValueError(
            f"{what}: no such parameters, or none of that geometry; the file holds {list(tensors)}"
        )
    return {dot + part for part, values in parts.items() if values is not None}


def _convolve(
    chain: Chain, what: str, kernel: np.ndarray, bias: np.ndarray | None, options: str
) -> None:
    axes, given = kernel.ndim - 2, options.split(",") if options else []
    transposed = "transposed" in given
    settings = {"stride": (1,) * axes, "padding": (0,) * axes, "dilation": (1,) * axes}
    settings |= {"groups": (1,), "output_padding": (0,) * axes}
    for option in given:
        name, equals, value = option.partition("=")
        known = name in _GEOMETRY and (transposed or name != "output_padding")
        if known and equals:
            settings[name] = _sizes(what, value, 1 if name == "groups" else axes)
        elif option != "transposed":
            raise ValueError(
                f"{what}: {option!r} is not understood; a convolution has "
                f"{', '.join(f'{n}=' for n in _GEOMETRY)} and 'transposed'"
            )
    geometry = images.Geometry(
        settings["stride"],
        tuple((p, p) for p in settings["padding"]),
        settings["dilation"],
        settings["groups"][0],
        settings["output_padding"],
    )
    images.convolve(chain, what, kernel, bias, geometry, transposed)


def _sizes(what: str, text: str, axes: int | None = None) -> tuple[int, ...]:
    """Whole numbers as in 32x4x4; one stands for all axes."""
    entries = text.split("x")
    if not all(entry.isdecimal() and len(entry) < 10 for entry in entries):
        raise ValueError(f"{what}: {text!r} is not a size; write 2, or 32x4x4")
    sizes = tuple(int(entry) for entry in entries)
    if axes is None or len(sizes) == axes:
        return sizes
    if len(sizes) != 1:
        raise ValueError(f"{what}: {text!r} names {len(sizes)} axes; expected 1 or {axes}")
    return sizes * axes


def _reshape(chain: Chain, what: str, options: str) -> None:
    chain.reshape(what, _sizes(what, options))


def _flatten(chain: Chain, what: str, options: str) -> None:
    if options:
        raise ValueError(f"{what}: 'flatten' has no options")
    chain.reshape(what, (-1,))


def _shuffle(chain: Chain, what: str, options: str) -> None:
    (factor,) = _sizes(what, options, 1)
    images.shuffle(chain, what, factor)


def _upsample(chain: Chain, what: str, options: str) -> None:
    factor, *words = options.split(",")
    modes = {"nearest", *images.INTERPOLATIONS}
    if (
        len(words) > 2
        or (words and words[0] not in modes)
        or words[1:] not in ([], ["align_corners"])
    ):
        raise ValueError(f"{what}: write upsample:2, upsample:2,bilinear or ...,align_corners")
    scales = _sizes(what, factor, len(images.spaces(chain, what)))
    mode = words[0] if words else "nearest"
    images.resize(chain, what, mode, scales=scales, align_corners=len(words) > 1)


_WORDS: dict[str, Callable[[Chain, str, str], None]] = {
    "reshape": _reshape,
    "flatten": _flatten,
    "pixel_shuffle": _shuffle,
    "upsample": _upsample,
}


def _is_activation(entry: str) -> bool:
    try:
        Activation.parse(entry)
    except ValueError:
        return False
    return True
