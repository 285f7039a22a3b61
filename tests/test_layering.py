"""The layers: every import arrow points to a lower level."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "nexudus_async"
ROOT = Path(__file__).resolve().parent.parent / PACKAGE

LAYERS = [
    {"_secret"},  # below the errors: one of them carries a secret
    {"errors"},
    {"_arguments", "_clock", "_events", "_futile", "_replay", "_retry_after", "_token"},
    {"_credentials", "_doubt", "_refused", "_gate", "_lifecycle", "_origin"},
    {"_backoff", "_flight", "_grants", "_holder", "_transport", "_wire", "stores"},
    {"_chain"},
    {"_desk", "_renewal", "_saver"},
    {"_endpoint", "_manager", "_throttle"},
    {"_bearer", "_context", "_keep_alive", "_pacing"},
    {"_destination", "_sending"},
    {"_dispatch"},
    {"_session", "otel"},
    {"__init__"},
    {"testing"},
    {"_cli_output", "_cli_state", "_demo"},
    {"_cli_calls", "_cli_login"},
    {"_cli"},
    {"__main__"},
]
"""Files and folders, the lowest first: inside a folder, files may import each other."""

LEVELS = {unit: level for level, units in enumerate(LAYERS) for unit in units}


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


@pytest.mark.parametrize(
    "unit", ["_manager", "_desk", "_renewal", "_saver", "_chain", "_holder", "_grants", "_backoff"]
)
def test_the_manager_knows_nothing_of_http(unit: str) -> None:
    """It, and the parts it is made of, import neither aiohttp nor the endpoint nor the protocol."""
    assert unit not in importers("aiohttp")
    assert not units_imported(ROOT / f"{unit}.py") & {"_endpoint", "_wire", "_transport"}


@pytest.mark.parametrize("unit", ["_lifecycle", "_backoff", "_futile"])
def test_the_rules_about_time_are_pure(unit: str) -> None:
    """No event loop, no clock, no log, no randomness."""
    forbidden = {"asyncio", "anyio", "time", "logging", "random", f"{PACKAGE}._clock", "aiohttp"}
    names = set(imports_of(ROOT / f"{unit}.py"))
    assert not {name for name in names if any(f"{name}.".startswith(f"{bad}.") for bad in forbidden)}


def test_the_protocol_has_no_io() -> None:
    """`_wire` is given bytes and gives bytes."""
    for foreign in ("asyncio", "anyio", "aiohttp", "socket"):
        assert "_wire" not in importers(foreign)


def test_the_flight_knows_nothing_of_tokens() -> None:
    """Of this package it needs the errors only."""
    assert units_imported(ROOT / "_flight.py") == {"errors"}


@pytest.mark.parametrize(
    ("package", "units"),
    [("opentelemetry", {"otel"}), ("typer", {"_cli"}), ("pyotp", {"_credentials"}), ("redis", {"_pacing", "stores"})],
)
def test_an_extra_is_needed_in_one_place(package: str, units: set[str]) -> None:
    """Whoever does not use it need not install it."""
    assert importers(package) <= units


def test_only_the_endpoint_knows_tenacity() -> None:
    """How often a request is tried is decided in one place."""
    assert importers("tenacity") == {"_endpoint"}


def test_the_emulator_shares_no_code_with_the_client() -> None:
    """A clock is all that it takes of it: `_wire` above all would share its misunderstandings."""
    shared = {unit for path in (ROOT / "testing").rglob("*.py") for unit in units_imported(path)} - {"testing"}
    assert "_wire" not in shared
    emulator = {path for path in (ROOT / "testing").glob("_*.py") if path.name != "__init__.py"}
    assert {unit for path in emulator for unit in units_imported(path)} - {"testing"} <= {"_clock"}


def test_the_package_itself_has_no_logic() -> None:
    """A docstring, imports, the version and a sorted `__all__`."""
    body = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8")).body
    assert all(isinstance(node, ast.Expr | ast.ImportFrom | ast.Assign) for node in body)
    import nexudus_async

    assert list(nexudus_async.__all__) == sorted(nexudus_async.__all__)
    assert all(hasattr(nexudus_async, name) for name in nexudus_async.__all__)
