"""Both type checkers on the files in `cases`: what must check does, what must not is an error where it says so."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

CASES = Path(__file__).parent / "cases"
ROOT = Path(__file__).parents[2]
CHECKERS = {
    "mypy": ["--no-error-summary", *map(str, sorted(CASES.glob("*.py")))],
    "pyright": ["--pythonpath", sys.executable, "--project", str(CASES)],
}
FOUND = re.compile(r"^\s*(?P<path>\S+\.py):(?P<line>\d+):.*error", re.MULTILINE)


@pytest.fixture(scope="module", params=CHECKERS)
def report(request: pytest.FixtureRequest) -> str:
    """What a checker says of both files; skipped where it is not installed (extra `dev`)."""
    checker: str = request.param
    if find_spec(checker) is None:
        pytest.skip(f"needs {checker}, of the extra dev")
    ran = subprocess.run(
        [sys.executable, "-m", checker, *CHECKERS[checker]],
        capture_output=True, text=True, check=False, timeout=110, cwd=ROOT,
        env=os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
    )  # fmt: skip
    assert ran.returncode == 1, ran.stdout + ran.stderr
    return ran.stdout


def errors_in(report: str, name: str) -> set[int]:
    return {int(found["line"]) for found in FOUND.finditer(report) if Path(found["path"]).name == name}


def test_what_must_check_does(report: str) -> None:
    assert errors_in(report, "must_check.py") == set(), report


def test_what_must_not_check_does_not(report: str) -> None:
    """And nothing else of it is an error, so that each is there for the reason that is tried."""
    lines = (CASES / "must_not_check.py").read_text(encoding="utf-8").splitlines()
    expected = {number for number, line in enumerate(lines, 1) if line.endswith("# E")}
    assert len(expected) > 30
    assert errors_in(report, "must_not_check.py") == expected, report
