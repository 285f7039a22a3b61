"""login, status, token, get and logout: real processes, an emulator on loopback, a state folder of their own."""

import asyncio
import json
import re
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from nexudus_async import FileStore, LoginRequiredError, TokenSession
from nexudus_async.testing import Fault, NexudusEmulator
from tests.cli.test_cli import MODULE, PLAIN

TOTP_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
TEAMS, CUSTOMER = "/api/public/teams/my", "/api/public/billing/customer"
CLEAN = {name: value for name, value in PLAIN.items() if not name.startswith("NEXUDUS_")}

Result = subprocess.CompletedProcess[str]


@dataclass
class Shell:
    """Starts commands for one user, whose state is in one folder, and checks what is never to be seen."""

    emulator: NexudusEmulator
    folder: Path

    @property
    def env(self) -> dict[str, str]:
        return CLEAN | {"NEXUDUS_STATE_DIR": str(self.folder), "NEXUDUS_BASE_URL": self.emulator.url}

    async def run(self, *arguments: str, typed: str = "", **env: str) -> Result:
        result = await asyncio.to_thread(
            subprocess.run,
            [*MODULE, *arguments],
            env=self.env | env,
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            start_new_session=True,  # no terminal to ask at
        )
        assert result.stderr.count("\n") <= 1, result.stderr
        assert "\x1b" not in result.stdout + result.stderr
        said = result.stderr if arguments[0] in ("token", "get") else result.stdout + result.stderr
        assert not [secret for secret in self.emulator.secrets if secret in said]
        return result

    async def log_in(self) -> None:
        result = await self.run("login", typed=f"{self.emulator.username}\n{self.emulator.password}\n")
        assert (result.returncode, result.stderr) == (0, "")


@pytest.fixture
async def shell(tmp_path: Path) -> AsyncGenerator[Shell]:
    async with NexudusEmulator() as emulator:
        yield Shell(emulator, tmp_path / "state")


def outcome(result: Result) -> tuple[int, str, str]:
    return result.returncode, result.stdout, result.stderr


async def test_from_login_to_logout(shell: Shell) -> None:
    """One sign-in serves every later command; the password is needed, and kept, by none."""
    user, url = shell.emulator.username, shell.emulator.url
    result = await shell.run("login", typed=f"{user}\n{shell.emulator.password}\n")
    assert outcome(result) == (0, f"{user} is signed in at {url}.\n", "")

    result = await shell.run("status")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{user} is signed in at {url}\nclient_id     nexudus-async-")
    assert "fresh, ends in 6 days" in result.stdout

    token = (await shell.run("token")).stdout
    assert token.strip() in shell.emulator.secrets
    result = await shell.run("get", TEAMS)
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)[0]["Administrator"] == user
    assert shell.emulator.requests[-1].headers["Authorization"] == f"Bearer {token.strip()}"
    assert (shell.emulator.sign_ins, shell.emulator.renewals) == (1, 0)

    assert outcome(await shell.run("logout")) == (0, f"{user} is signed out at {url}.\n", "")
    for command in (["status"], ["token"], ["get", TEAMS]):
        complaint = "nexudus-async: nobody is signed in, or not any more: nexudus-async login\n"
        assert outcome(await shell.run(*command)) == (3, "", complaint)
    assert outcome(await shell.run("logout")) == (0, "Nobody was signed in.\n", "")
    assert not [secret for secret in shell.emulator.secrets if secret in (shell.folder / "tokens.json").read_text()]


async def test_files_are_for_their_owner_and_hold_no_password(shell: Shell) -> None:
    await shell.log_in()
    account = shell.folder / "account.json"
    assert json.loads(account.read_text()) == {"username": shell.emulator.username, "base_url": shell.emulator.url}
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in shell.folder.iterdir()}
    assert set(modes.values()) == {0o600}
    assert {"account.json", "tokens.json"} <= set(modes)
    assert stat.S_IMODE(shell.folder.stat().st_mode) == 0o700
    assert not [path for path in shell.folder.iterdir() if shell.emulator.password in path.read_text()]


