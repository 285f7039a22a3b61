"""The record of one account in a store, and what is still to be saved.

What a store did not take is kept in one slot, a token or a tombstone, until the store takes it or something newer is
there. Whoever tries to save it clears only what it took from the slot: meanwhile a newer token, or a logout, may have
been put there. It may be, at the same time,

    offered      the store was told to save it, and has not confirmed that: others may have it
    overdue      there was a logout that the store has not heard of, even if a sign-in has followed it: what is in the
                 slot is then put above whatever the record says
    held back    its refresh token is being sent: it is not for others, and what comes of it is saved
"""

import asyncio
import contextvars
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from nexudus_async._clock import sleep, sleep_idly
from nexudus_async._refresh.policy import RefreshPolicy
from nexudus_async._refresh.state import TokenState
from nexudus_async._refresh.tried import Tried
from nexudus_async._token import Token
from nexudus_async.errors import StoreError
from nexudus_async.stores._record import Record, above, is_tombstone, outranks

from .access import StoreAccess

LOCK_MARGIN = 5.0
"""Seconds to wait for another process's refresh, beyond the deadline of a flight: it has a save to make, too."""
LOOK_FIRST, LOOK_GROWTH, LOOK_LAST = 0.1, 1.5, 2.0
"""Seconds between two looks at the record while another process refreshes: soon at first, then ever more rarely."""
SAVE_FIRST, SAVE_LAST = 1.0, 30.0
"""Seconds between attempts to save what could not be saved: doubling from the first to the last."""
TOMBSTONE_LIFE = 15 * 86400.0
"""Seconds that a logout is remembered: as long as the refresh tokens that it ends live."""


