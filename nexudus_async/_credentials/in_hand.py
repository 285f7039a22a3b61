"""Credentials without a password: tokens that somebody handed over, a one-time JWT, an operator's session."""

import base64
import json
import math
import os
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn, Protocol, cast

import aiohttp

from nexudus_async._clock import SystemClock
from nexudus_async._token import MAX_LIFETIME, Secret
from nexudus_async._validation import check_methods
from nexudus_async._value import Value
from nexudus_async.errors import ConfigurationError

from .providers import Provider, fetch, fetch_token, hidden, kind_of_value, problem_of_token, variable

DAY: Final = 1440
"""Minutes: what the portal asks for."""
_EMAIL_CLAIMS: Final = ("email", "sub", "unique_name", "preferred_username", "upn")


class Operator(Protocol):
    """What impersonation needs of an operator's `TokenSession`."""

    @property
    def label(self) -> str:
        """What log lines and errors call the operator."""
        ...

    def get(
        self,
        url: str,
        /,
        *,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        allow_redirects: bool,
        raise_for_status: bool,
    ) -> Awaitable[aiohttp.ClientResponse]:
        """Send a GET request with the operator's token."""
        ...


class _NotPickled:
    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("credentials cannot be pickled; make them anew in the other process")


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class RefreshTokenCredentials(_NotPickled, Value):
    """Tokens in hand: somebody else has signed in, and no password is needed here (RFC 6749, section 6).

    refresh_token: it begins the chain, and is sent once; then each refresh brings the next one.
    client_id: the one that the refresh token was issued to: the account's e-mail address where none was sent.
    username: the account's e-mail address, which a store files the tokens under. None: `client_id` if that is one,
        else `account=` of the session names it.
    access_token: one that still lives; it is used first, without a request. expires_in: the seconds that it still
        lives, from now on; None: as for an answer without that field, `RefreshPolicy.default_lifetime`.

    Tokens and `client_id` may be callables that return text or an awaitable of it; they run on the event loop when the
    chain begins, or has ended. Nothing is sent before the first use. With a store, newer tokens there win, and these
    only seed it, once: a refresh token that was sent, by any process, is not sent again after a restart. When the
    chain has ended, `LoginRequiredError` says so, and another refresh token, from a callable or new credentials, begins
    a new one. Raises `ConfigurationError` for values that cannot work. Safe to share between the sessions of one store.
    """

    refresh_token: str | Provider = field(repr=False)
    client_id: str | Provider
    username: str | None
    access_token: str | Provider | None = field(repr=False)
    expires_in: float | None
    _made: float = field(repr=False, compare=False)

    def __init__(
        self,
        refresh_token: str | Provider,
        *,
        client_id: str | Provider,
        username: str | None = None,
        access_token: str | Provider | None = None,
        expires_in: float | None = None,
    ) -> None:
        _set(self, client_id=None, username=username, expires_in=expires_in, _made=SystemClock.monotonic())
        problem = (
            problem_of_token("refresh_token", refresh_token)
            or (None if access_token is None else problem_of_token("access_token", access_token))
            or _problem_of_client_id(client_id)
            or _problem_of_username(username)
            or _problem_of_life(access_token, expires_in)
        )
        if problem is not None:
            del refresh_token, access_token  # tools that report errors show the local variables of this frame
            raise ConfigurationError(problem)
        tokens = {"refresh_token": refresh_token, "access_token": access_token}
        _set(self, **{name: value and _token(value) for name, value in tokens.items()})
        _set(self, client_id=hidden(client_id) if callable(client_id) else client_id)
        _set(self, expires_in=None if expires_in is None else float(max(expires_in, 0)))

    @classmethod
    def from_env(cls) -> "RefreshTokenCredentials":
        """Return the tokens in NEXUDUS_REFRESH_TOKEN and NEXUDUS_CLIENT_ID, and NEXUDUS_USERNAME if it is set.

        Raises `ConfigurationError` naming the variable that is missing.
        """
        return cls(
            variable("NEXUDUS_REFRESH_TOKEN"),
            client_id=variable("NEXUDUS_CLIENT_ID"),
            username=os.environ.get("NEXUDUS_USERNAME") or None,
        )

    @property
    def name(self) -> str | None:
        """The account's e-mail address, as far as it is known without asking anybody."""
        client_id = self.client_id
        return self.username or (client_id if isinstance(client_id, str) and "@" in client_id else None)

    @property
    def age(self) -> float:
        """Seconds since these credentials were made."""
        return SystemClock.monotonic() - self._made

    async def fetch_refresh_token(self) -> Secret:
        """Return the refresh token that a chain is to begin with."""
        return await fetch_token("refresh_token", self.refresh_token)

    async def fetch_access_token(self) -> Secret | None:
        """Return the access token in hand, or None."""
        return None if self.access_token is None else await fetch_token("access_token", self.access_token)

    async def fetch_client_id(self) -> str:
        """Return the `client_id` of both."""
        client_id = str(await fetch("client_id", self.client_id))
        if (problem := _problem_of_client_id(client_id)) is not None:
            raise ConfigurationError(problem)
        return client_id


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class ExchangeCredentials(_NotPickled, Value):
    """A one-time JWT that the service has issued: at sign-up, after a password reset, or in a magic link.

    jwt: the JWT, or a callable that returns it or an awaitable of it. It is good for one exchange
        (`POST /api/sys/users/exchange`), after which the session lives on its refresh token.
    valid_for: minutes that the first access token is to live. The portal asks for a day.
    username: the account's e-mail address. A refresh needs it for its `client_id`, and a store files the tokens
        under it. None: the one that the JWT names; without one the session ends with its first token.

    Nothing is sent before the first use. A JWT that was not sent, as where there is no connection, is as good as
    before; one whose answer was lost may have been used, and is not sent again. Then, and when the session has ended,
    `LoginRequiredError` asks for another. The exchange sends it in the URL, as Nexudus wants it: no trace config sees
    that, but proxies and their logs may, and tools that replace aiohttp's own methods. Raises `ConfigurationError` for
    values that cannot work.
    """

    jwt: str | Provider = field(repr=False)
    valid_for: int
    username: str | None

    def __init__(self, jwt: str | Provider, *, valid_for: int = DAY, username: str | None = None) -> None:
        _set(self, valid_for=valid_for, username=username)
        problem = problem_of_token("jwt", jwt) or _problem_of_username(username)
        if isinstance(valid_for, bool) or not isinstance(valid_for, int) or valid_for < 1:
            problem = problem or f"valid_for must be a whole number of minutes, 1 or more, not {valid_for!r}"
        if problem is not None:
            del jwt
            raise ConfigurationError(problem)
        _set(self, jwt=_token(jwt))

    @property
    def name(self) -> str | None:
        """The account's e-mail address, as far as it is known without asking anybody."""
        return self.username or (email_in(self.jwt) if isinstance(self.jwt, str) else None)

    async def fetch_jwt(self) -> Secret:
        """Return the JWT for one exchange."""
        return await fetch_token("jwt", self.jwt)


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class ImpersonationCredentials(_NotPickled, Value):
    """An operator signs in as a member, without the member's password.

    session: the operator's `TokenSession`. It is asked for a one-time JWT of the member
        (`GET /api/sys/users/impersonate`, for administrators), which is then exchanged; and again, by itself, when the
        member's session has ended. It is never closed here.
    coworker_id: the member's number.
    username: the member's e-mail address, which a refresh needs. None: the one that the JWT names.

    What the operator's session raises comes out of the member's, naming the operator. A store files the tokens under
    the number, unless `account=` names the member. Raises `ConfigurationError` for values that cannot work.
    """

    session: Operator
    coworker_id: int
    username: str | None

    def __init__(self, session: Operator, *, coworker_id: int, username: str | None = None) -> None:
        _set(self, session=session, coworker_id=coworker_id, username=username)
        check_methods("session", session, ("get", "token"), "the operator's TokenSession")
        if isinstance(coworker_id, bool) or not isinstance(coworker_id, int) or coworker_id < 1:
            raise ConfigurationError(f"coworker_id must be the number of a member, not {coworker_id!r}")
        if (problem := _problem_of_username(username)) is not None:
            raise ConfigurationError(problem)

    @property
    def name(self) -> str:
        """What a store files the tokens under: no e-mail address has a blank in it."""
        return self.username or f"coworker {self.coworker_id}"