async def test_environment_is_taken_instead_of_questions(shell: Shell) -> None:
    result = await shell.run(
        "login", "--json", NEXUDUS_USERNAME=shell.emulator.username, NEXUDUS_PASSWORD=shell.emulator.password
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout).keys() == {"account", "base_url", "expires_at"}


async def test_base_url_is_remembered_and_can_be_told(shell: Shell) -> None:
    """Tokens of one place are never used at another."""
    await shell.log_in()
    assert (await shell.run("get", TEAMS, NEXUDUS_BASE_URL="")).returncode == 0
    async with NexudusEmulator() as other:
        result = await shell.run("get", TEAMS, "--base-url", other.url)
        assert (result.returncode, result.stdout) == (3, "")
        assert not other.requests


async def test_status_as_json_shows_no_secret(shell: Shell) -> None:
    await shell.log_in()
    result = await shell.run("status", "--json")
    known = json.loads(result.stdout)
    assert (known["signed_in"], known["account"], known["state"]) == (True, shell.emulator.username, "fresh")
    assert 604_000 < known["expires_in"] <= 604_799
    await shell.run("logout")
    result = await shell.run("status", "--json")
    assert (result.returncode, json.loads(result.stdout)["signed_in"]) == (3, False)


async def test_status_asks_nobody_and_token_renews(shell: Shell) -> None:
    shell.emulator.lifetime = 1
    await shell.log_in()
    await asyncio.sleep(1.1)
    shell.emulator.lifetime = 3600
    result = await shell.run("status")
    assert result.returncode == 0
    assert "expired, the next command renews it" in result.stdout
    assert shell.emulator.renewals == 0
    result = await shell.run("token", "--json")
    assert json.loads(result.stdout)["access_token"] in shell.emulator.secrets
    assert (shell.emulator.sign_ins, shell.emulator.renewals) == (1, 1)


async def test_wrong_password_costs_nothing_that_was_there(shell: Shell) -> None:
    """Not the tokens, nor the next attempt: refused credentials do not rest where a person types them."""
    result = await shell.run("login", typed=f"{shell.emulator.username}\nmistyped\n")
    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr.startswith("nexudus-async: the sign-in was refused (invalid_grant")
    assert "mistyped" not in result.stderr
    await shell.log_in()
    assert (await shell.run("login", typed=f"{shell.emulator.username}\nmistyped\n")).returncode == 3
    assert (await shell.run("get", TEAMS)).returncode == 0


async def test_login_again_replaces_the_tokens_that_others_use(shell: Shell) -> None:
    await shell.log_in()
    first = (await shell.run("token")).stdout
    await shell.log_in()
    assert shell.emulator.sign_ins == 2
    assert (await shell.run("token")).stdout != first


async def test_programs_share_the_tokens_and_the_logout(shell: Shell) -> None:
    """A worker without a password lives on what `login` left, and ends with `logout`."""
    await shell.log_in()
    store = FileStore(shell.folder / "tokens.json")
    async with TokenSession(store=store, account=shell.emulator.username, base_url=shell.emulator.url) as session:
        assert (await session.token()).access_token == (await shell.run("token")).stdout.strip()
    await shell.run("logout")
    async with TokenSession(store=store, account=shell.emulator.username, base_url=shell.emulator.url) as session:
        with pytest.raises(LoginRequiredError):
            await session.token()


async def test_login_with_two_factor_asks_for_a_code(shell: Shell) -> None:
    """Only then; a wrong one is exit code 3."""
    shell.emulator.user.totp_secret = TOTP_SECRET
    typed = f"{shell.emulator.username}\n{shell.emulator.password}\n"
    result = await shell.run("login", typed=typed)
    assert result.returncode == 2
    assert "no two-factor code was given" in result.stderr
    result = await shell.run("login", typed=typed + "000000\n")
    assert (result.returncode, result.stdout) == (3, "")
    result = await shell.run("login", typed=f"{typed}{shell.emulator.totp_code()}\n")
    assert (result.returncode, result.stderr) == (0, "")


