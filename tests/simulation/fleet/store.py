"""A store that several processes share, in one piece, and all that can happen to it."""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import Protocol, TypeVar

import anyio

from nexudus_async import StoreError
from nexudus_async.stores import StoredToken
from nexudus_async.stores._support import finish
from tests.simulation.transport import Latency

from .content import Content, content_of, edited

__all__ = ["LEASE", "SLOW_SAVE", "TROUBLES", "Lock", "StoreServer", "StoreView", "Watcher"]

T = TypeVar("T")

LEASE = 60.0
"""Seconds after which a lock whose holder does not come back is free."""
POLL = 0.2
FAILING = ("fails", "fails late", "raises", "hangs", "late")
SLOW_SAVE = "slow save"
TROUBLES = ("fails", "raises", "hangs", "slow", SLOW_SAVE, "answer lost", "late")
"""Of one operation: it fails in the store's words or a library's, never ends, takes a while, or only the next save
does, is done although it fails at once, or is done later although it has failed."""


@dataclass(slots=True)
class Lock:
    """Who holds it, and until when unless it is given back."""

    process: int
    until: float


class Watcher(Protocol):
    """Who is told of all that happens to the store."""

    def loaded(self, process: int, content: Content | None) -> None: ...
    def begins_to_save(self, process: int, content: Content) -> None: ...
    def saved(self, process: int, before: Content | None, content: Content) -> None: ...
    def does_not_confirm(self, content: Content) -> None: ...
    def store_failed(self, process: int) -> None: ...
    def given_up(self) -> None: ...


class StoreServer:
    """The store itself. now: the seconds that pass."""

    def __init__(
        self,
        now: Callable[[], float],
        chance: Random,
        latency: Latency,
        watcher: Watcher,
        trace: Callable[..., None],
    ) -> None:
        self.now, self.latency, self.watcher, self.trace = now, latency, watcher, trace
        self.chance = chance
        self.troubles: list[tuple[int, str, float]] = []
        """What goes wrong next: for which process, what, and for how many seconds."""
        self.down_until: dict[int, float] = {}
        self.lag_until = 0.0
        """Until then a load may come from a replica that lags behind."""
        self.lost_at = -math.inf
        """When the lock was lost last, with whatever the store had."""
        self._records: list[StoredToken] = []
        self.lock: Lock | None = None

    @property
    def record(self) -> StoredToken | None:
        return self._records[-1] if self._records else None

    def load(self) -> StoredToken | None:
        if self.now() < self.lag_until and len(self._records) > 1:
            return self._records[-2]
        return self.record

    def save(self, process: int, record: StoredToken) -> None:
        before = self.record
        if before is None or before.generation <= record.generation:
            self.watcher.saved(process, content_of(before), _told(record))
            self._records.append(record)

    def take_lock(self, process: int) -> Lock | None:
        if self.is_locked:
            return None
        self.lock = Lock(process, self.now() + LEASE)
        return self.lock

    def give_back(self, lock: Lock) -> None:
        if self.lock is lock:
            self.lock = None

    def is_held_by(self, process: int) -> bool:
        return self.lock is not None and self.lock.process == process and self.lock.until > self.now()

    @property
    def is_locked(self) -> bool:
        return self.lock is not None and self.lock.until > self.now()

    def lose_everything(self) -> None:
        """Start again, empty."""
        self._records.clear()
        self.lock, self.lost_at = None, self.now()

    def go_back(self) -> None:
        """Start again, from what was there a while ago."""
        if self._records:
            self._records.pop()
        self.lock, self.lost_at = None, self.now()

    def edit(self, what: str, token: dict[str, object] | None) -> None:
        """Let somebody write over the record. token: what a later release has got."""
        if self.record is not None:
            self._records.append(edited(self.record, what, self.chance, token))

    def heal(self) -> None:
        self.troubles.clear()
        self.down_until.clear()
        self.lag_until = min(self.lag_until, self.now())

    def trouble(self, process: int, operation: str) -> tuple[str, float]:
        """Return what goes wrong with this operation of this process, if anything does."""
        if self.now() < self.down_until.get(process, 0.0):
            return self.chance.choice((("fails", 0.0), ("fails late", 2.0), ("hangs", 0.0)))
        for index, (who, what, seconds) in enumerate(self.troubles):
            if who == process and (what != SLOW_SAVE or operation == "save"):
                del self.troubles[index]
                return "slow" if what == SLOW_SAVE else what, seconds
        return "", 0.0


class StoreView:
    """A `TokenStore`: what one process sees of the server. alive: tells whether that process is."""

    lease = LEASE

    def __init__(self, server: StoreServer, process: int, alive: Callable[[], bool]) -> None:
        self._server, self._process, self._alive = server, process, alive
        self._carried_out = 0
        """Operations of this process: they are carried out in their order, however late."""

    async def load(self, key: str) -> StoredToken | None:
        record = await self._do("load", self._server.load)
        self._server.watcher.loaded(self._process, content_of(record))
        return record

    async def save(self, key: str, record: StoredToken) -> None:
        watcher, content = self._server.watcher, _told(record)
        watcher.begins_to_save(self._process, content)
        try:
            await self._do("save", lambda: self._server.save(self._process, record))
        except BaseException:
            watcher.does_not_confirm(content)
            raise

    async def clear(self, key: str) -> None:
        raise AssertionError("nobody is known to clear a record")

    @asynccontextmanager
    async def refresh_lock(self, key: str) -> AsyncGenerator[None, None]:
        """As the one of Redis: an attempt that was begun is finished, and what may have been taken is given back."""
        server, taken = self._server, list[Lock]()

        def take() -> bool:
            lock = server.take_lock(self._process)
            taken.extend([lock] if lock is not None else [])
            return lock is not None

        def give_back() -> None:
            for lock in taken:
                server.give_back(lock)

        try:
            while not await finish(self._do("lock", take)):  # noqa: ASYNC110 - what is elsewhere has no event
                await anyio.sleep(POLL)
            yield
        finally:
            if taken:
                with suppress(StoreError, OSError):
                    await finish(self._do("unlock", give_back))

    async def disconnect(self) -> None:
        await self._server.latency.clean_up()

    async def _do(self, operation: str, effect: Callable[[], T]) -> T:
        server = self._server
        await server.latency.pass_by()
        what, seconds = server.trouble(self._process, operation) if self._alive() else ("hangs", 0.0)
        server.trace("store", self._process, operation, what or "works", seconds)
        if what in FAILING:
            server.watcher.store_failed(self._process)
        if what == "fails late":
            await self._take(seconds)
        if what == "hangs":
            await asyncio.sleep(3.0 if self._alive() else 0.0)  # the store's own patience
        if what == "raises":
            raise OSError(104, "reset")
        if what == "late":
            asyncio.get_running_loop().call_later(seconds, self._carry_out_late, effect, self._carried_out)
        if what in FAILING:
            raise StoreError(f"the store {what}")
        if what == "slow":
            await self._take(seconds)
        result = effect()
        self._carried_out += operation == "save"
        if what == "answer lost":
            server.watcher.store_failed(self._process)
            raise StoreError("the answer was lost")
        await server.latency.pass_by()
        return result

    def _carry_out_late(self, effect: Callable[[], object], before: int) -> None:
        if before == self._carried_out:
            effect()

    async def _take(self, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:  # nobody waits any more
            self._server.watcher.given_up()
            raise


def _told(record: StoredToken) -> Content:
    return content_of(record) or Content(record.generation)
