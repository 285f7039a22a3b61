"""What an error means to a person at a shell: its words, and the exit code.

The package's own messages are for programmers: they name arguments and methods, which nobody can type here.
"""

import errno
import os
import re
from typing import Final

import aiohttp

from nexudus_async.errors import (
    ConfigurationError,
    CredentialsRejectedError,
    EndpointUnavailableError,
    LoginRequiredError,
    PasswordResetRequiredError,
    StoreError,
    TokenEndpointError,
    TotpRequiredError,
    UnreadableRecordError,
    WrongHostError,
)

from .output import NAME
from .state import NotSignedInError

__all__ = [
    "EXIT_CODES",
    "FAILED",
    "HTTP_ERROR",
    "INTERRUPTED",
    "OK",
    "SIGN_IN",
    "UNREAD",
    "WRONG_USE",
    "exit_code_of",
    "message_of",
]

OK, FAILED, WRONG_USE, SIGN_IN, UNAVAILABLE, HTTP_ERROR = 0, 1, 2, 3, 4, 5
INTERRUPTED: Final = 130  # 128 and the number of SIGINT, as shells report it
UNREAD: Final = 141  # the same with SIGPIPE, which ends other programs whose output nobody reads
EXIT_CODES: Final = (
    "Exit codes: 0 all went well; 1 it failed, and one line on standard error says why; "
    "2 the command line or a setting was wrong; 3 sign in first, or the service refused to sign you in; "
    "4 the service cannot be reached or is in trouble; 5 the API answered with an error, that is, not with 2xx; "
    "130 interrupted; 141 whoever read the output had had enough, as head does."
)

_REFUSED = (LoginRequiredError, CredentialsRejectedError, TotpRequiredError, PasswordResetRequiredError)
_NO_ANSWER = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError)
_FOR_PROGRAMMERS: Final = (
    (
        re.compile("the stored record cannot be decrypted with these keys.*"),
        "the key in the keyring does not open the tokens: sign in again",
    ),
    (re.compile(r", or, in a network you trust, pass allow_insecure_http=True"), ""),
    (re.compile(r", and pass credentials"), ""),
    (re.compile(r"\[(Errno|WinError) -?\d+\] "), ""),
    (re.compile(r" \(\w+(Error|Exception|Timeout|Disconnected)\)"), ""),
)


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
    """Return what to tell about it, on one line, without a secret."""
    match error:
        case NotSignedInError():
            return str(error)
        case LoginRequiredError():
            return f"{_why_nobody(error)}: {NAME} login"
        case TokenEndpointError():
            return _of_the_endpoint(error)
        case StoreError():
            return _plain(str(error))
        case aiohttp.ClientConnectorError():
            return _unreachable(error)
        case _:
            words = _plain(str(error))
            return words or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)


def _of_the_endpoint(error: TokenEndpointError) -> str:
    in_environment = bool(os.environ.get("NEXUDUS_PASSWORD"))
    match error:
        case CredentialsRejectedError():
            said = f": {error.description}" if error.description else ""
            check = "; check NEXUDUS_USERNAME and NEXUDUS_PASSWORD" if in_environment else ""
            return f"the sign-in was refused ({error.error or 'invalid_grant'}{said}){check}"
        case TotpRequiredError():
            return _of_two_factor(in_environment=in_environment)
        case PasswordResetRequiredError():
            return "the password must be reset before this account can sign in: do that in Nexudus"
        case WrongHostError():
            return (
                f"no token endpoint of Nexudus is there (it answered {error.status}): --base-url, or NEXUDUS_BASE_URL, "
                "must be https://spaces.nexudus.com or https://NAME.spaces.nexudus.com, not a location's own domain"
            )
        case EndpointUnavailableError() if (refused := _connector_error(error)) is not None:
            return _unreachable(refused)
        case _:
            return _plain(str(error))


def _of_two_factor(*, in_environment: bool) -> str:
    if os.environ.get("NEXUDUS_TOTP_SECRET"):
        return (
            "the two-factor code was refused: is NEXUDUS_TOTP_SECRET the key that was shown when two-factor was set "
            "up, and is this machine's clock right?"
        )
    if in_environment:
        return f"the account has two-factor on: set NEXUDUS_TOTP_SECRET, or type a code at {NAME} login"
    return f"the account has two-factor on: {NAME} login asks for a code"


def _connector_error(error: BaseException) -> aiohttp.ClientConnectorError | None:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, aiohttp.ClientConnectorError):
        cause = cause.__cause__
    return cause


def _unreachable(error: aiohttp.ClientConnectorError) -> str:
    place = f"{error.host}:{error.port}"
    number, reason = error.os_error.errno, error.os_error.strerror
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"{place} has a certificate that this machine does not trust"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return f"{place} does not answer as https: is it a plain http server, or a proxy in between?"
    if number is not None and number in errno.errorcode and not isinstance(error, aiohttp.ClientConnectorDNSError):
        reason = os.strerror(number)  # asyncio has words of its own there, with a tuple in them
    return f"{place} cannot be reached: {reason or 'it cannot be connected to'}"


def _plain(words: str) -> str:
    for pattern, instead in _FOR_PROGRAMMERS:
        words = pattern.sub(instead, words)
    return words


def _why_nobody(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UnreadableRecordError):
            return str(cause).removesuffix("; the next save replaces it")
        cause = cause.__cause__
    return "nobody is signed in, or not any more"
