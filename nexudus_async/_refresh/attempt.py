"""One attempt to get a newer token: the flight it belongs to, why it was made, and what came of it.

What came of it is written to the state, then the waiters are woken, then the listener is told: in this order, in one
step without an await, so that nobody can see a part of it. After a logout an attempt changes nothing any more.
"""

from nexudus_async._events import Emitter, Reason, RefreshFailed, TokenAdopted, TokenObtained, logger
from nexudus_async._token import Token
from nexudus_async.errors import MalformedResponseError, NexudusAuthError, as_auth_error

from .policy import Freshness
from .single_flight import Flight
from .state import Obtained, Shared, TokenState


class Attempt:
    """What a flight knows and may do."""

    def __init__(self, flight: Flight[Token], state: TokenState, emitter: Emitter, reason: Reason) -> None:
        self._flight, self._state, self._emitter = flight, state, emitter
        self._reason: Reason = reason
        self._epoch, self._started = state.epoch, state.monotonic()
        self.forced = reason == "requested"
        """Whether somebody asked by hand: then nothing that was refused before is a reason not to try."""
        self.refused = None if self.forced else state.latched
        """The refusal after which the credentials must change before they are sent again."""

    @property
    def token(self) -> Token | None:
        """The token held, None after a logout."""
        return None if self._is_over else self._state.token

    @property
    def urgent(self) -> bool:
        """Whether somebody waits, or the token held cannot be served for much longer."""
        return self._flight.waiting > 0 or self._state.freshness not in (Freshness.FRESH, Freshness.ADVISORY)

    def granted(self, obtained: Obtained) -> Token | None:
        """The source has given a token. Return it with its generation, None after a logout."""
        if self._is_over:
            return None
        waiters = self._flight.waiting
        granted = self._state.granted(obtained)
        token = granted.token
        if not granted.good:
            self.failed(MalformedResponseError("the token had expired before it arrived"))
            return token
        self._flight.succeed(token)
        logger.debug("token %d obtained by %s grant, for %.0f s", token.generation, obtained.grant, token.lifetime)
        self._emitter.emit(
            lambda: TokenObtained(
                grant=obtained.grant,
                reason=self._reason,
                generation=token.generation,
                lifetime=token.lifetime,
                client_id=token.client_id,
                duration=self._duration,
                waiters=waiters,
            )
        )
        return token

    def adopted(self, shared: Shared) -> bool:
        """The store has something. Tell whether that ends the attempt."""
        if self._is_over:
            return True
        if not self._state.adopted(shared, asked_for_new=self.forced):
            return False
        if (token := self._state.token) is not None:
            self._flight.succeed(token)
            generation = token.generation
            self._emitter.emit(lambda: TokenAdopted(generation=generation, expires_in=shared.life_left))
        return True

    def kept(self) -> None:
        """The store is down, and the token held good for now: that is what those who wait get."""
        self._state.store_failed()
        if (token := self.token) is not None:
            self._flight.succeed(token)

    def refresh_token_refused(self) -> None:
        """The refresh token must not be sent again."""
        if not self._is_over:
            self._state.refresh_token_refused()

    def rested(self, error: NexudusAuthError, seconds: float) -> None:
        """Nothing was sent, because of a refusal that is known already: nothing to count or to tell."""
        if not self._is_over:
            self._state.rested(error, seconds)
            self._flight.fail(error)
            logger.debug("nothing sent, as before: %s", error)

    def failed(self, cause: Exception) -> None:
        """No token could be had. One warning, however many wait."""
        if self._is_over:
            return
        error = as_auth_error(cause, "the token source")
        failed = self._state.failed(error)
        self._flight.fail(error)
        logger.warning("no new token: %s; next attempt in %.0f s at the earliest", error, failed.retry_in)
        self._emitter.emit(
            lambda: RefreshFailed(
                error=error,
                reason=self._reason,
                duration=self._duration,
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
