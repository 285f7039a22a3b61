"""The record of one account in a store: careful access, the lock, and what is still to be saved.

Everything here waits for a bounded time. A store that fails is a `StoreError` to the caller and a `StoreFailed` event
to the listener; whether that matters is decided in `renewal.py`.

What a store did not take is kept in one slot, until it takes it or something newer is there. Whoever tries to save it
clears only what it took from the slot: meanwhile a newer token, or a logout, may have been put there.

A logout that the store has not heard of is overdue, also when a sign-in has followed it: others may have gone on with
the chain that it ended. What is in the slot then is put above whatever the record says.
"""

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TypeVar

import anyio

from nexudus_async._clock import sleep
from nexudus_async._events import Emitter, StoreFailed, logger
from nexudus_async._refresh.policy import RefreshPolicy
from nexudus_async._refresh.state import TokenState
from nexudus_async._refresh.tried import Tried
from nexudus_async._token import Token
from nexudus_async.errors import StoreError
from nexudus_async.stores import KeepsConnections, TellsServer, TokenStore
from nexudus_async.stores._record import NewerRecordError, Record, above, decode, encode, is_tombstone, outranks

R = TypeVar("R")

STORE_TIMEOUT = 5.0
"""Seconds for one operation: a healthy store takes milliseconds, and nobody is to wait long for a broken one."""
LOCK_MARGIN = 5.0
"""Seconds to wait for another process's refresh, beyond the deadline of a flight: it has a save to make, too."""
LOOK_FIRST, LOOK_GROWTH, LOOK_LAST = 0.1, 1.5, 2.0
"""Seconds between two looks at the record while another process refreshes: soon at first, then ever more rarely."""
SAVE_FIRST, SAVE_LAST = 1.0, 30.0
"""Seconds between attempts to save what could not be saved: doubling from the first to the last."""
TOMBSTONE_LIFE = 15 * 86400.0
"""Seconds that a logout is remembered: as long as the refresh tokens that it ends live."""


