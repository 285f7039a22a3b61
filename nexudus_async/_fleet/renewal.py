"""The flight of a process that shares its chain of tokens with others, through a store.

Look at the record and adopt a newer token → try the lock → look again → note the attempt → refresh → publish and wake
the waiters → save → unlock. The note is for whoever comes next if this process dies: the service may have used the
refresh token.

A failure is noted in the record, so that a fleet backs off as one process does, and one success ends that for all. A
lock that another holds is never bypassed: before the hard margin nobody waits for it, and who has waited for as long as
a flight may take fails with what the fleet knows.

When the store is down, see `without_store.py`.
"""

from contextlib import suppress
from dataclasses import replace

from nexudus_async._clock import Clock, sleep
from nexudus_async._refresh.attempt import Attempt
from nexudus_async._refresh.outcomes import Obtained, Shared
from nexudus_async._refresh.renewal import EXPIRED_ON_ITS_WAY, MAX_EXPIRED, Asking
from nexudus_async._token import Token
from nexudus_async.errors import (
    EndpointUnavailableError,
    LoginRequiredError,
    MalformedResponseError,
    NexudusAuthError,
    StoreError,
)
from nexudus_async.stores._record import NewerRecordError, Record

from .lost_writes import LostWrites
from .pauses import Pauses
from .storage import Storage
from .without_store import WithoutStore, forget_refused, refresh_in_doubt

LOOK_AGAIN = 0.5
"""Seconds between looks at the record during a pause, while callers fail: another process's success ends it."""
LOOK_WHILE_SERVED = 5.0
"""The same while nobody waits: a fleet is not to ask its store twice a second for the length of an outage."""
LOCK_PAUSE = 10.0
"""Seconds at most for which a token that is good is left to another process, and not beyond the hard margin."""


