"""Whoever points at a public name in an editor is told what it is."""

import ast
import enum
import importlib
import inspect
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

import pytest

import nexudus_async

ROOT = Path(nexudus_async.__file__).parent
MODULES = ["", ".errors", ".httpx", ".otel", ".prometheus", ".stores", ".testing", ".testing.pytest_plugin"]


def public_names() -> dict[str, Any]:
    """Return what the public modules export, by its full name; what several export, once."""
    found: dict[int, tuple[str, Any]] = {}
    for suffix in MODULES:
        module = importlib.import_module(nexudus_async.__name__ + suffix)
        own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        for name in getattr(module, "__all__", [each for each in own if not each.startswith("_")]):
            value = getattr(module, name)
            found.setdefault(id(value), (f"{module.__name__}.{name}", value))
    return dict(found.values())


PUBLIC = public_names()
CLASSES = {name: value for name, value in PUBLIC.items() if inspect.isclass(value)}
FUNCTIONS = {
    name: value
    for name, value in PUBLIC.items()
    if isinstance(value, FunctionType) or type(value).__name__ == "FixtureFunctionDefinition"
}
ALIASES = sorted(name.rpartition(".")[2] for name in PUBLIC.keys() - CLASSES.keys() - FUNCTIONS.keys())


def documented_assignments() -> set[str]:
    """Return the names that are assigned somewhere in the package with a string behind them, which editors show."""
    found: set[str] = set()
    for path in ROOT.rglob("*.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        for assignment, behind in pairwise(body):
            match assignment, behind:
                case (
                    ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str())),
                ):
                    found.add(name)
                case _:
                    pass
    return found


def ours_of(kind: type[Any]) -> list[type[Any]]:
    """Return the class and those it comes from, as far as they are of this package."""
    return [each for each in kind.__mro__ if each.__module__.startswith(nexudus_async.__name__)]


def attributes(kind: type[Any]) -> Iterator[str]:
    """Yield the public fields of a class of ours: those annotated in it, and the members of an enumeration."""
    for each in ours_of(kind):
        yield from (name for name in inspect.get_annotations(each) if not name.startswith("_"))
    if issubclass(kind, enum.Enum):
        yield from (member.name for member in kind)


def text_on(kind: type[Any]) -> str:
    """Return what a class and those it comes from say of themselves, and the strings behind their fields."""
    said = [inspect.getdoc(each) or "" for each in ours_of(kind)]
    for each in ours_of(kind):
        try:
            tree = ast.parse(inspect.cleandoc(inspect.getsource(each)))
        except (OSError, SyntaxError):
            continue
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for field, behind in pairwise(body):
            if isinstance(behind, ast.Expr) and isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                said.append(f"{field.target.id}: documented")
    return "\n".join(said)


def test_something_is_found() -> None:
    assert len(CLASSES) > 50
    assert "nexudus_async.totp_from_secret" in FUNCTIONS
    assert "Listener" in ALIASES


@pytest.mark.parametrize("name", sorted(CLASSES.keys() | FUNCTIONS.keys()))
def test_classes_and_functions_say_what_they_are(name: str) -> None:
    assert PUBLIC[name].__doc__ if name in FUNCTIONS else CLASSES[name].__dict__.get("__doc__")


@pytest.mark.parametrize("name", ALIASES)
def test_names_for_types_say_what_they_are(name: str) -> None:
    """By the string behind the assignment."""
    assert name in documented_assignments()


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_methods_and_properties_say_what_they_do(name: str) -> None:
    """An editor shows the docstring of the class before, where a method has none of its own; none sends elsewhere."""
    kind, silent = CLASSES[name], list[str]()
    for attribute in dir(kind):
        ours = any(attribute in vars(each) for each in ours_of(kind))
        value: object = getattr(kind, attribute, None)  # a class method, bound, has its docstring too
        if attribute.startswith("_") or not ours or not isinstance(value, FunctionType | MethodType | property):
            continue
        said = inspect.getdoc(value) or ""
        if not said or re.match(r"see ", said, re.IGNORECASE):
            silent.append(attribute)
    assert not silent


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_fields_say_what_they_hold(name: str) -> None:
    """In the docstring of their class, as `name: …` or in a list before a colon, or in a string behind the field."""
    kind = CLASSES[name]
    told = {
        word
        for line in text_on(kind).splitlines()
        for words in re.findall(r"([\w`, ]+):", line)
        for word in re.findall(r"\w+", words)
    }
    assert {each for each in attributes(kind) if each not in told} == set()
