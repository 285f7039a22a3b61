"""What one flight does: alone, or as one of a fleet that shares its tokens through a store.

A fleet's renewal: look at the record and adopt a newer token → lock → look again → note the attempt → renew → publish
and wake the waiters → save → unlock. All but the first look is needed once per lifetime and fleet. The note is for
whoever comes next if this process dies in between: the service may have used the refresh token.

When the store is down, nobody's request suffers:

- before the hard margin there is no renewal: the token is good, and the store may come back;
- after it, or when somebody waits, the process signs in under a `client_id` of its own, and so leaves the chain that
  the others share alone; without credentials it renews the chain, and takes a refusal for the race that it may be;
- what could not be saved is saved when the store answers again.

The token held is the `Desk`'s, which is the manager, for the time of one flight; what is remembered here is the record
that was seen last.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from nexudus_async._clock import Clock
from nexudus_async._refresh.backoff import CredentialsRestError
from nexudus_async._refresh.policy import LATCHED_AFTER, LONGEST_LATCH, latch_delay
from nexudus_async._refresh.renewal import Grants, Obtained, is_spent
from nexudus_async._token import Token
from nexudus_async.errors import (
    CredentialsRejectedError,
    EndpointUnavailableError,
    LoginRequiredError,
    NexudusAuthError,
    PasswordResetRequiredError,
    StoreError,
    TokenEndpointError,
    TotpRequiredError,
    copy_of,
)

from .storage import Chain, Latch, Record

__all__ = ["REJECTIONS", "AloneRenewal", "Desk", "SharedRenewal"]

REJECTIONS = (CredentialsRejectedError, PasswordResetRequiredError, TotpRequiredError)
"""The errors that mean: do not send these credentials again and again."""


class Desk(Protocol):
    """What a flight may do to the manager that owns it."""

    @property
    def token(self) -> Token | None:
        """The token held."""
        ...

    @property
    def refused(self) -> NexudusAuthError | None:
        """The rejection after which this process needs other credentials, unless somebody asked by hand."""
        ...

    @property
    def urgent(self) -> bool:
        """Whether somebody waits, or the token held cannot be served for much longer."""
        ...

    def publish(self, obtained: Obtained) -> Token | None:
        """Hold a new token and wake the waiters; return it with its generation, None after a logout."""
        ...

    def adopt(self, record: Record) -> bool:
        """Take over what a record says, if it is news; tell whether it ends the flight."""
        ...

    def keep(self) -> None:
        """End the flight with the token held, and leave the store alone for a moment."""
        ...

    def drop_refresh_token(self) -> None:
        """Hold the token without its refresh token."""
        ...


class AloneRenewal:
    """The flight of a process that has its chain for itself."""

    def __init__(self, grants: Grants) -> None:
        self._grants = grants

    async def run(self, desk: Desk, *, forced: bool) -> None:
        """Renew, or sign in. Raises a `NexudusAuthError`."""

        async def on_spent(_error: TokenEndpointError) -> bool:
            desk.drop_refresh_token()
            return False

        async def before_sign_in() -> None:
            if not forced:
                await insist_on_a_change(self._grants, desk.refused)

        obtained = await self._grants.obtain(desk.token, on_spent=on_spent, before_sign_in=before_sign_in)
        if obtained is not None:
            desk.publish(obtained)


class SharedRenewal:
    """The flight of a process that shares its chain."""

    def __init__(self, grants: Grants, chain: Chain, clock: Clock) -> None:
        self._grants, self._chain, self._clock = grants, chain, clock
        self._record: Record | None = None
        self._apart: str | None = None
        """The `client_id` under which this process signed in by itself while the store was down."""

    async def run(self, desk: Desk, *, forced: bool) -> None:
        """Adopt, renew or sign in. Raises a `NexudusAuthError`."""
        begun = False
        try:
            async with self._chain.turn(self._look(desk)) as ours:
                if ours:
                    await self._note_attempt(desk.token)
                    begun = True
                    await self._renew(desk, forced=forced)
        except StoreError as exc:
            if begun:
                raise
            await self._without_store(desk, exc, forced=forced)

    def _look(self, desk: Desk) -> Callable[[Record | None], bool]:
        def look(record: Record | None) -> bool:
            self._record = record
            if record is None:
                return False
            self._grants.join(record.client_id)
            return desk.adopt(record)

        return look

    async def _note_attempt(self, token: Token | None) -> None:
        """Note in the record that the refresh token of `token` is about to be sent, and learn whether it was before.

        Raises `StoreError`: what cannot be noted is not sent, or every process of the fleet would send it.
        """
        record = self._record_of(token)
        if token is None or record is None or not self._grants.share_chain:
            return
        if record.in_doubt:
            self._grants.recall(token)
        else:
            self._record = replace(record, in_doubt=True)
            await self._chain.note(self._record)

    def _record_of(self, token: Token | None) -> Record | None:
        """Return the record, if it is where others find the refresh token of `token`."""
        record = self._record
        if token is None or token.refresh_token is None or record is None or record.token is None:
            return None
        return record if record.token.refresh_token == token.refresh_token else None

    async def _renew(self, desk: Desk, *, forced: bool) -> None:
        refused = attempted = False
        shared = self._record_of(desk.token) is not None

        async def on_spent(error: TokenEndpointError) -> bool:
            # Another process may have renewed in spite of the lock, when ours outlived its lease.
            nonlocal refused
            try:
                if self._look(desk)(await self._chain.load()):
                    return True
            except StoreError:
                pass
            refused = error.error is not None
            desk.drop_refresh_token()
            return False

        async def before_sign_in() -> None:
            nonlocal attempted
            if not forced:
                await self._respect_latch()
                await insist_on_a_change(self._grants, desk.refused)
            attempted = True

        try:
            obtained = await self._grants.obtain(desk.token, on_spent=on_spent, before_sign_in=before_sign_in)
        except Exception as exc:
            rejection = exc if attempted and isinstance(exc, REJECTIONS) else None
            await self._note_failure(desk.token, rejection, refused=refused and shared)
            raise
        if obtained is not None:
            await self._save(desk.publish(obtained))

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
            record = replace(record, in_doubt=self._grants.in_doubt(record.token))
        if rejection is not None:
            record = replace(record, latch=await self._latch(record.latch, rejection))
        if record != before:
            with suppress(StoreError):
                await self._chain.note(record)

    async def _without_store(self, desk: Desk, error: StoreError, *, forced: bool) -> None:
        token = desk.token
        if not desk.urgent:
            desk.keep()
            return
        if token is not None and token.refresh_token is not None and token.client_id == self._apart:
            obtained = await self._renew_apart(token)
        else:
            if not forced:
                await insist_on_a_change(self._grants, desk.refused)
            try:
                obtained = await self._grants.sign_in_apart()
                self._apart = obtained.token.client_id
            except LoginRequiredError:
                if token is None or token.refresh_token is None:
                    raise copy_of(error) from error
                obtained = await self._renew_apart(token)
        if (token := desk.publish(obtained)) is not None:
            self._chain.unsaved = Record(token.generation, token, client_id=token.client_id)

    async def _save(self, token: Token | None) -> None:
        if token is not None:
            await self._chain.save(Record(token.generation, token, client_id=token.client_id))

    async def _renew_apart(self, token: Token) -> Obtained:
        try:
            return await self._grants.renew(token)
        except TokenEndpointError as exc:
            if token.client_id == self._apart or not is_spent(exc):
                raise
            raise EndpointUnavailableError(
                "the refresh token was refused while the store is down: another process may hold a newer one",
                status=exc.status,
            ) from exc

    async def _respect_latch(self) -> None:
        """Raise what the fleet was told of these credentials: for a while, and after several times for good."""
        latch = self._record.latch if self._record is not None else None
        if latch is None:
            return
        left = latch.until - self._clock.wall()
        resting = 0 < left <= LONGEST_LATCH  # more: a host's clock is wrong
        for_good = latch.rejections >= LATCHED_AFTER and latch.fingerprint is not None
        if (resting or for_good) and await self._may_be_the_same(latch):
            kind = next((kind for kind in REJECTIONS if kind.__name__ == latch.error), CredentialsRejectedError)
            rest = "until they change" if for_good else f"for another {left:.0f} s"
            error = kind(
                f"these credentials were refused, here or in another process, and rest {rest} so as not to lock the "
                "account; refresh() tries at once"
            )
            raise CredentialsRestError(error, LONGEST_LATCH if for_good else left)

    async def _may_be_the_same(self, latch: Latch) -> bool:
        """Whether these are the credentials that were refused, as far as can be told."""
        return latch.fingerprint is None or latch.fingerprint == await self._grants.fingerprint(latch.fingerprint)

    async def _latch(self, before: Latch | None, rejection: NexudusAuthError) -> Latch:
        rejections = 1 + (before.rejections if before is not None else 0)
        until = self._clock.wall() + latch_delay(rejections)
        return Latch(rejections, until, type(rejection).__name__, await self._grants.fingerprint())


async def insist_on_a_change(grants: Grants, refused: NexudusAuthError | None) -> None:
    """Raise `refused` again, without a request, unless the source has other credentials now."""
    if refused is not None and not await grants.have_changed():
        raise CredentialsRestError(refused, LONGEST_LATCH)
