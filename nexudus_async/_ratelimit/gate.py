"""The gate: where the requests of a session wait for their turn once one of them was throttled.

It is open as long as nothing was throttled, and costs an attribute check. After the first throttled answer every
request that is still to be sent goes by it, at the rate that the service lets through (`adaptive_rate`): first those
that were throttled, then those that aiohttp's pool had queued, then who comes later, each in the order of their calls.
Reads do not wait behind writes, which have a limit of their own. While a refusal is likely, those that have few replays
left let the others go ahead.

Who goes has a ticket, the time at which it went, and whoever got one says what came of it: `served`, `throttled` or
`released`. A request that is cancelled or fails gives its turn to the next.
"""

import asyncio
import contextvars
import heapq
import itertools
import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, NamedTuple

import aiohttp

from nexudus_async._clock import Clock, sleep
from nexudus_async.errors import SessionClosedError

from .adaptive_rate import UNPACED
from .fields import Remaining
from .request_rates import RequestRates

REPLAY, HELD_BACK, NEW = 0, 1, 2
"""Ranks in the queue: the smallest goes first."""
NOT_OURS: Final = math.inf
"""The ticket of a request that carries its caller's authorization, and that no gate stops."""
TICKET: contextvars.ContextVar[float] = contextvars.ContextVar("nexudus_async ticket", default=UNPACED)
"""The ticket of the request that is being sent, for the connector, which sees it after it waited in the pool."""
SOON: Final = 1e-6
"""Seconds that a sleep may be too short: clocks are floats."""


class HeldBack(Exception):  # noqa: N818 - no error: the request has yet to be sent
    """Raised by our connector, before anything is sent, for a request that left the pool's queue during a pause.

    method, url, body: of the hop that is still to be sent.
    """

    def __init__(self, request: aiohttp.ClientRequest) -> None:
        super().__init__("held back")
        self.method, self.url, self.body = request.method, request.url, request.body


@contextmanager
def holding(ticket: float) -> Generator[None]:
    """Let the requests that are sent inside the block have this ticket."""
    before = TICKET.set(ticket)
    try:
        yield
    finally:
        TICKET.reset(before)


class Place(NamedTuple):
    """A place in the queue.

    due: not before that. replays: how many it has used, if few are left, else 0. write: it passes two limits.
    """

    rank: int
    serial: int
    due: float
    replays: int
    write: bool

    @property
    def turn(self) -> tuple[int, int]:
        """The smallest goes first."""
        return self.rank, self.serial


class _Waiting:
    __slots__ = ("came", "place", "ticket")

    def __init__(self, place: Place, ticket: "asyncio.Future[float]", came: float) -> None:
        self.place, self.ticket, self.came = place, ticket, came

    def __lt__(self, other: "_Waiting") -> bool:
        return (self.place.replays, self.place.turn) < (other.place.replays, other.place.turn)


