"""The command line: one function per command.

A command says what happened on standard output. What went wrong is one line on standard error, and the exit code.
"""

import asyncio
import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Final

import aiohttp
import typer
from rich.text import Text

from nexudus_async import __version__
from nexudus_async._session import DEFAULT_BASE_URL
from nexudus_async.testing import NexudusEmulator

from .calls import current_token, fetch, log_out, look_up
from .demo import Finding, demonstrate
from .login import credentials_for_login, log_in
from .output import (
    FAILED,
    HTTP_ERROR,
    INTERRUPTED,
    NAME,
    OK,
    SIGN_IN,
    WRONG_USE,
    console,
    examples,
    exit_code_of,
    fail,
    in_words,
    message_of,
    say,
)
from .state import State

__all__ = ["app", "run"]

EMULATOR_PASSWORD: Final = "emulator"  # noqa: S105 - of no account that exists, and easy to type in any shell

BaseUrl = Annotated[
    str | None, typer.Option(envvar="NEXUDUS_BASE_URL", help="Where Nexudus is. The default is where you signed in.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

app = typer.Typer(
    name=NAME,
    epilog="Exit codes: 0 all went well; 1 it failed, and one line on standard error says why; "
    "2 the command line or a setting was wrong; 3 sign in first, or the service refused to sign you in; "
    "4 the service cannot be reached or is in trouble; 5 `get` was answered with an error; 130 interrupted.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"{NAME} {__version__}")
        raise typer.Exit(OK)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Tokens for the Nexudus API."""


def run(arguments: Sequence[str]) -> int:
    """Carry out one command and return its exit code."""
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - for streams closed by who started this
    sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal or pipe that knows ASCII only
    try:
        code: object = app(list(arguments) or ["--help"], prog_name=NAME, standalone_mode=False)
        sys.stdout.flush()
    except typer.Abort:  # what Ctrl-C is in older versions of typer
        return INTERRUPTED
    except BrokenPipeError:  # whoever read from here has had enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains on its way out
        return FAILED
    except (aiohttp.ClientError, OSError) as exc:
        return fail(message_of(exc), exit_code_of(exc))
    except Exception as exc:
        message = _wrong_use(exc)
        if message is None:
            raise
        return fail(f"{message.rstrip('.')}; see {NAME} --help", WRONG_USE)
    return code if isinstance(code, int) else OK


@app.command(epilog=examples(f"{NAME} login", f"NEXUDUS_USERNAME=ops@example.com {NAME} login < password-file"))
def login(
    base_url: Annotated[str, typer.Option(envvar="NEXUDUS_BASE_URL", help="Where Nexudus is.")] = DEFAULT_BASE_URL,
    as_json: AsJson = False,
) -> None:
    """Sign in, and keep the tokens for the other commands.

    Asks for user name and password, and for a code if the account has two-factor.
    NEXUDUS_USERNAME, NEXUDUS_PASSWORD and NEXUDUS_TOTP_SECRET are taken instead.
    What is piped in is read by the line.

    The password is not kept. The tokens are, in a file that only you can read:
    in your folder for such things, or in NEXUDUS_STATE_DIR.
    """
    credentials = credentials_for_login(base_url)
    token = log_in(State(), base_url, credentials)
    if as_json:
        _say_json({"account": credentials.username, "base_url": base_url, "expires_at": token.expires_at.isoformat()})
    else:
        say(f"{credentials.username} is signed in at {base_url}.")


@app.command(epilog=examples(f"{NAME} logout"))
def logout(base_url: BaseUrl = None) -> None:
    """Forget the tokens, here and in every process that shares them.

    The service is not told: Nexudus has no way to end a token before its time.
    """
    account = asyncio.run(log_out(State(), base_url))
    say("Nobody was signed in." if account is None else f"{account.username} is signed out at {account.base_url}.")


@app.command(epilog=examples(f"{NAME} status", f"{NAME} status --json | jq .expires_in"))
def status(base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Say who is signed in, where, and for how long. Shows no secret, asks nobody, and renews nothing.

    Exit code 3 if nobody is signed in.
    """
    found = asyncio.run(look_up(State(), base_url))
    if as_json:
        _say_json(asdict(found))
    elif found.signed_in:
        left = found.expires_in or 0
        say(
            f"{found.account} is signed in at {found.base_url}",
            f"client_id     {found.client_id}",
            f"access token  {found.state}, {'ends in ' + in_words(left) if left > 0 else 'the next command renews it'}",
            f"renewable     until {found.renewable_until}" if found.renewable_until else "renewable     no",
        )
    if not found.signed_in:
        raise typer.Exit(fail(f"nobody is signed in, or not any more: {NAME} login", SIGN_IN))


@app.command(epilog=examples(f'curl -H "Authorization: Bearer $({NAME} token)" {DEFAULT_BASE_URL}/api/public/teams/my'))
def token(base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Print the access token, a new one if need be. It is a secret: mind where it goes.

    Exit code 3 if nobody is signed in.
    """
    found = asyncio.run(current_token(State(), base_url))
    if as_json:
        expires_at = found.expires_at.isoformat()
        _say_json({"access_token": str(found.access_token), "token_type": found.token_type, "expires_at": expires_at})
    else:
        say(found.access_token)


@app.command(
    epilog=examples(
        f"{NAME} get /api/public/billing/customer", f"{NAME} get '/api/spaces/coworkers?size=5' | jq .Records"
    )
)
def get(
    path: Annotated[str, typer.Argument(help="Path and query, such as /api/public/teams/my.", show_default=False)],
    include: Annotated[bool, typer.Option("--include", "-i", help="Print status and headers first.")] = False,
    base_url: BaseUrl = None,
) -> None:
    """Call the API with the token, and print the answer's body as it came.

    The body is printed whatever the status. Exit code 5, and a line on standard error, unless that is 2xx.
    """
    answer = asyncio.run(fetch(State(), path, base_url))
    sys.stdout.flush()
    sys.stdout.buffer.write((answer.head if include else b"") + answer.body)
    if answer.body and sys.stdout.isatty():
        sys.stdout.buffer.write(b"\n")
    if not answer.ok:
        sys.stdout.flush()
        raise typer.Exit(fail(f"GET {path}: {answer.status}", HTTP_ERROR))


@app.command(epilog=examples(f"{NAME} demo && echo all of it held"))
def demo() -> None:
    """Show in a second or two what this package does.

    1,000 coroutines share one sign-in to an emulator, and the token is renewed while no request waits for it.
    Exit code 1 if something did not come out as it should.
    """
    out = console()
    out.print("Against an emulator on this machine:")

    def tell(finding: Finding) -> None:
        mark = Text("ok ", "green") if finding.holds else Text("NOT", "bold red")
        out.print(Text.assemble(mark, " ", finding.text))

    if not asyncio.run(demonstrate(tell)):
        raise typer.Exit(fail("not everything came out as it should", FAILED))


@app.command(epilog=examples(f"{NAME} emulator --port 8000 --lifetime 60", f"{NAME} emulator --json"))
def emulator(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Where to listen; 0 takes a free port.")] = 0,
    lifetime: Annotated[float, typer.Option(min=1, help="Seconds that access tokens live.")] = 604_799,
    as_json: AsJson = False,
) -> None:
    """Serve a Nexudus emulator on this machine until Ctrl-C.

    Exit code 1 if the port is taken.
    """
    try:
        asyncio.run(_serve(port, lifetime, as_json=as_json))
    except KeyboardInterrupt:  # the way to end it
        raise typer.Exit(OK) from None


async def _serve(port: int, lifetime: float, *, as_json: bool) -> None:
    async with NexudusEmulator(port=port, lifetime=lifetime) as server:
        user = server.add_user(server.username, EMULATOR_PASSWORD)
        if as_json:
            _say_json({"base_url": server.url, "username": user.username, "password": user.password})
        else:
            say(
                f"Nexudus emulator at {server.url}; access tokens live {lifetime:g} s. Ctrl-C ends it.",
                "",
                f"export NEXUDUS_BASE_URL={server.url}",
                f"export NEXUDUS_USERNAME={user.username}",
                f"export NEXUDUS_PASSWORD={user.password}",
                "",
                f"curl {server.url}/api/token "
                f"-d grant_type=password -d username={user.username} -d password={user.password}",
            )
        sys.stdout.flush()  # in a pipe it would wait for the end
        await asyncio.Event().wait()


def _say_json(value: object) -> None:
    """Print a value as one line of JSON; ASCII, so that it goes through every pipe."""
    say(json.dumps(value))


def _wrong_use(error: Exception) -> str | None:
    """Return the message of an error in the arguments, None for any other: its class depends on typer's version."""
    message = getattr(error, "format_message", None)
    return str(message()) if callable(message) else None
