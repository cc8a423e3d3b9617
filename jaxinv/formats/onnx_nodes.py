"""What each ONNX operator does to a chain of layers."""

from collections.abc import Callable

import numpy as np

from jaxinv.formats.folding import WAY_OUT, Chain, leaky, row
from jaxinv.formats.onnx_images import IMAGE_OPERATORS
from jaxinv.formats.onnx_step import Operator, Step, text


def _gemm(chain: Chain, step: Step) -> None:
    options = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0} | step.attributes
    weight = _right_factor(chain, step)
    if options["transA"]:
        raise ValueError(f"{step.what} transposes the codes")
    bias = step.values[2] if len(step.values) > 2 else None
    offset = None if bias is None else options["beta"] * row(step.what, bias, None)
    matrix = weight if options["transB"] else weight.T
    chain.affine(step.what, options["alpha"] * matrix, offset)


def _matmul(chain: Chain, step: Step) -> None:
    chain.affine(step.what, _right_factor(chain, step).T, None)


def _right_factor(chain: Chain, step: Step) -> np.ndarray:
    weight = step.values[1] if len(step.values) > 1 else None
    if weight is None or weight.ndim != 2:
        raise ValueError(f"{step.what} multiplies from the wrong side; expected z W")
    if chain.shape is not None and len(chain.shape) > 1:
        raise ValueError(f"{step.what} acts on values of shape {chain.shape}; flatten them first")
    return weight.astype(np.float64)


def _arithmetic(
    scale: Callable[[np.ndarray], np.ndarray], shift: Callable[[np.ndarray], np.ndarray]
) -> Operator:
    """z -> scale(c) z + shift(c), c a constant."""

    def add(chain: Chain, step: Step) -> None:
        if step.values[0] is not None and step.kind in ("Sub", "Div"):
            raise ValueError(f"{step.what} has its constant on the left")
        constant = next(v for v in step.values if v is not None)
        values = row(step.what, constant, chain.shape)
        chain.scale(step.what, scale(values), shift(values))

    return add


def _batch_norm(chain: Chain, step: Step) -> None:
    if len(step.values) != 5 or step.values[0] is not None or step.attributes.get("training_mode"):
        raise ValueError(f"{step.what} is in training mode; export the model after .eval()")
    _, gamma, beta, mean, variance = step.values
    if mean is None or variance is None:
        raise ValueError(f"{step.what} has no mean or no variance")
    epsilon = step.attributes.get("epsilon", 1e-5)
    chain.batch_norm(step.what, mean, variance, gamma, beta, epsilon)


def _elu(chain: Chain, step: Step) -> None:
    if step.attributes.get("alpha", 1.0) != 1.0:
        raise ValueError(f"{step.what} has alpha {step.attributes['alpha']}; 1 can be; {WAY_OUT}")
    chain.activation(step.what, "elu")


def _gelu(chain: Chain, step: Step) -> None:
    if text(step, "approximate", "none") != "none":
        raise ValueError(f"{step.what} is an approximation; {WAY_OUT}")
    chain.activation(step.what, "gelu")


def _flatten(chain: Chain, step: Step) -> None:
    if step.attributes.get("axis", 1) != 1:
        raise ValueError(f"{step.what} flattens from axis {step.attributes['axis']}; expected 1")
    chain.reshape(step.what, (-1,))


def _reshape(chain: Chain, step: Step) -> None:
    target = step.values[1] if len(step.values) > 1 else None
    if target is None or target.ndim != 1 or not 2 <= target.size <= 5:
        raise ValueError(f"{step.what} needs a constant shape of two to five axes")
    sizes = tuple(int(n) for n in target)
    # The first axis is the rows', which an export may have fixed to 1; zero keeps it.
    if sizes[0] not in (-1, 0, 1) or 0 in sizes[1:]:
        raise ValueError(f"{step.what} reshapes to {sizes}; the first axis must stay the rows'")
    chain.reshape(step.what, sizes[1:])


def _named(name: str) -> Operator:
    return lambda chain, step: chain.activation(step.what, name)


def _leaky_relu(chain: Chain, step: Step) -> None:
    # The file keeps float32; its shortest decimal is the slope that was meant.
    slope = float(str(np.float32(step.attributes.get("alpha", 0.01))))
    chain.activation(step.what, leaky(step.what, slope))


def _nothing(chain: Chain, step: Step) -> None:
    """Identity, and dropout in inference."""


OPERATORS: dict[str, Operator] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": _arithmetic(np.ones_like, np.asarray),
    "Sub": _arithmetic(np.ones_like, np.negative),
    "Mul": _arithmetic(np.asarray, np.zeros_like),
    "Div": _arithmetic(np.reciprocal, np.zeros_like),
    "Relu": _named("relu"),
    "LeakyRelu": _leaky_relu,
    "Sigmoid": _named("sigmoid"),
    "Tanh": _named("tanh"),
    "Elu": _elu,
    "Softplus": _named("softplus"),
    "Gelu": _gelu,
    "Silu": _named("silu"),
    "BatchNormalization": _batch_norm,
    **IMAGE_OPERATORS,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Identity": _nothing,
    "Dropout": _nothing,
}
