"""The command line as a whole: help, wrong use, closed streams, what is missing."""

import asyncio
import io
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nexudus_async import __version__
from nexudus_async.__main__ import main
from nexudus_async._cli import app, loop

from .shell import FORKS, PLAIN, run

COMMANDS = ["login", "status", "token", "logout", "get", "post", "put", "patch", "delete", "emulator", "demo"]
OPTIONS = {
    "account", "base-url", "client-id", "control-help", "enforce-limits", "header", "help", "host", "include", "json",
    "keyring", "lifetime", "no-keyring", "paginate", "port", "refresh-token", "seed", "totp-secret", "user", "verbose",
}  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["emulater"], "No such command 'emulater'"),
        (["demo", "--loud"], "No such option:? '?--loud"),
        (["emulator", "--port", "99999"], "'--port'"),
        (["emulator", "--lifetime", "soon"], "'--lifetime'"),
        (["emulator", "--lifetime", "inf"], "'--lifetime'"),
        (["emulator", "--lifetime", "nan"], "'--lifetime'"),
        (["get"], "Missing argument"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(arguments: list[str], complaint: str) -> None:
    result = FORKS.run(*arguments, env=PLAIN)
    assert (result.returncode, result.stdout) == (2, "")
    assert re.search(complaint, result.stderr)
    assert result.stderr.startswith("nexudus-async: ")
    known = f" {arguments[0]}" if arguments[0] in COMMANDS else ""
    assert result.stderr.endswith(f"; see nexudus-async{known} --help\n")
    assert "None" not in result.stderr, "click 8.2 has that"
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_names_the_commands_and_the_exit_codes(arguments: list[str]) -> None:
    result = FORKS.run(*arguments, env=PLAIN)
    assert (result.returncode, result.stderr) == (0, "")
    assert re.findall(r"^│ ([a-z]+) ", result.stdout, re.MULTILINE) == COMMANDS
    assert "--install-completion" in result.stdout
    assert "Exit codes: 0 all went well" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_has_an_example_and_no_option_for_a_secret(command: str) -> None:
    """What stands in an argument can be read by every user of the machine, and stays in the shell's history.

    The emulator's accounts exist nowhere.
    """
    result = FORKS.run(command, "--help", env=PLAIN)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == FORKS.run(command, "-h", env=PLAIN).stdout
    text, _, examples = result.stdout.partition("Example")
    assert f"nexudus-async {command}" in examples
    options = set(re.findall(r"--([a-z-]+)", text))
    assert options <= OPTIONS - (set() if command == "emulator" else {"user", "totp-secret"})


@pytest.mark.parametrize("command", [[], ["get"], ["emulator"]])
def test_help_is_legible_at_50_columns(command: list[str]) -> None:
    result = FORKS.run(*command, "--help", env=PLAIN | {"COLUMNS": "50"})
    assert max(map(len, result.stdout.splitlines())) <= 50


def test_paragraphs_of_the_help_are_as_wide_as_the_terminal() -> None:
    """They stand in the code with its line length, which nobody's terminal has."""
    text = FORKS.run("get", "--help", env=PLAIN | {"COLUMNS": "200"}).stdout
    assert "on a terminal JSON is indented and coloured. It is printed whatever the status. Exit code 5, and" in text


def test_version() -> None:
    """For a bug report."""
    result = run("--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"nexudus-async {__version__}\n", "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_crash(closed: str) -> None:
    """As a careless service manager leaves them."""
    result = subprocess.run(
        f"{sys.executable} -m nexudus_async --version {closed}",
        shell=True, env=PLAIN, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("command", "code", "complaint"),
    [
        ("login", 2, "no user name was given"),
        ("post /api/emulator/echo --json -", 2, "standard input is not JSON"),
        ("status", 3, "nobody is signed in"),
    ],
)
def test_closed_standard_input_is_an_empty_one(tmp_path: Path, command: str, code: int, complaint: str) -> None:
    result = subprocess.run(
        f"{sys.executable} -m nexudus_async {command} <&-", env=PLAIN | {"NEXUDUS_STATE_DIR": str(tmp_path)},
        shell=True, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (code, "", 1), result.stderr
    assert complaint in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_full_disk_is_one_line_without_numbers_of_the_system() -> None:
    result = subprocess.run(
        f"{sys.executable} -m nexudus_async --version > /dev/full",
        shell=True, env=PLAIN, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (1, "nexudus-async: No space left on device\n")


@pytest.mark.skipif(not hasattr(asyncio.SelectorEventLoop, "_make_self_pipe"), reason="asyncio makes its loops anew")
def test_interrupted_while_the_loop_is_made_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left half made: a loop that is not closed complains of that on the screen."""
    make = asyncio.SelectorEventLoop._make_self_pipe  # type: ignore[attr-defined]
    loops: list[asyncio.SelectorEventLoop] = []

    def interrupted(made: asyncio.SelectorEventLoop) -> None:
        loops.append(made)
        signal.raise_signal(signal.SIGINT)
        make(made)

    monkeypatch.setattr(asyncio.SelectorEventLoop, "_make_self_pipe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.run(asyncio.sleep(0))
    assert [made.is_closed() for made in loops] == [True]
    monkeypatch.undo()
    assert loop.run(asyncio.sleep(0, "all is well")) == "all is well"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


INTERRUPTED_EARLY = """
import sys

class Interrupted:
    def find_spec(self, name, *_):
        if name == "typer":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
from nexudus_async.__main__ import main
main()
"""


def test_interrupted_before_it_has_begun_is_quiet() -> None:
    """Imports take a quarter of a second, in which a person may think better of it."""
    result = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_EARLY], env=PLAIN, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")


def test_interrupted_before_it_has_begun_leaves_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, which has just shown ^C."""

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stderr", screen := Screen())
    monkeypatch.setattr(app, "run", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, screen.getvalue()) == (130, "\n")


def test_without_the_extra_one_line_says_what_to_install() -> None:
    code = "import sys; sys.modules['typer'] = None; from nexudus_async.__main__ import main; main()"
    result = subprocess.run([sys.executable, "-c", code], env=PLAIN, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "the command line needs typer and rich: pip install 'nexudus-async[cli]'\n"
