# pyright: reportPrivateUsage=false
# The defects are inside.
"""Defects of a fleet: what is saved, what is read of others, and who may ask the service."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from nexudus_async import Token
from nexudus_async._fleet import access
from nexudus_async._fleet import storage as storages
from nexudus_async._fleet.access import StoreAccess
from nexudus_async._fleet.pauses import Pauses
from nexudus_async._fleet.renewal import FleetRefresher
from nexudus_async._fleet.storage import Storage
from nexudus_async._fleet.without_store import WithoutStore
from nexudus_async._oauth.grants import NexudusGrants
from nexudus_async._refresh.attempt import Attempt
from nexudus_async._refresh.coordinator import Coordinator
from nexudus_async._refresh.outcomes import Shared
from nexudus_async._refresh.single_flight import Flight
from nexudus_async._refresh.state import TokenState
from nexudus_async.stores import StoredToken
from nexudus_async.stores import _record as records
from nexudus_async.stores._record import NewerRecordError, Record, is_tombstone

from .machinery import Mutants, Original

__all__ = ["MUTANTS"]

MUTANTS = Mutants("fleet")

# What is still to be saved


@MUTANTS.replacing(Storage, "save_unsaved")
async def a_failing_save_puts_an_older_token_back(original: Original, self: Storage) -> None:
    taken = self._unsaved
    await original(self)
    if self._unsaved is not None and not is_tombstone(self._unsaved):
        self._unsaved = taken


@MUTANTS.replacing(Storage, "keep")
def what_is_kept_later_replaces_what_is_newer(original: Original, self: Storage, record: Record) -> None:
    if self._unsaved is None or not is_tombstone(self._unsaved):
        self._unsaved = record


@MUTANTS.replacing(Storage, "keep")
def a_logout_during_a_failing_save_is_lost(original: Original, self: Storage, record: Record) -> None:
    if self._unsaved is not None and is_tombstone(self._unsaved):
        self._unsaved, self._overdue = record, False
    original(self, record)


@MUTANTS.replacing(Storage, "_settle")
def a_logout_during_a_succeeding_save_is_lost(original: Original, self: Storage, saved: Record) -> None:
    self._unsaved, self._overdue = None, False


@MUTANTS.replacing(storages, "above")
def a_tombstone_is_not_put_above_the_record(original: Original, unsaved: Record, newest: Record | None) -> Record:
    return unsaved


@MUTANTS.replacing(Storage, "prepare_tombstone")
def a_logout_leaves_no_tombstone(original: Original, self: Storage, generation: int, token: Token | None) -> None:
    self._unsaved = None


@MUTANTS.replacing(Storage, "save_later")
def what_could_not_be_saved_never_is(original: Original, self: Storage) -> None:
    pass


@MUTANTS.replacing(Storage, "drop_refresh_token")
def a_refused_refresh_token_is_saved_as_a_good_one(original: Original, self: Storage, refused: str | None) -> None:
    if self._unsaved is not None:
        self._unsaved = self._unsaved._replace(in_doubt=False)


@MUTANTS.replacing(storages, "outranks")
def an_unsaved_token_replaces_a_newer_one(original: Original, record: Record, unsaved: Record) -> bool:
    return False


@MUTANTS.replacing(Flight, "until_ended")
async def close_does_not_wait_for_a_save(original: Original, self: Flight[Token]) -> None:
    if not self.landed:
        await original(self)


@MUTANTS.replacing(Coordinator, "close")
async def a_logout_that_waits_for_a_lock_is_not_ended_by_close(
    original: Original, self: Coordinator, **kwargs: Any
) -> None:
    waiting, self._logouts = self._logouts, set()
    await original(self, **kwargs)
    self._logouts = waiting


# What others have left


@MUTANTS.replacing(TokenState, "adopted")
def an_expired_record_replaces_a_living_token(
    original: Original, self: TokenState, shared: Shared, *, asked_for_new: bool
) -> Any:
    known, token = self.token, shared.token
    adopted = original(self, shared, asked_for_new=asked_for_new)
    if token is not None and known is not None and shared.life_left <= 0 and token.generation > known.generation:
        self._hold(token, token.lifetime)
    return adopted


@MUTANTS.replacing(TokenState, "adopted")
def a_tombstone_is_passed_over(original: Original, self: TokenState, shared: Shared, *, asked_for_new: bool) -> Any:
    shared = Shared(shared.token, 0, shared.life_left, False) if shared.logged_out else shared
    return original(self, shared, asked_for_new=asked_for_new)


@MUTANTS.replacing(TokenState, "adopted")
def the_token_held_is_adopted_again(
    original: Original, self: TokenState, shared: Shared, *, asked_for_new: bool
) -> Any:
    known, token = self.token, shared.token
    if token is None or known is None or token.access_token != known.access_token:
        return original(self, shared, asked_for_new=asked_for_new)
    self._take(token, token.lifetime - shared.life_left)
    return shared.life_left > 0


@MUTANTS.replacing(FleetRefresher, "_put_back")
async def a_record_that_vanished_is_taken_for_a_blank_sheet(original: Original, *args: Any) -> bool:
    return True


@MUTANTS.replacing(access, "decode")
def a_record_that_is_none_raises_for_ever(original: Original, stored: StoredToken, key: str) -> Any:
    try:
        return original(stored, key)
    except ValueError:
        raise RecursionError from None


@MUTANTS.replacing(access, "decode")
def a_record_of_a_later_release_is_read_as_ours(original: Original, stored: StoredToken, key: str) -> Any:
    try:
        return original(stored, key)
    except NewerRecordError:
        ours = StoredToken(stored.generation, stored.payload.replace('"version": 2', '"version": 1'))
        return records.decode(ours, key)


@MUTANTS.replacing(access, "decode")
def a_record_of_a_later_release_is_replaced(original: Original, stored: StoredToken, key: str) -> Any:
    try:
        return original(stored, key)
    except NewerRecordError:
        return Record(stored.generation)


# Who may ask the service


@MUTANTS.replacing(StoreAccess, "try_lock")
@asynccontextmanager
async def a_held_lock_is_bypassed(original: Original, self: StoreAccess) -> AsyncGenerator[bool, None]:
    async with original(self):
        yield True


@MUTANTS.replacing(StoreAccess, "try_lock")
@asynccontextmanager
async def the_record_is_not_read_again_under_the_lock(
    original: Original, self: StoreAccess
) -> AsyncGenerator[bool, None]:
    async with original(self) as ours:
        vars(self)["locked"] = ours
        try:
            yield ours
        finally:
            vars(self)["locked"] = False


@MUTANTS.replacing(StoreAccess, "load", too=True)
async def _but_taken_from_memory(original: Original, self: StoreAccess) -> Any:
    if not vars(self).get("locked"):
        vars(self)["seen"] = await original(self)
    return vars(self).get("seen")


@MUTANTS.replacing(FleetRefresher, "_note_attempt")
async def an_attempt_is_not_noted(original: Original, self: FleetRefresher, attempt: Attempt) -> bool:
    return True


@MUTANTS.replacing(NexudusGrants, "others_have_sent")
def what_another_process_may_have_used_is_sent(original: Original, self: NexudusGrants, token: Token) -> None:
    pass


@MUTANTS.replacing(WithoutStore, "_apart_from_the_chain")
async def the_chain_is_refreshed_while_the_store_is_down(
    original: Original, self: WithoutStore, attempt: Attempt, error: Any
) -> Any:
    token = attempt.token
    if token is None or token.refresh_token is None or attempt.by_credentials:
        return await original(self, attempt, error)
    return await self._refresh_blindly(attempt, token)


@MUTANTS.replacing(Pauses, "check")
def the_fleets_pause_is_ignored(original: Original, self: Pauses, *args: Any, **kwargs: Any) -> None:
    pass


@MUTANTS.replacing(Pauses, "respect_latch")
async def the_fleets_latch_is_ignored(original: Original, self: Pauses, *args: Any) -> None:
    pass


@MUTANTS.replacing(Pauses, "_may_probe")
def every_process_may_try_latched_credentials(original: Original, self: Pauses, latch: object) -> bool:
    return True
