"""The layers: every import arrow points to a lower level."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import nexudus_async

PACKAGE = "nexudus_async"
MAX_FILE, MAX_FUNCTION = 300, 40
"""Lines."""
ROOT = Path(__file__).resolve().parent.parent / PACKAGE

LAYERS = [
    ["errors"],
    ["_value", "_token", "_clock", "_events", "_validation", "_credentials"],
    ["stores"],
    ["_refresh"],
    ["_ratelimit", "_oauth", "_fleet"],
    ["_manager"],
    ["_http"],
    ["_keep_alive", "_session", "_member", "_members", "_sessions", "otel", "prometheus", "httpx"],
    ["__init__"],
    ["testing"],
    ["_cli", "__main__"],
]
"""Rooms and files, the lowest level first. Inside a room, files may import each other, without a circle; those of one
level may import what stands before them in the list: the credentials hold secrets, the endpoint reads `Retry-After`."""

LEVELS = {unit: (level, place) for level, units in enumerate(LAYERS) for place, unit in enumerate(units)}


def files() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def unit_of(path: Path) -> str:
    """Return the file or folder that a path belongs to, directly below the package."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[str]:
    """Yield the full name of every module and name that a file imports, wherever in the file it does."""
    package = [PACKAGE, *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def units_imported(path: Path) -> set[str]:
    """Return the files and folders of this package that a file imports."""
    ours = [name.split(".") for name in imports_of(path) if name.split(".")[0] == PACKAGE]
    return {parts[1] if len(parts) > 1 and parts[1] in LEVELS else "__init__" for parts in ours}


def importers(of: str) -> set[str]:
    """Return the files and folders that import a foreign package."""
    return {unit_of(path) for path in files() for name in imports_of(path) if name.split(".")[0] == of}


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_arrow_points_to_a_lower_level(path: Path) -> None:
    """And every file has its place in the table."""
    unit = unit_of(path)
    assert unit in LEVELS, f"give {unit} a level in the table of this test"
    upwards = {other for other in units_imported(path) - {unit} if LEVELS[other] >= LEVELS[unit]}
    assert not upwards, f"{unit} (level {LEVELS[unit]}) must not import {sorted(upwards)}"


def test_refreshing_knows_nothing_of_http() -> None:
    """Neither the rooms of the core nor the manager import aiohttp, the endpoint or the protocol."""
    core = {"_refresh", "_fleet", "_manager"}
    assert not importers("aiohttp") & core
    for path in files():
        if unit_of(path) in core:
            assert not units_imported(path) & {"_oauth", "_http"}


@pytest.mark.parametrize("file", ["_refresh/policy", "_refresh/backoff"])
def test_the_rules_about_time_are_pure(file: str) -> None:
    """No event loop, no clock, no log, no randomness."""
    forbidden = {"asyncio", "anyio", "time", "logging", "random", f"{PACKAGE}._clock", "aiohttp"}
    names = set(imports_of(ROOT / f"{file}.py"))
    assert not {name for name in names if any(f"{name}.".startswith(f"{bad}.") for bad in forbidden)}


@pytest.mark.parametrize("file", ["protocol", "messages", "failures", "body", "words"])
def test_the_protocol_has_no_io(file: str) -> None:
    """It is given bytes and gives bytes."""
    names = imports_of(ROOT / "_oauth" / f"{file}.py")
    assert not {name.split(".")[0] for name in names} & {"asyncio", "anyio", "aiohttp", "socket"}


def test_the_flight_knows_nothing_of_tokens() -> None:
    """Of this package it needs the errors only."""
    assert units_imported(ROOT / "_refresh" / "single_flight.py") == {"errors"}


@pytest.mark.parametrize(
    ("package", "units"),
    [
        ("opentelemetry", {"otel"}),
        ("prometheus_client", {"prometheus"}),
        ("httpx", {"httpx"}),
        ("keyring", {"_cli"}),
        ("typer", {"_cli"}),
        ("pyotp", {"_credentials"}),
        ("redis", {"_ratelimit", "stores"}),
    ],
)
def test_an_extra_is_needed_in_one_place(package: str, units: set[str]) -> None:
    """Whoever does not use it need not install it."""
    assert importers(package) <= units


def test_only_the_endpoint_knows_tenacity() -> None:
    """How often a request is tried is decided in one place."""
    assert importers("tenacity") == {"_oauth"}


def test_the_emulator_shares_no_code_with_the_client() -> None:
    """A clock is all that it takes of it: the protocol above all would share its misunderstandings."""
    shared = {unit for path in (ROOT / "testing").rglob("*.py") for unit in units_imported(path)} - {"testing"}
    assert "_oauth" not in shared
    emulator = set((ROOT / "testing").rglob("*.py")) - {ROOT / "testing" / "pytest_plugin.py"}
    assert {unit for path in emulator for unit in units_imported(path)} - {"testing"} <= {"_clock"}


def test_the_package_itself_has_no_logic() -> None:
    """A docstring, imports, the version and a sorted `__all__`."""
    body = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8")).body
    assert all(isinstance(node, ast.Expr | ast.ImportFrom | ast.Assign) for node in body)
    assert list(nexudus_async.__all__) == sorted(nexudus_async.__all__)
    assert all(hasattr(nexudus_async, name) for name in nexudus_async.__all__)


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_read_in_five_minutes(path: Path) -> None:
    """At most 300 lines, and 40 for the body of a function."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = node.end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= MAX_FUNCTION, f"{node.name} has {lines} lines"


def test_no_circle_within_a_room() -> None:
    """Files of one room may import each other, one way."""
    modules = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in files()}
    arrows = {
        name: {other for full in imports_of(path) for other in (full, full.rpartition(".")[0]) if other in modules}
        for name, path in modules.items()
    }
    graphlib.TopologicalSorter({name: others - {name} for name, others in arrows.items()}).prepare()


@pytest.mark.parametrize(
    ("public", "names"),
    [
        (
            nexudus_async.TokenManager,
            {"token", "current", "refresh", "reject", "sign_in", "freshness", "statistics", "logout", "close"},
        ),
        (nexudus_async.TokenEndpoint, {"login", "refresh"}),
        (nexudus_async.BearerMiddleware, set[str]()),
    ],
)
def test_public_classes_show_their_public_methods_and_no_more(public: type, names: set[str]) -> None:
    """What the rooms need of each other is no method of theirs."""
    assert {name for name in dir(public) if not name.startswith("_")} == names
