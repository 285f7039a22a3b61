"""The command line: its commands, and what becomes of an error.

A command says what happened on standard output. What went wrong is one line on standard error, and the exit code.
"""

import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated

import aiohttp
import typer

from nexudus_async import __version__
from nexudus_async._http.arguments import DEFAULT_BASE_URL

from . import accounts, demo, emulator, verbs
from .options import Verbose
from .output import NAME, examples, fail, own_line, say
from .words import EXIT_CODES, INTERRUPTED, OK, UNREAD, WRONG_USE, exit_code_of, message_of

__all__ = ["app", "run"]

HELP = (
    "Tokens for the Nexudus API, and calls with them.\n\n"
    "With NEXUDUS_USERNAME and NEXUDUS_PASSWORD set, and NEXUDUS_TOTP_SECRET for an account with two-factor, every "
    "command works at once and keeps nothing on the disk. Else sign in first, with login."
)

app = typer.Typer(
    name=NAME,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"{NAME} {__version__}")
        raise typer.Exit(OK)


@app.callback(help=HELP)
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    _verbose: Verbose = False,
) -> None:
    """Take no more than that: the commands do the rest."""


COMMANDS: Sequence[tuple[Callable[..., None], Sequence[str]]] = (
    (
        accounts.login,
        (
            f"{NAME} login",
            f"{NAME} login --account ops@example.com < password-file",
            f"{NAME} login --account ops@example.com --refresh-token < refresh-token-file",
        ),
    ),
    (accounts.status, (f"{NAME} status", f"{NAME} status --json | jq .expires_in")),
    (accounts.token, (f"{NAME} token --header | curl -H @- {DEFAULT_BASE_URL}/api/public/teams/my",)),
    (accounts.logout, (f"{NAME} logout", f"{NAME} logout --account ops@example.com")),
    (
        verbs.get,
        (
            f"{NAME} get /api/public/billing/customer",
            f"{NAME} get '/api/spaces/coworkers?size=5' | jq .Records",
            f"{NAME} get --paginate /api/spaces/coworkers > coworkers.jsonl",
        ),
    ),
    (
        verbs.post,
        (
            f"{NAME} post /api/spaces/coworkers --json coworker.json",
            f"jq -n '{{FullName: \"Zoe\"}}' | {NAME} post /api/spaces/coworkers --json -",
        ),
    ),
    (verbs.put, (f"{NAME} put /api/spaces/coworkers --json coworker.json",)),
    (verbs.patch, (f"{NAME} patch /api/spaces/coworkers/1001 --json changes.json",)),
    (verbs.delete, (f"{NAME} delete /api/spaces/coworkers/1001",)),
    (
        emulator.emulator,
        (
            f"{NAME} emulator --port 8000 --lifetime 60",
            f"{NAME} emulator --user ops@example.com:secret --seed state.json",
        ),
    ),
    (demo.demo, (f"{NAME} demo && echo all of it held",)),
)
"""The commands in the order of the help, each with its examples."""


def _add(command: Callable[..., None], lines: Sequence[str]) -> None:
    # typer has changed its mind about line breaks in paragraphs: there are none left for it to decide about.
    paragraphs = [" ".join(each.split()) for each in (command.__doc__ or "").split("\n\n")]
    more = [emulator.CONTROL] if command is emulator.emulator else []
    app.command(help="\n\n".join(paragraphs), epilog="\n\n".join((examples(*lines), *more)))(command)


for _command, _lines in COMMANDS:
    _add(_command, _lines)


def run(arguments: Sequence[str]) -> int:
    """Carry out one command and return its exit code."""
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal or pipe that knows ASCII only
    try:
        code = _carry_out(arguments)
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED:
        own_line()
    return code


def _open_what_is_closed() -> None:
    """Read and write nothing where whoever started this closed a stream."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - until the end


def _carry_out(arguments: Sequence[str]) -> int:
    try:
        code: object = app(list(arguments) or ["--help"], prog_name=NAME, standalone_mode=False)
        sys.stdout.flush()
    except typer.Abort:  # what Ctrl-C is in older versions of typer
        return INTERRUPTED
    except (SystemExit, BrokenPipeError) as exc:
        if not isinstance(exc.__context__ if isinstance(exc, SystemExit) else exc, BrokenPipeError):
            raise
        _let_output_go()
        return UNREAD  # whoever read from here has had enough, as `head` does; typer makes a SystemExit of that
    except (aiohttp.ClientError, OSError) as exc:
        _let_output_go()
        return fail(message_of(exc), exit_code_of(exc))
    except Exception as exc:
        message = _wrong_use(exc)
        if message is None:
            raise
        return fail(message, WRONG_USE)
    return code if isinstance(code, int) else OK


def _let_output_go() -> None:
    """Write what is still to be written, or nothing more: Python would try again on its way out, and complain."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _wrong_use(error: Exception) -> str | None:
    """Return the message of an error in the arguments, None for any other: its class depends on typer's version."""
    message = getattr(error, "format_message", None)
    if not callable(message):
        return None
    command = getattr(getattr(error, "ctx", None), "command_path", NAME)
    words = str(message()).replace(" (env var: 'None')", "")  # of click 8.2
    return f"{words.rstrip('.')}; see {command} --help"
