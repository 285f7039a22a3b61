"""What the tests of the command line stand on: real processes, an emulator on loopback, a state folder, a terminal."""

import asyncio
import multiprocessing
import os
import re
import select
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from nexudus_async.testing import NexudusEmulator

NO_KEYRING = "keyring.backends.null.Keyring"
PLAIN = {name: value for name, value in os.environ.items() if not name.startswith("NEXUDUS_")} | {
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "",
    "PYTHON_KEYRING_BACKEND": NO_KEYRING,  # that of whoever runs the tests is not ours
    "COLUMNS": "100",
    "TERM": "xterm",
}
MODULE = (sys.executable, "-m", "nexudus_async")
TOTP_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
TEAMS, CUSTOMER, COWORKERS = "/api/public/teams/my", "/api/public/billing/customer", "/api/spaces/coworkers"
ECHO = "/api/emulator/echo"
NOBODY = "nexudus-async: nobody is signed in, or not any more: nexudus-async login\n"

ADVICE_FOR_PROGRAMMERS = re.compile(r"\w=|\w\(|\ballow_insecure_http\b|\bbase_url\b|\bclient_session\b|[A-Z]\w+Error\b")
"""What no message may have: nobody can type a Python argument, a call or a class here."""

Result = subprocess.CompletedProcess[str]


def run(*arguments: str, env: dict[str, str] = PLAIN, typed: str = "") -> Result:
    return subprocess.run(
        [*MODULE, *arguments],
        env=env,
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,  # no terminal to ask at
    )


class Forks:
    """Runs commands in processes that are forked with everything imported: a hundred of them in the time of ten."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        # Also what a command imports only when it runs: half of its time. What is not installed is passed over.
        libraries = ["anyio._backends._asyncio", "cryptography.fernet", "keyring", "platformdirs", "rich.progress"]
        more = ["importlib.metadata", "nexudus_async._fleet.assembly", "tenacity", "typer._adapters", "zoneinfo"]
        self._context.set_forkserver_preload(["__main__", "nexudus_async._cli.app", *libraries, *more, __name__])

    def run(self, *arguments: str, env: dict[str, str], typed: str = "") -> Result:
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder, name) for name in ("stdin", "stdout", "stderr")]
            files[0].write_text(typed)
            process = self._context.Process(target=_be_the_command, args=(arguments, env, files), daemon=True)
            process.start()
            process.join(60)
            assert process.exitcode is not None, f"{arguments} did not end"
            return Result(arguments, process.exitcode, files[1].read_text(), files[2].read_text())


FORKS = Forks()


def _be_the_command(arguments: list[str], env: dict[str, str], files: list[Path]) -> None:
    from nexudus_async.__main__ import main

    os.setsid()  # no terminal to ask at
    os.environ.clear()
    os.environ.update(env)
    for descriptor, (file, mode) in enumerate(zip(files, ("r", "w", "w"), strict=True)):
        with file.open(mode) as opened:
            os.dup2(opened.fileno(), descriptor)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115 - by number
    if path := env.get("PYTHONPATH"):
        sys.path.insert(0, path)
    sys.argv = ["nexudus-async", *arguments]
    main()


def outcome(result: Result) -> tuple[int, str, str]:
    return result.returncode, result.stdout, result.stderr


@dataclass
class Shell:
    """Starts commands for one user, whose state is in one folder, and checks what is never to be seen."""

    emulator: NexudusEmulator
    folder: Path
    more: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def env(self) -> dict[str, str]:
        return PLAIN | {"NEXUDUS_STATE_DIR": str(self.folder), "NEXUDUS_BASE_URL": self.emulator.url} | self.more

    @property
    def credentials(self) -> dict[str, str]:
        return {"NEXUDUS_USERNAME": self.emulator.username, "NEXUDUS_PASSWORD": self.emulator.password}

    async def run(self, *arguments: str, typed: str = "", **env: str) -> Result:
        result = await asyncio.to_thread(FORKS.run, *arguments, env=self.env | env, typed=typed)
        assert result.stderr.count("\n") <= 1 or {"-v", "--verbose"} & set(arguments), result.stderr
        assert not ADVICE_FOR_PROGRAMMERS.search(result.stderr), result.stderr
        assert "\x1b" not in result.stdout + result.stderr
        prints_answers = {"token", "get", "post", "put", "patch", "delete"} & set(arguments)
        said = result.stderr if prints_answers else result.stdout + result.stderr
        assert not [secret for secret in self.emulator.secrets if secret in said]
        return result

    async def log_in(self, *arguments: str, username: str = "", **env: str) -> None:
        user = self.emulator.find_user(username or self.emulator.username)
        result = await self.run("login", *arguments, typed=f"{user.username}\n{user.password}\n", **env)
        assert (result.returncode, result.stderr) == (0, "")


IN_A_TERMINAL = """
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
"""


class Terminal:
    """A person at a terminal: sees what a program prints, and types. `with` ends the program, come what may."""

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()  # the program in it gets a hang-up
        with self._process, self._keyboard, self._screen:
            pass

    def wait_for(self, text: str, times: int = 1) -> None:
        while self.seen.count(text) < times:
            self._read(f"never saw {text!r}")

    def type(self, text: str) -> None:
        self._keyboard.write(text.encode())

    def end(self) -> int:
        while self._read("it did not end"):
            pass
        return self._process.wait(20)

    def _read(self, complaint: str) -> bytes:
        ready, _, _ = select.select([self._screen], [], [], 20)
        assert ready, f"{complaint} in {self.seen!r}"
        part = self._screen.read(65_536)
        assert part or complaint == "it did not end", f"{complaint} in {self.seen!r}"
        self.seen += part.decode(errors="replace")
        return part

    @property
    def text(self) -> str:
        """What was printed, without the terminal's control sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen).replace("\r", "")


def look(*arguments: str, env: dict[str, str]) -> tuple[int, Terminal]:
    """Run a command in a terminal to its end."""
    with Terminal(*arguments, env=env) as terminal:
        return terminal.end(), terminal


def watched(*arguments: str, env: dict[str, str]) -> tuple[int, str, str]:
    """Run a command whose output goes into a pipe while a person watches standard error at a terminal."""
    reader, writer = os.openpty()
    process = subprocess.Popen(
        [*MODULE, *arguments],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=writer,
        text=True,
    )
    os.close(writer)
    said, _ = process.communicate(timeout=60)
    seen = b""
    try:
        while part := os.read(reader, 65_536):
            seen += part
    except OSError:  # how a terminal ends on Linux
        pass
    os.close(reader)
    return process.returncode, said, seen.decode()
