"""The command line: one function per command, and what they share.

A command says what happened on standard output. What went wrong is one line on standard error, and the exit code.
"""

import asyncio
import io
import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from ._demo import Finding, demonstrate
from .errors import NexudusAuthError
from .testing import NexudusEmulator

__all__ = ["app", "run"]

NAME: Final = "nexudus-async"
EMULATOR_PASSWORD: Final = "emulator"  # noqa: S105 - of no account that exists, and easy to type in any shell
OK, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130  # 130: 128 and the number of SIGINT, as shells report it

app = typer.Typer(
    name=NAME,
    help="Tokens for the Nexudus API.",
    epilog="Exit codes: 0 all went well; 1 it failed, and one line on standard error says why; "
    "2 the command line was wrong; 130 interrupted.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


def run(arguments: Sequence[str]) -> int:
    """Carry out one command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal or pipe that knows ASCII only
    try:
        code: object = app(list(arguments) or ["--help"], prog_name=NAME, standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    except (NexudusAuthError, OSError) as exc:
        return _fail(str(exc) or type(exc).__name__, FAILED)
    except Exception as exc:
        message = _wrong_use(exc)
        if message is None:
            raise
        return _fail(f"{message.rstrip('.')}; see {NAME} --help", WRONG_USE)
    return code if isinstance(code, int) else OK


@app.command(epilog=f"Example: {NAME} demo && echo all of it held")
def demo() -> None:
    """Show in a second or two what this package does.

    1,000 coroutines share one sign-in to an emulator, and the token is renewed while no request waits for it.
    Exit code 1 if something did not come out as it should.
    """
    console = _console()
    console.print("Against an emulator on this machine:")

    def tell(finding: Finding) -> None:
        mark = Text("ok ", "green") if finding.holds else Text("NOT", "bold red")
        console.print(Text.assemble(mark, " ", finding.text))

    if not asyncio.run(demonstrate(tell)):
        raise typer.Exit(_fail("not everything came out as it should", FAILED))


@app.command(epilog=f"Example: {NAME} emulator --port 8000 --lifetime 60")
def emulator(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Where to listen; 0 takes a free port.")] = 0,
    lifetime: Annotated[float, typer.Option(min=1, help="Seconds that access tokens live.")] = 604_799,
) -> None:
    """Serve a Nexudus emulator on this machine until Ctrl-C.

    Exit code 1 if the port is taken.
    """
    try:
        asyncio.run(_serve(port, lifetime))
    except KeyboardInterrupt:  # the way to end it
        raise typer.Exit(OK) from None


async def _serve(port: int, lifetime: float) -> None:
    async with NexudusEmulator(port=port, lifetime=lifetime) as server:
        user = server.add_user(server.username, EMULATOR_PASSWORD)
        _say(
            f"Nexudus emulator at {server.url}; access tokens live {lifetime:g} s. Ctrl-C ends it.",
            "",
            f"export NEXUDUS_BASE_URL={server.url}",
            f"export NEXUDUS_USERNAME={user.username}",
            f"export NEXUDUS_PASSWORD={user.password}",
            "",
            f"curl {server.url}/api/token "
            f"-d grant_type=password -d username={user.username} -d password={user.password}",
        )
        await asyncio.Event().wait()


def _console() -> Console:
    """Return what to print through: plain in a pipe and where NO_COLOR is set, lines never cut or joined."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def _say(*lines: str) -> None:
    _console().print("\n".join(lines))


def _fail(message: str, code: int) -> int:
    """Say on one line of standard error what went wrong, and return the exit code."""
    sys.stderr.write(f"{NAME}: {' '.join(message.split())}\n")
    return code


def _wrong_use(error: Exception) -> str | None:
    """Return the message of an error in the arguments, None for any other: its class depends on typer's version."""
    message = getattr(error, "format_message", None)
    return str(message()) if callable(message) else None
