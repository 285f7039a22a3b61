"""Every error this package raises on purpose.

    aiohttp.ClientError
    └── NexudusAuthError
        ├── ConfigurationError               the code that uses the package must change
        ├── SessionClosedError               used after, or interrupted by, close()
        ├── StoreError                       a token store failed
        │   └── UnreadableRecordError        it has a record that nobody can read: the next save replaces it
        ├── LoginRequiredError               the tokens have ended, and nothing here can sign in
        └── TokenEndpointError               the token endpoint was asked and gave no token
            ├── CredentialsRejectedError     wrong user name or password, a suspended account, and the like
            ├── TotpRequiredError            the two-factor code was missing or wrong
            ├── PasswordResetRequiredError   the password must be reset first
            ├── EndpointUnavailableError     unreachable, throttled or broken: later it may work
            ├── MalformedResponseError       an answer that is not a token: later it may work
            └── WrongHostError               something answered that is not the token endpoint

The root is an `aiohttp.ClientError`, so that code which handles aiohttp's errors handles these too.
No error holds a secret where text is made of it: not in `str`, `repr`, `args`, a traceback or a pickle.
"""

from collections.abc import Iterator
from pathlib import PurePath
from typing import ClassVar, Final, TypeVar, cast

import aiohttp

__all__ = [
    "ConfigurationError",
    "CredentialsRejectedError",
    "EndpointUnavailableError",
    "LoginRequiredError",
    "MalformedResponseError",
    "NexudusAuthError",
    "PasswordResetRequiredError",
    "SessionClosedError",
    "StoreError",
    "TokenEndpointError",
    "TotpRequiredError",
    "UnreadableRecordError",
    "WrongHostError",
]


class NexudusAuthError(aiohttp.ClientError):
    """Root of every error here. Catch it to mean "no token could be had".

    transient: whether the same call may succeed later, with nothing changed.
    operator: the label of the operator's session, where that has failed (see `ImpersonationCredentials`), or None.
    """

    transient: ClassVar[bool] = False
    operator: str | None = None


class ConfigurationError(NexudusAuthError):
    """Raised when a value or a use can never work; the message says what to write instead."""


class SessionClosedError(NexudusAuthError):
    """Raised on use after `close()`, and out of every wait that `close()` ends. Make a new session."""


class StoreError(NexudusAuthError):
    """Raised by a token store that cannot be read, written or locked. The session goes on without it."""


class UnreadableRecordError(StoreError):
    """Raised by a store's `load` for a record that nobody can read, not even another process.

    It is reported, counts as no record, and is replaced by the next save. A record that only this process cannot read,
    as without the right key, is a plain `StoreError`.
    """


class LoginRequiredError(NexudusAuthError):
    """Raised when the tokens have ended and nothing here can sign in: no password, and what was handed over is used.

    Sign in where the password is, or hand over other tokens. Also raised out of calls that wait for a token when
    `logout()` is called.
    """