async def test_login_with_the_secret_of_two_factor_asks_nothing(shell: Shell) -> None:
    shell.emulator.user.totp_secret = TOTP_SECRET
    typed = f"{shell.emulator.username}\n{shell.emulator.password}\n"
    result = await shell.run("login", typed=typed, NEXUDUS_TOTP_SECRET=TOTP_SECRET)
    assert (result.returncode, result.stderr) == (0, "")
    assert shell.emulator.sign_ins == 1


async def test_service_down_is_exit_code_4(shell: Shell) -> None:
    """A token that is still good is printed all the same."""
    await shell.log_in()
    await shell.emulator.stop()
    result = await shell.run("get", TEAMS)
    assert (result.returncode, result.stdout) == (4, "")
    assert "cannot be reached" in result.stderr
    result = await shell.run("login", typed=f"{shell.emulator.username}\n{shell.emulator.password}\n")
    assert (result.returncode, result.stdout) == (4, "")
    assert (await shell.run("token")).returncode == 0


async def test_get_prints_what_came(shell: Shell) -> None:
    await shell.log_in()
    result = await shell.run("get", "-i", TEAMS)
    head, _, body = result.stdout.partition("\n\n")
    assert head.startswith("HTTP/1.1 200 OK\n")
    assert "Content-Type: application/json" in head
    assert json.loads(body)
    result = await shell.run("get", "/api/emulator/forbidden")
    complaint = "nexudus-async: GET /api/emulator/forbidden: 403 Forbidden\n"
    assert outcome(result) == (5, '{"Message": "You cannot do this."}', complaint)


