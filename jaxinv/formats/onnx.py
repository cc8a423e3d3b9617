"""Generators from .onnx files: one chain of nodes from the code to the observation."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxinv.formats.folding import WAY_OUT, Chain
from jaxinv.formats.parity import CODES, check_parity
from jaxinv.model.generator import Generator

try:
    import onnx
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    from jaxinv.formats.onnx_nodes import OPERATORS
    from jaxinv.formats.onnx_step import Step
except ImportError as error:
    raise ImportError("reading .onnx generators needs onnx: pip install 'jaxinv[onnx]'") from error

# Protocol buffers end there too.
LARGEST_FILE = 1 << 31
EVALUATED = 1e9  # operations of convolutions, over all codes, left to onnx's evaluator


def load(path: str | Path, layers: Sequence[str] | None = None, prefix: str = "") -> Generator:
    """A generator from an .onnx file whose graph is one chain of layers.

    Understood: Gemm, MatMul, Add, Sub, Mul, Div with constants, Relu, LeakyRelu, Sigmoid, Tanh,
    Elu, Softplus, Gelu, Silu and x Sigmoid(x), BatchNormalization, ConvTranspose, Conv,
    DepthToSpace, Resize, Upsample, AveragePool, Pad, Transpose, Flatten, Reshape, Identity,
    Dropout. The result is compared with onnx's reference evaluator in float64. Raises ValueError
    for everything else, by name; external data are refused, since such a file could name any
    other file.
    """
    path = Path(path)
    if layers is not None:
        raise ValueError(f"{path}: an .onnx file says its layers itself; leave layers= out")
    model = _parsed(path)
    graph = model.graph
    constants = {t.name: _array(path, t) for t in graph.initializer}
    inputs = [i for i in graph.input if i.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ValueError(
            f"{path} has {len(inputs)} inputs and {len(graph.output)} outputs; expected one of each"
        )
    chain, current = Chain(), inputs[0].name
    chain.reshape(f"{path}, input {current!r}", _row_shape(inputs[0]))
    gates = _gates(graph.node)
    for node in graph.node:
        if not node.output or not (node.input or node.op_type == "Constant"):
            raise ValueError(f"{path} has a node {node.op_type!r} without inputs or outputs")
        what = f"{path}, {node.op_type} {node.name or node.output[0]}"
        if node.domain not in ("", "ai.onnx"):
            raise ValueError(f"{what} belongs to {node.domain!r}, not to ONNX itself")
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant":
            constants[node.output[0]] = _constant(path, what, attributes)
            continue
        if node.output[0] in gates:
            continue
        kind, inputs = node.op_type, list(node.input)
        if kind == "Mul" and (gated := [gates[name] for name in inputs if name in gates]):
            kind, inputs = "Silu", gated  # x Sigmoid(x)
        operands = [None if name == current else name for name in inputs]
        if operands.count(None) != 1 or any(n and n not in constants for n in operands):
            raise ValueError(
                f"{what} does not act on the layer before it and constants alone; {WAY_OUT}"
            )
        add = OPERATORS.get(kind)
        if add is None:
            raise ValueError(f"{what} cannot be represented as phi(W z + b); {WAY_OUT}")
        values = [constants[n] if n else None for n in operands]
        add(chain, Step(kind, what, values, attributes))
        current = node.output[0]
    if current != graph.output[0].name:
        raise ValueError(f"{path} gives out {graph.output[0].name!r}, not its last layer's output")
    generator = chain.generator()
    # The evaluator's convolutions are loops in Python: large ones are compared on fewer codes.
    work = sum(layer.linear.operations for layer in generator.layers if not layer.is_dense)
    codes = int(np.clip(EVALUATED / max(work, 1.0), 3, CODES))
    return check_parity(str(path), generator, _reference(path, model), codes)


def _gates(nodes: Any) -> dict[str, str]:
    """Outputs of a Sigmoid that are only multiplied with its own input: by name, that input."""
    inputs = {node.output[0]: node.input[0] for node in nodes if _is_sigmoid(node)}
    takers = [(name, node) for node in nodes for name in node.input if name in inputs]
    return {
        name: inputs[name]
        for name, node in takers
        if node.op_type == "Mul"
        and sorted(node.input) == sorted([name, inputs[name]])
        and sum(name == other for other, _ in takers) == 1
    }


def _is_sigmoid(node: Any) -> bool:
    return node.op_type == "Sigmoid" and len(node.input) == len(node.output) == 1


def _parsed(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file")
    if path.stat().st_size >= LARGEST_FILE:
        raise ValueError(f"{path} is larger than a protocol buffer can be, 2 GB")
    try:
        return onnx.load_model(path, load_external_data=False)
    except Exception as error:  # protobuf's own kinds
        raise ValueError(f"{path} is not a readable .onnx file: {error}") from None


def _array(path: Path, tensor: Any) -> np.ndarray:
    """One tensor; its data must be in the file and as many as its shape says."""
    what = f"{path}, tensor {tensor.name!r}"
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise ValueError(f"{what} is kept in another file; save the model in one file")
    if any(n < 0 for n in tensor.dims) or len(tensor.dims) > 8:
        raise ValueError(f"{what} has the shape {list(tensor.dims)}")
    try:
        return np.array(numpy_helper.to_array(tensor))
    except Exception as error:  # bad types and sizes raise many kinds
        raise ValueError(f"{what} is damaged: {error}") from None


def _constant(path: Path, what: str, attributes: dict[str, Any]) -> np.ndarray:
    (name, value), *more = attributes.items() or [("", None)]
    if more or name not in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        raise ValueError(f"{what} holds {sorted(attributes)}; expected one tensor or number")
    return _array(path, value) if name == "value" else np.asarray(value)


def _row_shape(value: Any) -> tuple[int, ...]:
    """The shape of one row, all axes but the first; (-1,) where the file does not state it."""
    sizes = tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim[1:])
    return sizes if sizes and min(sizes) > 0 else (-1,)


def _reference(path: Path, model: Any) -> Callable[[np.ndarray], np.ndarray]:
    """The model's forward pass by onnx's own evaluator, its constants in float64, row by row."""
    double = onnx.ModelProto()
    double.CopyFrom(model)
    for tensor in double.graph.initializer:
        _widen(tensor)
    for node in double.graph.node:
        for attribute in node.attribute:
            if attribute.name == "value" and attribute.HasField("t"):
                _widen(attribute.t)
    given = {tensor.name for tensor in model.graph.initializer}
    (start,) = (i for i in model.graph.input if i.name not in given)
    shape = _row_shape(start)

    def reference(latent: np.ndarray) -> np.ndarray:
        try:
            session = ReferenceEvaluator(double)
            return np.concatenate(
                [
                    np.reshape(session.run(None, {start.name: z.reshape(1, *shape)})[0], (1, -1))
                    for z in latent
                ]
            )
        except Exception as error:  # the evaluator raises what NumPy raises
            raise ValueError(f"{path} cannot be evaluated on codes (1, k): {error}") from None

    return reference


def _widen(tensor: Any) -> None:
    values = numpy_helper.to_array(tensor)
    if values.dtype.kind == "f":
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float64), tensor.name))
