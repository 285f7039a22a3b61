"""What is remembered of the failures since the last success: which error holds off the next attempt, and until when.

Kinds of failure hold differently:

- while a token is still served, nobody waits: a long pause, which ends with the token at the latest;
- with nothing to serve, callers fail at once with the remembered error instead of asking a dead service one by one:
  a short pause; a longer one where it was refused without a reason, again and again;
- refused credentials are latched, served token or not: services lock accounts that insist. No later failure of another
  kind shortens that.

A value: each failure gives another one. Whether a pause is in force is computed from the time that is passed in.
"""

import enum
import math
from collections.abc import Mapping
from typing import NamedTuple

from nexudus_async.errors import NexudusAuthError, TokenEndpointError, TotpRequiredError, is_refusal, is_unexplained

from .policy import empty_delay, latch_delay, served_delay


class _Kind(enum.Enum):
    SERVED = enum.auto()
    EMPTY = enum.auto()
    UNEXPLAINED = enum.auto()
    LATCH = enum.auto()


NONE_IN_A_ROW: Mapping[_Kind, int] = dict.fromkeys(_Kind, 0)


class Backoff(NamedTuple):
    """The failures since the last success. Times are monotonic seconds.

    failures: in a row, of any kind; in_a_row: of each. error: what callers are told meanwhile, None since the last
    success. looked: when it was looked last whether something has changed, without asking the service.
    kind, until: of the pause, and its end.
    """

    failures: int = 0
    error: NexudusAuthError | None = None
    looked: float = -math.inf
    in_a_row: Mapping[_Kind, int] = NONE_IN_A_ROW
    kind: _Kind = _Kind.EMPTY
    until: float = -math.inf

    @property
    def latched(self) -> bool:
        """Whether the pause is one of refused credentials."""
        return self.kind is _Kind.LATCH

    def in_force(self, now: float, *, served: bool) -> NexudusAuthError | None:
        """Return the error that forbids an attempt now, or None. `served`: whether a token can be served."""
        outlived = self.kind is _Kind.SERVED and not served  # the token ended: callers fail now, so try at once
        return None if outlived or now >= self.until else self.error

    def retry_in(self, now: float, *, served: bool) -> float:
        """Return for how many seconds an attempt is still forbidden, 0 for none. `served`: as for `in_force`."""
        return 0.0 if self.in_force(now, served=served) is None else self.until - now

    def failed(
        self, error: NexudusAuthError, now: float, *, served: bool, chance: float, at_most: float = math.inf
    ) -> "Backoff":
        """Return what is remembered after one more failure. at_most: as for `served_delay`."""
        refused = is_refusal(error)
        kind = _kind_of(error, served=served)
        in_a_row = {**self.in_a_row, kind: self.in_a_row[kind] + 1}
        failed = self._replace(failures=self.failures + 1, in_a_row=in_a_row)
        until = now + _delay(kind, in_a_row[kind], error, chance, at_most)
        if not refused and self.latched and now < self.until:  # asked by hand: the credentials rest all the same
            return failed._replace(looked=now, until=max(until, self.until))
        return failed._replace(error=error, looked=-math.inf, kind=kind, until=until)

    def held(self, error: NexudusAuthError, until: float, now: float, *, served: bool) -> "Backoff":
        """Return what is remembered when nothing was sent, because of what is known already, here or in the fleet."""
        refused = is_refusal(error)
        if now < self.until and (error is self.error or (self.latched and not refused)):
            return self._replace(looked=now)
        return self._replace(error=error, looked=now, kind=_kind_of(error, served=served), until=until)


def _kind_of(error: NexudusAuthError, *, served: bool) -> _Kind:
    if is_refusal(error):
        return _Kind.LATCH
    if served:
        return _Kind.SERVED
    return _Kind.UNEXPLAINED if is_unexplained(error) else _Kind.EMPTY


def _delay(kind: _Kind, count: int, error: NexudusAuthError, chance: float, at_most: float) -> float:
    retry_after = error.retry_after if isinstance(error, TokenEndpointError) else None
    match kind:
        case _Kind.LATCH:
            return latch_delay(count, retry_after if isinstance(error, TotpRequiredError) else None)
        case _Kind.SERVED:
            return served_delay(count, retry_after, chance, at_most)
        case _Kind.EMPTY | _Kind.UNEXPLAINED:
            return empty_delay(count, retry_after, chance, unexplained=kind is _Kind.UNEXPLAINED)
