"""PyTorch's file format before version 1.6 (pickles, then raw numbers), read as data.

Nothing is unpickled: the few opcodes that a state dict consists of are followed by a machine of
lists and dictionaries that can call nothing, and any other opcode is refused. The file holds five
pickles (a magic number, a version, facts on the machine, the state dict, the storages' keys), and
for each key the number of entries, in eight bytes, and the entries.
"""

import pickletools
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES: dict[str, Any] = {
    "torch FloatStorage": np.float32,
    "torch DoubleStorage": np.float64,
    "torch HalfStorage": np.float16,
    "torch BFloat16Storage": jnp.bfloat16,
    "torch LongStorage": np.int64,
}
_REBUILD = "torch._utils _rebuild_tensor_v2"
_PARAMETER = "torch._utils _rebuild_parameter"
_ORDERED = "collections OrderedDict"

_NUMBERS = {"BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE"}
_TEXT = {"SHORT_BINSTRING", "BINSTRING"}
_FIXED: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Name(NamedTuple):
    """What a pickle asks for by name; it is never looked up."""

    name: str


class _Storage(NamedTuple):
    kind: str
    key: str
    entries: int


class _View(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_pickled(path: Path) -> Any:
    """What the file holds, arrays for tensors; raises ValueError where it is none, or damaged."""
    data = path.read_bytes()
    file = BytesIO(data)
    try:
        kinds: dict[str, str] = {}
        magic, *_, held, keys = [_followed(file, kinds) for _ in range(5)]
        if magic != MAGIC:
            raise ValueError("it does not begin as torch.save writes")
        storages = {}
        for key in keys:
            start = file.tell() + 8
            storages[str(key)] = (int.from_bytes(file.read(8), "little", signed=True), start)
            size = np.dtype(_DTYPES[kinds[str(key)]]).itemsize
            file.seek(start + storages[str(key)][0] * size)
            if storages[str(key)][0] < 0 or file.tell() > len(data):
                raise ValueError(f"storage {key} is truncated")
        return _filled(held, data, storages, {})
    except Exception as error:  # whatever a damaged pickle leads to
        raise ValueError(
            f"{path} is not a state dict that can be read ({error}). If you trust it, "
            "write it anew: "
            f'torch.save(torch.load("{path.name}", weights_only=True), "new.pt")'
        ) from None


def _followed(file: BytesIO, kinds: dict[str, str]) -> Any:
    """One pickle's value, by its opcodes; the storages that it names are added to `kinds`."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    for opcode, argument, _ in pickletools.genops(file):
        name = opcode.name
        if name in _NUMBERS or name in _TEXT:
            stack.append(argument)
        elif name in _FIXED:
            stack.append(_FIXED[name])
        elif name in ("EMPTY_DICT", "EMPTY_LIST"):
            stack.append({} if name == "EMPTY_DICT" else [])
        elif name == "GLOBAL":
            stack.append(_named(str(argument)))
        elif name == "MARK":
            marks.append(len(stack))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[int(argument or 0)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument or 0)])
        elif name in _TUPLES or name in ("TUPLE", "SETITEMS", "APPENDS"):
            start = len(stack) - _TUPLES[name] if name in _TUPLES else marks.pop()
            items = stack[start:]
            del stack[start:]
            if name == "SETITEMS":
                stack[-1].update(zip(items[::2], items[1::2], strict=True))
            elif name == "APPENDS":
                stack[-1].extend(items)
            else:
                stack.append(tuple(items))
        elif name in ("SETITEM", "APPEND"):
            value = stack.pop()
            if name == "APPEND":
                stack[-1].append(value)
            else:
                key = stack.pop()
                stack[-1][key] = value
        elif name == "BINPERSID":
            storage = _storage(stack.pop())
            kinds[storage.key] = storage.kind
            stack.append(storage)
        elif name == "REDUCE":
            arguments = stack.pop()
            stack.append(_made(stack.pop(), arguments))
        elif name == "BUILD":
            stack.pop()  # attributes of a dictionary, such as its version: no numbers
        elif name == "STOP":
            return stack.pop()
        elif name != "PROTO":
            raise ValueError(f"the pickle opcode {name} is not one of plain tensors")
    raise ValueError("a pickle does not end")


def _named(argument: str) -> _Name:
    if argument not in (*_DTYPES, _REBUILD, _PARAMETER, _ORDERED):
        dotted = argument.replace(" ", ".")
        raise ValueError(f"it holds {dotted}, no plain tensor, which could run code when loaded")
    return _Name(argument)


def _storage(given: Any) -> _Storage:
    word, kind, key, _, entries, view = given
    if word != "storage" or not isinstance(kind, _Name) or kind.name not in _DTYPES or view:
        raise ValueError("a storage is not one of numbers")
    return _Storage(kind.name, str(key), int(entries))


def _made(what: Any, arguments: tuple[Any, ...]) -> Any:
    if what == _Name(_ORDERED):
        return dict(*arguments)
    if what == _Name(_PARAMETER):
        return arguments[0]
    if what != _Name(_REBUILD):
        raise ValueError("it calls what is no tensor")
    storage, offset, shape, strides, *_ = arguments
    whole = [offset, *shape, *strides]
    if not isinstance(storage, _Storage) or not all(type(n) is int and n >= 0 for n in whole):
        raise ValueError("a tensor has no shape")
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if 0 not in shape and (last >= storage.entries or prod(shape) > storage.entries):
        raise ValueError(f"a tensor of shape {shape} is larger than its {storage.entries} entries")
    return _View(storage, offset, tuple(shape), tuple(strides))


def _filled(
    held: Any, data: bytes, storages: dict[str, tuple[int, int]], known: dict[int, Any]
) -> Any:
    """Arrays for views; a dictionary that occurs many times is gone through once."""
    if isinstance(held, dict):
        if id(held) not in known:
            filled = {name: _filled(part, data, storages, known) for name, part in held.items()}
            known[id(held)] = filled
        return known[id(held)]
    if not isinstance(held, _View):
        return held
    dtype = np.dtype(_DTYPES[held.storage.kind])
    entries, start = storages[held.storage.key]
    if entries != held.storage.entries:
        raise ValueError(f"a storage promises {held.storage.entries} entries, {entries} follow")
    flat = np.frombuffer(data, dtype, entries, start)
    steps = tuple(dtype.itemsize * s for s in held.strides)
    if 0 in held.shape:
        return np.empty(held.shape, dtype)
    return np.lib.stride_tricks.as_strided(flat[held.offset :], held.shape, steps, writeable=False)
