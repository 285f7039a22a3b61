"""The command line, as a user starts it: real processes, their output and their exit codes."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from nexudus_async import PasswordCredentials, TokenSession, __version__
from nexudus_async.testing import NexudusEmulator

PLAIN = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "100", "PYTHONUNBUFFERED": ""}
MODULE = (sys.executable, "-m", "nexudus_async")


def run(*arguments: str, env: dict[str, str] = PLAIN) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MODULE, *arguments],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@asynccontextmanager
async def serving(*arguments: str) -> AsyncGenerator[tuple[asyncio.subprocess.Process, str]]:
    """Serve the emulator in another process, and give all that it says."""
    process = await asyncio.create_subprocess_exec(
        *MODULE, "emulator", *arguments, env=PLAIN, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            said = (await process.stdout.readuntil(b"curl ")).decode()
        yield process, said
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def test_demo_shows_every_claim_and_succeeds() -> None:
    """The numbers are exact whatever the speed of the machine; a pipe that knows ASCII only will do."""
    result = run("demo", env=PLAIN | {"PYTHONIOENCODING": "ascii"})
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("ok ") for line in lines[1:])
    assert "1,000 were answered" in result.stdout
    assert "with 1 sign-in\n" in result.stdout
    assert "none waited" in result.stdout
    assert "2 token requests (1 sign-in, 1 renewal), at most 1 at once" in result.stdout
    assert "0 refused; 0 refresh tokens sent twice" in result.stdout
    assert "\x1b" not in result.stdout, "no colour"
    assert NexudusEmulator().password not in result.stdout
    assert not re.search(r"[\w-]{32,}", result.stdout), "nothing as long as a token"


BROKEN_PACKAGE = """
import sys
from nexudus_async import Freshness
from nexudus_async._refresh.policy import Schedule

def freshness(self, elapsed):  # callers wait for the renewal wherever they should be served
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
    assert "NOT the token was not renewed in time, or requests waited" in result.stdout
    assert result.stderr == "nexudus-async: not everything came out as it should\n"


async def test_emulator_serves_what_it_says_until_interrupted() -> None:
    """What it prints is enough to use it; Ctrl-C is the way to end it, so the exit code is 0."""
    async with serving("--lifetime", "60") as (process, said):
        values = dict(re.findall(r"^export (\w+)=(\S+)$", said, re.MULTILINE))
        credentials = PasswordCredentials(values["NEXUDUS_USERNAME"], values["NEXUDUS_PASSWORD"])
        async with TokenSession(credentials, base_url=values["NEXUDUS_BASE_URL"]) as session:
            assert (await session.token()).lifetime == 60
            async with session.get("/api/public/billing/customer") as response:
                assert (await response.json())["Email"] == values["NEXUDUS_USERNAME"]
        process.send_signal(signal.SIGINT)
        _, complaints = await process.communicate()
        assert (process.returncode, complaints) == (0, b"")


async def test_taken_port_is_one_line_and_exit_code_1() -> None:
    async with NexudusEmulator() as taken:
        port = taken.url.rpartition(":")[2]
        result = await asyncio.to_thread(run, "emulator", "--port", port)
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(r"nexudus-async: .*address already in use\n", result.stderr)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["emulater"], "No such command 'emulater'"),
        (["demo", "--loud"], "No such option: --loud"),
        (["emulator", "--port", "99999"], "'--port'"),
        (["emulator", "--lifetime", "soon"], "'--lifetime'"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(arguments: list[str], complaint: str) -> None:
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert complaint in result.stderr
    assert result.stderr.startswith("nexudus-async: ")
    assert result.stderr.endswith("; see nexudus-async --help\n")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_names_the_commands_and_the_exit_codes(arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.returncode, result.stderr) == (0, "")
    assert "demo " in result.stdout
    assert "emulator " in result.stdout
    assert "Exit codes: 0 all went well" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("command", ["login", "logout", "status", "token", "get", "demo", "emulator"])
def test_help_of_each_command_has_an_example_and_no_option_for_a_secret(command: str) -> None:
    """What stands in an argument can be read by every user of the machine, and stays in the shell's history."""
    result = run(command, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    _, _, examples = result.stdout.partition("Example")
    assert f"nexudus-async {command}" in examples
    options = set(re.findall(r"--[a-z-]+", result.stdout.partition("Example")[0]))
    assert options <= {"--help", "--json", "--base-url", "--include", "--port", "--lifetime"}


async def test_emulator_tells_programs_in_json() -> None:
    process = await asyncio.create_subprocess_exec(
        *MODULE, "emulator", "--json", env=PLAIN, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        known = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
        credentials = PasswordCredentials(known["username"], known["password"])
        async with TokenSession(credentials, base_url=known["base_url"]) as session:
            assert (await session.token()).lifetime == 604_799
    finally:
        process.kill()
        await process.communicate()


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


def test_without_the_extra_one_line_says_what_to_install() -> None:
    code = "import sys; sys.modules['typer'] = None; from nexudus_async.__main__ import main; main()"
    result = subprocess.run([sys.executable, "-c", code], env=PLAIN, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "the command line needs typer and rich: pip install 'nexudus-async[cli]'\n"
