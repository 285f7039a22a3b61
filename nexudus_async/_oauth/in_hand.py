"""Signing in with what was handed over: tokens, or a one-time JWT.

Tokens in hand begin a chain, without a request: they are its first token, and how that is refreshed, guarded and shared
is the same as for any other. Where only a refresh token was handed over, that first token is one that has expired.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from nexudus_async._clock import Clock
from nexudus_async._credentials import ExchangeCredentials, RefreshTokenCredentials
from nexudus_async._credentials.in_hand import email_in
from nexudus_async._refresh.policy import RefreshPolicy
from nexudus_async._refresh.tried import Tried
from nexudus_async._token import Secret, SecretBytes, Token
from nexudus_async.errors import LoginRequiredError, is_refusal

from . import messages
from .failures import NOT_USED, Fate
from .sign_in import HOLD, Attempt, SignIn
from .transport import AttemptFailed, Form, Transport

NO_ACCESS_TOKEN: Final = "-"  # noqa: S105
"""Stands in the first token of a chain for the access token that there is not. It has always expired."""
LONG_AGO: Final = datetime.fromtimestamp(1, UTC)
SEED_AGAIN: Final = (
    "the refresh token that was handed over has been used, or may have been, and is not sent again: sign in once more, "
    "with a password, and hand over the new one (RefreshTokenCredentials(...), or NEXUDUS_REFRESH_TOKEN and "
    "NEXUDUS_CLIENT_ID)"
)
ANOTHER_JWT: Final = "the one-time JWT has been used, or may have been, and is not sent again: get another one"
MAY_BE_USED: Final = "the one-time JWT may have been used, and is not sent again: get another one"
NO_ADDRESS: Final = f"{ANOTHER_JWT}; a refresh needs the e-mail address, which this JWT does not name: pass username="


class OneTime:
    """A credential that is good for one use, fetched when it is needed. Its callable may be good for one call, too."""

    def __init__(self, fetch: Callable[[], Awaitable[Secret]], tried: Tried, clock: Clock, used_up: str) -> None:
        self._fetch, self._tried, self._clock, self.used_up = fetch, tried, clock, used_up
        self._held: tuple[Secret, float] | None = None
        """One that was fetched and not used yet, and until when it is kept (monotonic seconds)."""
        self._taken: Secret | None = None
        """The one that `use` is to return, however much later: another one would not count as tried."""

    async def look(self) -> str:
        """Return the mark of the one that would be used now."""
        return self._tried.mark_of(await self._looked_at())

    async def take(self) -> str:
        """Count the one that `use` is about to return as tried, and return its mark.

        Raises `LoginRequiredError` for one that was tried already.
        """
        value = await self._looked_at()
        mark = self._tried.mark_of(value)
        if mark in self._tried:
            self._held = self._taken = None
            raise LoginRequiredError(self.used_up)
        self._tried.add(mark)
        self._taken = value
        return mark

    async def use(self) -> Secret:
        """Return the one that was taken; take one, where none was."""
        if self._taken is None:
            await self.take()
        taken, self._taken, self._held = self._taken, None, None
        assert taken is not None
        return taken

    def take_back(self, value: str) -> None:
        """Learn that it was not used after all."""
        self._tried.take_back(self._tried.mark_of(value))

    async def _looked_at(self) -> Secret:
        now = self._clock.monotonic()
        value = self._held[0] if self._held is not None and now < self._held[1] else await self._fetch()
        self._held = value, self._clock.monotonic() + HOLD
        return value


class TokensInHand(SignIn):
    """Begins a chain with tokens that somebody else has got."""

    grant = None
    attended = True

    def __init__(self, credentials: RefreshTokenCredentials, tried: Tried, policy: RefreshPolicy, clock: Clock) -> None:
        self._credentials, self._clock = credentials, clock
        self._refresh_token = OneTime(credentials.fetch_refresh_token, tried, clock, SEED_AGAIN)
        life = policy.default_lifetime if credentials.expires_in is None else credentials.expires_in
        self._life = life if credentials.access_token is not None else 0.0
        self._ends = clock.wall() + max(0.0, life - credentials.age)
        self._access_token_used = False
        self._first: Token | None = None
        """The first token, without its refresh token, while that is noted as taken."""

    async def take_one_time(self) -> str | None:
        self._first = await self._first_token()  # a callable that fails is to cost nothing
        return await self._refresh_token.take()

    async def begin(self, client_id: str, *, apart: bool) -> Attempt:  # noqa: ARG002 - the tokens have theirs
        """Return what gives the tokens. apart: the access token alone, since the refresh token is everybody's."""
        if apart and (self._access_token_used or not self._lives):
            raise LoginRequiredError(SEED_AGAIN)
        token, self._first = self._first or await self._first_token(), None
        if not apart:
            token = replace(token, refresh_token=await self._refresh_token.use())
        self._access_token_used = True

        async def attempt() -> Token:
            return token

        return attempt

    def take_back(self, token: Token) -> None:
        """Learn that the service has not been asked after all."""
        self._refresh_token.take_back(token.refresh_token or "")
        self._access_token_used = False

    async def _first_token(self) -> Token:
        client_id = await self._credentials.fetch_client_id()
        usable = self._lives and not self._access_token_used
        access_token = await self._credentials.fetch_access_token() if usable else None
        if access_token is None:
            return Token(NO_ACCESS_TOKEN, None, "bearer", client_id, 1.0, LONG_AGO)
        return Token(access_token, None, "bearer", client_id, self._life, datetime.fromtimestamp(self._ends, UTC))

    @property
    def _lives(self) -> bool:
        return self._life > 0 and self._clock.wall() < self._ends


