"""The token endpoint of Nexudus: sends a grant, tries again where that is safe, and guards a lost refresh token.

Trying again is decided by what became of the attempt (`failures.Fate`):

                  sign-in                   refresh
    not sent      again                     again
    throttled     again                     again
    broken        again                     not in this flight
    lost          again, unless the code    once more, promptly; after that the refresh token counts as spent, unless
                  was typed by a person     nobody is there to sign in again
    unreadable    not in this flight        as lost
    unclear       not in this flight        as lost, without the once more
    refused       never                     never

This is the only place where tenacity is known.
"""

import asyncio
import hashlib
import json
import secrets
import unicodedata
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import aiohttp
from yarl import URL

from nexudus_async._clock import Clock, SystemClock, sleep
from nexudus_async._credentials import PasswordCredentials
from nexudus_async._refresh.grants import Grants, HasGrants
from nexudus_async._refresh.policy import RefreshPolicy
from nexudus_async._token import Secret, Token
from nexudus_async._validation import check_kind, check_methods, parse_origin
from nexudus_async.errors import ConfigurationError, TokenEndpointError

from . import messages
from .exchange import AttemptFailed, Exchange, Form
from .failures import Fate
from .messages import TOKEN_PATH
from .replay_guard import ReplayGuard
from .sign_in import SignIn

if TYPE_CHECKING:
    from tenacity import RetryCallState

MAX_TRIES: Final = 3
"""Per sign-in or refresh: a fault that outlives three tries is not a hiccup, and back-off takes over."""
FIRST_WAIT, LONGEST_WAIT = 0.25, 5.0
"""Seconds between tries: random, up to the first, doubling to the second."""
_LOST: Final = (Fate.LOST, Fate.UNREADABLE)