class FleetRefresher:
    """Gets a newer token for one process of a fleet: its own, or another's.

    lock_time: seconds for which the lock guards what is asked of the service, infinite for one that does not end.
    """

    shared = True

    def __init__(self, asking: Asking, storage: Storage, pauses: Pauses, clock: Clock, lock_time: float) -> None:
        self._asking, self._grants, self._lock_time = asking, asking.grants, lock_time
        self._storage, self._pauses, self._clock = storage, pauses, clock
        self._record: Record | None = None
        """The record as it was seen or written last."""
        self._in_store: str | None = None
        """The refresh token that the record had then."""
        self._lost = LostWrites(clock, storage.patience)
        self._server: str | None = None
        """Which server kept the record when the lock was taken last."""
        self._without_store = WithoutStore(asking, storage)
        self.prepare_tombstone, self.save_tombstone = storage.prepare_tombstone, storage.save_tombstone
        self.save_later, self.save_unsaved = storage.save_later, storage.save_unsaved
        self.end_saving, self.disconnect = storage.end_saving, storage.disconnect

    @property
    def unsaved(self) -> bool:
        return self._storage.unsaved is not None

    def worth_a_look(self, error: NexudusAuthError, looked_ago: float, *, served: bool) -> bool:  # noqa: ARG002
        return looked_ago >= (LOOK_WHILE_SERVED if served else LOOK_AGAIN)

    async def run(self, attempt: Attempt) -> None:
        """Adopt, refresh or sign in. Raises a `NexudusAuthError`, or `HeldOffError`."""
        begun = False
        known: Record | None = None
        try:
            for pause in self._storage.looks():
                if await self._look(attempt):
                    return
                known = known or self._record or Record(0)
                await self._check_not_held(attempt, known)
                asking = self._asking.for_at_most(self._lock_time)
                async with self._storage.try_lock() as ours:
                    if ours:
                        if await self._look(attempt):  # another process may have refreshed since
                            return
                        await self._check_not_held(attempt, known)  # or failed
                        if await self._note_attempt(attempt):
                            begun = True
                            await self._refresh(attempt, asking)
                        return
                if (seconds := attempt.can_wait) > 0:
                    attempt.left_alone(min(seconds, LOCK_PAUSE))
                    return
                await sleep(self._clock, pause)
        except StoreError as exc:
            if begun:
                raise
            await self._without_store.run(attempt, exc)
            return
        raise self._pauses.error_of(self._record, attempt.last_error) or EndpointUnavailableError(
            "another process has been signing in or refreshing for too long, and nothing came of it"
        )

    async def _look(self, attempt: Attempt) -> bool:
        """Read the record, and tell whether it ends the attempt. Raises `StoreError`."""
        try:
            record = await self._storage.load()
        except NewerRecordError as exc:
            attempt.adopted(Shared(None, exc.generation, 0.0, logged_out=False))
            raise
        self._see(record)
        if record is None:
            return False
        wall = self._clock.wall()
        logged_out, ends = record.logged_out_until > wall, self._storage.news_of_logout(record)
        return attempt.adopted(Shared(record.token, record.generation, record.life_left(wall), logged_out, ends))

    def _see(self, record: Record | None) -> None:
        self._record = record
        if record is not None:
            self._in_store = record.token.refresh_token if record.token is not None else None

    async def _check_not_held(self, attempt: Attempt, known: Record) -> None:
        """Raise `HeldOffError` while a failure, of this process or another, forbids a request.

        known: the record at the first look. Whoever waits while another process tries shares its failure.
        """
        await self._asking.check_not_held(attempt)
        if not attempt.forced:
            self._pauses.check(self._record, known, attempt.last_error, served=attempt.served)

    async def _note_attempt(self, attempt: Attempt) -> bool:
        """Note in the record that the refresh token held is about to be sent; tell whether that may be.

        Learns from the record whether another process has sent it. Raises `StoreError`: what cannot be noted is not
        sent, or every process of the fleet would send it.
        """
        token, record = attempt.token, self._record
        self._server = await self._storage.server()
        if token is None or token.refresh_token is None or attempt.by_credentials or not self._grants.for_fleets:
            return True
        if record is None or record.token is None or record.token.refresh_token != token.refresh_token:
            return await self._put_back(attempt, token)
        if record.in_doubt:
            self._grants.others_have_sent(token)
            attempt.seen(record.generation + 1)  # they may yet save the successor
        elif self._lost.may_be_lost(record, self._server):
            return self._goes_on_in_doubt(attempt, token)
        else:
            await self._note(record._replace(in_doubt=True, server=self._server))
        return True

    async def _put_back(self, attempt: Attempt, token: Token) -> bool:
        """The store lacks the refresh token that is to be sent: note it there first, unless it never heard of it.

        It was emptied, or went back to a copy of itself; or it has not confirmed that it took what it was given, and
        may take it yet, one generation lower.
        """
        if self._storage.is_known_here_only(token):
            return True
        latch = self._record.latch if self._record is not None else None
        unsaved = self._storage.unsaved if self._storage.is_unsaved(token) else None
        if unsaved is not None:
            attempt.seen(attempt.generation + 1)
            token = unsaved.token or token
        record = Record(attempt.generation, token, client_id=token.client_id, latch=latch, server=self._server)
        await self._note(record._replace(in_doubt=True))
        return unsaved is not None or self._goes_on_in_doubt(attempt, token)

    def _goes_on_in_doubt(self, attempt: Attempt, token: Token) -> bool:
        """The store may have lost that another process is refreshing: tell whether to go on now.

        While the token held is good, the other may still save its successor; then its refresh token is not sent, but a
        sign-in made.
        """
        if (seconds := attempt.can_wait) > 0:
            attempt.left_alone(min(seconds, LOCK_PAUSE))
            return False
        self._grants.others_have_sent(token)
        return True

    async def _note(self, record: Record) -> None:
        await self._storage.note(record)
        self._see(record)

    async def _refresh(self, attempt: Attempt, asking: Asking) -> None:
        """Get a token from the service, with the lock in hand, and save it, or what is learned from a failure.

        asking: what ends with the lock.
        """
        for _ in range(MAX_EXPIRED):
            obtained = await self._obtain(attempt, asking)
            granted = attempt.granted(obtained) if obtained is not None else None
            if granted is None:
                return
            token = granted.token
            record = Record(token.generation, token, client_id=token.client_id, server=self._server)
            if await self._storage.save(record):
                self._see(record)
            if granted.good or not await self._note_attempt(attempt):
                return
        raise MalformedResponseError(EXPIRED_ON_ITS_WAY)

    async def _obtain(self, attempt: Attempt, asking: Asking) -> Obtained | None:
        """Return what the service gives; None where another process has given it meanwhile."""
        token = None if attempt.by_credentials else attempt.token
        sent = token.refresh_token if token is not None else None
        refused = signing_in = False
        mark: str | None = None
        try:
            asking.check_time_left()
            obtained, spent = await refresh_in_doubt(asking, self._storage, token)
            if obtained is not None:
                return obtained
            if spent is not None:
                forget_refused(self._storage, attempt, spent)
                with suppress(StoreError):  # a process may have refreshed in spite of the lock, after its lease
                    if await self._look(attempt):
                        return None
                refused = sent == self._in_store and spent.error is not None
            if not attempt.forced:
                await self._pauses.respect_latch(self._record, spent)
            signing_in = True
            asking.check_time_left(after=spent)
            if (mark := await asking.take_one_time(after=spent)) is not None:
                await self._storage.note_taken(mark, self._record or Record(0))
            record = self._record or Record(0)
            probing = attempt.probing or (record.pause is not None and not attempt.forced)
            by_hand = attempt.by_credentials
            return await asking.sign_in(record.client_id, after=spent, probing=probing, by_hand=by_hand)
        except Exception as exc:
            if isinstance(exc, LoginRequiredError):
                exc.__cause__ = exc.__cause__ or self._storage.unreadable
            unused = mark is not None and mark not in self._grants.tried
            await self._note_failure(attempt, exc, refused=refused, signing_in=signing_in, unused=unused)
            raise

    async def _note_failure(
        self, attempt: Attempt, error: Exception, *, refused: bool, signing_in: bool, unused: bool
    ) -> None:
        """Tell the fleet what this flight has learned, and leave alone what else the record says: it may be a logout.

        refused: the record's refresh token was. unused: credentials for one use were noted as used, and were not sent.
        """
        before, held = self._record, attempt.token
        record = before or self._in_place_of_none(held)
        stored, tried = record.token, None if attempt.by_credentials else held
        if stored is not None and refused:
            record = record._replace(token=replace(stored, refresh_token=None), in_doubt=False)
        elif stored is not None and stored.refresh_token == _refresh_token_of(tried):
            record = record._replace(in_doubt=self._grants.may_have_been_used(stored))
        served, at_most = attempt.served, attempt.longest_pause
        record = await self._pauses.after(record, error, signing_in=signing_in, served=served, at_most=at_most)
        if unused or record != (before or Record(0)):
            with suppress(StoreError):
                await self._note(record)

    def _in_place_of_none(self, held: Token | None) -> Record:
        """The store has no record, perhaps no more: return one of the token held, which another may be refreshing."""
        if held is None:
            return Record(0)
        known_to_others = not self._storage.is_known_here_only(held)
        return Record(held.generation, held, known_to_others, held.client_id, server=self._server)


def _refresh_token_of(token: Token | None) -> str | None:
    return token.refresh_token if token is not None else None
