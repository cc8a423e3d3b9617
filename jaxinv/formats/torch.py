"""Generators from PyTorch: a live module, or the state dict of a .pt file with its layers named."""

import copy
import pickletools
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxinv.formats.folding import Chain, check_parity, leaky
from jaxinv.formats.state_dict import from_state_dict
from jaxinv.model.generator import Generator

try:
    import torch
    from torch import fx, nn
except ImportError as error:
    raise ImportError(
        "reading PyTorch generators needs torch: pip install 'jaxinv[torch]'"
    ) from error

# What the pickle inside a state dict may name. Anything else is an object, and objects run code.
_NAMES = {
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "collections OrderedDict",
}
_STORAGES = {f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long")}
_INNER = ("state_dict", "model_state_dict")


def load(path: Path, layers: Sequence[str] | None) -> Generator:
    """A generator from a .pt or .pth file that holds a state dict; see `from_state_dict`.

    Raises ValueError where the file holds anything but tensors by name: nothing else is unpickled.
    """
    tensors = _state_dict(path)
    if layers is None:
        raise ValueError(
            f"{path} holds parameters, not layers; pass layers=, such as "
            f'["relu", "sigmoid"]. The parameters are {list(tensors)}'
        )
    return from_state_dict(str(path), tensors, layers)


def from_torch(module: Any) -> Generator:
    """A generator from a live module whose forward pass is one chain of layers, in eval mode.

    Understood: Linear, ReLU, LeakyReLU, Sigmoid, Tanh, BatchNorm, ConvTranspose and Conv, Flatten,
    Unflatten, Dropout and Identity, as modules or functions. The result is compared with the
    module's own forward pass in float64. Raises ValueError for everything else, by name.
    """
    if not isinstance(module, nn.Module):
        raise ValueError(f"module is a {type(module).__name__}; expected torch.nn.Module")
    source = type(module).__name__
    if any(m.training for m in module.modules() if isinstance(m, _MODAL)):
        raise ValueError(f"{source} is in training mode; call module.eval() first")
    # A float64 copy: the caller's module stays as it is, and parity is not lost in rounding.
    module = copy.deepcopy(module).to("cpu", torch.float64).requires_grad_(False)
    try:
        graph = fx.symbolic_trace(module).graph
    except Exception as error:
        raise ValueError(f"{source}: its forward pass cannot be traced ({error})") from None
    chain, previous = Chain(), None
    for node in graph.nodes:
        if node.op == "placeholder" and previous is None:
            previous = node
        elif node.op == "output":
            if node.args[0] is not previous:
                raise ValueError(f"{source} does not return its last layer's output alone")
        elif node.op == "get_attr":
            raise ValueError(f"{source}: its forward pass uses {node.target} outside a known layer")
        else:
            if node.all_input_nodes != [previous]:
                raise ValueError(f"{source}, {node.name}: layers must form one chain")
            _add(chain, module, node)
            previous = node
    return check_parity(source, chain.generator(), _reference(module, graph))


def _reference(module: nn.Module, graph: fx.Graph) -> Callable[[np.ndarray], np.ndarray]:
    def reference(latent: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            try:
                return module(torch.from_numpy(latent)).numpy()
            except (RuntimeError, AttributeError, TypeError) as error:
                raise ValueError(
                    f"{type(module).__name__} does not map codes (B, k) to observations: {error}"
                ) from None

    return reference


def _add(chain: Chain, module: nn.Module, node: fx.Node) -> None:
    if node.op == "call_module":
        layer = module.get_submodule(str(node.target))
        what = f"{node.target} ({type(layer).__name__})"
        for kinds, add in _MODULES:
            if isinstance(layer, kinds):
                add(chain, what, layer)
                return
        raise ValueError(f"{what} cannot be represented as a monotone layer phi(W z + b)")
    add_function = _FUNCTIONS.get(node.target if callable(node.target) else str(node.target))
    if add_function is None:
        raise ValueError(f"{node.name} ({node.target}) cannot be represented as a layer")
    add_function(chain, node.name, node)


def _linear(chain: Chain, what: str, layer: Any) -> None:
    # A Linear takes the last axis; on images it would act row by row.
    if chain.shape is not None and len(chain.shape) > 1:
        raise ValueError(f"{what} acts on values of shape {chain.shape}; put a Flatten before it")
    chain.affine(what, layer.weight.numpy(), _numpy(layer.bias))


def _batch_norm(chain: Chain, what: str, layer: Any) -> None:
    if layer.running_mean is None:
        raise ValueError(f"{what} keeps no running statistics, so rows depend on each other")
    mean, variance = layer.running_mean.numpy(), layer.running_var.numpy()
    chain.batch_norm(what, mean, variance, _numpy(layer.weight), _numpy(layer.bias), layer.eps)


def _convolution(chain: Chain, what: str, layer: Any) -> None:
    axes = layer.weight.ndim - 1
    if chain.shape is None or (len(chain.shape), chain.shape[0]) != (axes, layer.in_channels):
        raise ValueError(
            f"{what} needs {layer.in_channels} channels first of {axes} axes; it gets {chain.shape}"
        )
    bare = copy.deepcopy(layer)
    bare.register_parameter("bias", None)

    def apply(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return bare(torch.from_numpy(images)).numpy()

    try:
        with torch.no_grad():
            # On the meta device a shape costs nothing, however large.
            unit = torch.empty((1, *chain.shape), device="meta", dtype=torch.float64)
            outputs = tuple(copy.deepcopy(bare).to("meta")(unit).shape[1:])
    except RuntimeError as error:
        raise ValueError(f"{what} does not take images of shape {chain.shape}: {error}") from None
    chain.convolution(what, outputs, _numpy(layer.bias), apply)


def _flatten(chain: Chain, what: str, layer: Any) -> None:
    start, end = layer.start_dim, layer.end_dim
    axes = 1 + len(chain.shape or (0,))
    if (start, end % axes if end < 0 else end) != (1, axes - 1):
        raise ValueError(f"{what} flattens axes {start} to {end}; expected 1 to -1")
    chain.reshape(what, (-1,))


def _unflatten(chain: Chain, what: str, layer: Any) -> None:
    if layer.dim not in (1, -1) or len(chain.shape or (0,)) != 1:
        raise ValueError(f"{what} unflattens axis {layer.dim}; expected the only one, 1")
    chain.reshape(what, tuple(int(n) for n in layer.unflattened_size))


def _view(chain: Chain, what: str, node: Any) -> None:
    sizes = node.args[1] if isinstance(node.args[1], (tuple, list)) else node.args[1:]
    if not all(isinstance(n, int) for n in sizes) or sizes[0] != -1:
        raise ValueError(f"{what} reshapes to {tuple(sizes)}; expected (-1, ...) with fixed sizes")
    chain.reshape(what, tuple(int(n) for n in sizes[1:]))


def _named(name: str) -> Callable[[Chain, str, Any], None]:
    return lambda chain, what, _: chain.activation(what, name)


def _leaky_function(chain: Chain, what: str, node: fx.Node) -> None:
    given = (*node.args[1:2], *(v for k, v in node.kwargs.items() if k == "negative_slope"))
    chain.activation(what, leaky(what, float(given[0] if given else 0.01)))


def _flatten_function(chain: Chain, what: str, node: fx.Node) -> None:
    given = dict(zip(("start_dim", "end_dim"), node.args[1:], strict=False)) | node.kwargs
    _flatten(chain, what, nn.Flatten(given.get("start_dim", 0), given.get("end_dim", -1)))


def _nothing(chain: Chain, what: str, layer: Any) -> None:
    """Identity, and dropout in evaluation mode."""


_DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_MODAL = (*_DROPOUT, *_NORMS)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_MODULES: tuple[tuple[Any, Callable[[Chain, str, Any], None]], ...] = (
    (nn.Linear, _linear),
    (nn.ReLU, _named("relu")),
    (nn.LeakyReLU, lambda c, what, m: c.activation(what, leaky(what, m.negative_slope))),
    (nn.Sigmoid, _named("sigmoid")),
    (nn.Tanh, _named("tanh")),
    (_NORMS, _batch_norm),
    ((*_TRANSPOSED, nn.Conv1d, nn.Conv2d, nn.Conv3d), _convolution),
    (nn.Flatten, _flatten),
    (nn.Unflatten, _unflatten),
    ((nn.Identity, *_DROPOUT), _nothing),
)
_FUNCTIONS: dict[Any, Callable[[Chain, str, Any], None]] = {
    **dict.fromkeys((torch.relu, nn.functional.relu, "relu", "relu_"), _named("relu")),
    **dict.fromkeys((torch.sigmoid, nn.functional.sigmoid, "sigmoid"), _named("sigmoid")),
    **dict.fromkeys((torch.tanh, nn.functional.tanh, "tanh"), _named("tanh")),
    **dict.fromkeys((torch.flatten, "flatten"), _flatten_function),
    **dict.fromkeys(("view", "reshape"), _view),
    nn.functional.leaky_relu: _leaky_function,
}


def _numpy(tensor: Any) -> np.ndarray | None:
    return None if tensor is None else tensor.detach().numpy()


def _state_dict(path: Path) -> dict[str, np.ndarray]:
    """Tensors by name; the file's promises are checked before any memory is taken."""
    _check_archive(path)
    try:
        # On the meta device nothing is read: what the tensors would take is known first.
        planned = _tensors(path, torch.load(path, map_location="meta", weights_only=True))
        promised = sum(t.numel() * t.element_size() for t in planned.values())
        if promised > path.stat().st_size:
            raise ValueError(f"{path} promises {promised} bytes of tensors, more than it holds")
        loaded = _tensors(path, torch.load(path, map_location="cpu", weights_only=True))
    except ValueError:
        raise
    except Exception as error:  # torch raises many kinds for damaged archives
        raise ValueError(f"{path} is not a readable state dict: {error}") from None
    return {name: t.detach().to(torch.float64).numpy() for name, t in loaded.items()}


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            stored = all(m.compress_type == zipfile.ZIP_STORED for m in members)
            if not stored or sum(m.file_size for m in members) > path.stat().st_size:
                raise ValueError(f"{path} is compressed or damaged; torch.save stores plainly")
            pickles = [m for m in members if m.filename.endswith("data.pkl")]
            names = {n for m in pickles for n in _pickled_names(archive.read(m))}
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is not a file of torch.save (1.6 or newer): {error}") from None
    refused = sorted(names - _NAMES - _STORAGES)
    if refused:
        raise ValueError(
            f"{path} holds {refused[0].replace(' ', '.')}, which is not a plain tensor and could "
            "run code when loaded; save module.state_dict() and pass layers="
        )


def _pickled_names(data: bytes) -> set[str]:
    """The globals a pickle names, by reading its opcodes; nothing is executed."""
    found = set()
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name == "GLOBAL":
            found.add(str(argument))
        elif opcode.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
            found.add(f"the pickle opcode {opcode.name}")
    return found


def _tensors(path: Path, loaded: Any) -> dict[str, Any]:
    if isinstance(loaded, dict):
        inner = next((loaded[key] for key in _INNER if isinstance(loaded.get(key), dict)), loaded)
        if inner and all(
            isinstance(n, str) and isinstance(t, torch.Tensor) for n, t in inner.items()
        ):
            return inner
    raise ValueError(f"{path} does not hold a state dict (tensors by name)")
