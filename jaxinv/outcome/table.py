"""The rows of an inversion as columns: of words, of a pandas DataFrame, of an Arrow table."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from jaxinv.outcome.search_report import Ending, Start
from jaxinv.outcome.status import Status

# Columns of words, by the end of their name: that of each layer is a status, too.
WORDS = {"status": Status, "start": Start, "ending": Ending}


def worded(name: str, values: np.ndarray) -> Any:
    """The values; of a column of words, which arrive as numbers, its words."""
    words = _words(name)
    return values[()] if words is None else np.array(words)[values]


def pandas_frame(columns: Mapping[str, np.ndarray]) -> Any:
    """A DataFrame of columns, "latent" (B, k) or (k,) among them, whose entries stand last."""
    pandas = _optional("pandas", "to_pandas", "pandas")
    latent = np.atleast_2d(columns["latent"])
    frame = {
        name: _categories(pandas, name, np.atleast_1d(values))
        for name, values in columns.items()
        if name != "latent"
    }
    return pandas.DataFrame(frame | {f"latent_{i}": entry for i, entry in enumerate(latent.T)})


def arrow_table(columns: Mapping[str, np.ndarray]) -> Any:
    """A pyarrow.Table of columns, "latent" (B, k) or (k,) among them."""
    arrow = _optional("pyarrow", "to_arrow", "export")
    latent = np.atleast_2d(columns["latent"])
    flat = arrow.array(np.ascontiguousarray(latent).reshape(-1))
    lists = arrow.FixedSizeListArray.from_arrays(flat, latent.shape[1])
    table = {
        name: lists if name == "latent" else arrow.array(np.atleast_1d(worded(name, values)))
        for name, values in columns.items()
    }
    return arrow.table(table)


def _words(name: str) -> list[str] | None:
    kind = WORDS.get(name.rpartition("_")[2])
    return None if kind is None else [word.name for word in kind]


def _categories(pandas: Any, name: str, values: np.ndarray) -> Any:
    words = _words(name)
    # All words that there are, so that frames of different batches can be put under each other.
    return values if words is None else pandas.Categorical.from_codes(values, words)


def _optional(library: str, method: str, extra: str) -> Any:
    try:
        return import_module(library)
    except ImportError as error:
        raise ImportError(f"{method} needs {library}: pip install 'jaxinv[{extra}]'") from error
