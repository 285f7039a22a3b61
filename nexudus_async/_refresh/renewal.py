"""How a newer token is got: by the refresh token where there is one, else, or when that is refused, by one sign-in.

Each question to the source is bounded by the flight's deadline; waiting for the next one-time code is not part of it.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import Protocol, TypeVar

import anyio

from nexudus_async._clock import Clock, sleep
from nexudus_async._events import Grant
from nexudus_async._token import Token
from nexudus_async.errors import EndpointUnavailableError, NexudusAuthError, TokenEndpointError, TotpRequiredError

from .attempt import Attempt
from .policy import LONGEST_LATCH, RefreshPolicy
from .state import Obtained

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


class Grants(Protocol):
    """The two grants (RFC 6749, sections 4.3 and 6), and what is known of the credentials and refresh tokens sent."""

    @property
    def for_fleets(self) -> bool:
        """Whether it can go by the `client_id` of a chain that others share, and tell credentials from others."""
        ...

    async def sign_in(self, client_id: str | None) -> Token:
        """Return a token for the credentials, under the `client_id` of the chain; None: under its own."""
        ...

    async def sign_in_apart(self) -> Token:
        """Return a token under a new `client_id`, which leaves the chain that others share alone."""
        ...

    async def refresh(self, token: Token) -> Token:
        """Return the successor of `token`."""
        ...

    def others_have_sent(self, token: Token) -> None:
        """Learn that another process has sent the refresh token of `token`, and nobody knows the answer."""
        ...

    def may_have_been_used(self, token: Token) -> bool:
        """Tell whether the refresh token of `token` may have been used, for all that is known."""
        ...

    async def credentials_changed(self) -> bool:
        """Tell, without a request, whether the credentials are others than those refused last."""
        ...

    async def fingerprint(self, like: str | None = None) -> str | None:
        """Return a slow, salted hash of the credentials, with the salt of `like`; None where there are none."""
        ...


class HasGrants(ABC):
    """A source that knows more than a `TokenSource` must: `TokenEndpoint`."""

    @abstractmethod
    def _grants_of_source(self) -> Grants: ...


class _PlainGrants:
    """The grants of any other source, which has its tokens for itself."""

    for_fleets = False

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    async def sign_in(self, client_id: str | None) -> Token:  # noqa: ARG002 - it knows of none
        return await self._source.login()

    async def sign_in_apart(self) -> Token:
        return await self._source.login()

    async def refresh(self, token: Token) -> Token:
        return await self._source.refresh(token)

    def others_have_sent(self, token: Token) -> None:
        pass

    def may_have_been_used(self, token: Token) -> bool:  # noqa: ARG002
        return False

    async def credentials_changed(self) -> bool:
        return False

    async def fingerprint(self, like: str | None = None) -> str | None:  # noqa: ARG002
        return None


def grants_of(source: TokenSource) -> Grants:
    """Return the grants of a source."""
    return source._grants_of_source() if isinstance(source, HasGrants) else _PlainGrants(source)  # noqa: SLF001 - for this


class CredentialsRestError(Exception):
    """Raised where nothing was sent, because the credentials were refused before and have not changed.

    error: what those who wait are told. seconds: how long to leave it at that.
    """

    def __init__(self, error: NexudusAuthError, seconds: float) -> None:
        super().__init__(str(error))
        self.error, self.seconds = error, seconds


class Asking:
    """Asks a source, within the deadline. Holds no state between calls."""

    def __init__(self, source: TokenSource, policy: RefreshPolicy, clock: Clock) -> None:
        self.grants = grants_of(source)
        self._deadline, self._clock = policy.flight_deadline, clock

    async def refresh(self, token: Token) -> Obtained:
        """Return the successor of `token` by its refresh token."""
        return await self._ask("refresh_token", self.grants.refresh(token))

    async def sign_in(self, client_id: str | None = None) -> Obtained:
        """Return a token for the credentials, with a second one-time code where the first was refused."""
        try:
            return await self._ask("password", self.grants.sign_in(client_id))
        except TotpRequiredError as exc:
            if exc.retry_after is None:
                raise
            until_next_code = exc.retry_after
        await sleep(self._clock, until_next_code)
        return await self._ask("password", self.grants.sign_in(client_id))

    async def sign_in_apart(self) -> Obtained:
        """Return a token that leaves the chain that others share alone."""
        return await self._ask("password", self.grants.sign_in_apart())

    async def insist_on_a_change(self, refused: NexudusAuthError | None) -> None:
        """Raise what is known of refused credentials, without a request, unless there are others now."""
        if refused is not None and not await self._within_deadline(self.grants.credentials_changed()):
            raise CredentialsRestError(refused, LONGEST_LATCH)

    async def fingerprint(self, like: str | None = None) -> str | None:
        """Return the hash of the credentials."""
        return await self._within_deadline(self.grants.fingerprint(like))

    async def _ask(self, grant: Grant, answer: Awaitable[Token]) -> Obtained:
        asked, asked_wall = self._clock.monotonic(), self._clock.wall()
        return Obtained(await self._within_deadline(answer), grant, asked, asked_wall)

    async def _within_deadline(self, answer: Awaitable[R]) -> R:
        with anyio.move_on_after(self._deadline):
            return await answer
        raise EndpointUnavailableError(f"no answer to a sign-in or refresh within {self._deadline:g} s")


class Renewal(Protocol):
    """What a flight does, and what is to be done with a store. There are two: alone, and in a fleet."""

    @property
    def shared(self) -> bool:
        """Whether a store has the tokens, too."""
        ...

    @property
    def unsaved(self) -> bool:
        """Whether the store has yet to take something."""
        ...

    async def run(self, attempt: Attempt) -> None:
        """Get a newer token. Raises a `NexudusAuthError`, or `CredentialsRestError`."""
        ...

    def entomb(self, generation: int, token: Token | None) -> None:
        """Prepare the tombstone of a chain that a logout has ended."""
        ...

    async def bury(self) -> int:
        """Let the store have the tombstone; return its generation. Without the store that is left for later."""
        ...

    def save_later(self) -> None:
        """See to it that what the store has yet to take will be saved."""
        ...

    async def save_unsaved(self) -> None:
        """Try to save that now."""
        ...

    def end_saving(self) -> list["asyncio.Task[None]"]:
        """Return the tasks that save, to be cancelled."""
        ...

    async def disconnect(self) -> None:
        """Let the store close the connections that nobody uses."""
        ...


class AloneRenewal:
    """The flight of a process that has its chain for itself. There is no store."""

    shared = unsaved = False

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def entomb(self, generation: int, token: Token | None) -> None: ...
    async def bury(self) -> int:
        return 0

    def save_later(self) -> None: ...
    async def save_unsaved(self) -> None: ...
    def end_saving(self) -> list["asyncio.Task[None]"]:
        return []

    async def disconnect(self) -> None: ...

    async def run(self, attempt: Attempt) -> None:
        """Refresh, or sign in. Raises a `NexudusAuthError`, or `CredentialsRestError`."""
        token = attempt.token
        if token is not None and token.refresh_token is not None:
            try:
                attempt.granted(await self._asking.refresh(token))
                return
            except TokenEndpointError as exc:
                if not is_spent(exc):
                    raise
            attempt.refresh_token_refused()
        await self._asking.insist_on_a_change(attempt.refused)
        attempt.granted(await self._asking.sign_in())


def is_spent(error: TokenEndpointError) -> bool:
    """Tell whether `error` says that the refresh token must not be sent again."""
    return error.refresh_token_spent or error.error == "invalid_grant"
