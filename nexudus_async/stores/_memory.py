"""Records in the memory of one process."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from ._protocol import StoredToken


class MemoryStore:
    """Keeps records as long as the object lives, for the sessions and tasks of one event loop.

    The plainest reading of `TokenStore`. Raises nothing. Share one object to share its records.
    """

    def __init__(self) -> None:
        self._records: dict[str, StoredToken] = {}
        # Held by holders and waiters alone: an unused lock is bound to no event loop and takes no memory.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def load(self, key: str) -> StoredToken | None:
        return self._records.get(key)

    async def save(self, key: str, record: StoredToken) -> None:
        kept = self._records.get(key)
        if kept is None or kept.generation <= record.generation:
            self._records[key] = record

    async def clear(self, key: str) -> None:
        self._records.pop(key, None)

    @asynccontextmanager
    async def refresh_lock(self, key: str) -> AsyncGenerator[None, None]:
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            yield

    def __repr__(self) -> str:
        return f"<MemoryStore, records: {len(self._records)}>"
