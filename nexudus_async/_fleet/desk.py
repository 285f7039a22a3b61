"""What the flights of a manager do to it: publish a token, adopt one, fail, and keep the books.

Each of these is one step without an await, so that nobody can see a part of it: the token is in place before its
waiters are woken, and listeners come after both.
"""

import math
from collections.abc import Callable

from nexudus_async._clock import Clock
from nexudus_async._events import (
    Event,
    Grant,
    Listener,
    Reason,
    RefreshFailed,
    TokenAdopted,
    TokenObtained,
    check_listener,
    deliver,
    logger,
)
from nexudus_async._refresh.backoff import Backoff, CredentialsRestError
from nexudus_async._refresh.policy import Freshness
from nexudus_async._refresh.renewal import Obtained
from nexudus_async._refresh.single_flight import Flight
from nexudus_async._refresh.state import SERVABLE, TokenHolder
from nexudus_async._token import Token
from nexudus_async.errors import MalformedResponseError, NexudusAuthError, as_auth_error

from .storage import Record, life_left

__all__ = ["FlightDesk", "Ledger"]

STORE_PAUSE = 5.0
"""Seconds for which a store that is down is left alone while the token is good anyway."""


class Ledger:
    """What a manager remembers besides its token: failures, counts, and who listens."""

    def __init__(self, listener: Listener | None) -> None:
        check_listener(listener)
        self._listener = listener
        self.backoff = Backoff()
        self.quiet_until = -math.inf
        """Until when the advisory window starts no flight, because the store is down (monotonic seconds)."""
        self.obtained: dict[Grant, int] = {"password": 0, "refresh_token": 0}
        self.adoptions = self.failures = self.rejections = self.logouts = 0

    def emit(self, event: Callable[[], Event]) -> None:
        """Tell the listener, if there is one. To be called when all is done, and those who waited are woken."""
        if self._listener is not None:
            deliver(self._listener, event())


class FlightDesk:
    """The `Desk` of one flight. Once the session was logged out, it does nothing any more."""

    def __init__(
        self,
        flight: Flight[Token],
        holder: TokenHolder,
        ledger: Ledger,
        clock: Clock,
        chance: Callable[[], float],
        *,
        reason: Reason,
    ) -> None:
        self._flight, self._holder, self._ledger, self._clock, self._chance = flight, holder, ledger, clock, chance
        self._reason: Reason = reason
        self._logouts, self._started = ledger.logouts, clock.monotonic()
        self.refused: NexudusAuthError | None = (
            ledger.backoff.rejection if ledger.backoff.latched and reason != "requested" else None
        )

    @property
    def token(self) -> Token | None:
        return None if self._abandoned else self._holder.token

    @property
    def urgent(self) -> bool:
        return self._flight.waiting > 0 or self._holder.freshness not in (Freshness.FRESH, Freshness.ADVISORY)

    def publish(self, obtained: Obtained) -> Token | None:
        if self._abandoned:
            return None
        now, waiters = self._clock.monotonic(), self._flight.waiting
        token, good = self._holder.put(obtained.token, obtained.asked, obtained.asked_wall)
        if not good:
            self.fail(MalformedResponseError("the token had expired before it arrived"))
            return token
        self._ledger.obtained[obtained.grant] += 1
        self._ledger.backoff = Backoff()
        self._flight.succeed(token)
        logger.debug("token %d obtained by %s grant, for %.0f s", token.generation, obtained.grant, token.lifetime)
        self._ledger.emit(
            lambda: TokenObtained(
                grant=obtained.grant,
                reason=self._reason,
                generation=token.generation,
                lifetime=token.lifetime,
                client_id=token.client_id,
                duration=now - self._started,
                waiters=waiters,
            )
        )
        return token

    def adopt(self, record: Record) -> bool:
        if self._abandoned:
            return True
        holder, token = self._holder, record.token
        if record.logged_out_until > self._clock.wall() and record.generation > holder.generation:
            holder.forget()
        known, newest = holder.token, holder.generation
        holder.generation = max(newest, record.generation)
        if token is None or (known is None and record.generation <= newest):
            return False  # nothing to adopt, or what a logout has ended
        if known is not None and not _is_news(token, known):
            if token.refresh_token is None and token.access_token == known.access_token:
                holder.drop_refresh_token()  # another process has found it spent
            return False
        left = life_left(record, self._clock.wall())
        holder.put_shared(token, left)
        if not holder.servable or (known is None and self._reason == "requested"):
            return False  # to be renewed: it has expired, or was found by somebody who asked for a new one
        self._ledger.adoptions += 1
        self._ledger.backoff = Backoff()
        self._flight.succeed(token)
        self._ledger.emit(lambda: TokenAdopted(generation=token.generation, expires_in=left))
        return True

    def keep(self) -> None:
        self._ledger.quiet_until = self._clock.monotonic() + STORE_PAUSE * (1 + self._chance())
        if (token := self.token) is not None:
            self._flight.succeed(token)

    def drop_refresh_token(self) -> None:
        if not self._abandoned:
            self._holder.drop_refresh_token()

    def rest(self, resting: CredentialsRestError) -> None:
        """Share an error that is known already. Nothing was tried: there is nothing to count or to tell."""
        if not self._abandoned:
            self._ledger.backoff.rest(resting.error, self._clock.monotonic() + resting.seconds)
            self._flight.fail(resting.error)
            logger.debug("nothing sent, as before: %s", resting.error)

    def fail(self, cause: Exception) -> None:
        """Remember a failure, share it with the waiters, and tell: one warning, however many they are."""
        if self._abandoned:
            return
        error, ledger, served = (
            as_auth_error(cause, "the token source"),
            self._ledger,
            self._holder.freshness in SERVABLE,
        )
        ledger.failures += 1
        delay = ledger.backoff.failed(error, self._clock.monotonic(), served=served, chance=self._chance())
        failures = ledger.backoff.failures
        self._flight.fail(error)
        logger.warning("no new token: %s; next attempt in %.0f s at the earliest", error, delay)
        duration = self._clock.monotonic() - self._started
        ledger.emit(
            lambda: RefreshFailed(
                error=error,
                reason=self._reason,
                duration=duration,
                failures=failures,
                retry_in=delay,
                served=served,
            )
        )

    @property
    def _abandoned(self) -> bool:
        """Whether a logout has come in between: a source may finish although it was cancelled by it."""
        return self._logouts != self._ledger.logouts


def _is_news(token: Token, known: Token) -> bool:
    """Whether a record's token is to replace the one held: it is newer, or as new and the one that others use.

    The token held itself, refused with 401 or due, is none: it would be renewed by nobody.
    """
    if token.generation == known.generation:
        return token.access_token != known.access_token
    return token.generation > known.generation
