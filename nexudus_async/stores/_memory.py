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
        """Return the record under `key`, or None. Does not wait, hence cannot be cancelled."""
        return self._records.get(key)

    async def save(self, key: str, record: StoredToken) -> None:
        """Keep `record`, unless the one that is there has a higher generation. Does not wait."""
        kept = self._records.get(key)
        if kept is None or kept.generation <= record.generation:
            self._records[key] = record

    async def clear(self, key: str) -> None:
        """Forget the record under `key`; nothing happens when there is none. Does not wait."""
        self._records.pop(key, None)

    @asynccontextmanager
    async def refresh_lock(self, key: str) -> AsyncGenerator[None, None]:
        """Return the lock on `key`, exclusive among the tasks of the event loop.

        Entering waits until the lock is free, in the order of asking: put a deadline around it;
        `anyio.move_on_after(0)` only tries. Cancelling leaves it free. Not reentrant.
        """
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            yield

    def __repr__(self) -> str:
        return f"<MemoryStore, records: {len(self._records)}>"