class Exchange:
    """Exchanges one-time JWTs.

    valid_for: minutes. username: the e-mail address, where somebody has said it. account: what a store calls the
    account, which is likely to be the same.
    """

    def __init__(self, transport: Transport, valid_for: int, username: str | None, account: str | None) -> None:
        self._transport, self._valid_for, self._username = transport, valid_for, username
        self._account = account if account is not None and "@" in account else None

    async def __call__(self, jwt: Secret, form: Form) -> Token:
        """Return the first token of the session. Raises `AttemptFailed`.

        Which `client_id` its refresh token is bound to is not documented: the e-mail address, it seems, as for a
        sign-in without one. Without an address there is no refresh.
        """
        username = (self._username or email_in(jwt) or self._account or "").strip()
        username = username if username.isascii() and username.isprintable() else ""  # it is to be a header
        token = await self._transport.post(messages.exchange(jwt, self._valid_for, username or None), form)
        if token.client_id is None:
            return Token(token.access_token, None, token.token_type, None, token.lifetime, token.expires_at)
        return token


class ExchangeSignIn(SignIn):
    """Exchanges a JWT that somebody else has got."""

    grant = "exchange"
    attended = True

    def __init__(self, exchange: Exchange, credentials: ExchangeCredentials, tried: Tried, clock: Clock) -> None:
        self._exchange, self._credentials, self._tried = exchange, credentials, tried
        self._jwt = OneTime(credentials.fetch_jwt, tried, clock, ANOTHER_JWT)
        self._refused: str | None = None

    async def take_one_time(self) -> str | None:
        return await self._jwt.take()

    async def begin(self, client_id: str, *, apart: bool) -> Attempt:  # noqa: ARG002 - the service chooses it
        jwt = await self._jwt.use()
        mark = self._tried.mark_of(jwt)

        async def attempt() -> Token:
            form = Form(SecretBytes(b""))
            self._tried.add(mark)  # a try that was not sent has taken it back
            try:
                token = await self._exchange(jwt, form)
            except AttemptFailed as failed:
                if form.unsent or failed.fate in NOT_USED:
                    self._tried.take_back(mark)
                    raise
                if failed.fate is Fate.REFUSED:
                    self._refused = mark if is_refusal(failed.error) else self._refused
                    raise
                lost = failed.error
            except asyncio.CancelledError:
                if form.unsent:
                    self._tried.take_back(mark)
                raise
            else:
                self._jwt.used_up = NO_ADDRESS if token.client_id is None else ANOTHER_JWT
                return token
            raise LoginRequiredError(f"{lost}: {MAY_BE_USED}") from lost

        return attempt

    def may_retry(self, failed: AttemptFailed) -> bool:
        return failed.fate in (Fate.NOT_SENT, Fate.THROTTLED)

    async def credentials_changed(self) -> bool:
        return not isinstance(self._credentials.jwt, str) and await self._jwt.look() not in self._tried

    async def fingerprint(self, like: str | None = None) -> str | None:
        return self._refused if like is None else await self._jwt.look()
