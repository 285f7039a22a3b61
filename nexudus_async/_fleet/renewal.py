"""The flight of a process that shares its chain of tokens with others, through a store.

Look at the record and adopt a newer token → try the lock → look again → note the attempt → refresh → publish and wake
the waiters → save → unlock. All but the first look is needed once per lifetime and fleet. The note is for whoever comes
next if this process dies in between: the service may have used the refresh token.

When the store is down, nobody's request suffers:

- before the hard margin nothing is refreshed: the token is good, and the store may come back;
- after it, or when somebody waits, the process signs in under a `client_id` of its own, and so leaves the chain that
  the others share alone; without credentials it refreshes the chain, and takes a refusal for the race that it may be;
- what could not be saved is saved when the store answers again.
"""

from contextlib import suppress
from dataclasses import replace

from nexudus_async._clock import Clock, sleep
from nexudus_async._refresh.attempt import Attempt
from nexudus_async._refresh.policy import LATCHED_AFTER, LONGEST_LATCH, latch_delay
from nexudus_async._refresh.renewal import Asking, CredentialsRestError, is_spent
from nexudus_async._refresh.state import Obtained, Shared
from nexudus_async._token import Token
from nexudus_async.errors import (
    CREDENTIALS_REFUSED,
    CredentialsRejectedError,
    EndpointUnavailableError,
    LoginRequiredError,
    NexudusAuthError,
    StoreError,
    TokenEndpointError,
    copy_of,
)
from nexudus_async.stores._chain_record import Latch, Record

from .storage import Storage


