"""The sessions of many accounts that are open: those that nobody uses are closed.

They are in the order of their last use, which is all that is needed to find one that was not used for long.
"""

import asyncio
import contextvars
from collections import Counter, OrderedDict
from itertools import islice
from typing import Final, Literal

from ._clock import Clock, sleep_idly
from ._events import logger
from ._member import Done, Member, done_by, sum_of

Reason = Literal["idle", "room"]
LONGEST_PAUSE: Final = 60.0
"""Seconds between looks for idle sessions: the event loop's own timers stand still while a host is suspended."""
SHORTEST_PAUSE: Final = 0.01
"""The least of it, where the next session is about to be idle for long enough."""


class Members:
    """The sessions that are open, by account. most: how many may be open. idle_timeout: seconds, None for no end."""

    def __init__(self, most: int, idle_timeout: float | None, clock: Clock) -> None:
        self.most, self._idle_timeout, self._clock = most, idle_timeout, clock
        self._members: OrderedDict[str, Member] = OrderedDict()
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._closing = False
        self.made = 0
        self.closed: Counter[Reason] = Counter()
        """How many were closed for which reason."""
        self.awaited: Counter[str] = Counter()
        """Accounts whose new session somebody is about to get."""
        self._spare: dict[str, None] = {}
        """Those that nobody has used since there were too many, the least recently used first."""
        self._tried: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        """Marks of the credentials for one use that closed sessions have used, for as many accounts as may be open."""
        self._done = Done(0, 0, 0)
        """What those did that are closed."""

    def __len__(self) -> int:
        return len(self._members)

    @property
    def in_use(self) -> int:
        """How many have something under way."""
        return sum(member.in_use for member in self._members.values())

    def totals(self) -> Done:
        """Return what all have done, those included that are closed."""
        return sum_of(self._done, *map(done_by, self._members.values()))

    def get(self, key: str) -> Member | None:
        """Return the session of an account, None where there is none, or somebody has closed it."""
        member = self._members.get(key)
        if member is not None and member.closed:
            self._forget(key, member)
            return None
        return member

    def add(self, key: str, member: Member) -> None:
        """Keep a new session, and make room for it."""
        self._members[key] = member
        member.tried.learn(self._tried.pop(key, ()))
        member.last_used = self._clock.monotonic()
        self.made += 1
        member.use.told = lambda: self.use(key)
        member.ended = lambda: self._drop(key, member)
        self._make_room()
        if self._excess > 0:
            self._spare[key] = None
        if self._sweeper is None and self._idle_timeout is not None:
            self._sweeper = asyncio.get_running_loop().create_task(
                self._sweep(self._idle_timeout), context=contextvars.Context(), name="nexudus_async idle sessions"
            )

    def use(self, key: str) -> None:
        """Learn that the session of an account is used now: something has begun or ended, or somebody has got it."""
        member = self._members.get(key)
        if member is None:
            return
        member.last_used = self._clock.monotonic()
        self._members.move_to_end(key)
        self._spare.pop(key, None)
        if self._excess > 0 and not self._closing and not member.in_use:
            self._close_spare()
            if self._excess > 0:
                self._spare[key] = None

    async def until_ended(self, key: str) -> None:
        """Wait until the last session of an account, which is being closed, has ended."""
        while (ending := self._ending.get(key)) is not None:
            await asyncio.wait((ending,))

    async def close(self) -> None:
        """Close all."""
        self._closing = True
        members, ending, here = list(self._members.values()), set(self._ending.values()), asyncio.get_running_loop()
        if self._sweeper is not None:
            ending.add(self._sweeper)
            if self._sweeper.get_loop() is here:
                self._sweeper.cancel()
        try:
            await asyncio.gather(*(member.close() for member in members), return_exceptions=True)
            if ending and next(iter(ending)).get_loop() is here:
                await asyncio.wait(ending)
        finally:
            for key, member in list(self._members.items()):
                self._forget(key, member)

    @property
    def _excess(self) -> int:
        return len(self._members) - self.most

    def _make_room(self) -> None:
        """Close as many as there are too many, but the newest, and none that is in use."""
        if (excess := self._excess) > 0:
            others = islice(self._members.items(), len(self._members) - 1)
            for key in list(islice((key for key, _ in others if self._may_be_closed(key)), excess)):
                self._end(key, "room")

    def _close_spare(self) -> None:
        """Make room by those of which it is known that nobody uses them: all others would have to be looked at."""
        for key in list(islice((key for key in self._spare if self._may_be_closed(key)), self._excess)):
            self._end(key, "room")

    def _may_be_closed(self, key: str) -> bool:
        member = self._members.get(key)
        return member is not None and not member.in_use and key not in self.awaited

    async def _sweep(self, idle_timeout: float) -> None:
        try:
            while self._members:
                pause = self._close_idle(idle_timeout)
                await sleep_idly(self._clock, min(max(pause, SHORTEST_PAUSE), LONGEST_PAUSE))
        finally:
            self._sweeper = None

    def _close_idle(self, idle_timeout: float) -> float:
        """Close the sessions that were idle for so long; return the seconds until the next may be."""
        now, due, pause = self._clock.monotonic(), list[str](), idle_timeout
        for key, member in self._members.items():
            left = member.last_used + idle_timeout - now
            if left > 0:
                pause = left
                break
            due.append(key)
        for key in due:
            if not self._may_be_closed(key):
                self.use(key)  # a body or a WebSocket, which does not tell of its end: it counts as used now
            else:
                self._end(key, "idle")
        self._make_room()
        return pause

    def _end(self, key: str, reason: Reason) -> None:
        member = self._members[key]
        self.closed[reason] += 1
        self._forget(key, member)
        member.retire()
        ending = asyncio.get_running_loop().create_task(
            member.close(), context=contextvars.Context(), name="nexudus_async closing a session"
        )
        self._ending[key] = ending
        ending.add_done_callback(lambda task: self._on_end(key, task))

    def _on_end(self, key: str, ending: "asyncio.Task[None]") -> None:
        del self._ending[key]
        if not ending.cancelled() and (error := ending.exception()) is not None:
            logger.error("a session could not be closed: %s", type(error).__name__)

    def _drop(self, key: str, member: Member) -> None:
        """Forget a session that was closed by hand; `close` has to find those that it closes."""
        if self._members.get(key) is member and not self._closing:
            self._forget(key, member)

    def _forget(self, key: str, member: Member) -> None:
        del self._members[key]
        self._spare.pop(key, None)
        if marks := member.tried.marks:
            self._tried[key] = marks
            while len(self._tried) > self.most:
                self._tried.popitem(last=False)
        self._done = sum_of(self._done, done_by(member))
