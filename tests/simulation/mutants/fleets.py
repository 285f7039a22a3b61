# pyright: reportPrivateUsage=false
# The defects are inside.
"""Defects of several processes with one store: who refreshes, what is saved, what a logout leaves."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

from nexudus_async import StoreError
from nexudus_async._fleet import storage as storages
from nexudus_async._fleet.pauses import Pauses
from nexudus_async._fleet.renewal import FleetRenewal
from nexudus_async._fleet.storage import Storage
from nexudus_async._oauth.endpoint import NexudusGrants
from nexudus_async._refresh import state as states
from nexudus_async._refresh.outcomes import Shared
from nexudus_async._refresh.state import TokenState
from nexudus_async.stores._record import Record

from .machinery import Mutants, Original

__all__ = ["MUTANTS"]

MUTANTS = Mutants()


@MUTANTS.replacing(Storage, "try_lock")
@asynccontextmanager
async def the_lock_is_bypassed(original: Original, self: Storage) -> AsyncGenerator[bool, None]:
    yield True


@MUTANTS.replacing(FleetRenewal, "_look")
async def nobody_looks_at_the_record(original: Original, self: FleetRenewal, attempt: object) -> bool:
    return False


@MUTANTS.replacing(FleetRenewal, "_note_attempt")
async def no_note_comes_before_the_sending(original: Original, self: FleetRenewal, attempt: object) -> bool:
    return True


@MUTANTS.replacing(Storage, "note")
async def what_could_not_be_noted_is_sent(original: Original, self: Storage, record: Record) -> None:
    with suppress(StoreError):
        await original(self, record)


@MUTANTS.replacing(NexudusGrants, "others_have_sent")
def the_doubt_of_others_is_ignored(original: Original, self: NexudusGrants, token: object) -> None:
    pass


@MUTANTS.replacing(states, "_is_news")
def the_own_token_is_adopted_again(original: Original, token: object, known: object) -> bool:
    return True


@MUTANTS.replacing(TokenState, "adopted")
def an_expired_record_replaces_a_living_token(
    original: Original, self: TokenState, shared: Shared, **kwargs: Any
) -> Any:
    known, token = self.token, shared.token
    ends = original(self, shared, **kwargs)
    if token is not None and known is not None and shared.life_left <= 0 and token.generation > known.generation:
        self._hold(token, token.lifetime)
    return ends


# What is still to be saved


@MUTANTS.replacing(Storage, "keep")
def a_failing_save_puts_an_older_record_back(original: Original, self: Storage, record: Record) -> None:
    self._unsaved = record


@MUTANTS.replacing(Storage, "keep")
def what_could_not_be_saved_is_forgotten(original: Original, self: Storage, record: Record) -> None:
    pass


@MUTANTS.replacing(storages, "outranks")
def what_is_unsaved_replaces_what_is_newer(original: Original, record: object, unsaved: object) -> bool:
    return False


# Logout


@MUTANTS.replacing(Storage, "save_tombstone")
async def a_logout_leaves_no_tombstone(original: Original, self: Storage) -> int:
    self._unsaved = None
    return 0


@MUTANTS.replacing(storages, "above")
def a_tombstone_is_not_put_above_the_record(original: Original, tombstone: Record, newest: object) -> Record:
    return tombstone


# Pauses


@MUTANTS.replacing(Pauses, "check")
def a_fleet_does_not_rest_after_a_failure(original: Original, self: Pauses, *args: Any, **kwargs: Any) -> None:
    pass


@MUTANTS.replacing(Pauses, "respect_latch")
async def each_process_tries_refused_credentials(original: Original, self: Pauses, *args: Any) -> None:
    pass
