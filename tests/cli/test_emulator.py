"""emulator: a real process that serves, tells how to use it, and logs what it is asked."""

import asyncio
import io
import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from nexudus_async import PasswordCredentials, TokenSession, totp_from_secret
from nexudus_async._cli.request_log import RequestLog
from nexudus_async.testing import NexudusEmulator, Served

from .shell import CUSTOMER, FORKS, MODULE, PLAIN, TOTP_SECRET, Terminal, run


@asynccontextmanager
async def serving(*arguments: str, announced_by: bytes = b"curl ") -> AsyncGenerator[tuple[Process, str]]:
    """Serve the emulator in another process, and give all that it says."""
    process = await asyncio.create_subprocess_exec(
        *MODULE, "emulator", *arguments, env=PLAIN, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            said = (await process.stdout.readuntil(announced_by)).decode()
        yield process, said
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def values_in(said: str) -> dict[str, str]:
    """Return the variables that are exported, as a shell would read them."""
    lines = (shlex.split(line)[1] for line in said.splitlines() if line.startswith("export "))
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


async def test_emulator_serves_what_it_says_until_interrupted() -> None:
    """What it prints is enough to use it; Ctrl-C is the way to end it, so the exit code is 0."""
    async with serving("--lifetime", "60") as (process, said):
        values = values_in(said)
        credentials = PasswordCredentials(values["NEXUDUS_USERNAME"], values["NEXUDUS_PASSWORD"])
        async with TokenSession(credentials, base_url=values["NEXUDUS_BASE_URL"]) as session:
            assert (await session.token()).lifetime == 60
            async with session.get("/api/public/billing/customer") as response:
                assert (await response.json())["Email"] == values["NEXUDUS_USERNAME"]
        process.send_signal(signal.SIGINT)
        _, complaints = await process.communicate()
        assert (process.returncode, complaints) == (0, b"")


async def test_taken_port_is_one_line_that_offers_another() -> None:
    """One that can be had."""
    async with NexudusEmulator() as taken:
        port = taken.url.rpartition(":")[2]
        result = await asyncio.to_thread(run, "emulator", "--port", port)
        assert (result.returncode, result.stdout) == (1, "")
        way_out = r"try --port (\d+), or --port 0 for any free one\n"
        found = re.fullmatch(rf"nexudus-async: 127\.0\.0\.1:{port}: address already in use; {way_out}", result.stderr)
        assert found
        with socket.create_server(("127.0.0.1", int(found[1]))):
            pass


def test_address_of_another_machine_is_one_line() -> None:
    result = run("emulator", "--host", "192.0.2.1")  # RFC 5737: nobody's
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch("nexudus-async: cannot listen at 192.0.2.1, port 0: [^\n]+\n", result.stderr)


async def test_emulator_tells_programs_in_json() -> None:
    """The log is on standard error then."""
    async with serving("--json", announced_by=b"\n") as (process, said):
        known = json.loads(said)
        credentials = PasswordCredentials(known["username"], known["password"])
        async with TokenSession(credentials, base_url=known["base_url"]) as session:
            assert (await session.token()).lifetime == 604_799
        assert process.stderr is not None
        line = (await asyncio.wait_for(process.stderr.readline(), 20)).decode()
        assert re.fullmatch(r"\d\d:\d\d:\d\d POST /api/token 200 \d+ ms ops@example.com\n", line)
        async with aiohttp.ClientSession() as http, http.get(known["control"] + "/health") as answer:
            assert (await answer.json())["status"] == "ok"


async def test_log_has_each_request_and_no_secret() -> None:
    """Method, path, status, milliseconds, who; what is in the query stays out."""
    async with serving() as (process, said):
        values = values_in(said)
        credentials = PasswordCredentials(values["NEXUDUS_USERNAME"], values["NEXUDUS_PASSWORD"])
        async with TokenSession(credentials, base_url=values["NEXUDUS_BASE_URL"]) as session:
            token = await session.token()
            for path in (f"{CUSTOMER}?token=one-time-secret", "/api/nowhere", "/api/%1b]0;title"):
                async with session.get(path):
                    pass
        process.send_signal(signal.SIGTERM)
        logged, complaints = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, complaints) == (0, b"")
    lines = [line[9:] for line in logged.decode().splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)]
    shapes = [re.sub(r"\d+ ms", "N ms", line) for line in lines]
    assert shapes[:3] == [
        "POST /api/token 200 N ms ops@example.com",
        f"GET {CUSTOMER} 200 N ms ops@example.com",
        "GET /api/nowhere 404 N ms ops@example.com",
    ]
    assert b"\x1b" not in logged
    for secret in (token.access_token, token.refresh_token, "one-time-secret"):
        assert str(secret).encode() not in logged