class TokenEndpoint(HasGrants):
    """The `TokenSource` for Nexudus: `POST /api/token` with the password grant and the refresh grant.

    client_session: what the requests go through, or a function that returns it when the first is made. It is never
        closed here. Its middlewares do not apply to token requests; its proxy and TLS settings do.
    base_url: the origin of the service; only https, or http to this machine.
    credentials: None where nobody can sign in: `login` then raises `LoginRequiredError`.
    client_id: the `client_id` header (Nexudus keeps one refresh token for each). None: a unique one, made at the
        first sign-in.
    policy: for `connect_timeout`, `flight_deadline` and `default_lifetime`.
    clock: the time; the system's by default.
    account: the user name that `key` is made of, where there are no credentials.
    allow_insecure_http: allow plain http to other machines.

    Raises `ConfigurationError` for an unusable `base_url` or `client_id`. One object serves one manager.
    """

    def __init__(
        self,
        client_session: aiohttp.ClientSession | Callable[[], aiohttp.ClientSession],
        base_url: str | URL,
        credentials: PasswordCredentials | None,
        *,
        client_id: str | None = None,
        policy: RefreshPolicy | None = None,
        clock: Clock | None = None,
        account: str | None = None,
        allow_insecure_http: bool = False,
    ) -> None:
        check_kind("credentials", credentials, PasswordCredentials, "PasswordCredentials(username, password)")
        check_kind("client_id", client_id, str, "text")
        check_kind("policy", policy, RefreshPolicy, "a RefreshPolicy")
        if clock is not None:
            check_methods("clock", clock, ("monotonic", "wall"), "a Clock")
        if not callable(client_session):
            check_methods("client_session", client_session, ("post",), "an aiohttp.ClientSession")
        if client_id is not None and not (client_id and client_id.isascii() and client_id.isprintable()):
            raise ConfigurationError("client_id is sent as a header: it must be printable ASCII, and not empty")
        origin = parse_origin("base_url", base_url, allow_insecure_http=allow_insecure_http)
        policy, clock = policy or RefreshPolicy(), clock or SystemClock()
        exchange = Exchange(client_session, origin.with_path(TOKEN_PATH), policy, clock)
        self.key: str = account_key(origin, credentials.username if credentials else account, client_id)
        """What a store files this account's tokens under: a hash, so that it names nobody."""
        sign_in = SignIn(exchange, credentials, clock, self.key)
        self._grants = _NexudusGrants(exchange, sign_in, client_id, policy, clock)

    async def login(self) -> Token:
        """Sign in with the credentials (RFC 6749, section 4.3).

        Raises `LoginRequiredError` without credentials, else the `NexudusAuthError` of the last try. A
        `TotpRequiredError` with `retry_after` says when the next one-time code can be had.
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


class _NexudusGrants:
    """The grants of one account."""

    for_fleets = True

    def __init__(
        self, exchange: Exchange, sign_in: SignIn, client_id: str | None, policy: RefreshPolicy, clock: Clock
    ) -> None:
        self._exchange, self._sign_in, self._policy, self._clock = exchange, sign_in, policy, clock
        self._client_id, self._named = client_id, client_id is not None
        self._guard = ReplayGuard(clock)

    async def sign_in(self, client_id: str | None) -> Token:
        """Return a token for the credentials. client_id: the chain's, unless one was given by hand."""
        if client_id is not None and not self._named:
            self._client_id = client_id
        self._client_id = self._client_id or _new_client_id()
        return await self._sign_in_under(self._client_id)

    async def sign_in_apart(self) -> Token:
        return await self._sign_in_under(_new_client_id())

    async def refresh(self, token: Token) -> Token:
        if token.refresh_token is None or token.client_id is None:
            raise TokenEndpointError("the token has no refresh token", refresh_token_spent=True)
        refresh_token, client_id = Secret(token.refresh_token), token.client_id

        async def attempt() -> Token:
            return await self._try_to_refresh(refresh_token, client_id)

        def may_retry(failed: AttemptFailed) -> bool:
            harmless = failed.fate in (Fate.NOT_SENT, Fate.THROTTLED, *_LOST)
            return harmless and not self._guard.forbids(refresh_token)

        return await self._retrying(attempt, may_retry)

    def others_have_sent(self, token: Token) -> None:
        if token.refresh_token is not None:
            self._guard.others_have_sent(token.refresh_token)

    def may_have_been_used(self, token: Token) -> bool:
        return token.refresh_token is not None and self._guard.may_have_been_used(token.refresh_token)

    async def credentials_changed(self) -> bool:
        return await self._sign_in.credentials_changed()

    async def fingerprint(self, like: str | None = None) -> str | None:
        return await self._sign_in.fingerprint(like)

    async def _sign_in_under(self, client_id: str) -> Token:
        password = await self._sign_in.begin()

        async def attempt() -> Token:
            return await self._sign_in.attempt(password, client_id)

        return await self._retrying(attempt, self._sign_in.may_retry)

    async def _try_to_refresh(self, refresh_token: Secret, client_id: str) -> Token:
        attended = self._sign_in.attended
        if not attended and self._guard.forbids(refresh_token):
            raise TokenEndpointError(
                "the answer to the last refresh was lost, and its refresh token may have been used",
                refresh_token_spent=True,
            )
        request = messages.refresh(refresh_token, client_id)
        form, before = Form(request.form), self._guard.sending(refresh_token)
        try:
            token = await self._exchange.post(request, form)
        except AttemptFailed as failed:
            if form.unsent:  # an answer came before there was a request, say
                self._guard.restore(before)
            elif failed.fate in (*_LOST, Fate.UNCLEAR):
                if failed.fate is Fate.UNCLEAR:
                    self._guard.forbid()
                failed.error.refresh_token_spent = not attended
            elif before is None or failed.fate in (Fate.NOT_SENT, Fate.THROTTLED):
                self._guard.restore(before)
            # Else the one replay was made: whatever came of it, there is no other.
            raise
        except asyncio.CancelledError:
            if form.unsent:  # cut off while it waited for a connection
                self._guard.restore(before)
            raise
        self._guard.restore(None)
        return token

    async def _retrying(
        self, attempt: Callable[[], Awaitable[Token]], may_retry: Callable[[AttemptFailed], bool]
    ) -> Token:
        started = self._clock.monotonic()
        reserve = min(self._policy.connect_timeout, self._policy.flight_deadline / MAX_TRIES)

        def out_of_time(state: "RetryCallState") -> bool:
            """Whether the next try could not even connect before the deadline cuts it off in an unknown state."""
            elapsed = self._clock.monotonic() - started
            return elapsed + state.upcoming_sleep + reserve > self._policy.flight_deadline

        # Imported at the first sign-in: it is a fifth of what importing this package adds to aiohttp.
        from tenacity import AsyncRetrying, retry_if_exception, wait_random_exponential  # noqa: PLC0415

        waits = wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda exc: isinstance(exc, AttemptFailed) and may_retry(exc)),
            stop=lambda state: state.attempt_number >= MAX_TRIES or out_of_time(state),
            wait=lambda state: max(waits(state), _asked_wait(state)),
            sleep=lambda seconds: sleep(self._clock, seconds),
            reraise=True,
        )
        try:
            return await retrying(attempt)
        except AttemptFailed as failed:
            error, cause = failed.error, failed.__cause__
        raise error from cause  # not above, or each of the tries would be a part of its context


def _asked_wait(state: "RetryCallState") -> float:
    """Return the seconds that the service asked to wait."""
    failure = state.outcome and state.outcome.exception()
    return (isinstance(failure, AttemptFailed) and failure.error.retry_after) or 0.0


def _new_client_id() -> str:
    return f"nexudus-async-{secrets.token_hex(8)}"


def account_key(origin: URL, username: str | None, client_id: str | None) -> str:
    """Return the name under which a store keeps an account's tokens."""
    account = unicodedata.normalize("NFC", username or "").strip().casefold()
    return hashlib.sha256(json.dumps([str(origin), account, client_id]).encode()).hexdigest()[:32]
