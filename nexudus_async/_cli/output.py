"""What the commands have in common: how they print, and with which code they end."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

import aiohttp
from rich.console import Console

from nexudus_async.errors import (
    ConfigurationError,
    CredentialsRejectedError,
    LoginRequiredError,
    PasswordResetRequiredError,
    TokenEndpointError,
    TotpRequiredError,
)

__all__ = [
    "FAILED",
    "HTTP_ERROR",
    "INTERRUPTED",
    "NAME",
    "OK",
    "SIGN_IN",
    "UNAVAILABLE",
    "WRONG_USE",
    "console",
    "examples",
    "exit_code_of",
    "fail",
    "in_words",
    "message_of",
    "say",
    "working",
]

NAME: Final = "nexudus-async"
OK, FAILED, WRONG_USE, SIGN_IN, UNAVAILABLE, HTTP_ERROR = 0, 1, 2, 3, 4, 5
INTERRUPTED: Final = 130  # 128 and the number of SIGINT, as shells report it

INSECURE: Final = ", or, in a network you trust, pass allow_insecure_http=True"
_REFUSED = (LoginRequiredError, CredentialsRejectedError, TotpRequiredError, PasswordResetRequiredError)
_NO_ANSWER = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError)
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60))


def console() -> Console:
    """Return what to print through: plain in a pipe and where NO_COLOR is set, lines never cut or joined."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def examples(*lines: str) -> str:
    """Return the end of a command's help."""
    return "\n\n".join(("Examples:" if len(lines) > 1 else "Example:", *lines))


def say(*lines: str) -> None:
    """Print lines on standard output."""
    console().print("\n".join(lines))


def fail(message: str, code: int) -> int:
    """Say on one line of standard error what went wrong, and return the exit code."""
    line = " ".join(message.split())
    sys.stderr.write(f"{NAME}: {''.join(each if each.isprintable() else '?' for each in line)}\n")
    return code


@contextmanager
def working(on: str) -> Generator[Callable[[str], None], None, None]:
    """Show on standard error, if that is a terminal, that something is under way; call the value to say more."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with Console(stderr=True, highlight=False, markup=False).status(on) as status:
        yield lambda more: status.update(f"{on}: {more}")


def exit_code_of(error: Exception) -> int:
    """Return the exit code for an error of this package, of aiohttp or of the operating system."""
    if isinstance(error, ConfigurationError | aiohttp.InvalidURL):
        return WRONG_USE
    if isinstance(error, _REFUSED):
        return SIGN_IN
    if isinstance(error, TokenEndpointError):
        return UNAVAILABLE if error.transient else FAILED
    return UNAVAILABLE if isinstance(error, _NO_ANSWER) else FAILED


def message_of(error: Exception) -> str:
    """Return the error's own words, or what its kind means when it has none."""
    if isinstance(error, LoginRequiredError):
        return f"nobody is signed in, or not any more: {NAME} login"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"{error.host}:{error.port} cannot be reached: {error.os_error.strerror or 'it cannot be connected to'}"
    words = str(error).replace(INSECURE, "")  # there is no such option here
    return words or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)


def in_words(seconds: float) -> str:
    """Return a time in its largest whole unit, rounded down: what is left is never overstated."""
    for unit, size in _UNITS:
        if (count := int(seconds // size)) > 0:
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{int(seconds)} s"