class FleetRenewal:
    """Gets a newer token for one process of a fleet: its own, or another's."""

    def __init__(self, asking: Asking, storage: Storage, clock: Clock) -> None:
        self._asking, self._grants = asking, asking.grants
        self._storage, self._clock = storage, clock
        self._record: Record | None = None
        """The record as it was seen or written last."""
        self._apart: str | None = None
        """The `client_id` under which this process signed in by itself while the store was down."""
        self.entomb, self.bury = storage.entomb, storage.bury
        self.save_later, self.save_unsaved = storage.save_later, storage.save_unsaved
        self.end_saving = storage.end_saving
        self.disconnect = storage.disconnect

    shared = True

    @property
    def unsaved(self) -> bool:
        return self._storage.unsaved is not None

    async def run(self, attempt: Attempt) -> None:
        """Adopt, refresh or sign in. Raises a `NexudusAuthError`, or `CredentialsRestError`."""
        begun = False
        try:
            for pause in self._storage.looks():
                if await self._look(attempt):
                    return
                async with self._storage.try_lock() as ours:
                    if ours:
                        if await self._look(attempt):  # another process may have refreshed since
                            return
                        await self._note_attempt(attempt.token)
                        begun = True
                        await self._refresh(attempt)
                        return
                await sleep(self._clock, pause)
        except StoreError as exc:
            if begun:
                raise
            await self._without_store(attempt, exc)

    async def _look(self, attempt: Attempt) -> bool:
        """Read the record, and tell whether it ends the attempt. Raises `StoreError`."""
        self._record = record = await self._storage.load()
        if record is None:
            return False
        wall = self._clock.wall()
        logged_out = record.logged_out_until > wall
        return attempt.adopted(Shared(record.token, record.generation, record.life_left(wall), logged_out))

    async def _note_attempt(self, token: Token | None) -> None:
        """Note in the record that the refresh token of `token` is about to be sent, and learn whether it was before.

        Raises `StoreError`: what cannot be noted is not sent, or every process of the fleet would send it.
        """
        record = self._record_of(token)
        if token is None or record is None or not self._grants.for_fleets:
            return
        if record.in_doubt:
            self._grants.others_have_sent(token)
        else:
            record = replace(record, in_doubt=True)
            await self._storage.note(record)
            self._record = record

    def _record_of(self, token: Token | None) -> Record | None:
        """Return the record, if it is where others find the refresh token of `token`."""
        record = self._record
        if token is None or token.refresh_token is None or record is None or record.token is None:
            return None
        return record if record.token.refresh_token == token.refresh_token else None

    async def _refresh(self, attempt: Attempt) -> None:
        """Get a token from the service, with the lock in hand, and save it, or what is learned from a failure."""
        shared = self._record_of(attempt.token) is not None
        refused = signing_in = False
        try:
            obtained, spent = await self._by_refresh_token(attempt)
            if obtained is None:
                if spent is not None:
                    with suppress(StoreError):  # a process may have refreshed in spite of the lock, after its lease
                        if await self._look(attempt):
                            return
                    refused = shared and spent.error is not None
                    attempt.refresh_token_refused()
                if not attempt.forced:
                    await self._respect_latch()
                await self._asking.insist_on_a_change(attempt.refused)
                signing_in = True
                obtained = await self._asking.sign_in(self._client_id)
        except Exception as exc:
            rejection = exc if signing_in and isinstance(exc, CREDENTIALS_REFUSED) else None
            await self._note_failure(attempt.token, rejection, refused=refused)
            raise
        token = attempt.granted(obtained)
        if token is not None:
            await self._storage.save(Record(token.generation, token, client_id=token.client_id))

    async def _by_refresh_token(self, attempt: Attempt) -> tuple[Obtained | None, TokenEndpointError | None]:
        """Return what the refresh grant gives: a token, or why its refresh token must not be sent again."""
        token = attempt.token
        if token is None or token.refresh_token is None:
            return None, None
        try:
            return await self._asking.refresh(token), None
        except TokenEndpointError as exc:
            if not is_spent(exc):
                raise
            return None, exc

    @property
    def _client_id(self) -> str | None:
        """The `client_id` of the chain, if it has one already."""
        return self._record.client_id if self._record is not None else None

    async def _note_failure(self, token: Token | None, rejection: NexudusAuthError | None, *, refused: bool) -> None:
        """Tell the fleet what this flight has learned, and leave alone what else the record says: it may be a logout.

        refused: the record's refresh token was, and so must not be sent by anybody.
        """
        before = self._record
        if before is None and rejection is None:
            return
        record = before or Record(token.generation if token is not None else 0, token)
        if record.token is not None and refused:
            record = replace(record, token=replace(record.token, refresh_token=None), in_doubt=False)
        elif record.token is not None and record.in_doubt:
            record = replace(record, in_doubt=self._grants.may_have_been_used(record.token))
        if rejection is not None:
            record = replace(record, latch=await self._latch(record.latch, rejection))
        if record != before:
            with suppress(StoreError):
                await self._storage.note(record)

    # Without the store

    async def _without_store(self, attempt: Attempt, error: StoreError) -> None:
        if not attempt.urgent:
            attempt.kept()
            return
        obtained = await self._apart_from_the_chain(attempt, error)
        if (token := attempt.granted(obtained)) is not None:
            self._storage.keep(Record(token.generation, token, client_id=token.client_id))

    async def _apart_from_the_chain(self, attempt: Attempt, error: StoreError) -> Obtained:
        token = attempt.token
        if token is not None and token.refresh_token is not None and token.client_id == self._apart:
            return await self._asking.refresh(token)
        await self._asking.insist_on_a_change(attempt.refused)
        try:
            obtained = await self._asking.sign_in_apart()
        except LoginRequiredError:
            if token is None or token.refresh_token is None:
                raise copy_of(error) from error
            return await self._refresh_blindly(token)
        self._apart = obtained.token.client_id
        return obtained

    async def _refresh_blindly(self, token: Token) -> Obtained:
        try:
            return await self._asking.refresh(token)
        except TokenEndpointError as exc:
            if not is_spent(exc):
                raise
            raise EndpointUnavailableError(
                "the refresh token was refused while the store is down: another process may hold a newer one",
                status=exc.status,
            ) from exc

    # Refused credentials

    async def _respect_latch(self) -> None:
        """Raise what the fleet was told of these credentials: for a while, and after several times for good."""
        latch = self._record.latch if self._record is not None else None
        if latch is None:
            return
        left = latch.until - self._clock.wall()
        resting = 0 < left <= LONGEST_LATCH  # more: a host's clock is wrong
        for_good = latch.rejections >= LATCHED_AFTER and latch.fingerprint is not None
        if (resting or for_good) and await self._may_be_the_same(latch):
            kind = next(
                (kind for kind in CREDENTIALS_REFUSED if kind.__name__ == latch.error), CredentialsRejectedError
            )
            rest = "until they change" if for_good else f"for another {left:.0f} s"
            error = kind(
                f"these credentials were refused, here or in another process, and rest {rest} so as not to lock the "
                "account; refresh() tries at once"
            )
            raise CredentialsRestError(error, LONGEST_LATCH if for_good else left)

    async def _may_be_the_same(self, latch: Latch) -> bool:
        """Whether these are the credentials that were refused, as far as can be told."""
        return latch.fingerprint is None or latch.fingerprint == await self._asking.fingerprint(latch.fingerprint)

    async def _latch(self, before: Latch | None, rejection: NexudusAuthError) -> Latch:
        rejections = 1 + (before.rejections if before is not None else 0)
        until = self._clock.wall() + latch_delay(rejections)
        return Latch(rejections, until, type(rejection).__name__, await self._asking.fingerprint())