class Storage:
    """One key of a store."""

    def __init__(
        self,
        store: TokenStore,
        *,
        key: str,
        state: TokenState,
        policy: RefreshPolicy,
        chance: Callable[[], float],
        emitter: Emitter,
        tried: Tried,
    ) -> None:
        self._store, self._key, self._clock, self._chance, self._emitter = store, key, state.clock, chance, emitter
        self._state, self.patience = state, policy.flight_deadline + LOCK_MARGIN
        self._tried = tried
        self._unsaved: Record | None = None
        self._overdue = False
        """Whether there was a logout that the store has not heard of."""
        self._saver: asyncio.Task[None] | None = None

    # The record

    async def load(self) -> Record | None:
        """Return the record, or None without one. Raises `StoreError`.

        While a logout is overdue, the record is what is still to be saved, above what the store has.
        """
        record = await self._load()
        unsaved = self._unsaved
        return above(unsaved, record) if unsaved is not None and self._overdue else record

    async def _load(self) -> Record | None:
        stored = await self._bounded("load", self._store.load(self._key))
        if stored is None:
            return None
        try:
            record = decode(stored, self._key)
        except NewerRecordError as exc:
            self._failed("load", exc)
            raise
        except ValueError as exc:
            self._failed("load", StoreError(str(exc)))
            return Record(stored.generation)  # nothing to adopt, but the next record must be above it to replace it
        self._tried.learn(record.tried)
        return record

    async def note(self, record: Record) -> None:
        """Save `record`, with all that was tried, and do not keep it when that fails. Raises `StoreError`."""
        record = replace(record, tried=self._tried.marks)
        await self._bounded("save", self._store.save(self._key, encode(record, self._key)))

    async def note_taken(self, mark: str, record: Record) -> None:
        """Note with `record` that credentials for one use are about to be used; else they count as not used."""
        try:
            await self.note(record)
        except BaseException:
            self._tried.take_back(mark)
            raise

    async def save(self, record: Record) -> bool:
        """Save `record`; when that fails keep it to be saved later, and return False."""
        try:
            await self.note(record)
        except StoreError:
            self.keep(record)
            return False
        self._settle(record)
        return True

    async def server(self) -> str | None:
        """Return which server keeps the record now; None where the store does not tell. Raises `StoreError`."""
        if not isinstance(self._store, TellsServer):
            return None
        return await self._bounded("server", self._store.server(self._key))

    # The lock

    @asynccontextmanager
    async def try_lock(self) -> AsyncGenerator[bool, None]:
        """Try the lock that one process holds while it refreshes; give whether it is ours. Raises `StoreError`.

        It is only tried, never queued for: whoever waits looks at the record again and again, and so a thousand
        processes adopt one token without a thousand round trips under the lock.
        """
        lock = self._store.refresh_lock(self._key)
        if not await self._try(lock.__aenter__):
            yield False
            return
        try:
            yield True
        finally:
            with suppress(StoreError):  # it ends by itself
                await self._bounded("unlock", lock.__aexit__(None, None, None))

    def looks(self) -> Iterator[float]:
        """Yield the seconds to wait before each further look, for as long as another process's flight may take."""
        began, pause = self._clock.monotonic(), LOOK_FIRST
        while self._clock.monotonic() - began < self.patience:
            yield pause * (0.5 + self._chance())
            pause = min(pause * LOOK_GROWTH, LOOK_LAST)

    # What is still to be saved

    @property
    def unsaved(self) -> Record | None:
        """What could not be saved, and is not yet in the store."""
        return self._unsaved

    def keep(self, record: Record) -> None:
        """Keep a record, to be saved later, unless something newer is kept already."""
        if self._unsaved is None or record.generation >= self._unsaved.generation:
            self._unsaved = record

    async def save_unsaved(self) -> None:
        """Save what could not be saved, under the lock, unless the store has got something as new meanwhile."""
        unsaved = self._unsaved
        if unsaved is None:
            return
        try:
            await self._save_in_turn(unsaved)
        except NewerRecordError:
            pass  # never to be replaced
        except StoreError:
            if self._unsaved is unsaved and not self._overdue:
                await self.save(unsaved)  # what is there may be unreadable, which only a save can mend

    def save_later(self) -> None:
        """See to it that what is unsaved will be saved."""
        if self._unsaved is not None and self._saver is None:
            self._saver = asyncio.get_running_loop().create_task(
                self._save_in_time(), context=contextvars.Context(), name="nexudus_async saver"
            )

    # Logout and close

    def prepare_tombstone(self, generation: int, token: Token | None) -> None:
        """Keep a tombstone one generation above a logout's, to be saved later unless `save_tombstone` does it."""
        client_id = token.client_id if token is not None else None
        until = self._clock.wall() + TOMBSTONE_LIFE
        self._unsaved, self._overdue = Record(generation + 1, client_id=client_id, logged_out_until=until), True

    async def save_tombstone(self) -> int:
        """Save the tombstone above everything known, so that the fleet drops the chain; return its generation.

        Waits for a refresh that is under way elsewhere. Cancelled, or without the store, it leaves that for later.
        """
        tombstone = self._unsaved
        if tombstone is None or not is_tombstone(tombstone):  # saved already, or overtaken by a sign-in
            return 0
        with suppress(StoreError):
            for pause in self.looks():
                async with self.try_lock() as ours:
                    if ours:
                        record = await self.load()
                        if self._unsaved is tombstone and record is not None:
                            await self.save(record)
                            return record.generation
                        return 0
                await sleep(self._clock, pause)
        return tombstone.generation

    def end_saving(self) -> list[asyncio.Task[None]]:
        """Return the task that saves later, to be cancelled."""
        return [] if self._saver is None else [self._saver]

    async def disconnect(self) -> None:
        """Let the store close the connections that nobody uses."""
        if isinstance(self._store, KeepsConnections):
            with suppress(StoreError):
                await self._bounded("disconnect", self._store.disconnect())

    def _settle(self, saved: Record) -> None:
        """Clear the slot of what was saved, and of what is older."""
        if self._unsaved is not None and self._unsaved.generation <= saved.generation:
            self._unsaved, self._overdue = None, False

    async def _save_in_turn(self, unsaved: Record) -> None:
        if is_tombstone(unsaved):
            await self.save_tombstone()
            return
        for pause in self.looks():
            if self._is_pointless(unsaved, await self._load()):
                break
            async with self.try_lock() as ours:
                if ours:
                    server, record = await self.server(), await self._load()
                    if not self._is_pointless(unsaved, record) and self._unsaved is unsaved:
                        await self.save(replace(self._above_if_overdue(unsaved, record), server=server))
                        return
                    break
            await sleep(self._clock, pause)
        else:
            return  # the lock was never free: another time
        if self._unsaved is unsaved:
            self._unsaved = None

    def _is_pointless(self, unsaved: Record, record: Record | None) -> bool:
        return not self._overdue and outranks(record, unsaved)

    def _above_if_overdue(self, unsaved: Record, record: Record | None) -> Record:
        if not self._overdue:
            return unsaved
        raised = above(unsaved, record)
        self._state.seen(raised.generation)
        return raised

    async def _save_in_time(self) -> None:
        pause = SAVE_FIRST
        try:
            while self._unsaved is not None:
                await sleep(self._clock, pause * (0.5 + self._chance()))
                await self.save_unsaved()
                pause = min(2 * pause, SAVE_LAST)
        finally:
            self._saver = None

    # Bounded access

    async def _try(self, enter: Callable[[], Awaitable[None]]) -> bool:
        async def once() -> bool:
            with anyio.move_on_after(0):
                await enter()
                return True
            return False

        return await self._bounded("lock", once())

    async def _bounded(self, operation: str, work: Awaitable[R]) -> R:
        try:
            with anyio.fail_after(STORE_TIMEOUT):
                return await work
        except TimeoutError as exc:
            error = StoreError(f"the token store did not answer within {STORE_TIMEOUT:.0f} s")
            self._failed(operation, error)
            raise error from exc
        except StoreError as exc:
            self._failed(operation, exc)
            raise
        except Exception as exc:
            error = StoreError(f"the token store raised {type(exc).__name__}")
            self._failed(operation, error)
            raise error from exc

    def _failed(self, operation: str, error: StoreError) -> None:
        logger.warning("%s: token store: %s failed: %s", self._emitter.account, operation, error)
        self._emitter.emit(lambda: StoreFailed(operation=operation, error=error))
