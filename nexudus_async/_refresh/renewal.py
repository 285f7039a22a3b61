"""How a newer token is got: by the refresh token where there is one, else, or when that is refused, by one sign-in.

Each question to the source is bounded by the flight's deadline; waiting for the next one-time code is not part of it.
Under a lock that ends by itself all of them together, and that wait, are bounded by what is left of it.
"""

import asyncio
import copy
import math
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import anyio

from nexudus_async._clock import Clock, sleep
from nexudus_async._events import Grant, logger
from nexudus_async._token import Token
from nexudus_async.errors import (
    EndpointUnavailableError,
    LoginRequiredError,
    MalformedResponseError,
    NexudusAuthError,
    TokenEndpointError,
    TotpRequiredError,
    is_refusal,
)

from .attempt import Attempt
from .grants import TokenSource, grants_of
from .outcomes import Obtained, problem_of
from .policy import CODE_MARGIN, RefreshPolicy

R = TypeVar("R")

MAX_EXPIRED = 2
"""How many tokens in one flight may have expired before they arrive, as when a host sleeps in the middle of it."""
LEAST_SHARE = 0.25
"""Of the deadline: with less time than this left of a lock nothing is sent, for its answer would be lost."""
EXPIRED_ON_ITS_WAY = "the token had expired before it arrived, and so had its successor"


class HeldOffError(Exception):
    """Raised where nothing was sent, because of a failure that is known already.

    error: what those who wait are told. seconds: how long to leave it at that.
    """

    def __init__(self, error: NexudusAuthError, seconds: float) -> None:
        self.error, self.seconds = error, seconds


class Asking:
    """Asks a source, within the deadline. Holds no state between calls."""

    def __init__(self, source: TokenSource, policy: RefreshPolicy, clock: Clock) -> None:
        self.grants = grants_of(source)
        self._deadline, self._clock = policy.flight_deadline, clock
        self._end = math.inf

    def for_at_most(self, seconds: float) -> "Asking":
        """Return one that asks the same source, and ends with the lock: so many seconds from now."""
        limited = copy.copy(self)
        limited._end = self._clock.monotonic() + seconds  # noqa: SLF001 - one of this class
        return limited

    def check_time_left(self, *, after: TokenEndpointError | None = None) -> None:
        """Raise `EndpointUnavailableError` where the lock would end too soon for an answer. after: as for `sign_in`."""
        if not self._has_time(0.0):
            raise EndpointUnavailableError(
                "the service was too slow for the lock on the token store: the next attempt goes on from here"
            ) from after

    async def refresh(self, token: Token) -> Obtained:
        """Return the successor of `token` by its refresh token."""
        return await self._ask("refresh_token", self.grants.refresh(token))

    async def refresh_or_say_why_not(self, token: Token | None) -> tuple[Obtained | None, TokenEndpointError | None]:
        """Return the successor of `token`, or the error that says that its refresh token must not be sent again.

        Neither, where there is no refresh token. Raises any other `NexudusAuthError`.
        """
        if token is None or token.refresh_token is None:
            return None, None
        try:
            return await self.refresh(token), None
        except TokenEndpointError as exc:
            if not is_spent(exc):
                raise
            return None, exc

    async def sign_in(
        self, client_id: str | None, *, after: TokenEndpointError | None, probing: bool, by_hand: bool
    ) -> Obtained:
        """Return a token for the credentials, with a second one-time code where the first was refused.

        after: the refusal of a refresh token that it follows, which is then the cause of its error.
        probing, by_hand: as for `Grants.sign_in`.
        """
        obtained = await self._sign_in(lambda: self.grants.sign_in(client_id, probing=probing, by_hand=by_hand), after)
        return obtained._replace(grant="refresh_token") if by_hand and obtained.grant is None else obtained

    async def sign_in_apart(self, *, after: TokenEndpointError | None, for_new: bool) -> Obtained:
        """Return a token that leaves the chain that others share alone; else as `sign_in`.

        for_new: one that was handed over is not good enough.
        """
        if for_new and self.grants.grant is None:
            raise LoginRequiredError("nothing here can sign in while the store is down")
        return await self._sign_in(self.grants.sign_in_apart, after)

    async def take_one_time(self, *, after: TokenEndpointError | None) -> str | None:
        """Take credentials for one use, and return their mark; None for others. after: as for `sign_in`."""
        with _following(after):
            return await self._within_deadline(self.grants.take_one_time())

    async def check_not_held(self, attempt: Attempt) -> None:
        """Raise `HeldOffError` while a failure forbids a request, unless the refused credentials are others by now."""
        error = attempt.held
        if error is None:
            return
        if not (is_refusal(error) and attempt.first_look and await self._credentials_changed()):
            raise HeldOffError(error, attempt.held_for)

    async def _credentials_changed(self) -> bool:
        """Tell whether a callable gives others now; one in trouble gives none."""
        try:
            return await self._within_deadline(self.grants.credentials_changed())
        except Exception as exc:  # noqa: BLE001 - a callable is foreign code
            logger.debug("the credentials cannot be looked at: %s", type(exc).__name__)
            return False

    async def _sign_in(self, grant: Callable[[], Awaitable[Token]], after: TokenEndpointError | None) -> Obtained:
        with _following(after):
            return await self._sign_in_by_either_code(grant)

    async def _sign_in_by_either_code(self, grant: Callable[[], Awaitable[Token]]) -> Obtained:
        try:
            return await self._ask(self.grants.grant, grant())
        except TotpRequiredError as exc:
            if exc.retry_after is None or not is_refusal(exc):
                raise
            until_next_code = exc.retry_after + CODE_MARGIN
            if not self._has_time(until_next_code):
                raise
        await sleep(self._clock, until_next_code)
        return await self._ask(self.grants.grant, grant())

    async def fingerprint(self, like: str | None = None) -> str | None:
        """Return the hash of the credentials."""
        return await self._within_deadline(self.grants.fingerprint(like))

    async def _ask(self, grant: Grant | None, answer: Awaitable[Token]) -> Obtained:
        asked, asked_wall = self._clock.monotonic(), self._clock.wall()
        token = await self._within_deadline(answer)
        if (problem := problem_of(token)) is not None:
            raise MalformedResponseError(f"the token source gave no usable token: {problem}")
        return Obtained(token, grant, asked, asked_wall)

    async def _within_deadline(self, answer: Awaitable[R]) -> R:
        seconds = min(self._deadline, self._end - self._clock.monotonic())
        with anyio.move_on_after(seconds):
            return await answer
        raise EndpointUnavailableError(f"no answer to a sign-in or refresh within {seconds:.3g} s")

    def _has_time(self, pause: float) -> bool:
        """Tell whether, after a pause of so many seconds, there is time for a question."""
        return self._clock.monotonic() + pause + LEAST_SHARE * self._deadline <= self._end


