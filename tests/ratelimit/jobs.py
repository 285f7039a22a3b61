# pyright: reportPrivateUsage=false
"""Sync jobs against limiters in virtual time: what is served, what is refused, and what the callers get."""

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any, Protocol, cast

from nexudus_async import Throttle, Token, TokenSession
from tests.simulation.api import ApiFault, Response
from tests.simulation.loop import START_WALL, SimulatedClock, VirtualLoop
from tests.simulation.transport import seeded

ALONE, SECOND, CONFLICT = ApiFault(429), ApiFault(429, {"Retry-After": "1"}), ApiFault(409, {"Retry-After": "1"})
"""How a limiter refuses: 429 without a header, 429 and 409 with one."""
LATENCY = 0.02, 0.03
"""Seconds from the client to the service, and back."""
FIRST = 6.0
"""Seconds at the start that do not count: the rate is learnt in them."""

LONG = 1e6
"""Seconds that the token lives."""


class Limiter(Protocol):
    """What lets requests through, or does not."""

    def admits(self, now: float) -> bool: ...
    def allowed(self, start: float, end: float) -> float:
        """Return how many are let through between two moments at most."""
        ...


class Bucket:
    """As nginx's `limit_req … nodelay`: a token bucket. `rate` may be changed at any time."""

    def __init__(self, rate: float, burst: float = 1) -> None:
        self.rates = [(0.0, rate)]
        self._burst = self._tokens = burst
        self._filled = 0.0

    def change(self, when: float, rate: float) -> None:
        self.rates.append((when, rate))

    def admits(self, now: float) -> bool:
        self._tokens = min(self._burst, self._tokens + self.allowed(self._filled, now))
        self._filled = now
        free = self._tokens >= 1 - 1e-9
        self._tokens -= free
        return free

    def allowed(self, start: float, end: float) -> float:
        ends = [when for when, _ in self.rates[1:]] + [math.inf]
        return sum(
            rate * max(0.0, min(end, until) - max(start, since))
            for (since, rate), until in zip(self.rates, ends, strict=True)
        )


class Window:
    """As HAProxy's and many a service's own: so many in each window, which refills at once."""

    def __init__(self, amount: int, seconds: float) -> None:
        self._amount, self.seconds = amount, seconds
        self._window, self._used = -1, 0

    def admits(self, now: float) -> bool:
        if (window := int(now // self.seconds)) != self._window:
            self._window, self._used = window, 0
        self._used += 1
        return self._used <= self._amount

    def fields(self, now: float) -> dict[str, str]:
        """Return what an answer says of it."""
        left, seconds = max(0, self._amount - self._used), math.ceil(self.seconds - now % self.seconds)
        return {"RateLimit": f'"default";r={left};t={seconds}'}

    def allowed(self, start: float, end: float) -> float:
        return self._amount / self.seconds * (end - start)


class Service:
    """Stands in for aiohttp where API requests go. writes: the limiter that writes pass besides."""

    trust_env = raise_for_status = closed = False

    def __init__(self, loop: VirtualLoop, chance: Random, limiter: Limiter, refusal: ApiFault) -> None:
        self._loop, self._chance, self._refusal = loop, chance, refusal
        self.limiter, self.latency = limiter, LATENCY
        self.writes: Limiter | None = None
        self.fields: Callable[[float], Mapping[str, str]] | None = None
        self.times: list[tuple[float, str, bool]] = []
        """When a request arrived, its method, and whether it was let through."""

    async def close(self) -> None:
        self.closed = True

    async def request(self, method: str, _url: object, *, headers: Mapping[str, str], **_options: Any) -> Response:
        await asyncio.sleep(self._chance.uniform(*self.latency))
        now = self._loop.time()
        free = self.limiter.admits(now) and (method == "GET" or self.writes is None or self.writes.admits(now))
        self.times.append((now, method, free))
        fields: Mapping[str, str] = self.fields(now) if self.fields is not None else {}
        answer = ApiFault(200, fields) if free else ApiFault(self._refusal.status, {**self._refusal.headers, **fields})
        await asyncio.sleep(self._chance.uniform(*self.latency))
        return Response(answer, headers["Authorization"], "job")


@dataclass
class Outcome:
    """What came of a job. served: the share of what is allowed. refused: of what was sent. errors: what callers got."""

    served: float
    refused: float
    errors: int
    rates: list[float | None] = field(default_factory=list[float | None])

    def __str__(self) -> str:
        return f"served {self.served:.2f}, refused {self.refused:.2f}, errors {self.errors}, rates {self.rates}"


class Source:
    """One token for good."""

    key = "job"

    async def login(self) -> Token:
        return Token("access", None, "bearer", None, LONG, datetime.fromtimestamp(START_WALL + LONG, UTC))

    async def refresh(self, token: Token, /) -> Token:
        raise NotImplementedError


class Job:
    """Some coroutines of some sessions that send as fast as they may, for so many seconds.

    write_share: of the coroutines, those that write. pause: seconds that a coroutine does something else after each.
    """

    def __init__(
        self, limiter: Limiter, refusal: ApiFault = ALONE, *, writes: Limiter | None = None, sessions: int = 1,
        coroutines: int = 30, seconds: float = 60.0, write_share: float = 0.0, seed: int = 1, first: float = FIRST,
    ) -> None:  # fmt: skip
        self._chance = Random(seed)
        self.loop = VirtualLoop(self._chance)
        self.service = Service(self.loop, self._chance, limiter, refusal)
        self.service.writes = writes
        self._sessions, self._coroutines, self._seconds = sessions, coroutines, seconds
        self._write_share, self._first = write_share, first
        self._errors = 0
        self.rates: list[float | None] = []

    def run(self) -> Outcome:
        """Run it to its end."""
        with seeded(self._chance):
            self.loop.run(self._live())
        return self.outcome()

    def outcome(self, method: str | None = None, limiter: Limiter | None = None) -> Outcome:
        """Return what came of all requests, or of those with this method."""
        counted = [
            free
            for when, sent, free in self.service.times
            if self._first <= when < self._seconds and method in (None, sent)
        ]
        allowed = (limiter or self.service.limiter).allowed(self._first, self._seconds)
        return Outcome(counted.count(True) / allowed, counted.count(False) / len(counted), self._errors, self.rates)

    async def _live(self) -> None:
        clock = SimulatedClock(self.loop, boottime=True)
        sessions = [TokenSession(source=Source(), clock=clock, throttle=Throttle()) for _ in range(self._sessions)]
        for session in sessions:
            connect(session, self.service)
        writers = round(self._coroutines * self._write_share)
        async with asyncio.timeout(self._seconds + 600), asyncio.TaskGroup() as group:
            for number in range(self._coroutines):
                for session in sessions:
                    group.create_task(self._work(session, "POST" if number < writers else "GET"))
        self.rates = [session.statistics().rate for session in sessions]
        for session in sessions:
            await session.close()

    async def _work(self, session: TokenSession, method: str) -> None:
        await asyncio.sleep(self._chance.random() * 0.1)
        while self.loop.time() < self._seconds:
            async with session.request(method, "/api/sync", json=None) as response:
                self._errors += response.status != 200


def connect(session: TokenSession, service: Service) -> None:
    """Put the stand-in below a session."""
    own = cast(Any, session)
    own._connections._session = own._connections._pool._requests = service
