"""The token endpoint of Nexudus, as a source of tokens: whose tokens, from where, and how one signs in."""

import hashlib
import json
import unicodedata
from collections.abc import Callable
from typing import Final, get_args

import aiohttp
from yarl import URL

from nexudus_async._clock import Clock, SystemClock
from nexudus_async._credentials import (
    Credentials,
    ExchangeCredentials,
    ImpersonationCredentials,
    PasswordCredentials,
    RefreshTokenCredentials,
)
from nexudus_async._refresh.grants import Grants, HasGrants
from nexudus_async._refresh.policy import RefreshPolicy
from nexudus_async._refresh.tried import Tried
from nexudus_async._token import Token
from nexudus_async._validation import check_kind, check_methods, kind_of, parse_origin
from nexudus_async.errors import ConfigurationError

from .grants import NexudusGrants
from .in_hand import Exchange, ExchangeSignIn, TokensInHand
from .password import PasswordSignIn
from .sign_in import NoSignIn, SignIn
from .transport import Transport

DAY: Final = 1440
"""Minutes that the first token of an impersonated member is to live, as the portal asks for."""


class TokenEndpoint(HasGrants):
    """The `TokenSource` for Nexudus: `POST /api/token` with the password grant and the refresh grant.

    client_session: what the requests go through, or a function that returns it when the first is made. It is never
        closed here. Its middlewares do not apply to token requests; its proxy and TLS settings do.
    base_url: the origin of the service; only https, or http to this machine.
    credentials: who signs in, and how. None where nobody can: `login` then raises `LoginRequiredError`.
    client_id: the `client_id` header (Nexudus keeps one refresh token for each). None: a unique one, made at the
        first sign-in. Only for `PasswordCredentials`: the others come with theirs.
    policy: for `connect_timeout`, `flight_deadline` and `default_lifetime`.
    clock: the time; the system's by default.
    account: the user name that `key` is made of, where the credentials do not say it.
    allow_insecure_http: allow plain http to other machines.

    Raises `ConfigurationError` for an unusable `base_url` or `client_id`. One object serves one manager.
    """

    def __init__(
        self,
        client_session: aiohttp.ClientSession | Callable[[], aiohttp.ClientSession],
        base_url: str | URL,
        credentials: Credentials | None,
        *,
        client_id: str | None = None,
        policy: RefreshPolicy | None = None,
        clock: Clock | None = None,
        account: str | None = None,
        allow_insecure_http: bool = False,
    ) -> None:
        check_credentials(credentials)
        check_kind("policy", policy, RefreshPolicy, "a RefreshPolicy")
        if clock is not None:
            check_methods("clock", clock, ("monotonic", "wall"), "a Clock")
        if not callable(client_session):
            check_methods("client_session", client_session, ("post",), "an aiohttp.ClientSession")
        _check_client_id(client_id, credentials)
        origin = parse_origin("base_url", base_url, allow_insecure_http=allow_insecure_http)
        policy, clock = policy or RefreshPolicy(), clock or SystemClock()
        transport = Transport(client_session, origin, policy, clock)
        self.key: str = account_key(origin, account_of(credentials, account), client_id)
        """What a store files this account's tokens under: a hash, so that it names nobody."""
        tried = Tried(self.key)
        sign_in = _sign_in_with(
            credentials, transport, tried=tried, policy=policy, clock=clock, key=self.key, account=account
        )
        self._grants = NexudusGrants(transport, sign_in, tried=tried, client_id=client_id, policy=policy, clock=clock)

    async def login(self) -> Token:
        """Sign in with the credentials (RFC 6749, section 4.3), or return the tokens in hand, which may have expired.

        Raises `LoginRequiredError` without credentials, and where they are used up; else the `NexudusAuthError` of the
        last try. A `TotpRequiredError` with `retry_after` says when the next one-time code can be had.
        Cancelling abandons the request, which may have been carried out.
        """
        return await self._grants.sign_in(None)

    async def refresh(self, token: Token) -> Token:
        """Refresh `token` with its refresh token, under the `client_id` it was issued to (RFC 6749, section 6).

        Raises a `TokenEndpointError`; where `refresh_token_spent` is set, this refresh token must not be sent again.
        Cancelling counts as a lost answer.
        """
        return await self._grants.refresh(token)

    def _grants_of_source(self) -> Grants:
        return self._grants


def check_credentials(credentials: object) -> None:
    """Raise `ConfigurationError`, naming no value, for what are no credentials."""
    if credentials is not None and not isinstance(credentials, get_args(Credentials)):
        names = ", ".join(kind.__name__ for kind in get_args(Credentials))
        raise ConfigurationError(f"credentials must be one of {names}; not {kind_of(credentials)}")


def account_of(credentials: Credentials | None, account: str | None) -> str | None:
    """Return the user name that a store files the tokens under; None where nobody has said it."""
    if credentials is None:
        return account
    return (
        credentials.username or account or (None if isinstance(credentials, PasswordCredentials) else credentials.name)
    )


def account_key(origin: URL, username: str | None, client_id: str | None) -> str:
    """Return the name under which a store keeps an account's tokens."""
    return hashlib.sha256(json.dumps([str(origin), normalized(username), client_id]).encode()).hexdigest()[:32]


def normalized(username: str | None) -> str:
    """Return the one form of all spellings of a user name."""
    return unicodedata.normalize("NFC", username or "").strip().casefold()


def _check_client_id(client_id: object, credentials: Credentials | None) -> None:
    check_kind("client_id", client_id, str, "text")
    if client_id is None:
        return
    if isinstance(client_id, str) and not (client_id and client_id.isascii() and client_id.isprintable()):
        raise ConfigurationError("client_id is sent as a header: it must be printable ASCII, and not empty")
    if isinstance(credentials, RefreshTokenCredentials):
        raise ConfigurationError("client_id belongs to the refresh token: pass it to RefreshTokenCredentials alone")
    if credentials is not None and not isinstance(credentials, PasswordCredentials):
        raise ConfigurationError("client_id is chosen by the service where a one-time JWT is exchanged: leave it out")


def _sign_in_with(
    credentials: Credentials | None,
    transport: Transport,
    *,
    tried: Tried,
    policy: RefreshPolicy,
    clock: Clock,
    key: str,
    account: str | None,
) -> SignIn:
    match credentials:
        case None:
            return NoSignIn()
        case PasswordCredentials():
            return PasswordSignIn(transport, credentials, clock, key)
        case RefreshTokenCredentials():
            return TokensInHand(credentials, tried, policy, clock)
        case ExchangeCredentials():
            exchange = Exchange(transport, credentials.valid_for, credentials.username, account)
            return ExchangeSignIn(exchange, credentials, tried, clock)
        case ImpersonationCredentials():
            from .impersonation import ImpersonationSignIn  # noqa: PLC0415 - for those who do

            return ImpersonationSignIn(Exchange(transport, DAY, credentials.username, account), credentials, clock)
