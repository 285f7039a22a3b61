"""Throttling by the clock, with the numbers that Nexudus documents."""

import math
from collections import deque
from dataclasses import dataclass

from nexudus_async._clock import Clock

__all__ = ["Limits", "Rate", "Throttler"]

_WRITES = frozenset({"POST", "PUT", "DELETE"})  # the three that the documentation names
_ROUNDING = 1e-6  # seconds; two sums of the same floats may differ in the last digit


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` requests in any `seconds`."""

    count: int
    seconds: float

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 < self.seconds < math.inf:
            raise ValueError(f"a rate allows at least 1 request in more than 0 seconds, not {self!r}")


@dataclass(frozen=True, slots=True)
class Limits:
    """How many requests one account may send. The defaults are the documented numbers.

    api: for every method. writes: for POST, PUT and DELETE, in addition. token: for the token endpoint, by
    `client_id`; nothing is documented, and about `Rate(10, 5)` was seen live.
    """

    api: tuple[Rate, ...] = (Rate(1, 0.1), Rate(120, 60), Rate(5_000, 3_600), Rate(200_000, 86_400))
    writes: tuple[Rate, ...] = (Rate(60, 60), Rate(5_000, 86_400))
    token: tuple[Rate, ...] = ()


class Throttler:
    """Counts requests in sliding windows. A request that is refused counts against nothing.

    Per account and rate it keeps the times of the latest `count` admitted requests, and no more.
    """

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._admitted: dict[tuple[str, Rate, str], deque[float]] = {}

    def admit_call(self, account: str, method: str) -> int | None:
        """Count a call of the API and return None, or the whole seconds to wait when it is one too many."""
        windows = [self._window("api", rate, account) for rate in self._limits.api]
        if method in _WRITES:
            windows += [self._window("writes", rate, account) for rate in self._limits.writes]
        return self._admit(windows)

    def admit_token_request(self, client: str) -> int | None:
        """Do the same for a token request."""
        return self._admit([self._window("token", rate, client) for rate in self._limits.token])

    def _window(self, kind: str, rate: Rate, account: str) -> tuple[Rate, deque[float]]:
        return rate, self._admitted.setdefault((kind, rate, account), deque(maxlen=rate.count))

    def _admit(self, windows: list[tuple[Rate, deque[float]]]) -> int | None:
        now = self._clock.monotonic()
        wait = max((_wait(rate, times, now) for rate, times in windows), default=0.0)
        if wait > _ROUNDING:
            return math.ceil(wait - _ROUNDING)
        for _, times in windows:
            times.append(now)
        return None


def _wait(rate: Rate, times: deque[float], now: float) -> float:
    """Return the seconds until the oldest of the latest `count` requests leaves the window."""
    if len(times) < rate.count:
        return 0.0
    return times[0] + rate.seconds - now
