"""Rows out of columns of Apache Arrow: which column holds them, and its lists as a matrix."""

from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

try:
    import pyarrow as arrow
    from pyarrow import compute
except ImportError as error:
    raise ImportError(
        "reading .parquet and .arrow needs pyarrow: pip install 'jaxinv[export]'"
    ) from error

PREFERRED = "observations"
TOLD = 8  # columns that a sentence names


class Chosen(NamedTuple):
    """The columns that make the rows: one of lists or tensors, or several of numbers."""

    names: tuple[str, ...]
    lists: bool


def choose(where: str, schema: Any, dataset: str | None) -> Chosen:
    """The columns that `dataset` names, by a name or a pattern such as "pixel*".

    Without one: the column "observations", the only one of lists, or all, where all are numbers.
    """
    told = [f"{field.name} ({field.type})" for field in list(schema)[:TOLD]]
    described = ", ".join(told + [f"{len(schema) - TOLD} more"] * (len(schema) > TOLD))
    names = [field.name for field in schema]
    if len(set(names)) < len(names):
        raise ValueError(f"{where} has two columns of one name: {described}")
    kind = {field.name: _kind(field.type) for field in schema}
    lists = [name for name in names if kind[name] == "list"]
    if dataset is None:
        if kind.get(PREFERRED) == "list":
            return Chosen((PREFERRED,), True)
        if len(lists) == 1:
            return Chosen((lists[0],), True)
        if names and all(kind[name] == "number" for name in names):
            return Chosen(tuple(names), False)
        raise ValueError(
            f"{where} has the columns {described}; choose one of lists of numbers by --dataset, "
            "or several of numbers by a pattern such as --dataset 'pixel*'"
        )
    found = [dataset] if dataset in names else [n for n in names if fnmatchcase(n, dataset)]
    if not found:
        raise ValueError(f"{where} has no column {dataset!r}; it has {described}")
    if len(found) == 1 and kind[found[0]] == "list":
        return Chosen((found[0],), True)
    other = [name for name in found if kind[name] != "number"]
    if other or len(found) == 1:
        name = (other or found)[0]
        raise ValueError(
            f"{where}, column {name!r} holds {schema.field(name).type}; expected lists of numbers, "
            "or several columns of numbers"
        )
    return Chosen(tuple(found), False)


def number_type(column: Any) -> np.dtype:
    """The dtype of the numbers in a column, inside whatever lists."""
    return np.dtype(_innermost(column).to_pandas_dtype())


def matrix(
    where: str, first: int, columns: list[Any], width: int | None = None
) -> Shaped[np.ndarray, "B n"]:
    """The rows that start with number `first` of the file, from one column of lists or several.

    What is null becomes NaN, a whole row or an entry; whole numbers with nulls among them become
    float64. Raises ValueError where a list is not as long as `width`, or as the others.
    """
    numbers = np.arange(first, first + len(columns[0]))
    if len(columns) == 1:
        return _matrix(where, numbers, columns[0], width)
    return np.column_stack([_leaf(where, column) for column in columns])


def _matrix(
    where: str, numbers: Int[np.ndarray, " B"], column: Any, width: int | None
) -> Shaped[np.ndarray, "B n"]:
    """A column of lists, of lists of lists, or of tensors; numbers: the row of each list."""
    if isinstance(column.type, arrow.FixedShapeTensorType):
        shape, axes = column.type.shape, column.type.permutation
        flat = _matrix(where, numbers, column.storage, width)
        if axes is None:
            return flat
        tensors = flat.reshape(len(flat), *shape).transpose(0, *(axis + 1 for axis in axes))
        return tensors.reshape(flat.shape)
    if not _is_list(column.type):
        return _leaf(where, column)[:, None]
    valid = np.asarray(column.is_valid())
    whole, numbers = column.drop_null(), numbers[valid]
    lengths = np.asarray(compute.list_value_length(whole))
    inner = whole.flatten()
    # How long a list of lists is can be told by its neighbours alone.
    expected = width if width is not None and not _is_list(inner.type) else max(lengths, default=0)
    ragged = np.flatnonzero(lengths != expected)
    if len(ragged):
        raise ValueError(
            f"{where}, row {numbers[ragged[0]]}: a list of {lengths[ragged[0]]}, where others have "
            f"{expected}; lists must have one length"
        )
    if width is not None and expected and width % expected:
        raise ValueError(f"{where}, row {numbers[0]} does not hold {width} numbers, as others do")
    narrow = width // expected if width is not None and expected else None
    values = _matrix(where, np.repeat(numbers, expected), inner, narrow)
    values = values.reshape(len(whole), expected * values.shape[1])
    if valid.all():
        return values
    if values.dtype == bool:
        raise ValueError(f"{where} holds null among its booleans; expected true or false")
    shape = len(valid), values.shape[1] if len(whole) else width or 0
    rows = np.full(shape, np.nan, np.result_type(values, np.float16))
    rows[valid] = values
    return rows


def _leaf(where: str, column: Any) -> Shaped[np.ndarray, " B"]:
    """Numbers as they are; as floats with NaN where some are null."""
    if column.null_count and arrow.types.is_boolean(column.type):
        raise ValueError(f"{where} holds null among its booleans; expected true or false")
    return np.asarray(column.to_numpy(zero_copy_only=False))


def stated_width(column: Any) -> int | None:
    """How many numbers each row holds, where the column's type says it."""
    if isinstance(column, arrow.FixedShapeTensorType):
        return int(np.prod(column.shape, dtype=object))
    if arrow.types.is_fixed_size_list(column):
        inner = stated_width(column.value_type)
        return None if inner is None else column.list_size * inner
    return None if _is_list(column) else 1


def _kind(column: Any) -> str:
    inner = _innermost(column)
    number = arrow.types.is_integer(inner) or arrow.types.is_floating(inner)
    if not (number or arrow.types.is_boolean(inner)):
        return "other"
    return "number" if inner is column else "list"


def _innermost(column: Any) -> Any:
    while isinstance(column, arrow.FixedShapeTensorType) or _is_list(column):
        column = column.value_type
    return column


def _is_list(column: Any) -> bool:
    kinds = arrow.types
    return kinds.is_list(column) or kinds.is_large_list(column) or kinds.is_fixed_size_list(column)
