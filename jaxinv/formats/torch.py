"""Generators from PyTorch: a live module, or the state dict of a .pt file with its layers named."""

import copy
import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxinv.formats.folding import WAY_OUT, Chain
from jaxinv.formats.parity import check_parity
from jaxinv.formats.state_dict import from_state_dict
from jaxinv.model.generator import Generator

try:
    import torch
    from torch import fx, nn

    from jaxinv.formats.torch_files import state_dict
    from jaxinv.formats.torch_layers import ARITHMETIC, MODAL, arithmetic, layer_of
except ImportError as error:
    raise ImportError(
        "reading PyTorch generators needs torch: pip install 'jaxinv[torch]'"
    ) from error


def load(path: Path, layers: Sequence[str] | None, prefix: str = "") -> Generator:
    """A generator from a .pt or .pth file that holds a state dict; see `from_state_dict`.

    Raises ValueError where the file holds anything but tensors by name: nothing else is unpickled.
    """
    tensors = state_dict(path)
    if layers is None:
        raise ValueError(
            f"{path} holds parameters, not layers; pass layers=, such as "
            f'["relu", "sigmoid"]. The parameters are {list(tensors)}'
        )
    return from_state_dict(str(path), tensors, layers, prefix)


def from_torch(module: Any) -> Generator:
    """A generator from a live module whose forward pass is one chain of layers, in eval mode.

    Understood, as modules or functions: Linear, Conv and ConvTranspose, BatchNorm, ReLU, LeakyReLU,
    ELU, Softplus, SiLU, GELU, Sigmoid, Tanh, PixelShuffle, Upsample and interpolate, average
    pooling, padding, Flatten, Unflatten, view, reshape, permute, Dropout, Identity, and arithmetic
    with constants. The result is compared with the module's own forward pass in float64. Raises
    ValueError for everything else, by name.
    """
    if not isinstance(module, nn.Module):
        raise ValueError(f"module is a {type(module).__name__}; expected torch.nn.Module")
    source = type(module).__name__
    if any(m.training for m in module.modules() if isinstance(m, MODAL)):
        raise ValueError(f"{source} is in training mode; call module.eval() first")
    # A float64 copy: the caller's module stays as it is, and parity is not lost in rounding.
    module = copy.deepcopy(module).to("cpu", torch.float64).requires_grad_(False)
    try:
        graph = fx.symbolic_trace(module).graph
    except Exception as error:
        raise ValueError(
            f"{source}: its forward pass cannot be traced ({error}); {WAY_OUT}"
        ) from None
    chain = _Reader(source, module).chain(graph)
    return check_parity(source, chain.generator(), _reference(module))


class _Reader:
    """Nodes of a traced forward pass, in order, put on a chain.

    sizes: nodes that hold one size of what flows, -1 the number of rows; shapes: all sizes.
    constants: nodes that hold a parameter, used outside a known layer.
    """

    def __init__(self, source: str, module: nn.Module) -> None:
        self.source, self.module = source, module
        self.sizes: dict[fx.Node, int] = {}
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}
        self.constants: dict[fx.Node, np.ndarray] = {}
        self.previous: fx.Node | None = None

    def chain(self, graph: fx.Graph) -> Chain:
        chain = Chain()
        for node in graph.nodes:
            if node.op == "placeholder" and self.previous is None:
                self.previous = node
            elif node.op == "output":
                if node.args[0] is not self.previous:
                    raise ValueError(f"{self.source} does not return its last layer's output alone")
            elif node.op == "get_attr":
                value: Any = operator.attrgetter(str(node.target))(self.module)
                self.constants[node] = np.asarray(value.detach(), np.float64)
            elif not self._asks_for_sizes(chain, node):
                self._add(chain, node)
                self.previous = node
        return chain

    def _asks_for_sizes(self, chain: Chain, node: fx.Node) -> bool:
        """Whether the node is x.shape, x.size(), x.size(i) or an entry of the first two."""
        target, arguments = node.target, node.args
        shape = (-1, *(chain.shape or ()))
        if target == "size" or (target is getattr and arguments[1] == "shape"):
            if target == "size" and len(arguments) == 2 and isinstance(arguments[1], int):
                self.sizes[node] = self._size(node, shape, arguments[1])
            else:
                self.shapes[node] = shape
            return True
        if target is operator.getitem and arguments[0] in self.shapes:
            index: Any = arguments[1]
            of: Any = arguments[0]
            if isinstance(index, int):
                self.sizes[node] = self._size(node, self.shapes[of], index)
                return True
        return False

    def _size(self, node: fx.Node, shape: tuple[int, ...], axis: int) -> int:
        if axis != 0 and not (-len(shape) < axis < len(shape) and axis % len(shape)):
            raise ValueError(f"{self.source}, {node.name}: the size of axis {axis} is not known")
        return shape[axis]

    def _add(self, chain: Chain, node: fx.Node) -> None:
        flowing = [n for n in node.all_input_nodes if n not in self.sizes]
        held = [n for n in flowing if n in self.constants]
        if held and node.target not in ARITHMETIC:
            raise ValueError(
                f"{self.source}: its forward pass uses {held[0].target} outside a known layer; "
                f"{WAY_OUT}"
            )
        if [n for n in flowing if n not in held] != [self.previous]:
            raise ValueError(f"{self.source}, {node.name}: layers must form one chain; {WAY_OUT}")
        if node.target in ARITHMETIC:
            arithmetic(chain, node, self.constants)
            return
        if node.op == "call_module":
            layer = self.module.get_submodule(str(node.target))
            layer_of(type(layer))(chain, f"{node.target} ({type(layer).__name__})", layer)
            return
        known: Callable[[fx.Node], int] = self.sizes.__getitem__
        arguments = fx.map_arg(node.args[1:], lambda n: known(n))
        keywords = fx.map_arg(
            {k: v for k, v in node.kwargs.items() if v is not self.previous}, lambda n: known(n)
        )
        try:
            layer_of(node.target)(chain, node.name, *arguments, **keywords)
        except TypeError as error:
            raise ValueError(f"{self.source}, {node.name}: {error}; {WAY_OUT}") from None


def _reference(module: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    def reference(latent: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            try:
                return module(torch.from_numpy(latent)).numpy()
            except (RuntimeError, AttributeError, TypeError) as error:
                raise ValueError(
                    f"{type(module).__name__} does not map codes (B, k) to observations: {error}"
                ) from None

    return reference
