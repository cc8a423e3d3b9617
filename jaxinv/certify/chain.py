"""Bounds that go from layer to layer need layers: what else arrives is refused in one place."""

from typing import Any

from jaxinv.model.generator import Generator


def check_chain(decoder: Any, what: str) -> None:
    """Raise ValueError where a decoder is no chain of layers which can be undone one by one."""
    if not isinstance(decoder, Generator):
        raise ValueError(
            f"{what} goes from layer to layer, and a {type(decoder).__name__} has none; "
            "jaxinv.confidence and jaxinv.identifiability need none"
        )
    for number, layer in enumerate(decoder.layers, start=1):
        if not layer.activation.layerwise:
            raise ValueError(
                f"{what} goes from layer to layer and cannot undo layer {number}'s activation, "
                f"{layer.activation}; jaxinv.confidence needs not"
            )
