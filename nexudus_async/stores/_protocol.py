"""What a token store is: a record per key, and one lock per key across every process that shares the store."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class StoredToken:
    """One record.

    generation: grows with every token of the chain; a store refuses to replace a record by an older one.
    payload: the manager's own text. It holds secrets unless the store encrypts it.
    """

    generation: int
    payload: str = field(repr=False)


class TokenStore(Protocol):
    """Keeps one record per key. Every method may be called by many tasks at once, of one event loop.

    Raises `StoreError`, and nothing else, when the store cannot be reached, read or written, after a bounded wait.
    """

    async def load(self, key: str) -> StoredToken | None:
        """Return the record under `key`, or None. Cancelling has no effect on the store.

        Raises `UnreadableRecordError` for a record that is there, and that nobody can read: it counts as none. Raises
        `StoreError` for one that may be good, and that only this process cannot read, as without the right key.
        """
        ...

    async def save(self, key: str, record: StoredToken) -> None:
        """Keep `record`, unless the one already there has a higher generation. Cancelling may or may not have saved.

        An older record is refused without an error: who lost the race finds the newer one at the next `load`. One that
        cannot be read is replaced; or, where it may be good and only this process cannot read it, as with encryption,
        kept, and `StoreError` raised.
        """
        ...

    async def clear(self, key: str) -> None:
        """Forget the record under `key`, readable or not; nothing happens when there is none.

        Cancelling may or may not have cleared. What was forgotten guards no generation: a record of any may follow.
        """
        ...

    def refresh_lock(self, key: str) -> AbstractAsyncContextManager[None]:
        """Return a lock on `key`, exclusive across processes and tasks; a holder that dies loses it.

        Entering waits until the lock is free: put a deadline around it. The first attempt is made before the wait can
        be cancelled by an anyio scope, so that `anyio.move_on_after(0)` around entering means "only try".
        Cancelling the wait, or the body, leaves the lock free. Leaving raises nothing: a lock that cannot be given
        back ends by itself. Not reentrant. `load` and `save` are not held up by it.
        """
        ...


@runtime_checkable
class KeepsConnections(Protocol):
    """What a store may be besides: one that keeps connections open for the next operation."""

    async def disconnect(self) -> None:
        """Close the connections that nobody uses now. Others may use the store meanwhile, and it may be used again.

        Raises nothing. A session does this when it is closed, so that a program that ends leaves no connection open.
        """
        ...


@runtime_checkable
class TellsServer(Protocol):
    """What a store may be besides: one whose server can be replaced by another, which may lack what was saved last."""

    async def server(self, key: str) -> str | None:
        """Return the name of the server that keeps `key` now, another after every restart; None where it hides it.

        After a fail-over to a replica, or a restart, locks and the last saves may be lost. Raises `StoreError`.
        Cancelling has no effect on the store.
        """
        ...