@pytest.mark.parametrize("command", [f"get {TEAMS} | head -c 1", f"get {CUSTOMER} | true"])
async def test_pipe_without_a_reader_is_no_error_message(shell: Shell, command: str) -> None:
    """Whether it goes away in the middle of a long answer or before a short one."""
    shell.emulator.fail(TEAMS, Fault.big(3_000_000), times=1)
    await shell.log_in()
    result = await asyncio.to_thread(
        subprocess.run,
        f"{sys.executable} -m nexudus_async {command}",
        shell=True,
        env=shell.env,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.parametrize("path", ["https://example.com/x", "//example.com/x", "http://["])
async def test_get_goes_nowhere_else(shell: Shell, path: str) -> None:
    await shell.log_in()
    result = await shell.run("get", path)
    assert (result.returncode, result.stdout) == (2, "")
    assert "write the path alone" in result.stderr


async def test_renewal_refused_is_exit_code_3(shell: Shell) -> None:
    await shell.log_in()
    shell.emulator.revoke_all()
    result = await shell.run("get", TEAMS)
    assert (result.returncode, result.stdout) == (3, "")


@pytest.mark.parametrize("name", ["account.json", "tokens.json"])
async def test_file_that_cannot_be_read_is_one_line_and_mended_by_login(shell: Shell, name: str) -> None:
    await shell.log_in()
    (shell.folder / name).write_text("not JSON")
    result = await shell.run("token")
    assert (result.returncode, result.stdout) == (1, "")
    await shell.log_in()
    assert (await shell.run("get", TEAMS)).returncode == 0


@pytest.mark.parametrize(
    ("url", "complaint"),
    [("http://user:hunter2@127.0.0.1:1", "must not contain a user name"), ("http://example.com", "plain http")],
)
async def test_wrong_base_url_is_exit_code_2_before_anything_is_asked(shell: Shell, url: str, complaint: str) -> None:
    result = await shell.run("login", "--base-url", url, typed="")
    assert (result.returncode, result.stdout) == (2, "")
    assert complaint in result.stderr
    assert "hunter2" not in result.stderr
    assert "allow_insecure_http" not in result.stderr, "there is no such option"


async def test_interrupted_is_exit_code_130_and_quiet(shell: Shell) -> None:
    await shell.log_in()
    hold = shell.emulator.hold(TEAMS)
    process = await asyncio.create_subprocess_exec(
        *MODULE, "get", TEAMS, env=shell.env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    await asyncio.wait_for(hold.arrived.wait(), 20)
    process.send_signal(signal.SIGINT)
    said, complaints = await process.communicate()
    assert (process.returncode, said, complaints) == (130, b"", b"")


IN_A_TERMINAL = """
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
"""


class Terminal:
    """A person at a terminal: sees what a program prints, and types."""

    def __init__(self, *arguments: str, env: dict[str, str]) -> None:
        self._process: subprocess.Popen[bytes] = subprocess.Popen(  # a process of its own to fork: this one has threads
            [sys.executable, "-c", IN_A_TERMINAL, *MODULE, *arguments],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._keyboard: IO[bytes] = self._process.stdin
        self._screen: IO[bytes] = self._process.stdout
        self.seen: str = ""

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 20
        while text not in self.seen:
            ready, _, _ = select.select([self._screen], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"never saw {text!r} in {self.seen!r}"
            part = self._screen.read(4096)
            assert part, f"it ended before {text!r}: {self.seen!r}"
            self.seen += part.decode()

    def type(self, text: str) -> None:
        self._keyboard.write(text.encode())

    def end(self) -> int:
        with self._process, self._keyboard, self._screen:
            self.seen += self._screen.read().decode()
            return self._process.wait(20)


async def test_password_typed_at_a_terminal_is_not_shown(shell: Shell) -> None:
    shell.emulator.user.totp_secret = TOTP_SECRET
    shell.emulator.user.password = "typed-in-secret"

    def sit_down() -> tuple[int, str]:
        terminal = Terminal("login", env=shell.env)
        terminal.wait_for("User name: ")
        terminal.type(f"{shell.emulator.username}\n")
        terminal.wait_for("Password: ")
        terminal.type("typed-in-secret\n")
        terminal.wait_for("Two-factor code: ")
        terminal.type(f"{shell.emulator.totp_code()}\n")
        return terminal.end(), terminal.seen

    code, seen = await asyncio.to_thread(sit_down)
    assert code == 0
    assert "is signed in at" in seen
    assert "typed-in-secret" not in seen


@pytest.mark.parametrize("prompt", ["User name: ", "Password: "])
def test_interrupted_at_a_question_is_exit_code_130(tmp_path: Path, prompt: str) -> None:
    given = {"NEXUDUS_USERNAME": "ops@example.com"} if prompt == "Password: " else {}
    terminal = Terminal("login", env=CLEAN | {"NEXUDUS_STATE_DIR": str(tmp_path)} | given)
    terminal.wait_for(prompt)
    terminal.type("\x03")
    assert terminal.end() == 130
    assert not re.search("Traceback|Error", terminal.seen)


async def test_progress_is_for_terminals(shell: Shell) -> None:
    """On standard error, so that the answer can go to a file meanwhile; without colour if so wished."""
    await shell.log_in()
    hold = shell.emulator.hold(TEAMS)

    def watch() -> tuple[int, str]:
        terminal = Terminal("get", TEAMS, env=shell.env | {"NO_COLOR": "1", "TERM": "xterm"})
        terminal.wait_for(f"GET {TEAMS}")
        loop.call_soon_threadsafe(hold.release)
        return terminal.end(), terminal.seen

    loop = asyncio.get_running_loop()
    code, seen = await asyncio.to_thread(watch)
    assert code == 0
    assert "First floor" in seen
    assert not re.search(r"\x1b\[[0-9;]*m(?!\x1b)", seen.replace("\x1b[0m", "")), "no colour"
