"""Any PyTorch module in eval mode as a function of JAX, read through torch.export.

The module is exported for one code in float64, which fixes every shape; JAX maps it over batches.
What it computes is then a list of core ATen operators, each of which `formats.aten` knows or names.
"""

import copy
import operator
import warnings
from typing import Any

import numpy as np

from jaxinv.formats.aten import AtenProgram, Kind, Step, Value, known
from jaxinv.formats.parity import check_parity, parity_codes
from jaxinv.model.function import FunctionGenerator

try:
    import torch
    from torch import nn
except ImportError as error:
    raise ImportError(
        "reading PyTorch generators needs torch: pip install 'jaxinv[torch]'"
    ) from error

_INSTEAD = "write it with other operators, or as a JAX function for FunctionGenerator(f, ...)"
# Keywords that say where and how a tensor lies, which is no part of its value.
_PLACEMENT = {"layout", "device", "pin_memory", "memory_format", "non_blocking"}
# What makes tensors anew, of a dtype that may be left to the operator.
_MAKERS = {"arange", "full", "full_like", "scalar_tensor"}
_RANDOM = ("rand", "bernoulli", "normal", "multinomial", "native_dropout", "uniform", "dropout")
# Decomposed, these overflow in a branch not taken, or lose their derivative at a kink.
_KEPT = ("softplus", "silu", "mish", "hardswish", "hardsigmoid", "log_sigmoid_forward", "prelu")


def from_torch(module: Any, latent_size: int) -> FunctionGenerator:
    """A decoder from a live module that maps codes (B, k) to observations (B, ...).

    Raises ValueError, by name, for modules in training mode, random numbers, control flow that
    depends on values, rows that depend on each other, and operators that are not known.
    """
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"module is a {type(module).__name__}; expected torch.nn.Module (a plain function of "
            "tensors can stand in the forward of one)"
        )
    source = type(module).__name__
    training = next((name for name, part in module.named_modules() if part.training), None)
    if training is not None:
        raise ValueError(
            f"{source}{training and f', {training}'} is in training mode; call module.eval() first"
        )
    # A float64 copy: the caller's module stays as it is, and parity is not lost in rounding.
    double = copy.deepcopy(module).to("cpu", torch.float64)
    for parameter in double.parameters():
        # Frozen transformers take fused operators; with gradients they are written out.
        parameter.requires_grad_(parameter.is_floating_point())
    expected = _reference(source, double, latent_size)
    program = _program(source, module, _exported(source, double, latent_size))
    generator = FunctionGenerator(program, latent_size)
    return check_parity(source, generator, lambda latent: expected[: len(latent)])


def _reference(source: str, module: nn.Module, latent_size: int) -> np.ndarray:
    """The module's own outputs for the codes that parity is judged by, one code at a time."""
    codes = torch.from_numpy(parity_codes(latent_size))
    try:
        with torch.no_grad():
            rows, again = ([module(code[None]) for code in codes] for _ in range(2))
    except Exception as error:
        raise ValueError(
            f"{source} does not map codes (1, {latent_size}) to observations: {_sentence(error)}"
        ) from None
    wrong = next((y for y in rows if not isinstance(y, torch.Tensor)), None)
    if wrong is not None:
        raise ValueError(f"{source} returns a {type(wrong).__name__}; expected one tensor")
    if rows[0].ndim == 0 or len(rows[0]) != 1:
        raise ValueError(
            f"{source} maps one code (1, {latent_size}) to the shape {tuple(rows[0].shape)}; "
            "expected a first axis of length 1, one observation a code"
        )
    if rows[0].is_complex() or not rows[0].is_floating_point():
        raise ValueError(f"{source} returns {rows[0].dtype} entries; expected real numbers")
    if any(not torch.equal(y, z) and not y.isnan().any() for y, z in zip(rows, again, strict=True)):
        raise ValueError(
            f"{source} gives different outputs for one code: it draws random numbers; "
            "make its noise an attribute that stays, or part of the code"
        )
    expected = torch.cat(rows).numpy()
    _check_rows(source, module, codes, expected)
    return expected.reshape(len(codes), -1)


