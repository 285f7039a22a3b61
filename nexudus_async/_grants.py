"""Which grant is asked for: a renewal where there is a refresh token, else, or when that is spent, one sign-in.

Each question to the source is bounded by the flight's deadline; waiting for the next one-time code is not part of it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import anyio

from ._clock import Clock, sleep
from ._events import Grant
from ._lifecycle import RefreshPolicy
from ._token import Token
from .errors import EndpointUnavailableError, NexudusAuthError, TokenEndpointError, TotpRequiredError, copy_of

__all__ = ["Grants", "Obtained", "TokenSource"]

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

    async def refresh(self, token: Token) -> Token:
        """Return the successor of `token`.

        Raises a `NexudusAuthError`; a `TokenEndpointError` with `refresh_token_spent` leads to a sign-in at once.
        """
        ...


@runtime_checkable
class _CredentialsMayChange(Protocol):
    """A source that can tell, without a request, whether refused credentials were replaced."""

    async def credentials_changed(self) -> bool: ...


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
        self, token: Token | None, *, on_spent: Callable[[], None], refused: NexudusAuthError | None
    ) -> Obtained:
        """Return the successor of `token`.

        on_spent: called when the refresh token must not be sent again, before anything else is done.
        refused: the error with which the service refused the credentials so often that a sign-in needs others; it
            is raised again, without a request, unless the source has others now.
        """
        if token is not None and token.refresh_token is not None:
            try:
                return await self._ask("refresh_token", self._source.refresh(token))
            except TokenEndpointError as exc:
                if not (exc.refresh_token_spent or exc.error == "invalid_grant"):
                    raise
            on_spent()
        if refused is not None and not await self._has_other_credentials():
            raise copy_of(refused) from refused
        return await self._sign_in()

    async def _sign_in(self) -> Obtained:
        try:
            return await self._ask("password", self._source.login())
        except TotpRequiredError as exc:
            if exc.retry_after is None:
                raise
            until_next_code = exc.retry_after
        await sleep(self._clock, until_next_code)
        return await self._ask("password", self._source.login())

    async def _has_other_credentials(self) -> bool:
        source = self._source
        return isinstance(source, _CredentialsMayChange) and await self._within_deadline(source.credentials_changed())

    async def _ask(self, grant: Grant, answer: Awaitable[Token]) -> Obtained:
        asked, asked_wall = self._clock.monotonic(), self._clock.wall()
        return Obtained(await self._within_deadline(answer), grant, asked, asked_wall)

    async def _within_deadline(self, answer: Awaitable[R]) -> R:
        try:
            with anyio.fail_after(self._deadline):
                return await answer
        except TimeoutError as exc:
            raise EndpointUnavailableError(f"no answer to a sign-in or renewal within {self._deadline:g} s") from exc
