"""A method's settings as plain data, and back: what a manifest can hold."""

from dataclasses import fields, is_dataclass
from typing import Any

from jaxinv import settings as known
from jaxinv.settings import METHODS, Method

_NAMES = {settings: name for name, settings in METHODS.items()}


def to_record(method: Method) -> dict[str, Any]:
    """The settings as JSON data; raises ValueError where they hold an object."""
    return {"name": _NAMES[type(method)], **_plain("method", method)}


def from_record(record: dict[str, Any]) -> Method:
    """The settings that `to_record` wrote down."""
    settings = _settings({k: v for k, v in record.items() if k != "name"})
    if type(settings) not in _NAMES:
        raise ValueError(f"{record} does not describe a method")
    return settings


def completed(record: dict[str, Any]) -> dict[str, Any]:
    """The record as this version writes it: what did not exist yet has the value it is run with."""
    return to_record(from_record(record))


def _plain(where: str, value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        inner = {f.name: _plain(f"{where}.{f.name}", getattr(value, f.name)) for f in fields(value)}
        return {"class": type(value).__name__, **inner}
    if isinstance(value, (tuple, list)):
        return [_plain(where, entry) for entry in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(
        f"{where} is a {type(value).__name__}, which a job cannot write down; use names and numbers"
    )


def _settings(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_settings(entry) for entry in value)
    if not isinstance(value, dict):
        return value
    kind = getattr(known, value["class"], None)
    if not (isinstance(kind, type) and is_dataclass(kind)):
        raise ValueError(f"settings name {value['class']!r}, which this version does not know")
    unknown = value.keys() - {"class", *(f.name for f in fields(kind))}
    if unknown:
        raise ValueError(
            f"{value['class']} has the setting {min(unknown)!r}, which this version does not know; "
            "use the version of jaxinv that began the job"
        )
    return kind(**{k: _settings(v) for k, v in value.items() if k != "class"})