def email_in(jwt: str) -> str | None:
    """Return the e-mail address that a JWT names (RFC 7519, section 4), None for one that cannot be read.

    It proves nothing, and only says which `client_id` the service takes for granted.
    """
    parts = jwt.split(".")
    try:
        document: object = json.loads(base64.urlsafe_b64decode(f"{parts[1]}==")) if len(parts) > 1 else None
    except (ValueError, RecursionError):
        return None
    claims = cast("dict[str, object]", document) if isinstance(document, dict) else {}
    for name in _EMAIL_CLAIMS:
        value = claims.get(name)
        if isinstance(value, str) and "@" in value and _problem_of_client_id(value) is None:
            return str(value)
    return None


def _set(credentials: object, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(credentials, name, value)


def _token(value: str | Provider) -> str | Provider:
    return hidden(value.strip() if isinstance(value, str) else value)


def _problem_of_client_id(client_id: object) -> str | None:
    if callable(client_id) or (
        isinstance(client_id, str) and client_id and client_id.isascii() and client_id.isprintable()
    ):
        return None
    if isinstance(client_id, str) and client_id:
        return "client_id is sent as a header: it must be printable ASCII"
    return f"client_id must be the one that the refresh token was issued to, not {kind_of_value(client_id)}"


def _problem_of_username(username: object) -> str | None:
    if username is None or (isinstance(username, str) and username.strip()):
        return None
    return "username must be the account's e-mail address, or be left out"


def _problem_of_life(access_token: object, expires_in: object) -> str | None:
    if expires_in is None:
        return None
    if access_token is None:
        return "expires_in is the life of an access_token: pass that too, or neither"
    number = isinstance(expires_in, int) and not isinstance(expires_in, bool)
    if not number and not (isinstance(expires_in, float) and math.isfinite(expires_in)):
        return "expires_in must be the seconds that the access_token still lives"
    too_long = cast(float, expires_in) > MAX_LIFETIME
    return "expires_in is in seconds: this is more than ten years" if too_long else None
