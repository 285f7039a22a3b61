"""Waiting out 409 and 429, together: one throttled answer stops the whole session, one request probes, the rest follow.

The gate is open as long as nothing was throttled, and costs an attribute check. Once an answer asks for a pause, every
request that is still to be sent waits in a queue, first come first served. When the pause is over, one is let through;
if it is answered unthrottled, two; then four, and so on until the queue is empty and the gate opens again. If the
probe is throttled the pause begins anew; if it fails or is cancelled, the next in the queue takes over.
"""

import asyncio
import contextvars
import math
from collections import deque
from dataclasses import dataclass

import aiohttp
import anyio

from ._clock import Clock, sleep
from ._retry_after import MAX_WORDS, retry_after, wait_in_words
from .errors import ConfigurationError, SessionClosedError

__all__ = ["Gate", "Patience", "Throttle"]

CONFLICT, TOO_MANY_REQUESTS = 409, 429
WORDS_TIMEOUT = 1.0
"""Seconds to wait for the body of a 429 without a header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """How patiently a request is replayed when the API throttles it (https://developers.nexudus.com, "Throttling").

    max_replays: how often one request is sent again. Five, because every one of them comes after a pause that the
        service itself named: more means that it does not keep its word.
    max_wait: seconds that one request waits in all for its own throttled answers. A minute, the longest window of
        the documented limits that a caller would sit out. An answer that asks for more is returned at once.
    first_wait: seconds to wait for a 429 that names none; doubled each time.

    A 409 without `Retry-After` is an ordinary conflict, and the caller's. Raises `ConfigurationError` for nonsense.
    """

    max_replays: int = 5
    max_wait: float = 60.0
    first_wait: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.max_replays, int) or isinstance(self.max_replays, bool) or self.max_replays < 0:
            raise ConfigurationError(f"max_replays must be a whole number, 0 or more, not {self.max_replays!r}")
        for name in ("max_wait", "first_wait"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value < 0:
                raise ConfigurationError(f"{name} must be a finite number of seconds, 0 or more, not {value!r}")


class Patience:
    """What one request has left of the replays and the waiting that `Throttle` grants it."""

    def __init__(self, throttle: Throttle, clock: Clock) -> None:
        self._throttle, self._clock = throttle, clock
        self.replays = 0
        self._waited = 0.0

    async def pause_for(self, response: aiohttp.ClientResponse) -> float | None:
        """Return the seconds that a throttled answer asks for, None where it is the caller's, and take them off."""
        asked = await self._asked(response)
        if asked is None or self.replays >= self._throttle.max_replays:
            return None
        if self._waited + asked > self._throttle.max_wait:
            return None
        self.replays += 1
        self._waited += asked
        return asked

    async def _asked(self, response: aiohttp.ClientResponse) -> float | None:
        seconds = retry_after(response.headers, self._clock.wall())
        if seconds is not None or response.status != TOO_MANY_REQUESTS:
            return seconds
        in_words = await _in_words(response)
        return in_words if in_words is not None else self._throttle.first_wait * 2.0**self.replays


async def _in_words(response: aiohttp.ClientResponse) -> float | None:
    if response.content_length is None or response.content_length > MAX_WORDS:
        return None
    body = b""
    try:
        with anyio.move_on_after(WORDS_TIMEOUT):
            body = await response.read()  # kept by aiohttp, so that the caller can read it again
    except aiohttp.ClientError:
        return None
    return wait_in_words(body)


class Gate:
    """What all requests of one session pass, one by one while it is `engaged`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.engaged = False
        """Whether requests must `enter` and `leave`."""
        self._closed = False
        self._until = -math.inf
        self._queue: deque[asyncio.Future[None]] = deque()
        self._under_way = 0
        self._let_through = 1
        self._alarm: asyncio.Task[None] | None = None

    def pause(self, seconds: float) -> None:
        """Send nothing for so long; then begin again with one request."""
        self._until = max(self._until, self._clock.monotonic() + seconds)
        self._let_through = 1
        self.engaged = True
        if self._alarm is None and not self._closed:
            loop = asyncio.get_running_loop()
            self._alarm = loop.create_task(self._ring(), context=contextvars.Context(), name="nexudus_async throttle")

    async def enter(self, *, first: bool = False) -> None:
        """Wait for a place; whoever returns from here must `leave`. `first`: before all others, for a replay.

        Raises `SessionClosedError`. Cancelling gives the place to the next.
        """
        if self._closed:
            raise SessionClosedError("the session is closed: make a new one")
        turn = asyncio.get_running_loop().create_future()
        if first:
            self._queue.appendleft(turn)
        else:
            self._queue.append(turn)
        self._pump()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was our turn already
                self.leave(well=False)
            raise
        if self._closed:
            self._under_way -= 1
            raise SessionClosedError("the session was closed while this request waited for the API's throttling to end")

    def leave(self, *, well: bool) -> None:
        """Give the place back. `well`: the answer was not throttled, so that more may follow."""
        self._under_way -= 1
        if well:
            self._let_through += 1  # one more for each good answer: twice as many for each round of them
        self._pump()

    def close(self) -> None:
        """End every wait."""
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        while self._queue:
            self._grant(self._queue.popleft())

    async def _ring(self) -> None:
        try:
            while (left := self._until - self._clock.monotonic()) > 0:
                await sleep(self._clock, left)
        finally:
            self._alarm = None
        self._pump()

    def _pump(self) -> None:
        if self._clock.monotonic() < self._until:
            return
        while self._queue and self._under_way < self._let_through:
            self._grant(self._queue.popleft())
        if not self._queue and self._under_way == 0:
            self.engaged = False

    def _grant(self, turn: asyncio.Future[None]) -> None:
        if not turn.done():  # its request was cancelled
            self._under_way += 1
            turn.set_result(None)