async def test_log_that_nobody_reads_holds_nobody_up() -> None:
    """A program that starts the emulator and never empties the pipe, which is full after 64 KiB."""
    command = [*MODULE, "emulator"]
    with subprocess.Popen(command, env=PLAIN, stdout=subprocess.PIPE, bufsize=0) as process:  # noqa: ASYNC220 - no loop reads
        try:
            assert process.stdout is not None
            said = b""
            while b"curl " not in said:
                said += process.stdout.read(1000)
            url = values_in(said.decode())["NEXUDUS_BASE_URL"] + "/api/" + "x" * 400
            async with aiohttp.ClientSession() as http, asyncio.timeout(60):
                for _ in range(20):
                    await asyncio.gather(*(ask(http, url) for _ in range(20)))
        finally:
            process.kill()


class SlowStream(io.StringIO):
    """Takes a millisecond for each line, or for ever."""

    def __init__(self, gate: threading.Event | None = None) -> None:
        super().__init__()
        self.gate = gate

    def write(self, text: str) -> int:
        time.sleep(0.001)
        if self.gate is not None:
            self.gate.wait()
        return super().write(text)


SERVED = Served("GET", "/api", 200, 1.0, "ops@example.com")


def test_log_is_whole_at_the_end() -> None:
    stream = SlowStream()
    with RequestLog(stream) as log:
        for _ in range(100):
            log.add(SERVED)
    assert stream.getvalue().count(" GET /api 200 1 ms ops@example.com\n") == 100


def test_log_that_cannot_be_written_neither_grows_nor_ends_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nexudus_async._cli.request_log.PATIENCE", 0.05)
    stream = SlowStream(gate=threading.Event())
    with RequestLog(stream) as log:
        for _ in range(3_000):
            log.add(SERVED)
    assert stream.gate is not None
    stream.gate.set()


async def ask(http: aiohttp.ClientSession, url: str) -> int:
    async with http.get(url) as answer:
        return answer.status


async def test_users_of_the_command_line_are_the_only_ones() -> None:
    """The first is exported; a password may hold a colon; all of them have the second factor."""
    users = ("--user", "a@example.com:pass:word", "--user", "b@example.com:it's", "--totp-secret", TOTP_SECRET)
    async with serving(*users) as (_, said):
        values = values_in(said)
        assert values["NEXUDUS_USERNAME"] == "a@example.com"
        assert values["NEXUDUS_TOTP_SECRET"] == TOTP_SECRET
        for name, password in (("a@example.com", "pass:word"), ("b@example.com", "it's")):
            credentials = PasswordCredentials(name, password, totp_from_secret(TOTP_SECRET))
            async with TokenSession(credentials, base_url=values["NEXUDUS_BASE_URL"]) as session:
                await session.token()
        async with aiohttp.ClientSession() as http, http.get(values["NEXUDUS_BASE_URL"] + "/_emulator/users") as answer:
            assert re.findall(r"\w+@example.com", await answer.text()) == ["a@example.com", "b@example.com"]


async def test_exports_go_through_a_shell() -> None:
    """Whatever the password is made of; and they suffice for the other commands."""
    async with serving("--user", "o'hara@example.com:it's $HOME; `x`") as (_, said):
        exports = "\n".join(line for line in said.splitlines() if line.startswith("export "))
        command = f"{exports}\n{sys.executable} -m nexudus_async get {CUSTOMER}"
        process = await asyncio.create_subprocess_shell(command, env=PLAIN, stdout=asyncio.subprocess.PIPE)
        answer, _ = await asyncio.wait_for(process.communicate(), 20)
        assert json.loads(answer)["Email"] == "o'hara@example.com"


async def test_seed_is_the_start(tmp_path: Path) -> None:
    """Its users, and what else is in there; the reset comes back to it."""
    seed: dict[str, Any] = {
        "users": [{"username": "seed@example.com", "password": "pw"}],
        "coworkers": [{"Id": 7, "FullName": "Ada"}],
        "settings": {"lifetime": 77},
        "faults": [{"where": "token", "kind": "answer", "status": 503, "times": 1}],
    }
    (tmp_path / "seed.json").write_text(json.dumps(seed))
    async with serving("--seed", str(tmp_path / "seed.json")) as (_, said), aiohttp.ClientSession() as http:
        values = values_in(said)
        url = values["NEXUDUS_BASE_URL"]
        assert (values["NEXUDUS_USERNAME"], values["NEXUDUS_PASSWORD"]) == ("seed@example.com", "pw")
        form = {"grant_type": "password", "username": "seed@example.com", "password": "pw"}
        async with http.post(f"{url}/api/token", data=form) as answer:
            assert answer.status == 503
        async with http.post(f"{url}/api/token", data=form) as answer:
            token = await answer.json()
        assert token["expires_in"] == 77
        headers = {"Authorization": f"Bearer {token['access_token']}"}
        async with http.get(f"{url}/api/spaces/coworkers", headers=headers) as answer:
            assert [each["FullName"] for each in (await answer.json())["Records"]] == ["Ada"]
        await http.post(f"{url}/_emulator/reset", json={})
        async with http.post(f"{url}/api/token", data=form) as answer:
            assert answer.status == 503


