"""One attempt to get a newer token: the flight it belongs to, why it was made, and what came of it.

What came of it is written to the state, then the waiters are woken, then the listener is told: in this order, in one
step without an await, so that nobody can see a part of it. After a logout an attempt changes nothing any more.
"""

import logging
import math

from nexudus_async._events import Emitter, Grant, Reason, RefreshFailed, TokenAdopted, TokenObtained
from nexudus_async._token import Token
from nexudus_async.errors import NexudusAuthError, TokenEndpointError, as_auth_error

from .outcomes import Failed, Granted, Obtained, Shared
from .policy import Freshness
from .single_flight import Flight
from .state import TokenState

IT_WORKS = "a new token again"


class Attempt:
    """What a flight knows and may do. by_credentials: whether they are to be sent, whatever else there is."""

    def __init__(self, state: TokenState, emitter: Emitter, reason: Reason, *, by_credentials: bool) -> None:
        self.flight: Flight[Token]
        self._state, self._emitter = state, emitter
        self._reason: Reason = reason
        self._epoch, self._started = state.epoch, state.monotonic()
        self.by_credentials = by_credentials
        self._refresh_refused = False
        self.forced = reason == "requested"
        """Whether somebody asked by hand: then nothing that failed before is a reason not to try."""
        self.needed = reason not in ("advisory", "mandatory")
        """Whether the token held, though good, is not good enough for somebody who waits."""
        self.held = None if self.forced else state.holds_off
        """The failure that forbids a request, unless the credentials, or another process, have changed that."""
        self.held_for = state.retry_in
        """Seconds for which it still does."""
        self.probing = not self.forced and state.failures_in_a_row > 0
        """Whether this is the attempt after a failure: then one request is enough to learn whether it is over."""
        self.first_look = state.looked_ago == math.inf
        """Whether nobody has looked in this pause yet whether the credentials have changed."""

    @property
    def last_error(self) -> NexudusAuthError | None:
        """What callers were told last, since the last success."""
        return self._state.last_error

    def join(self, reason: Reason) -> None:
        """Another caller waits for this attempt, too, and may want more of it."""
        if reason in ("requested", "rejected"):
            self.needed = True
        if reason == "requested":
            self.forced, self.held = True, None

    @property
    def token(self) -> Token | None:
        """The token held, None after a logout."""
        return None if self._is_over else self._state.token

    @property
    def generation(self) -> int:
        """The highest seen."""
        return self._state.generation

    @property
    def served(self) -> bool:
        """Whether callers are content with the token held, so that a pause may be long."""
        return self._state.served

    @property
    def longest_pause(self) -> float:
        """Seconds that a pause may take while they are."""
        return self._state.longest_pause

    @property
    def can_wait(self) -> float:
        """Seconds for which the token held is good enough for all who wait, while another process is at work."""
        good = self._state.freshness in (Freshness.FRESH, Freshness.ADVISORY)
        return self._state.hard_in if good and not self.needed else 0.0

    @property
    def can_wait_for_store(self) -> float:
        """Seconds for which the token held is good enough for all who wait, while the store is down."""
        return 0.0 if self.needed or not self._state.servable else max(0.0, self._state.without_store_in)

    def granted(self, obtained: Obtained) -> Granted | None:
        """The source has given a token. Return it with its generation, None after a logout.

        One that has expired on its way wakes nobody, nor does one that was handed over to somebody who wants another:
        it is there to be refreshed.
        """
        if self._is_over:
            return None
        waiters, grant = self.flight.waiting, obtained.grant
        granted = self._state.granted(obtained, asked_for_new=self.forced)
        token = granted.token
        self.by_credentials = False  # they are in use now: what follows is a refresh
        if granted.good:
            self.flight.succeed(token)
            self._tell_of_token(token, grant, waiters)
        else:
            self._emitter.log(logging.DEBUG, "token %d is to be refreshed at once", token.generation)
        return granted

    def _tell_of_token(self, token: Token, grant: Grant | None, waiters: int) -> None:
        self._emitter.works("tokens", IT_WORKS)
        if grant is None:
            self._emitter.emit(
                lambda: TokenAdopted(generation=token.generation, expires_in=self._state.remaining or 0.0)
            )
            return
        words = "token %d obtained by %s grant, for %.0f s"
        self._emitter.log(logging.DEBUG, words, token.generation, grant, token.lifetime)
        self._emitter.emit(
            lambda: TokenObtained(
                grant=grant,
                reason=self._reason,
                generation=token.generation,
                lifetime=token.lifetime,
                client_id=token.client_id,
                duration=self._duration,
                waiters=waiters,
            )
        )

    def adopted(self, shared: Shared) -> bool:
        """The store has something. Tell whether that ends the attempt."""
        if self._is_over:
            return True
        if self.by_credentials:
            self.seen(shared.generation)
            return False
        if not self._state.adopted(shared, asked_for_new=self.forced):
            return False
        if (token := self._state.token) is not None:
            self.flight.succeed(token)
            self._emitter.works("tokens", IT_WORKS)
            generation = token.generation
            self._emitter.emit(lambda: TokenAdopted(generation=generation, expires_in=shared.life_left))
        return True

    def seen(self, generation: int) -> None:
        """Another process may have used this generation: the next token is above it."""
        if not self._is_over:
            self._state.seen(generation)

    def left_alone(self, seconds: float) -> None:
        """The store is down, or another process at work: the token held, good for now, is what those who wait get."""
        self._state.left_alone(seconds)
        if (token := self.token) is not None:
            self.flight.succeed(token)

    def refresh_token_refused(self, error: TokenEndpointError) -> None:
        """The refresh token must not be sent again. A sign-in may follow; that it was refused is told all the same."""
        if not self._is_over:
            self._state.refresh_token_refused(to_us=True)
            self._refresh_refused = True
            self._emitter.log(logging.WARNING, "the refresh token is of no more use: %s", error)
            self._tell_of_failure(error, Failed(self._state.failures_in_a_row + 1, 0.0, self.served))

    def held_off(self, error: NexudusAuthError, seconds: float) -> None:
        """Nothing was sent, because of what is known already: nothing to count or to tell."""
        if not self._is_over:
            self._state.held_off(error, seconds)
            self.flight.fail(error)
            self._emitter.log(logging.DEBUG, "nothing sent, as before: %s", error)

    def failed(self, cause: Exception) -> None:
        """No token could be had. One warning at most, however many wait."""
        if self._is_over:
            return
        error = as_auth_error(cause, "the token source")
        failed = self._state.failed(error, counted=self._refresh_refused)
        self.flight.fail(error)
        words = "no new token: %s; next attempt in %.0f s at the earliest"
        self._emitter.warn("tokens", type(error).__name__, words, error, failed.retry_in)
        self._tell_of_failure(error, failed)

    def _tell_of_failure(self, error: NexudusAuthError, failed: Failed) -> None:
        duration = self._duration
        self._emitter.emit(
            lambda: RefreshFailed(
                error=error,
                reason=self._reason,
                duration=duration,
                failures=failed.failures,
                retry_in=failed.retry_in,
                served=failed.served,
            )
        )

    @property
    def _duration(self) -> float:
        return self._state.monotonic() - self._started

    @property
    def _is_over(self) -> bool:
        """Whether a logout has come in between: a source may finish although it was cancelled by it."""
        return self._epoch != self._state.epoch
