"""Which grant is asked for: a renewal where there is a refresh token, else, or when that is spent, one sign-in.

Each question to the source is bounded by the flight's deadline; waiting for the next one-time code is not part of it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import anyio

from nexudus_async._clock import Clock, sleep
from nexudus_async._events import Grant
from nexudus_async._token import Token
from nexudus_async.errors import EndpointUnavailableError, TokenEndpointError, TotpRequiredError

from .policy import RefreshPolicy

__all__ = ["Grants", "Obtained", "TokenSource", "is_spent"]

R = TypeVar("R")


class TokenSource(Protocol):
    """Where tokens come from. `TokenEndpoint` is the one for Nexudus; a test may have its own."""

    @property
    def key(self) -> str:
        """What a store files the tokens under."""
        ...

    async def login(self) -> Token:
        """Return a token for the credentials. Raises a `NexudusAuthError`."""
        ...

    async def refresh(self, token: Token, /) -> Token:
        """Return the successor of `token`.

        Raises a `NexudusAuthError`; a `TokenEndpointError` with `refresh_token_spent` leads to a sign-in at once.
        """
        ...


@runtime_checkable
class CredentialsMayChange(Protocol):
    """A source that can tell, without a request, whether refused credentials were replaced."""

    async def credentials_changed(self) -> bool:
        """Tell whether the credentials are others than those refused last."""
        ...


@runtime_checkable
class SharesChain(Protocol):
    """A source for fleets: it can go by the chain's `client_id`, go apart from it, and tell credentials from others."""

    def join(self, client_id: str) -> None:
        """Sign in under this `client_id` from now on, unless one was given by hand."""
        ...

    async def login_apart(self) -> Token:
        """Sign in under a new `client_id`, which leaves the chain that others use alone."""
        ...

    def recall(self, token: Token) -> None:
        """Learn that another process has sent the refresh token of `token`, and nobody knows the answer."""
        ...

    def in_doubt(self, token: Token) -> bool:
        """Tell whether another process should learn that of this one."""
        ...

    async def fingerprint(self, like: str | None = None) -> str | None:
        """Return a slow, salted hash of the credentials, with the salt of `like`; None where there are none."""
        ...


@dataclass(frozen=True, slots=True)
class Obtained:
    """A token, the grant that brought it, and when the source was asked, by both readings of the clock."""

    token: Token
    grant: Grant
    asked: float
    asked_wall: float


class Grants:
    """Asks a source for tokens. Holds no state between calls."""

    def __init__(self, source: TokenSource, policy: RefreshPolicy, clock: Clock) -> None:
        self._source = source
        self._deadline = policy.flight_deadline
        self._clock = clock

    async def obtain(
        self,
        token: Token | None,
        *,
        on_spent: Callable[[TokenEndpointError], Awaitable[bool]],
        before_sign_in: Callable[[], Awaitable[None]],
    ) -> Obtained | None:
        """Return the successor of `token`, or None when there is no need for one any more.

        on_spent: called with the error that says that the refresh token must not be sent again, before anything else;
            true ends the work.
        before_sign_in: called before the password is sent; raises where it must not be.
        """
        if token is not None and token.refresh_token is not None:
            try:
                return await self.renew(token)
            except TokenEndpointError as exc:
                if not is_spent(exc):
                    raise
                spent = exc
            if await on_spent(spent):
                return None
        await before_sign_in()
        return await self._sign_in()

    async def renew(self, token: Token) -> Obtained:
        """Return the successor of `token` by its refresh token alone."""
        return await self._ask("refresh_token", self._source.refresh(token))

    async def sign_in_apart(self) -> Obtained:
        """Sign in without touching the chain that others share, where the source can do that."""
        source = self._source
        login = source.login_apart() if isinstance(source, SharesChain) else source.login()
        return await self._ask("password", login)

    async def have_changed(self) -> bool:
        """Tell whether the source has other credentials than those refused last; False where it cannot tell."""
        source = self._source
        return isinstance(source, CredentialsMayChange) and await self._within_deadline(source.credentials_changed())

    async def fingerprint(self, like: str | None = None) -> str | None:
        """Return the source's fingerprint of its credentials; None where it has none."""
        source = self._source
        return await self._within_deadline(source.fingerprint(like)) if isinstance(source, SharesChain) else None

    @property
    def share_chain(self) -> bool:
        """Whether the source is made for fleets."""
        return isinstance(self._source, SharesChain)

    def join(self, client_id: str | None) -> None:
        """Let the source sign in under the chain's `client_id`."""
        if client_id is not None and isinstance(self._source, SharesChain):
            self._source.join(client_id)

    def recall(self, token: Token) -> None:
        """Tell the source that another process may have used the refresh token of `token`."""
        if isinstance(self._source, SharesChain):
            self._source.recall(token)

    def in_doubt(self, token: Token) -> bool:
        """Tell whether the refresh token of `token` may have been used, for all that the source knows."""
        return isinstance(self._source, SharesChain) and self._source.in_doubt(token)

    async def _sign_in(self) -> Obtained:
        try:
            return await self._ask("password", self._source.login())
        except TotpRequiredError as exc:
            if exc.retry_after is None:
                raise
            until_next_code = exc.retry_after
        await sleep(self._clock, until_next_code)
        return await self._ask("password", self._source.login())

    async def _ask(self, grant: Grant, answer: Awaitable[Token]) -> Obtained:
        asked, asked_wall = self._clock.monotonic(), self._clock.wall()
        return Obtained(await self._within_deadline(answer), grant, asked, asked_wall)

    async def _within_deadline(self, answer: Awaitable[R]) -> R:
        with anyio.move_on_after(self._deadline):
            return await answer
        raise EndpointUnavailableError(f"no answer to a sign-in or renewal within {self._deadline:g} s")


def is_spent(error: TokenEndpointError) -> bool:
    """Tell whether `error` says that the refresh token must not be sent again."""
    return error.refresh_token_spent or error.error == "invalid_grant"
