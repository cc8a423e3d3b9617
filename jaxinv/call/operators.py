"""The forward operator that a caller names, behind the generator: y = f(G(z))."""

from typing import Any, NamedTuple, cast

import numpy as np
from scipy import sparse

from jaxinv.measurements import Blur, Quantise, Subsample
from jaxinv.model.decoder import Decoder
from jaxinv.model.given import given_array
from jaxinv.model.measurement import measured, measured_through, operator_matrix
from jaxinv.model.nonlinear import measured_by
from jaxinv.settings import Auto, GradientDescent, LevenbergMarquardt, Method

JOINT = (Auto, LevenbergMarquardt, GradientDescent)


class Forward(NamedTuple):
    """decoder: the generator with what measures it. step: of a quantisation, 0 where none is."""

    decoder: Decoder
    step: float = 0.0


def behind(decoder: Decoder, operator: Any, entries: int, method: Method) -> Forward:
    """The generator and its operator as one decoder of so many entries, checked."""
    if operator is None:
        return Forward(decoder)
    parts = operator if _is_list(operator) else [operator]
    step = 0.0
    for number, part in enumerate(parts, start=1):
        last = number == len(parts)
        if isinstance(part, Quantise):
            if not last:
                raise ValueError("quantise must be the last operator of a list: it gives cells")
            _ask_for_joint(method, "a quantisation")
            step = part.step
        else:
            decoder = _measured(decoder, part, entries if last else None, method)
    return Forward(decoder, step)


def stacked(operator: Any, observations: Any) -> Any:
    """Observations with their real parts first, where the operator is complex.

    Raises ValueError where they are real then.
    """
    if not _is_complex(_last(operator)):
        return observations
    array = given_array("observations", observations)
    if array.dtype.kind != "c":
        raise ValueError(
            f"observations behind a complex operator are {array.dtype}; expected complex numbers; "
            "of magnitudes alone, use operator=jaxinv.measurements.magnitude(A)"
        )
    return np.concatenate([array.real, array.imag], axis=-1)


def of_both_parts(operator: Any, values: Any) -> Any:
    """What is said of each entry, said of its real and its imaginary part."""
    if values is None or not _is_complex(_last(operator)):
        return values
    given = given_array("what is said of each entry", values)
    return np.concatenate([given] * 2, axis=-1) if given.ndim else values


def _measured(decoder: Decoder, operator: Any, m: int | None, method: Method) -> Decoder:
    n = decoder.observation_size
    if isinstance(operator, Blur | Subsample):
        whole = measured_through(decoder, operator.map(n))
        if whole.layers:
            return _dense_where_asked(whole, method)
        return whole
    if callable(operator):
        _ask_for_joint(method, "an operator that is a function")
        nonlinear = measured_by(decoder, operator)
        if m is not None and nonlinear.observation_size != m:
            raise ValueError(
                f"operator maps the generator's {n} outputs to {nonlinear.observation_size} "
                f"entries; observations have {m}"
            )
        return nonlinear
    if m is None:
        if isinstance(operator, tuple):
            raise ValueError(
                "a pair (forward, adjoint) must be the last operator of a list: its size follows "
                "from the observations; give the others as matrices or functions"
            )
        m = 2 * operator.shape[0] if _is_complex(operator) else np.shape(operator)[0]
    return _behind_matrix(decoder, operator, m, method)


def _behind_matrix(decoder: Decoder, operator: Any, m: int, method: Method) -> Decoder:
    if _is_complex(operator):
        dense = cast(Any, operator).toarray() if sparse.issparse(operator) else operator
        operator = np.concatenate([np.real(dense), np.imag(dense)])
    matrix = operator_matrix(operator, decoder.observation_size, m)
    whole = measured(decoder, matrix)
    further = len(whole.layers) > len(decoder.layers)
    if further and m < decoder.observation_size and not isinstance(method, JOINT):
        raise ValueError(
            f"an operator of shape {matrix.shape} behind a last layer that is not linear cannot "
            "be undone layer by layer; use method 'auto' or 'lm'"
        )
    return whole


def _dense_where_asked(whole: Any, method: Method) -> Decoder:
    """The chain as matrices for methods that go layer by layer."""
    if isinstance(method, JOINT):
        return whole
    return whole.dense(method.largest_matrix)


def _ask_for_joint(method: Method, what: str) -> None:
    if not isinstance(method, JOINT):
        raise ValueError(
            f"{what} cannot be undone layer by layer, as {type(method).__name__} goes; use "
            "'auto', 'lm' or 'gd'"
        )


def _is_list(operator: Any) -> bool:
    """Whether operators are to be applied in order: a nested list of numbers is a matrix."""
    kinds = Blur | Quantise | Subsample
    return isinstance(operator, list) and any(
        callable(part) or isinstance(part, kinds) for part in operator
    )


def _last(operator: Any) -> Any:
    return operator[-1] if _is_list(operator) else operator


def _is_complex(operator: Any) -> bool:
    return getattr(getattr(operator, "dtype", None), "kind", "") == "c"
