"""Pacing: staying below the API's limits by sending later, instead of being throttled.

Requests go out first come first served. The `limits` library counts them, by its moving window, so that no burst at
a window's edge is one too many; in memory the windows go by the session's clock, in Redis by the server's.
"""

import asyncio
import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from nexudus_async._clock import Clock, sleep
from nexudus_async._events import Emitter, PacingFailed
from nexudus_async._token import Secret
from nexudus_async._validation import check_seconds
from nexudus_async._value import Value
from nexudus_async.errors import ConfigurationError, SessionClosedError
from nexudus_async.stores._redis_client import OwnClient

if TYPE_CHECKING:
    from limits import RateLimitItem
    from redis.asyncio import ConnectionPool

__all__ = ["Pacer", "Pacing"]

WRITES = ("POST", "PUT", "PATCH", "DELETE")
SHORTEST_WAIT = 0.01
"""Seconds: what a window says is rounded, and asking again at once would be a busy loop."""
LEEWAY = 0.25
"""Seconds added to the wait for a full window: two requests may arrive less far apart than they were sent."""
OUTAGE_PAUSE = 60.0
"""Seconds for which a Redis that is down is left alone; requests then go unpaced, and the API throttles them."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Pacing(Value):
    """Limits to keep (extra `pacing`): `Pacing.documented()`, or any others in the notation of the `limits` library.

    requests: limits for every request, such as "120/minute". writes: limits for POST, PUT, PATCH and DELETE besides.
    spacing: seconds between one request and the next.
    redis_url: where processes that share an account keep one budget, spacing included; None: each has its own.

    Raises `ConfigurationError` for limits that cannot be read, and without the library; the session raises it for a
    `redis_url` that cannot work.
    """

    requests: Sequence[str] = ()
    writes: Sequence[str] = ()
    spacing: float = 0.0
    redis_url: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.requests, str) or isinstance(self.writes, str):
            raise ConfigurationError('requests and writes are lists of limits, such as ["120/minute"]')
        for text in (*self.requests, *self.writes):
            if _parse(text).amount < 1:
                raise ConfigurationError(f"{text!r} lets nothing through: write it like '120/minute'")
        check_seconds("spacing", self.spacing, zero=True)
        if not (self.requests or self.writes or self.spacing):
            raise ConfigurationError("Pacing without a limit paces nothing: use Pacing.documented(), or name limits")

    @classmethod
    def documented(cls, *, redis_url: str | None = None) -> "Pacing":
        """Return Nexudus' own numbers (https://developers.nexudus.com, "Throttling").

        Its "1 request per 100 ms" is kept as 150: what is sent evenly does not arrive so, and the 120 a minute are
        the tighter limit of any job that takes longer.
        """
        return cls(
            requests=("10/second", "120/minute", "5000/hour", "200000/day"),
            writes=("60/minute", "5000/day"),
            spacing=0.15,
            redis_url=redis_url,
        )

    @classmethod
    def public_api(cls, *, redis_url: str | None = None) -> "Pacing":
        """Return what the public API (`/api/public/…`) was seen to allow: 10 requests in 5 seconds.

        For members' sessions, which call little else. It is not documented, and met as 429; of `documented()` only the
        limits of longer windows are tighter, so that a job of hours wants those.
        """
        return cls(requests=("10/5second",), redis_url=redis_url)


class Pacer:
    """Keeps the limits of `pacing` for one session. Requests wait in one queue.

    hold: returns the seconds for which nobody is let through: during a pause that the API asked for, so that those
        who are let through do not gather behind it, to be sent in one burst at its end.
    """

    def __init__(
        self,
        pacing: Pacing,
        *,
        key: str,
        clock: Clock,
        emitter: Emitter,
        hold: Callable[[], float],
    ) -> None:
        self._spacing, self._key, self._clock, self._emitter, self._hold = pacing.spacing, key, clock, emitter, hold
        self.waiting = 0
        """How many wait."""
        self._all = [_parse(text) for text in pacing.requests]
        self._writes = [_parse(text) for text in pacing.writes]
        self._pool: ConnectionPool | None = None
        self._limiter: _Limiter = _MemoryLimiter(self._clock)
        if pacing.redis_url is not None:
            self._pool, self._limiter = _shared_limiter(Secret(pacing.redis_url))
        self._turn = asyncio.Lock()  # first come, first served
        self._next = -math.inf
        self._unpaced_until = -math.inf
        self._closed = asyncio.Event()

    async def wait(self, method: str) -> None:
        """Return when a request of `method` may be sent. Raises `SessionClosedError`; cancelling lets the next go."""
        limits = [(item, "requests") for item in self._all]
        if method in WRITES:
            limits += [(item, "writes") for item in self._writes]
        self.waiting += 1
        try:
            async with self._turn:
                while (wait := self._soonest() or await self._full_for(limits)) > 0:
                    await self._pause(max(wait, SHORTEST_WAIT))
                self._next = self._clock.monotonic() + self._spacing
        finally:
            self.waiting -= 1

    def close(self) -> None:
        """End every wait."""
        self._closed.set()

    async def disconnect(self) -> None:
        """Close the connections to Redis, after `close()`."""
        if self._pool is not None:
            await self._pool.disconnect()

    def _soonest(self) -> float:
        """Return the seconds until a request may be sent, as far as no limit is asked."""
        return max(0.0, self._hold(), self._next - self._clock.monotonic())

    async def _full_for(self, limits: "list[tuple[RateLimitItem, str]]") -> float:
        """Return the seconds until every limit has room, 0 when all had and this request was counted by all.

        Looked at first and counted together, at the moment of sending: a place taken in a long window before a wait
        for a short one would be free again too early.
        """
        if self._clock.monotonic() < self._unpaced_until:
            return 0.0
        try:
            now = self._clock.monotonic if self._pool is None else self._clock.wall  # a server knows no other than wall
            waits = [await self._full_until(item, kind) - now() for item, kind in limits]
            if (longest := max(waits, default=0.0)) > 0:
                return longest + LEEWAY
            if self._pool is not None and (gap := await self._others_gap(self._pool)) > 0:
                return gap
            counted = [await self._limiter.hit(item, self._key, kind) for item, kind in limits]
            self._emitter.works("pacing", "pacing: the shared budget can be read again")
            return 0.0 if all(counted) else SHORTEST_WAIT  # another process was quicker
        except Exception as exc:  # noqa: BLE001 - whatever a Redis in trouble raises: nobody's request fails for it
            self._unpaced_until = self._clock.monotonic() + OUTAGE_PAUSE
            kind, words = type(exc).__name__, "pacing: the shared budget cannot be read (%s); requests go unpaced"
            self._emitter.warn("pacing", kind, words, kind)
            self._emitter.emit(lambda: PacingFailed(error=kind, pause=OUTAGE_PAUSE))
            return 0.0

    async def _others_gap(self, pool: "ConnectionPool") -> float:
        """Return the seconds that another process' request still keeps others waiting; 0: now this one's does."""
        from redis.asyncio import Redis  # noqa: PLC0415 - an extra

        redis, key = Redis(connection_pool=pool), f"nexudus_async:spacing:{self._key}"
        milliseconds = round(self._spacing * 1000)
        if not milliseconds or await redis.set(key, "", nx=True, px=milliseconds):
            return 0.0
        return max(await redis.pttl(key) / 1000, SHORTEST_WAIT)

    async def _full_until(self, item: "RateLimitItem", kind: str) -> float:
        if await self._limiter.test(item, self._key, kind):
            return -math.inf
        window = await self._limiter.get_window_stats(item, self._key, kind)
        return float(window.reset_time)

    async def _pause(self, seconds: float) -> None:
        if not self._closed.is_set():
            pause = asyncio.ensure_future(sleep(self._clock, seconds))
            closing = asyncio.ensure_future(self._closed.wait())
            try:
                await asyncio.wait((pause, closing), return_when=asyncio.FIRST_COMPLETED)
            finally:
                pause.cancel()
                closing.cancel()
        if self._closed.is_set():
            raise SessionClosedError("the session was closed while this request was paced")


class _Limiter(Protocol):
    async def test(self, item: "RateLimitItem", *identifiers: str) -> bool: ...
    async def hit(self, item: "RateLimitItem", *identifiers: str) -> bool: ...
    async def get_window_stats(self, item: "RateLimitItem", *identifiers: str) -> Any: ...


class _Window(NamedTuple):
    reset_time: float


class _MemoryLimiter:
    """A moving window by the session's monotonic clock: a wall clock that is set back would make a request wait for it.

    The library's own goes by the system's wall clock, and keeps a task running.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._times: defaultdict[str, list[float]] = defaultdict(list)

    async def test(self, item: "RateLimitItem", *identifiers: str) -> bool:
        times, now = self._times[item.key_for(*identifiers)], self._clock.monotonic()
        del times[: bisect_right(times, now - item.get_expiry())]
        return len(times) < item.amount

    async def hit(self, item: "RateLimitItem", *identifiers: str) -> bool:
        free = await self.test(item, *identifiers)
        if free:
            self._times[item.key_for(*identifiers)].append(self._clock.monotonic())
        return free

    async def get_window_stats(self, item: "RateLimitItem", *identifiers: str) -> _Window:
        return _Window(self._times[item.key_for(*identifiers)][0] + item.get_expiry())