class Storage:
    """The record of one account, as this process and the store have it."""

    def __init__(
        self,
        access: StoreAccess,
        *,
        state: TokenState,
        policy: RefreshPolicy,
        chance: Callable[[], float],
        tried: Tried,
    ) -> None:
        self._access, self._state, self._clock, self._chance, self._tried = access, state, state.clock, chance, tried
        self.note, self.try_lock, self.server, self.disconnect = (
            access.save, access.try_lock, access.server, access.disconnect,
        )  # fmt: skip
        self.patience = policy.flight_deadline + LOCK_MARGIN
        self._unsaved: Record | None = None
        self._offered: Record | None = None
        """What was offered last."""
        self._overdue = False
        self._logout: tuple[int, float] | None = None
        """The generation and the end of the tombstone that was seen, or saved, last."""
        self._held_back = False
        self._saver: asyncio.Task[None] | None = None

    # The record

    async def load(self) -> Record | None:
        """Return the record, or None without one. Raises `StoreError`.

        While a logout is overdue, the record is what is still to be saved, above what the store has.
        """
        record = await self._access.load()
        unsaved = self._unsaved
        return above(unsaved, record) if unsaved is not None and self._overdue else record

    @property
    def unreadable(self) -> StoreError | None:
        """Why the record that was loaded last counts as none."""
        return self._access.unreadable

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
            self._offered = record
            return False
        self._settle(record)
        if is_tombstone(record):
            self._logout = record.generation, record.logged_out_until
        return True

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

    def is_unsaved(self, token: Token) -> bool:
        """Tell whether its refresh token is the one that could not be saved."""
        unsaved = self._unsaved
        return unsaved is not None and unsaved.token is not None and unsaved.token.refresh_token == token.refresh_token

    def is_known_here_only(self, token: Token) -> bool:
        """Tell whether the store has never been told of this token, so that nobody else can have it."""
        return self.is_unsaved(token) and self._unsaved is not self._offered

    def note_doubt(self, token: Token, *, in_doubt: bool) -> None:
        """See to it that what is saved later says whether the refresh token may have been used."""
        if self._unsaved is not None and self.is_unsaved(token):
            offered = self._unsaved is self._offered
            self._unsaved = self._unsaved._replace(in_doubt=in_doubt)
            self._offered = self._unsaved if offered else self._offered

    @contextmanager
    def holding_back(self) -> Generator[None]:
        """Let no token be saved inside the block: its refresh token is being sent, and is not for others to send."""
        self._held_back = True
        try:
            yield
        finally:
            self._held_back = False

    def news_of_logout(self, record: Record) -> str | None:
        """Return the `client_id` of the chain that a tombstone ends, if it was not there at the last look.

        Nothing of that chain is saved any more: a token that the store never had may be newer than the tombstone.
        """
        if not is_tombstone(record) or (logout := (record.generation, record.logged_out_until)) == self._logout:
            return None
        self._logout, ended = logout, record.client_id
        if ended is not None and self._unsaved is not None and self._unsaved.client_id == ended and not self._overdue:
            self._unsaved = None
        return ended

    def keep(self, record: Record) -> None:
        """Keep a record, to be saved later, unless something newer is kept already."""
        if self._unsaved is None or record.generation >= self._unsaved.generation:
            self._unsaved = record

    def drop_refresh_token(self, refused: str | None) -> None:
        """See to it that a refresh token that was refused is not saved later."""
        unsaved = self._unsaved
        if unsaved is not None and unsaved.token is not None and unsaved.token.refresh_token == refused:
            self._unsaved = unsaved._replace(token=replace(unsaved.token, refresh_token=None))

    async def save_unsaved(self) -> None:
        """Save what could not be saved, under the lock, unless the store has got something as new meanwhile."""
        unsaved = self._unsaved
        if unsaved is None or (self._held_back and not is_tombstone(unsaved)):
            return
        with suppress(StoreError):  # another time
            await self._save_in_turn(unsaved)

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
                            self._state.seen(record.generation)  # the token of a sign-in meanwhile is above it
                            epoch = self._state.epoch
                            saved = await self.save(record)
                            self._overdue &= not saved or epoch != self._state.epoch  # another logout meanwhile
                            return record.generation
                        return record.generation if record is not None and is_tombstone(record) else 0
                await sleep(self._clock, pause)
        return tombstone.generation

    def end_saving(self) -> list[asyncio.Task[None]]:
        """Return the task that saves later, to be cancelled."""
        return [] if self._saver is None else [self._saver]

    def _settle(self, saved: Record) -> None:
        """Clear the slot of what was saved, or is older."""
        if self._unsaved is not None and self._unsaved.generation <= saved.generation:
            self._unsaved, self._overdue = None, False

    async def _save_in_turn(self, unsaved: Record) -> None:
        if is_tombstone(unsaved):
            self._state.tombstone_saved(await self.save_tombstone())
            return
        for pause in self.looks():
            if self._is_pointless(unsaved, record := await self._access.load()):
                break
            async with self.try_lock() as ours:
                if ours:
                    server, record = await self.server(), await self._access.load()
                    if not self._is_pointless(unsaved, record) and self._unsaved is unsaved:
                        self._offered = unsaved
                        await self.save(self._above_if_overdue(unsaved, record)._replace(server=server))
                        return
                    break
            await sleep(self._clock, pause)
        else:
            return  # the lock was never free: another time
        if self._unsaved is unsaved:
            self._unsaved = None
        if record is not None and is_tombstone(record):
            self._state.tombstone_saved(record.generation)

    def _is_pointless(self, unsaved: Record, record: Record | None) -> bool:
        if self._overdue or record is None:
            return False
        if (ended := self.news_of_logout(record)) is not None and ended == unsaved.client_id:
            self._state.tombstone_saved(max(record.generation, unsaved.generation))
            return True
        return outranks(record, unsaved)

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
                await sleep_idly(self._clock, pause * (0.5 + self._chance()))
                await self.save_unsaved()
                pause = min(2 * pause, SAVE_LAST)
        finally:
            self._saver = None
