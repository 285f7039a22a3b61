"""What a token store is: a record per key, and one lock per key across every process that shares the store."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["StoredToken", "TokenStore"]


@dataclass(frozen=True, slots=True)
class StoredToken:
    """One record.

    generation: grows with every token of the chain; a store refuses to replace a record by an older one.
    payload: the manager's own text. It holds secrets unless the store encrypts it.
    """

    generation: int
    payload: str = field(repr=False)


class TokenStore(Protocol):
    """Keeps one record per key. Every method may be called by many tasks at once.

    Raises `StoreError`, and nothing else, when the store cannot be reached, read or written.
    """

    async def load(self, key: str) -> StoredToken | None:
        """Return the record under `key`, or None. Cancelling has no effect on the store."""
        ...

    async def save(self, key: str, record: StoredToken) -> None:
        """Keep `record`, unless the one already there has a higher generation. Cancelling may or may not have saved."""
        ...

    async def clear(self, key: str) -> None:
        """Forget the record under `key`; nothing happens when there is none."""
        ...

    def refresh_lock(self, key: str) -> AbstractAsyncContextManager[None]:
        """Return a lock on `key`, exclusive across processes and tasks; a holder that dies loses it.

        Entering waits until the lock is free. Cancelling the wait, or the body, leaves the lock free.
        """
        ...