def _shared_limiter(redis_url: Secret) -> "tuple[ConnectionPool, _Limiter]":
    """Return the connections, and what counts by them. Raises `ConfigurationError`, which shows nothing of the URL."""
    try:
        from limits.aio.storage import RedisStorage  # noqa: PLC0415 - an extra
        from limits.aio.strategies import MovingWindowRateLimiter  # noqa: PLC0415
        from redis.asyncio import ConnectionPool  # noqa: PLC0415
    except ImportError as exc:
        raise ConfigurationError("a budget in Redis needs pip install 'nexudus-async[pacing,redis]'") from exc
    OwnClient(redis_url)  # raises for a URL that cannot work; redis-py's own error may show a part of the password
    client: Any = ConnectionPool  # redis-py types its keywords as Any
    pool: ConnectionPool = client.from_url(redis_url, socket_timeout=5, socket_connect_timeout=5)
    options: dict[str, Any] = {"connection_pool": pool, "implementation": "redispy"}  # so that it can be closed
    storage = RedisStorage("async+redis://localhost:6379", **options)  # it parses this, and goes by the pool
    return pool, MovingWindowRateLimiter(storage)


def _parse(text: str) -> "RateLimitItem":
    try:
        from limits import parse  # noqa: PLC0415 - an extra
    except ImportError as exc:
        raise ConfigurationError("Pacing needs limits: pip install 'nexudus-async[pacing]'") from exc
    try:
        return parse(text)
    except (TypeError, ValueError):
        raise ConfigurationError(f"{text!r} is no limit: write it like '120/minute'") from None
