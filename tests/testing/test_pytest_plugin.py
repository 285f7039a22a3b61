"""The fixtures, as a user's own test suite gets them."""

import ast
import subprocess
import sys
from pathlib import Path

import nexudus_async.testing

PLUGIN = 'pytest_plugins = ["nexudus_async.testing.pytest_plugin"]'
TEST = """
import aiohttp, pytest

sessions = []

@pytest.mark.asyncio
async def test_it(nexudus_emulator, nexudus_clock):
    async with aiohttp.ClientSession() as http, http.post(f"{nexudus_emulator.url}/api/token") as response:
        assert response.status == 400
    assert nexudus_emulator.requests[0].started == nexudus_clock.monotonic()

@pytest.mark.asyncio
async def test_session(nexudus_session, nexudus_emulator, nexudus_clock):
    assert nexudus_emulator.sign_ins == 1
    token = await nexudus_session.token()
    nexudus_clock.advance(token.lifetime)
    async with nexudus_session.get("/api/public/billing/customer") as response:
        assert (await response.json())["Email"] == nexudus_emulator.username
    assert (nexudus_emulator.sign_ins, nexudus_emulator.renewals) == (1, 1)
    sessions.append(nexudus_session)

def test_session_is_closed():
    assert sessions.pop().closed
"""


def test_the_fixtures_work_in_a_suite_of_its_own(tmp_path: Path) -> None:
    """With one line in conftest.py, in pytest-asyncio's strict mode, warnings being errors."""
    (tmp_path / "conftest.py").write_text(PLUGIN)
    (tmp_path / "test_own.py").write_text(TEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "3 passed" in run.stdout


def test_the_kit_shares_no_code_with_the_client() -> None:
    """Of the rest of the package it imports the clock only: shared code would share the bug.

    The fixtures are where both meet: they import what a user would.
    """
    for file in Path(nexudus_async.testing.__path__[0]).glob("*.py"):
        allowed = ["nexudus_async._clock"] + ["nexudus_async"] * (file.name == "pytest_plugin.py")
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.level > 1 or (node.module or "").startswith("nexudus_async")):
                assert node.module in allowed, f"{file.name} imports {node.module}"
            if isinstance(node, ast.Import):
                assert not [name.name for name in node.names if name.name.startswith("nexudus_async")], file.name


def test_the_kit_does_not_need_pytest() -> None:
    """Importing it brings neither pytest nor aioresponses."""
    code = "import sys, nexudus_async.testing; sys.exit(bool({'pytest', 'aioresponses', 'pyotp'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
