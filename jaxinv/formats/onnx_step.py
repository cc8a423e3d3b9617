"""One node of an ONNX graph, as the operators take it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxinv.formats.folding import Chain


class Step(NamedTuple):
    """One node: its kind, a phrase for messages, and its operands, None where the codes flow."""

    kind: str
    what: str
    values: list[np.ndarray | None]
    attributes: dict[str, Any]


Operator = Callable[[Chain, Step], None]


def text(step: Step, name: str, default: str) -> str:
    """An attribute of letters."""
    value = step.attributes.get(name, default)
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
