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
from dataclasses import dataclass, field, replace

from nexudus_async.errors import NexudusAuthError, TokenEndpointError, TotpRequiredError, is_refusal, is_unexplained

from .policy import empty_delay, latch_delay, served_delay


class _Kind(enum.Enum):
    SERVED = enum.auto()
    EMPTY = enum.auto()
    UNEXPLAINED = enum.auto()
    LATCH = enum.auto()


@dataclass(frozen=True, slots=True)
class Backoff:
    """The failures since the last success. Times are monotonic seconds.

    failures: in a row, of any kind. error: what callers are told meanwhile, None since the last success.
    looked: when it was looked last whether something has changed, without asking the service.
    """

    failures: int = 0
    error: NexudusAuthError | None = None
    looked: float = -math.inf
    _in_a_row: Mapping[_Kind, int] = field(default_factory=lambda: dict.fromkeys(_Kind, 0))
    _kind: _Kind = _Kind.EMPTY
    _until: float = -math.inf

    @property
    def latched(self) -> bool:
        """Whether the pause is one of refused credentials."""
        return self._kind is _Kind.LATCH

    def in_force(self, now: float, *, served: bool) -> NexudusAuthError | None:
        """Return the error that forbids an attempt now, or None. `served`: whether a token can be served."""
        outlived = self._kind is _Kind.SERVED and not served  # the token ended: callers fail now, so try at once
        return None if outlived or now >= self._until else self.error

    def retry_in(self, now: float, *, served: bool) -> float:
        """Return for how many seconds an attempt is still forbidden, 0 for none. `served`: as for `in_force`."""
        return 0.0 if self.in_force(now, served=served) is None else self._until - now

    def failed(
        self, error: NexudusAuthError, now: float, *, served: bool, chance: float, at_most: float = math.inf
    ) -> "Backoff":
        """Return what is remembered after one more failure. at_most: as for `served_delay`."""
        refused = is_refusal(error)
        kind = _kind_of(error, served=served)
        in_a_row = {**self._in_a_row, kind: self._in_a_row[kind] + 1}
        failed = replace(self, failures=self.failures + 1, _in_a_row=in_a_row)
        until = now + _delay(kind, in_a_row[kind], error, chance, at_most)
        if not refused and self.latched and now < self._until:  # asked by hand: the credentials rest all the same
            return replace(failed, looked=now, _until=max(until, self._until))
        return replace(failed, error=error, looked=-math.inf, _kind=kind, _until=until)

    def held(self, error: NexudusAuthError, until: float, now: float, *, served: bool) -> "Backoff":
        """Return what is remembered when nothing was sent, because of what is known already, here or in the fleet."""
        refused = is_refusal(error)
        if now < self._until and (error is self.error or (self.latched and not refused)):
            return replace(self, looked=now)
        return replace(self, error=error, looked=now, _kind=_kind_of(error, served=served), _until=until)


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