class Refresher(Protocol):
    """What a flight does, and what is to be done with a store. There are two: alone, and in a fleet."""

    @property
    def shared(self) -> bool:
        """Whether a store has the tokens, too."""
        ...

    @property
    def unsaved(self) -> bool:
        """Whether the store has yet to take something."""
        ...

    def worth_a_look(self, error: NexudusAuthError, looked_ago: float, *, served: bool) -> bool:
        """Tell whether to look, during a pause for `error` and without a request, whether something has changed.

        looked_ago: seconds since the last look in this pause, infinite before the first. served: whether nobody waits.
        """
        ...

    async def run(self, attempt: Attempt) -> None:
        """Get a newer token. Raises a `NexudusAuthError`, or `HeldOffError`."""
        ...

    def prepare_tombstone(self, generation: int, token: Token | None) -> None:
        """Prepare the tombstone of a chain that a logout has ended."""
        ...

    async def save_tombstone(self) -> int:
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


class AloneRefresher:
    """The flight of a process that has its chain for itself. There is no store."""

    shared = unsaved = False

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def worth_a_look(self, error: NexudusAuthError, looked_ago: float, *, served: bool) -> bool:  # noqa: ARG002
        return is_refusal(error) and looked_ago == math.inf

    def prepare_tombstone(self, generation: int, token: Token | None) -> None: ...
    async def save_tombstone(self) -> int:
        return 0

    def save_later(self) -> None: ...
    async def save_unsaved(self) -> None: ...
    def end_saving(self) -> list["asyncio.Task[None]"]:
        return []

    async def disconnect(self) -> None: ...

    async def run(self, attempt: Attempt) -> None:
        """Refresh, or sign in. Raises a `NexudusAuthError`, or `HeldOffError`."""
        await self._asking.check_not_held(attempt)
        for _ in range(MAX_EXPIRED):
            token = None if attempt.by_credentials else attempt.token
            obtained, spent = await self._asking.refresh_or_say_why_not(token)
            if spent is not None:
                attempt.refresh_token_refused(spent)
            if obtained is None:
                by_hand, probing = attempt.by_credentials, attempt.probing
                obtained = await self._asking.sign_in(None, after=spent, probing=probing, by_hand=by_hand)
            granted = attempt.granted(obtained)
            if granted is None or granted.good:
                return
        raise MalformedResponseError(EXPIRED_ON_ITS_WAY)


@contextmanager
def _following(refusal: TokenEndpointError | None) -> Generator[None]:
    """Let the errors of a sign-in come from the refusal of the refresh token that it follows."""
    try:
        yield
    except NexudusAuthError as exc:
        if refusal is None:
            raise
        raise exc from refusal


def is_spent(error: TokenEndpointError) -> bool:
    """Tell whether `error` says that the refresh token must not be sent again."""
    return error.refresh_token_spent or error.error == "invalid_grant"
