"""The chain of tokens that a fleet shares: what its record says, and careful access to the store that holds it.

Everything here waits for a bounded time. A store that fails is a `StoreError` to the caller and a `StoreFailed` event
to the listener; whether that matters is decided in `_renewal.py`.
"""

import dataclasses
import json
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import anyio

from nexudus_async._clock import Clock, sleep
from nexudus_async._events import Event, StoreFailed, logger
from nexudus_async._token import Token, can_be_sent
from nexudus_async.errors import StoreError
from nexudus_async.stores import KeepsConnections, StoredToken, TokenStore

__all__ = ["Chain", "Latch", "Record", "life_left"]

R = TypeVar("R")

STORE_TIMEOUT = 5.0
"""Seconds for one operation: a healthy store takes milliseconds, and nobody is to wait long for a broken one."""
LOCK_TIMEOUT = 60.0
"""Seconds to wait for another process's renewal: the lease of its lock, after which a dead holder has lost it."""
LOOK_FIRST, LOOK_GROWTH, LOOK_LAST = 0.1, 1.5, 2.0
"""Seconds between two looks at the record while another process renews: soon at first, then ever more rarely."""
TOMBSTONE_LIFE = 15 * 86400.0
"""Seconds that a logout is remembered: as long as the refresh tokens that it ends live."""


