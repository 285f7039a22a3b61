"""The gate: one throttled answer stops the whole session, one request probes, the rest follow in a ramp.

The gate is open as long as nothing was throttled, and costs an attribute check. Once an answer asks for a pause, every
request that is still to be sent waits in a queue: first those that were throttled, then those that aiohttp's pool had
queued, then who comes later, each in the order of their calls. When the pause is over, one is let through; if it is
answered unthrottled, two; then four, and so on until nobody waits and the gate opens again.

Who is let through has a ticket, which is good until the next pause: what was sent before that says nothing about the
ramp. A request that is cancelled or fails gives its place to the next and widens nothing; but several failures in a
row are an outage, and no throttling, so that the ramp goes on.
"""

import asyncio
import contextvars
import heapq
import itertools
import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import aiohttp

from nexudus_async._clock import Clock, sleep
from nexudus_async.errors import SessionClosedError

REPLAY, HELD_BACK, NEW = 0, 1, 2
"""Who is let through first."""
Place = tuple[int, int]
OUTAGE: Final = 3
"""Failures in a row, after which the ramp goes on without an answer: nobody sits through the time-outs of others."""
PATIENCE: Final = 10.0
"""Seconds of the event loop, because this is about the network, after which those who wait for an answer to the probe
let one more through: longer than a slow answer, shorter than aiohttp's five minutes."""

TICKET: contextvars.ContextVar[object] = contextvars.ContextVar("nexudus_async ticket", default=None)
"""The ticket of the request that is being sent, for the connector, which sees it after it waited in the pool."""
NOT_OURS: Final = object()
"""The ticket of a request that carries its caller's authorization, and that no gate stops."""


class HeldBack(Exception):  # noqa: N818 - no error: the request has yet to be sent
    """Raised by our connector, before anything is sent, for a request that left the pool's queue during a pause.

    method, url, body: of the hop that is still to be sent.
    """

    def __init__(self, request: aiohttp.ClientRequest) -> None:
        super().__init__("held back")
        self.method, self.url, self.body = request.method, request.url, request.body


@contextmanager
def holding(ticket: object) -> Generator[None]:
    """Let the requests that are sent inside the block have this ticket."""
    before = TICKET.set(ticket)
    try:
        yield
    finally:
        TICKET.reset(before)


class Gate:
    """What all requests of one session pass, one by one while it is `engaged`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.engaged = False
        """Whether requests must `enter` and `leave`."""
        self.waiting = 0
        """How many wait for their ticket."""
        self._closed = False
        self._until = -math.inf
        self._queue: list[tuple[int, int, asyncio.Future[object]]] = []
        self._serial = itertools.count()
        self._ticket = object()
        self._under_way = self._failures = 0
        self._let_through = 1
        self._alarm: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None

    def pause_left(self) -> float:
        """Return the seconds for which nothing is sent, 0 for none."""
        return max(0.0, self._until - self._clock.monotonic())

    def pause(self, seconds: float) -> None:
        """Send nothing for so long, a longer pause in force aside; then begin again with one request."""
        self._until = max(self._until, self._clock.monotonic() + seconds)
        self._ticket = object()
        self._under_way = self._failures = 0
        self._let_through = 1
        self.engaged = True
        self._stop_watching()
        if (self._alarm is None or self._alarm.done()) and not self._closed:  # done: an eager loop has run all of it
            loop = asyncio.get_running_loop()
            self._alarm = loop.create_task(self._ring(), context=contextvars.Context(), name="nexudus_async throttle")

    def place(self, rank: int) -> Place:
        """Return a place in the queue behind all of this rank."""
        return rank, next(self._serial)

    def admits(self, ticket: object) -> bool:
        """Tell whether a request with this ticket, None for none, may be sent now."""
        return not self.engaged or ticket is self._ticket or ticket is NOT_OURS

    async def enter(self, place: Place) -> object:
        """Wait for a ticket and return it; whoever got one must `leave`.

        Raises `SessionClosedError`. Cancelling gives the ticket to the next.
        """
        if self._closed:
            raise SessionClosedError("the session is closed: make a new one")
        ticket: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (*place, ticket))
        self.waiting += 1
        try:
            self._pump()
            await ticket
        except BaseException:  # cancelled, or the end of the program
            if not ticket.cancel() and not ticket.cancelled():  # it was our ticket already
                self.leave(ticket.result())
            raise
        finally:
            self.waiting -= 1
        if self._closed:
            raise SessionClosedError("the session was closed while this request waited for the API's throttling to end")
        return ticket.result()

    def leave(self, ticket: object, *, well: bool = False, failed: bool = False) -> None:
        """Give the ticket back. well: its answer was not throttled, so that more may follow. failed: it got none."""
        if ticket is not self._ticket:
            return
        self._under_way -= 1
        self._failures = 0 if well else self._failures + failed
        if well or (failed and self._failures >= OUTAGE):
            self._let_through += 1  # one more for each good answer: twice as many for each round of them
        self._pump()
        if well and self._under_way == 0:  # and so nobody waits
            self.engaged = False
            self._stop_watching()

    def close(self) -> None:
        """End every wait."""
        self._closed = True
        if self._alarm is not None and self._alarm.get_loop().is_closed():
            return  # it took those who waited along
        self._stop_watching()
        if self._alarm is not None:
            self._alarm.cancel()
        while self._queue:
            self._grant_next()

    async def _ring(self) -> None:
        try:
            while (left := self.pause_left()) > 0:
                await sleep(self._clock, left)
        finally:
            self._alarm = None
        self._pump()

    def _pump(self) -> None:
        if self.pause_left() > 0:
            return
        while self._queue and self._under_way < self._let_through:
            self._grant_next()
        if self._queue and self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(PATIENCE, self._lose_patience)

    def _grant_next(self) -> None:
        ticket = heapq.heappop(self._queue)[2]
        if not ticket.done():  # its request was cancelled
            self._under_way += 1
            ticket.set_result(self._ticket)

    def _lose_patience(self) -> None:
        self._watch = None
        self._let_through += 1
        self._pump()

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
