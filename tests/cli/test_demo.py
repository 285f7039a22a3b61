"""demo: every claim, compared with what the emulator saw."""

import re
import subprocess
import sys

from nexudus_async.testing import NexudusEmulator

from .shell import PLAIN, look, run, watched


def test_demo_shows_every_claim_and_succeeds() -> None:
    """The numbers are exact whatever the speed of the machine; a pipe that knows ASCII only will do."""
    result = run("demo", env=PLAIN | {"PYTHONIOENCODING": "ascii"})
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("ok ") for line in lines[1:])
    assert "1,000 got their answer" in result.stdout
    assert "by 1 sign-in\n" in result.stdout
    assert "none waited" in result.stdout
    assert "1 sign-in and 1 refresh, at most 1 at once" in result.stdout
    assert "0 refused; 0 refresh tokens used twice" in result.stdout
    assert "\x1b" not in result.stdout, "no colour"
    assert NexudusEmulator().password not in result.stdout
    assert not re.search(r"[\w-]{32,}", result.stdout), "nothing as long as a token"


BROKEN_PACKAGE = """
import sys
from nexudus_async import Freshness
from nexudus_async._refresh.policy import Schedule

def freshness(self, elapsed):  # callers wait for the refresh wherever they should be served
    return Freshness.FRESH if elapsed < self.refresh_after else Freshness.EXPIRED

import nexudus_async._cli.demo as demo
demo.PATIENCE = 0.2
Schedule.freshness = freshness
from nexudus_async._cli.app import run
sys.exit(run(["demo"]))
"""


def test_demo_that_does_not_hold_says_so_and_fails() -> None:
    """A demonstration that cannot fail shows nothing."""
    result = subprocess.run(
        [sys.executable, "-c", BROKEN_PACKAGE], env=PLAIN, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 1
    assert "NOT the token was not refreshed in time, or calls waited" in result.stdout
    assert result.stderr == "nexudus-async: not everything came out as it should\n"


def test_demo_is_legible_at_50_columns() -> None:
    """Lines break between words, and each goes on below its own beginning."""
    code, terminal = look("demo", env=PLAIN | {"COLUMNS": "50", "NO_COLOR": "1"})
    assert code == 0
    told = [line for line in terminal.text.splitlines() if line.startswith(("ok ", "    "))]
    assert max(map(len, told)) <= 50
    assert sum(line.startswith("ok  ") for line in told) == 4
    text = " ".join(line[4:].strip() for line in told)
    assert "1,000 tasks called the API at once, with nobody signed in: 1,000 got their answer" in text


def test_demo_says_what_it_is_doing_meanwhile() -> None:
    code, said, seen = watched("demo", env=PLAIN)
    assert (code, said.count("\nok ")) == (0, 4)
    assert "calling the API from 1,000 tasks at once" in seen
    assert "refreshing the token while tasks work" in seen


def test_demo_has_no_words_that_only_its_makers_know() -> None:
    assert not re.search(r"coroutine|emulator|renew|grant|endpoint|flight", run("demo").stdout)