@dataclass(frozen=True, slots=True)
class Latch:
    """Refused credentials, for the whole fleet: how often, until when (wall clock), and which, as a salted hash."""

    rejections: int
    until: float
    error: str
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What the fleet knows of the chain.

    generation: of the token, or of the logout that ended it.
    token: the newest token, None after a logout or while there was none.
    in_doubt: a renewal of the token was begun. Whoever finds that under the lock knows that the one who wrote it has
        died, or does not know either what came of it.
    client_id: the chain's own, kept when the tokens end.
    logged_out_until: when a logout may be forgotten (wall clock), 0 for none.
    """

    generation: int
    token: Token | None = None
    in_doubt: bool = False
    client_id: str | None = None
    latch: Latch | None = None
    logged_out_until: float = 0.0


class Chain:
    """The record of one account in a store."""

    def __init__(
        self,
        store: TokenStore,
        key: str,
        clock: Clock,
        chance: Callable[[], float],
        emit: Callable[[Callable[[], Event]], None],
    ) -> None:
        self._store, self.key, self._clock, self._chance, self._emit = store, key, clock, chance, emit
        self.unsaved: Record | None = None
        """What could not be saved, and is not yet in the store."""

    async def load(self) -> Record | None:
        """Return the record, or None without one. Raises `StoreError`."""
        stored = await self._bounded("load", self._store.load(self.key))
        if stored is None:
            return None
        try:
            return _decode(stored, self.key)
        except (ValueError, TypeError, KeyError, OverflowError):
            self._failed("load", StoreError("the record is not one of this package's, or another account's"))
            return Record(stored.generation)  # nothing to adopt, but the next record must be above it to replace it

    async def save(self, record: Record) -> bool:
        """Save `record`; when that fails keep it as `unsaved` and return False."""
        try:
            await self.note(record)
        except StoreError:
            self.unsaved = record
            return False
        self.unsaved = None
        return True

    async def note(self, record: Record) -> None:
        """Save `record`, and do not keep it when that fails. Raises `StoreError`."""
        await self._bounded("save", self._store.save(self.key, _encode(record, self.key)))

    async def disconnect(self) -> None:
        """Let the store close the connections that nobody uses."""
        if isinstance(self._store, KeepsConnections):
            with suppress(StoreError):
                await self._bounded("disconnect", self._store.disconnect())

    async def save_unsaved(self) -> None:
        """Save what could not be saved, under the lock, unless the store has got something as new meanwhile."""
        unsaved = self.unsaved
        if unsaved is None:
            return
        try:
            async with self.turn(lambda record: record is not None and _outranks(record, unsaved)) as ours:
                if self.unsaved is unsaved:
                    self.unsaved = None
                    if ours:
                        await self.save(unsaved)
        except StoreError:
            await self.save(unsaved)  # what is there may be unreadable, which only a save can mend

    async def bury(self, generation: int, token: Token | None) -> int:
        """Leave a tombstone one generation above everything known, so that the fleet drops the chain; return it.

        Waits for a renewal that is under way elsewhere. Cancelled, or without the store, it leaves that for later.
        """
        newest: Record | None = None

        def look(record: Record | None) -> bool:
            nonlocal newest
            newest = record
            return False

        record = self.mourn(generation, token)
        with suppress(StoreError):
            async with self.turn(look):
                if newest is not None:
                    client_id = record.client_id or newest.client_id
                    record = replace(record, generation=1 + max(generation, newest.generation), client_id=client_id)
                await self.save(record)
        return record.generation

    def mourn(self, generation: int, token: Token | None) -> Record:
        """Return a tombstone that will be saved later, unless `bury` does it."""
        client_id = token.client_id if token is not None else None
        until = self._clock.wall() + TOMBSTONE_LIFE
        self.unsaved = Record(generation + 1, client_id=client_id, logged_out_until=until)
        return self.unsaved

    @asynccontextmanager
    async def turn(self, look: Callable[[Record | None], bool]) -> AsyncGenerator[bool, None]:
        """Wait until `look` is content with the record and give False, or until it is our turn to renew and give True.

        Our turn is the lock. It is only ever tried, never queued for: whoever waits looks at the record again and
        again, at growing and random intervals, and so a thousand processes adopt one renewal without a thousand
        round trips under the lock. With the lock in hand the record is looked at once more: between the last look
        and the lock another process may have renewed. Raises `StoreError`.
        """
        waited, pause = 0.0, LOOK_FIRST
        while not look(await self.load()):
            lock = self._store.refresh_lock(self.key)
            if await self._try(lock.__aenter__):
                try:
                    yield not look(await self.load())
                finally:
                    with suppress(StoreError):  # it ends by itself
                        await self._bounded("unlock", lock.__aexit__(None, None, None))
                return
            if waited >= LOCK_TIMEOUT:
                error = StoreError(f"another process has held the renewal lock for {LOCK_TIMEOUT:.0f} s")
                self._failed("lock", error)
                raise error
            step = pause * (0.5 + self._chance())
            await sleep(self._clock, step)
            waited, pause = waited + step, min(pause * LOOK_GROWTH, LOOK_LAST)
        yield False

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
        logger.warning("token store: %s failed: %s", operation, error)
        self._emit(lambda: StoreFailed(operation=operation, error=error))


def _outranks(record: Record, unsaved: Record) -> bool:
    """Whether a record makes an unsaved one pointless: it is as new, and not just the mark of refused credentials."""
    if record.generation == unsaved.generation:
        return record.token is not None or record.logged_out_until > 0
    return record.generation > unsaved.generation


def life_left(record: Record, wall: float) -> float:
    """Return the seconds that the record's token still lives, by this host's clock.

    Hosts' clocks differ: it is never less than nothing, nor more than its lifetime.
    """
    token = record.token
    return 0.0 if token is None else min(max(token.expires_at.timestamp() - wall, 0.0), token.lifetime)


def _encode(record: Record, key: str) -> StoredToken:
    document: dict[str, Any] = {
        "version": 1,
        "key": key,
        "token": None if record.token is None else record.token.to_dict(),
        "in_doubt": record.in_doubt,
        "client_id": record.client_id,
        "latch": None if record.latch is None else dataclasses.asdict(record.latch),
        "logged_out_until": record.logged_out_until,
    }
    return StoredToken(record.generation, json.dumps(document))


def _decode(stored: StoredToken, key: str) -> Record:
    document: Any = json.loads(stored.payload)
    if document["version"] != 1 or document["key"] != key:
        raise ValueError("another version, or another account's")
    latch, client_id = document["latch"], document["client_id"]
    token = None if document["token"] is None else Token.from_dict(document["token"])
    if token is not None and not (can_be_sent(token) and 0 < token.lifetime < math.inf):
        raise ValueError("not a token that the service has given")
    return Record(
        generation=stored.generation,
        token=None if token is None else dataclasses.replace(token, generation=stored.generation),
        in_doubt=bool(document["in_doubt"]),
        client_id=None if client_id is None else str(client_id),
        latch=None if latch is None else _latch(latch),
        logged_out_until=float(document["logged_out_until"]),
    )


def _latch(data: Any) -> Latch:
    fingerprint = data["fingerprint"]
    return Latch(
        rejections=int(data["rejections"]),
        until=float(data["until"]),
        error=str(data["error"]),
        fingerprint=None if fingerprint is None else str(fingerprint),
    )
