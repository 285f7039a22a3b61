"""Access to the record and the lock of one account in a store: every operation waits for a bounded time.

A store that fails is a `StoreError` to the caller and a `StoreFailed` event, each time; and a line in the log, one of
many while it lasts, and one when it is over.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import anyio

from nexudus_async._events import Emitter, StoreFailed
from nexudus_async._refresh.tried import Tried
from nexudus_async.errors import StoreError, UnreadableRecordError
from nexudus_async.stores import KeepsConnections, TellsServer, TokenStore
from nexudus_async.stores._record import NewerRecordError, Record, decode, encode

R = TypeVar("R")

STORE_TIMEOUT = 5.0
"""Seconds for one operation: a healthy store takes milliseconds, and nobody is to wait long for a broken one."""
PROVES = {"load": {"load", "server", "disconnect"}, "save": {"save", "lock", "unlock"}}
"""Of a load, or a save, that works: the operations that work again with it. Any other proves itself alone."""


class StoreAccess:
    """One key of a store."""

    def __init__(self, store: TokenStore, *, key: str, emitter: Emitter, tried: Tried) -> None:
        self._store, self._key, self._emitter, self._tried = store, key, emitter, tried
        self._failing: set[str] = set()
        """The operations that failed when they were tried last."""
        self.unreadable: UnreadableRecordError | None = None
        """Why the record that was loaded last counts as none."""

    async def load(self) -> Record | None:
        """Return the record, or None without one. Raises `StoreError`."""
        self.unreadable = None
        try:
            stored = await self._bounded("load", self._store.load(self._key))
        except UnreadableRecordError as exc:
            self.unreadable = exc
            return Record(0)  # nothing to adopt, and every record replaces it
        if stored is None:
            self._can("load")
            return None
        try:
            record = decode(stored, self._key)
        except NewerRecordError as exc:
            self._failed("load", exc)
            raise
        except ValueError as exc:
            self._failed("load", StoreError(str(exc)))
            return Record(stored.generation)  # nothing to adopt, but the next record must be above it to replace it
        self._can("load")
        self._tried.learn(record.tried)
        return record

    async def save(self, record: Record) -> None:
        """Save `record`, with all that was tried. Raises `StoreError`; the store may have saved it all the same."""
        record = record._replace(tried=self._tried.marks)
        await self._bounded("save", self._store.save(self._key, encode(record, self._key)))

    async def server(self) -> str | None:
        """Return which server keeps the record now; None where the store does not tell. Raises `StoreError`."""
        if not isinstance(self._store, TellsServer):
            return None
        return await self._bounded("server", self._store.server(self._key))

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
            with suppress(StoreError):  # told of already; the lock ends by itself
                await self._bounded("unlock", lock.__aexit__(None, None, None))

    async def disconnect(self) -> None:
        """Let the store close the connections that nobody uses."""
        if isinstance(self._store, KeepsConnections):
            with suppress(StoreError):
                await self._bounded("disconnect", self._store.disconnect())

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
                result = await work
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
        if operation != "load":  # what was loaded may be unreadable
            self._can(operation)
        return result

    def _failed(self, operation: str, error: StoreError) -> None:
        self._failing.add(operation)
        self._emitter.warn("store", type(error).__name__, "token store: %s failed: %s", operation, error)
        self._emitter.emit(lambda: StoreFailed(operation=operation, error=error))

    def _can(self, operation: str) -> None:
        """Note that an operation works; tell when nothing fails any more."""
        self._failing -= PROVES.get(operation, {operation})
        if not self._failing:
            self._emitter.works("store", "the token store works again")
