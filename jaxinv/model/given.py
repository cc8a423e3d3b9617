"""Arrays as a caller hands them over: real numbers in double precision, or a sentence.

NumPy's own reading loses things without a word, an imaginary part or a mask, and stops with words
of its own at what another library made; everything that a door takes passes here first.
"""

import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

_TRACED = (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError)


def given_array(what: str, values: Any) -> np.ndarray:
    """The values as NumPy holds them, of whatever dtype; a ValueError where they are no array."""
    array, hidden = _read(what, values)
    if hidden is not None:
        raise ValueError(
            f"{what} is a masked array, whose mask would be lost; fill it, and say by mask= which "
            "entries of the observations count"
        )
    return array


def real_array(what: str, values: Any) -> Float[np.ndarray, "..."]:
    """The values in float64: of NumPy, JAX, PyTorch, pandas, or nested lists."""
    return _real(what, given_array(what, values))


class Observed(NamedTuple):
    """values: in float64. hidden: entries that a masked array hides, if any. dtype: as it came."""

    values: Float[np.ndarray, "..."]
    hidden: Bool[np.ndarray, "..."] | None
    dtype: np.dtype


def observed_array(what: str, values: Any) -> Observed:
    """The values in float64, and what else observations say of themselves."""
    array, hidden = _read(what, values)
    return Observed(_real(what, array), hidden, array.dtype)


def positive_weights(given: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """The weights; ValueError where one is not a positive, finite number."""
    if not (np.isfinite(given).all() and (given > 0).all()):
        raise ValueError("weights must be positive and finite; use mask= to leave entries out")
    return given


def refuse_traced(what: str, tree: Any) -> None:
    """Raise ValueError where an array of this pytree is traced by jax.jit, vmap or grad."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree)):
        raise ValueError(_traced(what))


def _traced(what: str) -> str:
    return (
        f"{what} is traced by jax.jit, vmap or grad, and has no values yet; this decides by values "
        "and compiles by itself: call it outside, with arrays"
    )


def _read(what: str, values: Any) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(values, torch.Tensor):
            values = _from_torch(values)
        if isinstance(values, list | tuple) and any(
            isinstance(part, np.ma.MaskedArray) for part in values
        ):
            values = np.ma.asarray(values)
        array = np.asarray(values)
    except _TRACED:
        raise ValueError(_traced(what)) from None
    except Exception as error:  # other libraries' arrays raise what they like
        raise ValueError(f"{what} must be an array of real numbers ({error})") from None
    return array, np.ma.getmaskarray(values) if np.ma.is_masked(values) else None


def _real(what: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "c":
        raise ValueError(
            f"{what} must be an array of real numbers, and is {array.dtype}; stack real and "
            "imaginary parts, as np.concatenate([a.real, a.imag]) does for a matrix a"
        )
    # bfloat16 is a dtype that NumPy does not count among numbers.
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise ValueError(f"{what} must be an array of real numbers (dtype {array.dtype})")
    with np.errstate(over="ignore"):  # a long double out of range becomes infinite
        return array.astype(np.float64)


def _from_torch(tensor: Any) -> np.ndarray:
    """A tensor's values, wherever they lie, whether or not gradients are kept of it."""
    name = str(tensor.dtype).removeprefix("torch.")
    dense = tensor.detach().to_dense() if tensor.is_sparse else tensor.detach()
    if not dense.is_floating_point():
        return np.asarray(dense.numpy(force=True))
    # Through float64: NumPy has no bfloat16 and no 8-bit floats of its own.
    return np.asarray(dense.double().numpy(force=True)).astype(jnp.dtype(name))
