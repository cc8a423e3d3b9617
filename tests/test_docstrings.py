"""Every public name has a docstring whose example is executed here, and stands in the reference."""

import doctest
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jaxinv
import jaxinv.certify
import jaxinv.hardness
import jaxinv.measurements
import jaxinv.plots
import jaxinv.settings

MODULES = (jaxinv, jaxinv.certify, jaxinv.hardness, jaxinv.measurements, jaxinv.plots)
REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
# Examples that read a format whose library is an extra.
EXTRAS = {
    "jaxinv.Generator.from_torch": "torch",
    "jaxinv.FunctionGenerator.from_torch": "torch",
    "jaxinv.Generator.from_onnx": "onnx",
    "jaxinv.posterior": "blackjax",
    "jaxinv.Posterior": "blackjax",
    "jaxinv.Posterior.interval": "blackjax",
    "jaxinv.Posterior.level": "blackjax",
    "jaxinv.Inversion.to_pandas": "pandas",
    "jaxinv.Inversion.to_arrow": "pyarrow",
}
EXTRAS |= {f"jaxinv.plots.{name}": "matplotlib" for name in jaxinv.plots.__all__}
EXTRAS |= {
    f"jaxinv.GeneratorInverter{method}": "sklearn"
    for method in ("", *(f".{name}" for name in vars(jaxinv.GeneratorInverter)))
}
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def exported(module: ModuleType) -> Iterator[tuple[str, Any]]:
    for name in module.__all__:
        yield f"{module.__name__}.{name}", getattr(module, name)


def own_members(path: str, owner: type) -> Iterator[tuple[str, Any]]:
    """What a class defines itself under a public name: methods and properties."""
    for name, member in vars(owner).items():
        function = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
        ours = isinstance(function, property) or inspect.isfunction(function)
        if ours and not name.startswith("_"):
            yield f"{path}.{name}", function


EXPORTED = dict(entry for module in MODULES for entry in exported(module))
# What the settings of Algorithms 1 to 3 have in common is said in one place.
EXPORTED["jaxinv.settings.LayerLP"] = jaxinv.settings.LayerLP
MEMBERS = {
    path: member
    for name, value in EXPORTED.items()
    if inspect.isclass(value)
    for path, member in own_members(name, value)
}
PUBLIC = EXPORTED | MEMBERS
CALLABLE = {path: value for path, value in PUBLIC.items() if not isinstance(value, property)}


@pytest.mark.parametrize("path", PUBLIC)
def test_has_a_sentence(path):
    # A dataclass without a docstring of its own gets its signature for one.
    sentence = (PUBLIC[path].__doc__ or "").strip().split("\n")[0]
    assert sentence and not sentence.startswith(f"{path.rpartition('.')[2]}(")


@pytest.mark.parametrize("path", CALLABLE)
def test_example_is_right(path, tmp_path, monkeypatch):
    docstring = inspect.getdoc(CALLABLE[path])
    examples = doctest.DocTestParser().get_doctest(
        docstring, {"jaxinv": jaxinv, "np": np}, path, None, None
    )
    assert examples.examples, f"{path} has no example"
    if path in EXTRAS:
        pytest.importorskip(EXTRAS[path])
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    # A runner of its own, as doctest.testmod does not see through lazy names and classmethods.
    doctest.DocTestRunner(optionflags=OPTIONS, verbose=False).run(examples, out=said.append)
    assert not said, "".join(said)


def test_lazy_names_are_all_there():
    homes = {name: import_module(f"jaxinv.{home}") for name, home in jaxinv._HOME.items()}
    assert sorted(homes) == sorted(jaxinv.__all__)
    assert all(getattr(jaxinv, name) is getattr(home, name) for name, home in homes.items())


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_stands_in_the_reference_and_nothing_private_does(module):
    entries = [
        line.split()[-1]
        for page in REFERENCE.glob("*.md")
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith((".. autofunction:: ", ".. autoclass:: "))
    ]
    assert len(entries) == len(set(entries))
    assert set(entries) == set(EXPORTED), "the reference's pages and __all__ differ"
    assert all(f"{module.__name__}.{name}" in entries for name in module.__all__)
