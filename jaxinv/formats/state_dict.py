"""Bare parameters by name, as frameworks save them, with the layers named by the caller.

A spec is a list of activations and of parameter prefixes: ["relu", "sigmoid"] takes the linear
weights in the file's order; ["fc1", "bn1", "relu", "fc2", "sigmoid"] names them. A prefix with
`.running_mean` is a batch normalisation, its epsilon 1e-5 unless written as "bn1:0.001".
"""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxinv.formats.folding import Chain
from jaxinv.model.activation import Activation
from jaxinv.model.generator import Generator

EPSILON = 1e-5


def from_state_dict(
    source: str, tensors: Mapping[str, np.ndarray], layers: Sequence[str]
) -> Generator:
    """Build the generator that `layers` spells; every tensor of the file must be used."""
    if isinstance(layers, str) or not all(isinstance(entry, str) for entry in layers):
        raise ValueError(
            f"layers={layers!r} must be a list of activations and parameter names, "
            'such as ["relu", "sigmoid"] or ["fc1", "bn1", "relu", "fc2", "sigmoid"]'
        )
    steps = list(layers)
    if all(_is_activation(entry) for entry in steps):
        steps = _in_file_order(source, tensors, steps)
    chain, used = Chain(), set[str]()
    for entry in steps:
        if _is_activation(entry):
            chain.activation(entry, str(Activation.parse(entry)))
        else:
            used |= _apply(source, chain, tensors, entry)
    unused = sorted(n for n in set(tensors) - used if not n.endswith("num_batches_tracked"))
    if unused:
        raise ValueError(f"{source}: layers= leaves out {unused}; name every layer in order")
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
    name, _, epsilon = entry.partition(":")
    dot = f"{name}." if name else ""
    what = f"{source}, layer {entry!r}"
    parts = {part: tensors.get(dot + part) for part in _PARTS}
    mean, variance, weight = parts["running_mean"], parts["running_var"], parts["weight"]
    if mean is not None and variance is not None:
        try:
            eps = float(epsilon or EPSILON)
        except ValueError:
            raise ValueError(f"{what}: {epsilon!r} is not a number (batch norm's eps)") from None
        chain.batch_norm(what, mean, variance, weight, parts["bias"], eps)
    elif weight is not None and not epsilon:
        chain.affine(what, weight, parts["bias"])
    else:
        raise ValueError(f"{what}: no such parameters; the file holds {list(tensors)}")
    return {dot + part for part, values in parts.items() if values is not None}


_PARTS = ("weight", "bias", "running_mean", "running_var")


def _is_activation(entry: str) -> bool:
    try:
        Activation.parse(entry)
    except ValueError:
        return False
    return True
