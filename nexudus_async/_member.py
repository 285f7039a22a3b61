"""The sessions of many accounts: each counts what is under way, and those that nobody uses are closed.

They are in the order of their last use, which is all that is needed to find one that was not used for long.
"""

import asyncio
import contextvars
from collections import Counter, OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from yarl import URL

from ._clock import Clock, sleep_idly
from ._credentials import Credentials
from ._events import logger
from ._http.shared import Shared
from ._session import TokenSession
from ._token import Token

if TYPE_CHECKING:
    from ._session import Response, WebSocket

Reason = Literal["idle", "room"]
LONGEST_PAUSE: Final = 60.0
SHORTEST_PAUSE: Final = 0.01
"""Seconds between looks for idle sessions: the event loop's own timers stand still while a host is suspended."""


class Done(NamedTuple):
    """What sessions have done: see `Statistics`."""

    sign_ins: int
    renewals: int
    failures: int


class Use:
    """Counts what is under way in one session. told: called when something has begun or ended."""

    __slots__ = ("count", "told")

    def __init__(self) -> None:
        self.count = 0
        self.told: Callable[[], None] | None = None

    def __enter__(self) -> None:
        self.count += 1
        if self.told is not None:
            self.told()

    def __exit__(self, *_: object) -> None:
        self.count -= 1
        if self.told is not None:
            self.told()


class Member(TokenSession):
    """A `TokenSession` that shares its connections, and what else there is, with others."""

    def __init__(self, shared: Shared, credentials: Credentials | None, **options: Any) -> None:
        self._shared = shared
        self.use = Use()
        self.last_used = 0.0
        """By the clock of `Members`."""
        super().__init__(credentials, **options)

    @property
    def in_use(self) -> bool:
        """Whether something is under way, or the store has yet to take its newest token."""
        coordinator = self._coordinator
        return self.use.count > 0 or coordinator.waiting is not None or coordinator.unsaved

    def retire(self) -> None:
        """Serve nothing any more, at once: what begins before `close()` runs would be cut off by it."""
        self._coordinator.state.close()

    async def token(self) -> Token:
        with self.use:
            return await super().token()

    async def refresh(self) -> Token:
        with self.use:
            return await super().refresh()

    async def sign_in(self) -> Token:
        with self.use:
            return await super().sign_in()

    async def logout(self) -> None:
        with self.use:
            await super().logout()

    async def _request(self, method: str, url: str | URL, **kwargs: Any) -> "Response":
        with self.use:
            return await super()._request(method, url, **kwargs)

    async def _ws_connect(self, url: str | URL, **kwargs: Any) -> "WebSocket":
        with self.use:
            return await super()._ws_connect(url, **kwargs)


class Members:
    """The sessions that are open, by account. most: how many may be. idle_timeout: seconds, None for none."""

    def __init__(self, most: int, idle_timeout: float | None, clock: Clock) -> None:
        self.most, self._idle_timeout, self._clock = most, idle_timeout, clock
        self._members: OrderedDict[str, Member] = OrderedDict()
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self.made = 0
        self.closed: Counter[Reason] = Counter()
        """How many were closed for which reason."""
        self.awaited: Counter[str] = Counter()
        """Accounts whose new session somebody is about to get."""
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
        self.made += 1
        member.use.told = lambda: self.use(key)
        self.use(key)
        self._make_room()
        if self._sweeper is None and self._idle_timeout is not None:
            self._sweeper = asyncio.get_running_loop().create_task(
                self._sweep(self._idle_timeout), context=contextvars.Context(), name="nexudus_async idle sessions"
            )

    def use(self, key: str) -> None:
        """Learn that the session of an account is used now."""
        member = self._members.get(key)
        if member is not None:
            member.last_used = self._clock.monotonic()
            self._members.move_to_end(key)

    async def until_ended(self, key: str) -> None:
        """Wait until the last session of an account, which is being closed, has ended."""
        while (ending := self._ending.get(key)) is not None:
            await asyncio.wait((ending,))

    async def close(self) -> None:
        """Close all."""
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

    def _make_room(self) -> None:
        """Close as many as there are too many, but the newest, and none that is in use."""
        excess = len(self._members) - self.most
        if excess > 0:
            others = islice(self._members.items(), len(self._members) - 1)
            unused = (each for each in others if not each[1].in_use and each[0] not in self.awaited)
            for key, member in list(islice(unused, excess)):
                self._end(key, member, "room")

    async def _sweep(self, idle_timeout: float) -> None:
        try:
            while self._members:
                pause = self._close_idle(idle_timeout)
                await sleep_idly(self._clock, min(max(pause, SHORTEST_PAUSE), LONGEST_PAUSE))
        finally:
            self._sweeper = None

    def _close_idle(self, idle_timeout: float) -> float:
        """Close who was idle for so long; return the seconds until the next may be."""
        now = self._clock.monotonic()
        for key, member in list(self._members.items()):
            left = member.last_used + idle_timeout - now
            if left > 0:
                return left
            if not member.in_use:
                self._end(key, member, "idle")
        return idle_timeout

    def _end(self, key: str, member: Member, reason: Reason) -> None:
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

    def _forget(self, key: str, member: Member) -> None:
        del self._members[key]
        self._done = sum_of(self._done, done_by(member))


def done_by(member: Member) -> Done:
    """Return what a session has done."""
    done = member.statistics()
    return Done(done.sign_ins, done.renewals, done.failures)


def sum_of(*done: Done) -> Done:
    """Return what several have done together."""
    return Done(*map(sum, zip(*done, strict=True)))