class Gate:
    """What all requests of one session pass while it is `engaged`, or of many sessions that share it.

    first_wait: seconds of the pause after a first throttled answer that asks for none.
    """

    def __init__(self, clock: Clock, first_wait: float = 1.0) -> None:
        self._clock = clock
        self._rates = RequestRates(first_wait)
        self.engaged = False
        """Whether requests must `enter`, and say what came of it."""
        self.waiting = 0
        """How many wait for their turn."""
        self._closed = False
        self._queues: dict[tuple[bool, bool], list[_Waiting]] = {
            (write, spared): [] for write in (False, True) for spared in (False, True)
        }
        """By whether they write, and whether they are spared a likely refusal: few of their replays are left."""
        self._resting: list[tuple[float, int, _Waiting]] = []
        self._serial = itertools.count()
        self._alarm: asyncio.Task[None] | None = None
        self._rings_at = math.inf

    @property
    def rate(self) -> float | None:
        """The requests per second that the service lets through, as learnt; None: not yet."""
        return self._rates.all.limit if self.engaged else None

    def pause_left(self) -> float:
        """Return the seconds for which nothing is sent, 0 for none."""
        return max(0.0, self._rates.held_until - self._clock.monotonic())

    def place(self, rank: int, *, write: bool = False, wait: float = 0.0, replays: int = 0) -> Place:
        """Return a place in the queue behind all of this rank. wait: seconds that this request waits in any case."""
        due = self._clock.monotonic() + wait if wait > 0 else -math.inf
        return Place(rank, next(self._serial), due=due, replays=replays, write=write)

    def admits(self, ticket: float) -> bool:
        """Tell whether a request that went then may still be sent: no pause has begun since."""
        return not self.engaged or ticket >= self._rates.held_until

    async def enter(self, place: Place) -> float:
        """Wait for a ticket and return it; whoever got one says what came of it.

        Raises `SessionClosedError`. Cancelling gives the turn to the next.
        """
        if self._closed:
            raise SessionClosedError("the session is closed: make a new one")
        ticket: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(place, ticket, came=max(self._clock.monotonic(), place.due))
        heapq.heappush(self._resting, (place.due, place.serial, waiting))
        self.waiting += 1
        try:
            self._pump()
            await ticket
        except BaseException:  # cancelled, or the end of the program
            if not ticket.cancel() and not ticket.cancelled():  # it was our turn already
                self.released(ticket.result(), write=place.write)
            raise
        finally:
            self.waiting -= 1
            if not self.waiting:
                self._ring_at(math.inf)
        if self._closed:
            raise SessionClosedError("the session was closed while this request waited for the API's throttling to end")
        return ticket.result()

    def served(self, ticket: float, *, write: bool) -> None:
        """Learn of an answer that was not throttled."""
        if self.engaged:
            self._rates.served(ticket, self._clock.monotonic(), write=write)
            self._pump()

    def throttled(self, ticket: float, asked: float | None, *, write: bool) -> None:
        """Learn of a throttled answer. asked: the seconds that it asks to wait, if it does."""
        self._rates.throttled(ticket, self._clock.monotonic(), asked, write=write)
        self.engaged = True
        self._pump()

    def told(self, said: Remaining | None, *, write: bool) -> None:
        """Learn of the `RateLimit` fields of an answer."""
        if said is not None:
            self._rates.told(said.requests, said.seconds, self._clock.monotonic(), write=write)

    def released(self, ticket: float, *, write: bool, failed: bool = False) -> None:
        """Learn that a request has ended without an answer that says anything. failed: there was none."""
        if self.engaged:
            self._rates.released(ticket, self._clock.monotonic(), write=write, failed=failed)
            self._pump()

    def close(self) -> None:
        """End every wait."""
        self._closed = True
        if self._alarm is not None and self._alarm.get_loop().is_closed():
            return  # it took those who waited along
        if self._alarm is not None:
            self._alarm.cancel()
        for waiting in (*(each for _, _, each in self._resting), *itertools.chain(*self._queues.values())):
            if not waiting.ticket.done():
                waiting.ticket.set_result(UNPACED)

    def _pump(self) -> None:
        """Let everybody go whose turn it is, and see to it that this is called again when it is the next one's."""
        now = self._clock.monotonic()
        while self._resting and (self._resting[0][0] <= now + SOON or self._resting[0][2].ticket.done()):
            waiting = heapq.heappop(self._resting)[2]
            heapq.heappush(self._queues[waiting.place.write, waiting.place.replays > 0], waiting)
        while (queue := self._ready(now)) is not None:
            waiting = heapq.heappop(queue)
            write = waiting.place.write
            now_or_soon = now + self._rates.delay(now, write=write)
            waiting.ticket.set_result(self._rates.take(now_or_soon, waiting.came, write=write))
            self.engaged = self._rates.engaged
        resting = self._resting[0][0] if self._resting else math.inf
        self._ring_at(min(resting, self._turn_of(False, now), self._turn_of(True, now)))

    def _ready(self, now: float) -> "list[_Waiting] | None":
        """Return the queue whose head goes now; None: nobody does."""
        queues = [self._queue(write) for write in (False, True) if self._rates.delay(now, write=write) <= SOON]
        return min((queue for queue in queues if queue), key=_turn_of_head, default=None)

    def _turn_of(self, write: bool, now: float) -> float:
        """Return when the next read or write goes; never, if none waits."""
        return now + self._rates.delay(now, write=write) if self._queue(write) else math.inf

    def _queue(self, write: bool) -> "list[_Waiting]":
        """Return the queue that is next among the reads or the writes; an empty one if nobody waits."""
        usual, spared = self._queues[write, False], self._queues[write, True]
        for queue in (usual, spared):
            while queue and queue[0].ticket.done():  # its request was cancelled
                heapq.heappop(queue)
        if usual and spared:
            return usual if self._rates.probing(write=write) else min(usual, spared, key=_turn_of_head)
        return usual or spared

    def _ring_at(self, when: float) -> None:
        """Let `_pump` be called then, or earlier."""
        if self._alarm is not None:
            if self._rings_at <= when < math.inf:
                return
            self._alarm.cancel()
            self._alarm = None
        if when < math.inf and not self._closed:
            self._rings_at, loop = when, asyncio.get_running_loop()
            alarm = loop.create_task(self._ring(when), context=contextvars.Context(), name="nexudus_async throttle")
            if not alarm.done():  # done: an eager loop has run all of it
                self._alarm = alarm

    async def _ring(self, when: float) -> None:
        while (left := when - self._clock.monotonic()) > SOON:
            await sleep(self._clock, left)
        self._alarm = None
        self._pump()


def _turn_of_head(queue: "list[_Waiting]") -> tuple[int, int]:
    return queue[0].place.turn
