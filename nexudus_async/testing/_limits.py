"""Throttling by the clock, with the numbers that Nexudus documents."""

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from nexudus_async._clock import Clock

Refill = Literal["sliding", "window", "bucket"]

_WRITES = frozenset({"POST", "PUT", "DELETE"})  # the three that the documentation names
_PUBLIC = "/api/public/"
_ROUNDING = 1e-6  # seconds; two sums of the same floats may differ in the last digit


@dataclass(frozen=True, slots=True)
class Rate:
    """At most so many requests in so much time.

    count, seconds: how many, in how long.
    refill: "sliding": in any `seconds`, wherever they start. "window": counted from 0 again at every multiple of
        `seconds`, all at once. "bucket": `count` at once, and then one more every `seconds / count`; 20 a second with
        bursts of 5 are `Rate(5, 0.25, "bucket")`.
    """

    count: int
    seconds: float
    refill: Refill = "sliding"

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 < self.seconds < math.inf:
            raise ValueError(f"a rate allows at least 1 request in more than 0 seconds, not {self!r}")
        if self.refill not in get_args(Refill):
            raise ValueError(f'refill is "sliding", "window" or "bucket", not {self.refill!r}')


@dataclass(frozen=True, slots=True)
class Limits:
    """How many requests a client may send, and how one too many is refused. The defaults are the documented numbers.

    api: for every method, by account. writes: for POST, PUT and DELETE, in addition.
    address: for every method, by the client's address, whatever its accounts: "based on request signature", as the
        documentation has it.
    public: for `/api/public/…`, by account, in addition; refused with 429. `Rate(10, 5)` was seen live.
    token: for the token endpoint, by `client_id`; nothing is documented, and about `Rate(10, 5)` was seen live.
    token_address: for the token endpoint, by the client's address.
    status: of a refusal, 409 as documented. retry_after: whether it has the header; without it, the words in the body
        are all that a client gets.
    """

    api: tuple[Rate, ...] = (Rate(1, 0.1), Rate(120, 60), Rate(5_000, 3_600), Rate(200_000, 86_400))
    writes: tuple[Rate, ...] = (Rate(60, 60), Rate(5_000, 86_400))
    token: tuple[Rate, ...] = ()
    address: tuple[Rate, ...] = ()
    public: tuple[Rate, ...] = ()
    token_address: tuple[Rate, ...] = ()
    status: int = 409
    retry_after: bool = True

    @classmethod
    def seen_live(cls) -> "Limits":
        """Return the documented limits, and those that public integrations met in addition."""
        return cls(public=(Rate(10, 5),), token=(Rate(10, 5),))

    def status_for(self, path: str) -> int:
        """Return the status that refuses a request to `path`."""
        return 429 if self.public and path.startswith(_PUBLIC) else self.status


class _Meter(Protocol):
    """Counts the requests of one client under one rate."""

    def __init__(self, rate: Rate) -> None: ...

    def wait(self, now: float) -> float:
        """Return the seconds until one more is allowed, 0 or less for at once."""
        ...

    def count(self, now: float) -> None:
        """Count one more."""
        ...


class _Sliding:
    """Keeps the times of the latest `count` requests, and no more."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._times: deque[float] = deque(maxlen=rate.count)

    def wait(self, now: float) -> float:
        if len(self._times) < self._rate.count:
            return 0.0
        return self._times[0] + self._rate.seconds - now

    def count(self, now: float) -> None:
        self._times.append(now)


class _Window:
    """Counts in the window of the clock that is now, and forgets those before."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._number = -1
        self._used = 0

    def wait(self, now: float) -> float:
        number = self._at(now)
        if number != self._number or self._used < self._rate.count:
            return 0.0
        return (number + 1) * self._rate.seconds - now

    def count(self, now: float) -> None:
        number = self._at(now)
        self._used = self._used + 1 if number == self._number else 1
        self._number = number

    def _at(self, now: float) -> int:
        return math.floor((now + _ROUNDING) / self._rate.seconds)


class _Bucket:
    """Holds `count` permits, and gets one back every `seconds / count`."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._permits = float(rate.count)
        self._since = -math.inf

    def wait(self, now: float) -> float:
        return (1 - self._at(now)) * self._rate.seconds / self._rate.count

    def count(self, now: float) -> None:
        self._permits = self._at(now) - 1
        self._since = now

    def _at(self, now: float) -> float:
        gained = (now - self._since) * self._rate.count / self._rate.seconds
        return min(float(self._rate.count), self._permits + gained)


_METERS: dict[str, type[_Meter]] = {"sliding": _Sliding, "window": _Window, "bucket": _Bucket}


class Throttler:
    """Decides by `limits`, which may be changed at any time. A request that is refused counts against nothing."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self.limits = limits
        self._clock = clock
        self._meters: dict[tuple[str, Rate, str], _Meter] = {}

    def admit_call(self, account: str, method: str, *, path: str = "", address: str = "") -> int | None:
        """Count a call of the API and return None, or the whole seconds to wait when it is one too many."""
        limits = self.limits
        meters = [*self._of("api", limits.api, account), *self._of("address", limits.address, address)]
        if method in _WRITES:
            meters += self._of("writes", limits.writes, account)
        if path.startswith(_PUBLIC):
            meters += self._of("public", limits.public, account)
        return self._admit(meters)

    def admit_token_request(self, client: str, *, address: str = "") -> int | None:
        """Count a token request and return None, or the whole seconds to wait when it is one too many."""
        by_address = self._of("token_address", self.limits.token_address, address)
        return self._admit([*self._of("token", self.limits.token, client), *by_address])

    def clear(self) -> None:
        """Forget what was counted."""
        self._meters.clear()

    def _of(self, kind: str, rates: tuple[Rate, ...], client: str) -> list[_Meter]:
        return [self._meter((kind, rate, client)) for rate in rates]

    def _meter(self, key: tuple[str, Rate, str]) -> _Meter:
        meter = self._meters.get(key)
        if meter is None:
            meter = self._meters[key] = _METERS[key[1].refill](key[1])
        return meter

    def _admit(self, meters: list[_Meter]) -> int | None:
        now = self._clock.monotonic()
        wait = max((meter.wait(now) for meter in meters), default=0.0)
        if wait > _ROUNDING:
            return math.ceil(wait - _ROUNDING)
        for meter in meters:
            meter.count(now)
        return None
