"""The package's docstrings as reStructuredText: they are plain text, written to be read in a file.

Indented lines are an equation, `names` in backticks are code, and what is said of an argument or a
field follows its name and a colon: "mask: (n,) or (B, n) bool, True where observed."
"""

import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any

from sphinx.application import Sphinx

import jaxinv
import jaxinv.certify
import jaxinv.hardness
import jaxinv.measurements
import jaxinv.plots

LINKS = {
    name: f"{module.__name__}.{name}"
    for module in (jaxinv.plots, jaxinv.measurements, jaxinv.hardness, jaxinv.certify, jaxinv)
    for name in module.__all__
} | {"LayerLP": "jaxinv.settings.LayerLP"}
MARKUP = re.compile(r"([\\*|_])")
# Sentences that speak of the whole and not of the argument named before them.
ASIDE = re.compile(r"(?<=[.)] )(?=Raises |Warns |Other (?:arguments|fields) )")


def as_restructured_text(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Replace the lines of a docstring in place, as autodoc asks for."""
    if what != "module":
        lines[:] = [line for part in paragraphs(lines) for line in (*rendered(part, thing), "")]


def paragraphs(lines: Iterable[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for line in (*lines, ""):
        if line.strip():
            part.append(line)
        elif part:
            yield part
            part = []


def rendered(part: list[str], thing: Any) -> Iterator[str]:
    if part[0].startswith(">>>"):
        yield from part
    elif part[0].startswith("  "):
        yield from (".. code-block:: text", "", *(f"    {line}" for line in part))
    else:
        before, named, after = described(" ".join(map(str.strip, part)), names_of(thing))
        yield from (marked_up(before), "")
        yield from (f"- **{names}**: {marked_up(text)}" for names, text in named)
        yield from ("", marked_up(after))


def described(text: str, names: list[str]) -> tuple[str, list[tuple[str, str]], str]:
    """What is said before any name, of each name or enumeration of names, and of the whole."""
    if not names:
        return text, [], ""
    one = "|".join(map(re.escape, names))
    head = re.compile(rf"(?:^|(?<=[.;)] ))((?:{one})(?:, (?:{one}))*): ")
    before, *rest = head.split(text)
    asides: list[str] = []
    named: list[tuple[str, str]] = []
    for which, said in zip(rest[::2], rest[1::2], strict=True):
        own, *others = ASIDE.split(said.strip())
        named.append((which, own.strip()))
        asides += others
    return before.strip(), named, " ".join(asides)


def names_of(thing: Any) -> list[str]:
    """The arguments of a function or class, among them a dataclass's fields."""
    try:
        return [name for name in inspect.signature(thing).parameters if name != "self"]
    except (TypeError, ValueError):
        return []


def marked_up(text: str) -> str:
    """Signs of the mathematics escaped, code marked, public names linked."""
    pieces = text.split("`")
    return "".join(
        code(piece) if number % 2 else MARKUP.sub(r"\\\1", piece)
        for number, piece in enumerate(pieces)
    )


def code(name: str) -> str:
    return f":py:obj:`~{LINKS[name]}`" if name in LINKS else f"``{name}``"


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", as_restructured_text)
    return {"parallel_read_safe": True}