def _check_rows(source: str, module: nn.Module, codes: Any, expected: np.ndarray) -> None:
    """Raise ValueError where a row of a batch is not what its code gives alone."""
    try:
        with torch.no_grad():
            together = module(codes).numpy()
    except Exception:  # written for one code at a time, which is how it is read
        return
    scale = np.abs(expected).max()
    if together.shape != expected.shape or np.abs(together - expected).max() > 1e-6 * scale:
        raise ValueError(
            f"{source}: a row of a batch differs from the output for its code alone; "
            "rows that depend on each other cannot be inverted one by one"
        )


def _exported(source: str, module: nn.Module, latent_size: int) -> Any:
    example = torch.from_numpy(parity_codes(latent_size)[1:2])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = torch.export.default_decompositions()
            for name in _KEPT:
                table.pop(getattr(torch.ops.aten, name).default, None)
            return torch.export.export(module, (example,), strict=False).run_decompositions(table)
    except Exception as error:  # torch raises many kinds, with pages of advice
        raise ValueError(
            f"{source} cannot be exported: {_sentence(error)} (branches and shapes that depend on "
            f"values are no program of fixed operators); {_INSTEAD}"
        ) from None


def _program(source: str, module: nn.Module, exported: Any) -> AtenProgram:
    signature = exported.graph_signature
    stored = {**exported.state_dict, **exported.constants}
    # The caller's own precision: float32 weights are promoted exactly, and take half the room.
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    changed = [*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()]
    if changed:
        raise ValueError(f"{source} changes {changed[0]} when it is called; it must change nothing")
    arrays = {name: _array(own.get(path, stored[path])) for name, path in names.items()}
    steps = []
    for node in exported.graph.nodes:
        if node.op == "call_function":
            steps.append(_step(source, node))
        elif node.op == "get_attr":
            raise ValueError(f"{source} branches or loops on values; {_INSTEAD}")
    (latent,), (output,) = signature.user_inputs, signature.user_outputs
    return AtenProgram(source, latent, output, arrays, tuple(steps))


def _step(source: str, node: Any) -> Step:
    if node.target is operator.getitem:
        return Step(node.name, "getitem", _plain(node.args), {})
    name = str(node.target).removeprefix("aten.")
    base = name.partition(".")[0]
    entry = known(name) if str(node.target).startswith("aten.") else None
    where = _where(source, node)
    if entry is None and base.startswith(_RANDOM):
        raise ValueError(f"{where} draws random numbers ({node.target}); make its noise constant")
    if entry is None:
        raise ValueError(
            f"{where} uses {node.target}, which has no JAX counterpart here; {_INSTEAD}"
        )
    keywords = {k: _plain(v) for k, v in node.kwargs.items() if k not in _PLACEMENT}
    if base in _MAKERS:
        keywords["dtype"] = _kind(node.meta["val"].dtype)
    return Step(node.name, entry, _plain(node.args), keywords)


def _plain(argument: Any) -> Any:
    """An argument of a node without PyTorch's types."""
    if isinstance(argument, torch.fx.Node):
        return Value(argument.name)
    if isinstance(argument, torch.dtype):
        return _kind(argument)
    if isinstance(argument, (list, tuple)):
        return tuple(map(_plain, argument))
    return argument


def _kind(dtype: Any) -> Kind:
    if dtype.is_complex:
        raise ValueError(f"the module computes with {dtype}; only real numbers can be read")
    return Kind("float" if dtype.is_floating_point else "bool" if dtype == torch.bool else "int")


def _array(tensor: Any) -> np.ndarray:
    tensor = tensor.detach().cpu()
    if tensor.is_complex():
        raise ValueError(f"the module holds {tensor.dtype} entries; only real ones can be read")
    if tensor.is_floating_point():
        # NumPy has no bfloat16; half precision is held in float32, which is exact.
        return (tensor if tensor.dtype == torch.float64 else tensor.float()).numpy().copy()
    return tensor.numpy().astype(np.bool_ if tensor.dtype == torch.bool else np.int32)


def _where(source: str, node: Any) -> str:
    """The module that a node comes from: Decoder, blocks.0.attention (Attention)."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", "")
    name = kind if isinstance(kind, str) else kind.__name__
    return f"{source}, {path} ({name.rpartition('.')[2]})," if path else source


def _sentence(error: Exception) -> str:
    """The first line of an error's message; PyTorch's own go on for a page."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).strip()[:300]