async def test_limits_are_enforced_where_that_is_asked_for() -> None:
    async with serving("--enforce-limits") as (_, said), aiohttp.ClientSession() as http:
        url = values_in(said)["NEXUDUS_BASE_URL"] + CUSTOMER
        assert 409 in await asyncio.gather(*(ask(http, url) for _ in range(10)))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--user", "hunter2"], "--user is written NAME:PASSWORD"),
        (["--user", ":hunter2"], "--user is written NAME:PASSWORD"),
        (["--totp-secret", "hunter2!"], "base32"),
        (["--seed", "nowhere.json"], "nowhere.json cannot be read: No such file or directory"),
    ],
)
def test_wrong_settings_are_one_line_and_exit_code_2(arguments: list[str], complaint: str) -> None:
    result = FORKS.run("emulator", *arguments, env=PLAIN)
    assert (result.returncode, result.stdout) == (2, "")
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1
    assert "hunter2" not in result.stderr


def test_seed_that_is_wrong_says_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "seed.json").write_text('{"usres": []}')
    result = FORKS.run("emulator", "--seed", str(tmp_path / "seed.json"), env=PLAIN)
    assert (result.returncode, result.stdout) == (2, "")
    assert "usres" in result.stderr


async def test_listening_to_others_says_what_that_means() -> None:
    async with serving("--host", "0.0.0.0") as (process, said):
        assert values_in(said)["NEXUDUS_BASE_URL"].startswith("http://127.0.0.1:"), "what a program here can write"
        assert process.stderr is not None
        warning = await asyncio.wait_for(process.stderr.readline(), 20)
        assert b"whoever reaches 0.0.0.0 can sign in here, read every token and set everything" in warning


async def test_listening_to_nobody_else_says_so_too() -> None:
    async with serving() as (_, said):
        assert said.splitlines()[0].endswith(
            ": only this machine reaches it; access tokens live 604799 s. Ctrl-C ends it."
        )


@pytest.mark.fleet
@pytest.mark.parametrize("pause", [0, 0.0003, 0.001, 0.002])
async def test_end_that_is_told_twice_is_quiet(pause: float) -> None:
    """As `timeout` does, which tells the process and then its group. The second one falls into the tidying up."""
    for _ in range(3):
        async with serving() as (process, _):
            process.terminate()
            await asyncio.sleep(pause)
            with suppress(ProcessLookupError):
                process.terminate()
            _, complaints = await process.communicate()
            assert (process.returncode, complaints) == (0, b"")


def test_help_tells_of_the_control_interface() -> None:
    assert "/_emulator" in FORKS.run("emulator", "--help", env=PLAIN).stdout
    text = FORKS.run("emulator", "--control-help", env=PLAIN).stdout
    assert "POST   /_emulator/faults" in text
    assert "A seed file is a JSON object" in text


def test_first_line_after_ctrl_c_is_a_line_of_its_own() -> None:
    with Terminal("emulator", env=PLAIN) as terminal:
        terminal.wait_for("curl ")
        terminal.type("\x03")
        assert terminal.end() == 0
    assert terminal.seen.endswith("^C\r\n")


async def test_without_a_name_the_first_user_of_the_command_line_is_meant(tmp_path: Path) -> None:
    """By the control interface, too, and before those of the seed."""
    (tmp_path / "seed.json").write_text('{"users": [{"username": "seed@example.com", "password": "s"}]}')
    arguments = ("--user", "a@example.com:secret", "--seed", str(tmp_path / "seed.json"), "--json")
    async with serving(*arguments, announced_by=b"\n") as (_, said), aiohttp.ClientSession() as http:
        for endpoint, status in (("issue", 201), ("jwt", 201)):
            async with http.post(f"{json.loads(said)['control']}/{endpoint}", json={}) as answer:
                assert answer.status == status, await answer.text()
        async with http.get(f"{json.loads(said)['control']}/sessions") as answer:
            assert [each["username"] for each in (await answer.json())["sessions"]] == ["a@example.com"]
