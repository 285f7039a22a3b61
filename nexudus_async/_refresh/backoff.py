"""The memory of failure: which error holds off the next attempt, until when, and for whom.

Three kinds of failure hold differently:

- while a token is still served, nobody waits: a long pause, which ends with the token at the latest;
- with nothing to serve, callers fail at once with the remembered error instead of asking a dead service one by one:
  a short pause;
- rejected credentials are latched, served token or not: services lock accounts that insist.

Facts only, and no clock of its own: whether a pause is in force is computed from the time that is passed in.
"""

import enum
import math

from nexudus_async.errors import (
    CredentialsRejectedError,
    NexudusAuthError,
    PasswordResetRequiredError,
    TokenEndpointError,
    TotpRequiredError,
)

from .policy import LATCHED_AFTER, empty_delay, latch_delay, served_delay

__all__ = ["Backoff", "CredentialsRestError"]

_REJECTIONS = (CredentialsRejectedError, PasswordResetRequiredError, TotpRequiredError)


class _Kind(enum.Enum):
    SERVED = enum.auto()
    EMPTY = enum.auto()
    LATCH = enum.auto()


class CredentialsRestError(Exception):
    """Raised by a flight that sent nothing, because the credentials were refused before and have not changed.

    error: what those who wait are told. seconds: how long to leave it at that.
    """

    def __init__(self, error: NexudusAuthError, seconds: float) -> None:
        super().__init__(str(error))
        self.error, self.seconds = error, seconds


class Backoff:
    """What is remembered of the failures since the last success. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.failures = 0
        """Failures in a row, of any kind."""
        self._in_a_row = dict.fromkeys(_Kind, 0)
        self._kind = _Kind.EMPTY
        self.error: NexudusAuthError | None = None
        """The last failure, None since the last success."""
        self._rejection: NexudusAuthError | None = None
        self._until = -math.inf

    @property
    def latched(self) -> bool:
        """Whether the credentials were refused so often that only a change, or a person, justifies sending them."""
        return self._in_a_row[_Kind.LATCH] >= LATCHED_AFTER

    @property
    def rejection(self) -> NexudusAuthError | None:
        """The last rejection of the credentials, whatever failed since."""
        return self._rejection

    def in_force(self, now: float, *, served: bool) -> NexudusAuthError | None:
        """Return the error that forbids an attempt now, or None. `served`: whether a token can be served."""
        outlived = self._kind is _Kind.SERVED and not served  # the token ended: callers fail now, so try at once
        return None if outlived or now >= self._until else self.error

    def failed(self, error: NexudusAuthError, now: float, *, served: bool, chance: float) -> float:
        """Remember `error`, and return for how many seconds no further attempt is made."""
        kind = _Kind.LATCH if isinstance(error, _REJECTIONS) else _Kind.SERVED if served else _Kind.EMPTY
        self.failures += 1
        self._in_a_row[kind] += 1
        self._kind, self.error = kind, error
        if kind is _Kind.LATCH:
            self._rejection = error
        delay = self._delay(kind, error.retry_after if isinstance(error, TokenEndpointError) else None, chance)
        self._until = now + delay
        return delay

    def rest(self, error: NexudusAuthError, until: float) -> None:
        """Forbid attempts with refused credentials until then; unlike `failed`, none was made."""
        self._kind, self.error, self._until = _Kind.LATCH, error, until

    def retry_in(self, now: float, *, served: bool) -> float:
        """Return for how many seconds an attempt is still forbidden, 0 for none. `served`: as for `in_force`."""
        return 0.0 if self.in_force(now, served=served) is None else self._until - now

    def _delay(self, kind: _Kind, retry_after: float | None, chance: float) -> float:
        count = self._in_a_row[kind]
        if kind is _Kind.LATCH:
            return latch_delay(count)
        if kind is _Kind.SERVED:
            return served_delay(count, retry_after, chance)
        return empty_delay(count, retry_after)