class TokenEndpointError(NexudusAuthError):
    """Raised when the token endpoint gave no token (RFC 6749, section 5.2).

    status: the HTTP status, or None when there was no complete answer.
    error: the service's code, such as "invalid_grant", or None.
    description: the service's words for a person, of `invalid_grant` only, on one line, what we sent masked.
    retry_after: seconds the service, or the next one-time code, asks to wait, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        error: str | None = None,
        description: str | None = None,
        retry_after: float | None = None,
        refresh_token_spent: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.description = description
        self.retry_after = retry_after
        self.refresh_token_spent = refresh_token_spent
        """Whether the refresh token of this attempt must not be sent again (RFC 9700, section 4.14)."""


class CredentialsRejectedError(TokenEndpointError):
    """Raised when the sign-in was refused. Correct what it names: repeating can lock the account.

    `error` says by which code: "invalid_grant" (a wrong password, a suspension, a customer not registered here), or
    another, as of an account that may only sign in elsewhere; None for a one-time JWT that was refused, and for an
    operator who may not sign in somebody else.
    """


class TotpRequiredError(TokenEndpointError):
    """Raised when the account has two-factor on and the code was missing or wrong. Pass `totp=`."""


class PasswordResetRequiredError(TokenEndpointError):
    """Raised when the password must be reset before the account can sign in.

    The service sends the reset token along. It is a secret: only `reset_token` shows it.
    A copy keeps it, a pickle does not.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        error: str | None = None,
        refresh_token_spent: bool = False,
        reset_token: str | None = None,
    ) -> None:
        super().__init__(message, status=status, error=error, refresh_token_spent=refresh_token_spent)
        self._reset_token = reset_token

    @property
    def reset_token(self) -> str | None:
        """The token that allows the password to be reset, or None when the service sent none."""
        return self._reset_token

    def __copy__(self) -> "PasswordResetRequiredError":
        twin = type(self)(str(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __reduce__(self) -> tuple[object, ...]:
        state = {name: value for name, value in self.__dict__.items() if name != "_reset_token"}
        return (type(self), self.args, state | {"_reset_token": None})


class EndpointUnavailableError(TokenEndpointError):
    """Raised when the endpoint was unreachable, slow, throttling, or answered 5xx, itself or a gateway before it.

    It is tried again under back-off. Whatever a connector raises comes out as this, with the cause attached.
    """

    transient = True


class MalformedResponseError(TokenEndpointError):
    """Raised when the answer was not a token: cut off, too large, no HTTP, not JSON, or with impossible values."""

    transient = True


class WrongHostError(TokenEndpointError):
    """Raised when the answer came from something else than the token endpoint: the message says what to write."""


CREDENTIALS_REFUSED: Final = (CredentialsRejectedError, TotpRequiredError, PasswordResetRequiredError)
"""The errors that mean: do not send these credentials again and again. See `is_refusal`."""

E = TypeVar("E", bound=NexudusAuthError)
F = TypeVar("F", bound=BaseException)


def is_refusal(error: BaseException | None) -> bool:
    """Tell whether the session's own credentials were refused; an operator's rest in the operator's session."""
    return isinstance(error, CREDENTIALS_REFUSED) and error.operator is None


def is_unexplained(error: BaseException | None) -> bool:
    """Tell whether a request was refused without a reason: by the service, or by a firewall, nobody knows."""
    return isinstance(error, MalformedResponseError) and error.status is not None and 400 <= error.status < 500


def of_operator(error: E, label: str) -> E:
    """Return an equal error that names the operator, to be raised from the original."""
    twin = copy_of(error)
    twin.args = (f"the operator {label}: {error}",)
    twin.operator = label
    return twin


def copy_of(error: E) -> E:
    """Return an equal error, to be raised `from` the original: a traceback grows on the object that is raised."""
    kind = type(error)
    twin = kind.__new__(kind, *error.args)  # not its __init__: a foreign source's error may want other arguments
    twin.__dict__.update(error.__dict__)
    return twin


def cause_of(error: NexudusAuthError) -> NexudusAuthError:
    """Return what a copy of a shared error is raised from: the refused refresh that came before it, else the error."""
    return error.__cause__ if isinstance(error.__cause__, TokenEndpointError) else error


def as_auth_error(cause: BaseException, who: str) -> NexudusAuthError:
    """Return `cause` if it is one of ours, else a `NexudusAuthError` from it that repeats none of its words."""
    if isinstance(cause, NexudusAuthError):
        return cause
    error = NexudusAuthError(f"{who} raised {type(cause).__name__}")
    error.__cause__ = cause
    return error


def chain_of(error: BaseException, until: BaseException | None = None) -> Iterator[BaseException]:
    """Yield `error` and all that it came from: causes, contexts, and the members of groups, each once.

    until: the error that the caller was handling already, if any; it is not part of this one.
    """
    to_do, done = [error], {id(until)}
    while to_do:
        link = to_do.pop()
        if id(link) not in done:
            done.add(id(link))
            yield link
            to_do += [other for other in (link.__context__, link.__cause__) if other is not None]  # the cause first
            if isinstance(link, BaseExceptionGroup):
                to_do += cast("tuple[BaseException, ...]", link.exceptions)


def without_frames(error: F, until: BaseException | None = None) -> F:
    """Return `error` without its frames, nor those of all it came from: their variables are requests and passwords.

    For errors of other people's code, where they leave this package: their type, text and attributes stay.
    until: as for `chain_of`.
    """
    for link in chain_of(error, until):
        link.__traceback__ = None
    return error


def with_its_place(error: F) -> F:
    """Return `error` with a note of the file and line that raised it, which is lost with its frames."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    if frame is not None:
        note = f"raised in {PurePath(frame.tb_frame.f_code.co_filename).name}, line {frame.tb_lineno}"
        if note not in getattr(error, "__notes__", ()):  # there already: the same error is raised again and again
            error.add_note(note)
    return error
