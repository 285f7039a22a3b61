"""The slot of what is still to be saved: what goes into it, when it is tried, and what clears it.

In virtual time (`tests/fleet/virtual.py`).
"""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from nexudus_async import RefreshPolicy, StoredToken, Token
from nexudus_async._events import Emitter
from nexudus_async._fleet.access import StoreAccess
from nexudus_async._fleet.storage import TOMBSTONE_LIFE, Storage
from nexudus_async._refresh.outcomes import Obtained
from nexudus_async._refresh.state import TokenState
from nexudus_async._refresh.tried import Tried
from nexudus_async.stores._record import Record, decode, encode

from .virtual import START_WALL, Clock, Store, World, play

KEY = "an account"
CHAIN, ANOTHER = "the chain", "another chain"
TOKEN = Token("access-3", "refresh-3", "bearer", CHAIN, 3600.0, datetime.fromtimestamp(START_WALL + 3600, UTC), 3)
NEWEST = Record(3, TOKEN, client_id=CHAIN)
TOMBSTONE = Record(4, client_id=CHAIN, logged_out_until=START_WALL + 1000)
OTHERS = Record(5, replace(TOKEN, access_token="theirs", refresh_token="refresh-5", generation=5), client_id=CHAIN)
WHOSE: contextvars.ContextVar[str] = contextvars.ContextVar("WHOSE", default="nobody's")


class One:
    """What one process knows of a record, and its store."""

    def __init__(self, world: World, chance: float = 0.5) -> None:
        self.world, self.store = world, world.store
        self.state = TokenState(RefreshPolicy(), Clock(world.loop), lambda: chance)
        access = StoreAccess(self.store, key=KEY, emitter=Emitter(None), tried=Tried(KEY))
        self.storage = Storage(
            access, state=self.state, policy=RefreshPolicy(), chance=lambda: chance, tried=Tried(KEY)
        )

    def hold(self, token: Token) -> None:
        now = Clock(self.world.loop)
        self.state.generation = token.generation - 1
        self.state.granted(Obtained(token, "password", now.monotonic(), now.wall()), asked_for_new=False)

    def put(self, record: Record) -> None:
        """Let another process have saved this."""
        self.store.records[KEY] = encode(record, KEY)

    @property
    def saved(self) -> Record | None:
        stored = self.store.records.get(KEY)
        return None if stored is None else decode(stored, KEY)

    async def fail_to_save(self, record: Record = NEWEST) -> None:
        self.store.down = True
        assert not await self.storage.save(record)
        self.store.down = False


def of_one(scene: Callable[[One], Coroutine[Any, Any, None]], chance: float = 0.5) -> None:
    async def main(world: World) -> None:
        one = One(world, chance)
        try:
            await scene(one)
        finally:
            for task in one.storage.end_saving():
                task.cancel()

    play(main, lifetime=3600)


def savers() -> list["asyncio.Task[Any]"]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "nexudus_async saver"]


# What a save leaves


def test_what_is_saved_is_not_kept() -> None:
    """And what is not, is; the caller is told which."""

    async def scene(one: One) -> None:
        assert await one.storage.save(NEWEST)
        assert one.storage.unsaved is None
        await one.fail_to_save(OTHERS)
        assert one.storage.unsaved == OTHERS
        assert await one.storage.save(OTHERS)
        assert one.storage.unsaved is None

    of_one(scene)


def test_an_older_record_that_is_saved_does_not_clear_a_newer_one() -> None:
    """Nor does an older one that fails replace it."""

    async def scene(one: One) -> None:
        await one.fail_to_save(OTHERS)
        await one.fail_to_save(NEWEST)
        assert one.storage.unsaved == OTHERS
        await one.storage.save(NEWEST)
        assert one.storage.unsaved == OTHERS

    of_one(scene)


def test_a_logout_that_was_saved_here_is_no_news() -> None:
    """Of another process's it is, once."""

    async def scene(one: One) -> None:
        assert await one.storage.save(TOMBSTONE)
        assert one.storage.news_of_logout(TOMBSTONE) is None
        theirs = TOMBSTONE._replace(generation=6)
        assert one.storage.news_of_logout(theirs) == CHAIN
        assert one.storage.news_of_logout(theirs) is None

    of_one(scene)


# Whose it is


@pytest.mark.parametrize("in_doubt", [True, False])
def test_what_the_store_was_never_told_of_is_known_here_only(in_doubt: bool) -> None:
    """Also when it is in doubt whether its refresh token was used."""

    async def scene(one: One) -> None:
        one.storage.keep(NEWEST)
        assert one.storage.is_known_here_only(TOKEN)
        one.storage.note_doubt(TOKEN, in_doubt=in_doubt)
        assert one.storage.unsaved == NEWEST._replace(in_doubt=in_doubt)
        assert one.storage.is_known_here_only(TOKEN)
        one.storage.note_doubt(OTHERS.token or TOKEN, in_doubt=not in_doubt)
        assert one.storage.unsaved == NEWEST._replace(in_doubt=in_doubt), "another token's doubt is its own"

    of_one(scene)


@pytest.mark.parametrize("in_doubt", [True, False])
def test_what_the_store_has_not_confirmed_may_be_known_to_others(in_doubt: bool) -> None:
    """Also when it is in doubt whether its refresh token was used."""

    async def scene(one: One) -> None:
        await one.fail_to_save()
        assert not one.storage.is_known_here_only(TOKEN)
        one.storage.note_doubt(TOKEN, in_doubt=in_doubt)
        assert one.storage.unsaved == NEWEST._replace(in_doubt=in_doubt)
        assert not one.storage.is_known_here_only(TOKEN)

    of_one(scene)


def test_what_came_after_what_the_store_was_told_of_is_known_here_only() -> None:
    """Whatever became of the older one, and of the doubts about the newer one."""

    async def scene(one: One) -> None:
        await one.fail_to_save()
        later = OTHERS.token
        assert later is not None
        one.storage.keep(OTHERS)
        one.storage.note_doubt(later, in_doubt=True)
        assert one.storage.is_known_here_only(later)

    of_one(scene)


def test_a_refresh_token_that_was_refused_is_not_saved() -> None:
    """The access token beside it is good for the others; another refresh token is left as it is."""

    async def scene(one: One) -> None:
        await one.fail_to_save()
        for other in ("refresh-2", None):
            one.storage.drop_refresh_token(other)
            assert one.storage.unsaved == NEWEST
        one.storage.drop_refresh_token("refresh-3")
        assert one.storage.unsaved == NEWEST._replace(token=replace(TOKEN, refresh_token=None))

    of_one(scene)


# When it is tried


@pytest.mark.parametrize(("chance", "share"), [(0.0, 0.5), (0.5, 1.0), (1.0, 1.5)])
def test_the_looks_at_the_record_grow_rare(chance: float, share: float) -> None:
    """By half each time, up to two seconds, each spread around that; for the time that a flight and its save take."""

    async def scene(one: One) -> None:
        pauses = list[float]()
        for pause in one.storage.looks():
            pauses.append(pause)
            await asyncio.sleep(pause)
        expected = [min(0.1 * 1.5**step, 2.0) * share for step in range(len(pauses))]
        assert pauses == pytest.approx(expected)
        assert sum(pauses[:-1]) < 35.0 <= sum(pauses)

    of_one(scene, chance)


@pytest.mark.parametrize(("seconds", "looks"), [(34.9, 2), (35.0, 1)])
def test_nobody_looks_longer_than_a_flight_may_take(seconds: float, looks: int) -> None:
    """Its deadline, and five seconds for the save."""

    async def scene(one: One) -> None:
        one.storage.patience = 35.0
        found = 0
        for _ in one.storage.looks():
            found += 1
            if found == 1:
                await asyncio.sleep(seconds)
            else:
                break
        assert found == looks

    of_one(scene)


@pytest.mark.parametrize(("chance", "share"), [(0.0, 0.5), (0.5, 1.0), (1.0, 1.5)])
def test_a_save_is_tried_again_ever_more_rarely(chance: float, share: float) -> None:
    """After 1, 2, 4, 8, 16 seconds and then each half minute, spread around that: not all of a fleet at once."""
    tries = list[float]()

    async def scene(one: One) -> None:
        class Noting(Store):
            async def load(self, key: str) -> StoredToken | None:
                tries.append(one.world.now())
                return await super().load(key)

        one.world.store = store = Noting()
        one = One(one.world, chance)
        await one.fail_to_save()
        store.down = True
        one.storage.save_later()
        await asyncio.sleep(200 * share)
        for task in one.storage.end_saving():
            task.cancel()

    of_one(scene, chance)
    pauses = [after - before for before, after in zip([0.0, *tries], tries, strict=False)]
    expected = [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0, 30.0]
    assert len(tries) >= 9
    assert pauses == pytest.approx([each * share for each in expected[: len(pauses)]], abs=0.01)


def test_there_is_one_saver_and_only_while_there_is_something_to_save() -> None:
    """However often it is asked for."""

    async def scene(one: One) -> None:
        one.storage.save_later()
        assert savers() == []
        await one.fail_to_save()
        for _ in range(3):
            one.storage.save_later()
            assert len(savers()) == 1
            await asyncio.sleep(0.1)
        await asyncio.sleep(30)
        assert one.saved == NEWEST
        assert savers() == []
        await one.fail_to_save(OTHERS)
        one.storage.save_later()
        assert len(savers()) == 1
        await asyncio.sleep(30)
        assert one.saved == OTHERS
        one.storage.save_later()
        assert savers() == []

    of_one(scene)


def test_what_saves_later_is_nobodys() -> None:
    """The task outlives the caller that it follows, whose context variables it does not see."""
    seen = list[str]()

    class Asked(Store):
        async def save(self, key: str, record: StoredToken) -> None:
            seen.append(WHOSE.get())
            await super().save(key, record)

    async def scene(world: World) -> None:
        world.store = Asked()
        one = One(world)
        await one.fail_to_save()
        seen.clear()
        WHOSE.set("a caller's")
        one.storage.save_later()
        await asyncio.sleep(10)
        assert one.saved == NEWEST

    play(scene, lifetime=3600)
    assert seen == ["nobody's"]


# What makes it pointless


def test_what_others_have_saved_since_clears_what_is_older() -> None:
    """Nothing is saved, and nothing left to be saved."""

    async def scene(one: One) -> None:
        await one.fail_to_save()
        one.put(OTHERS)
        before = one.store.counts["save"], one.store.counts["lock"]
        await one.storage.save_unsaved()
        assert (one.store.counts["save"], one.store.counts["lock"]) == before
        assert one.saved == OTHERS
        assert one.storage.unsaved is None

    of_one(scene)


class Racing(Store):
    """Another process saves when the lock is taken."""

    theirs: StoredToken | None = None

    def refresh_lock(self, key: str) -> Any:
        if self.theirs is not None:
            self.records[key] = self.theirs
        return super().refresh_lock(key)


@pytest.mark.parametrize("theirs", [OTHERS, TOMBSTONE], ids=["a token", "a logout"])
def test_what_others_save_before_the_lock_is_ours_counts_too(theirs: Record) -> None:
    """It is looked at again under the lock."""

    async def scene(world: World) -> None:
        world.store = store = Racing()
        one = One(world)
        one.hold(TOKEN)
        await one.fail_to_save()
        store.theirs = encode(theirs, KEY)
        before = store.counts["save"]
        await one.storage.save_unsaved()
        assert store.counts["save"] == before
        assert one.saved == theirs
        assert one.storage.unsaved is None
        assert (one.state.token is None) == (theirs is TOMBSTONE)

    play(scene, lifetime=3600)


@pytest.mark.parametrize("generation", [1, 4])
def test_a_logout_of_the_chain_ends_what_is_unsaved_of_it(generation: int) -> None:
    """Whatever generation that has: its token, that the store never had, may be the newer one. It is forgotten here."""

    async def scene(one: One) -> None:
        one.hold(TOKEN)
        await one.fail_to_save()
        one.put(TOMBSTONE._replace(generation=generation))
        before = one.store.counts["save"], one.store.counts["lock"]
        await one.storage.save_unsaved()
        assert (one.store.counts["save"], one.store.counts["lock"]) == before
        assert one.storage.unsaved is None
        assert one.state.token is None
        assert one.state.generation >= max(generation, TOKEN.generation)

    of_one(scene)


def test_a_logout_of_another_chain_ends_nothing_newer() -> None:
    """What is above it is saved."""

    async def scene(one: One) -> None:
        one.hold(TOKEN)
        await one.fail_to_save()
        one.put(Record(2, client_id=ANOTHER, logged_out_until=START_WALL + 1000))
        await one.storage.save_unsaved()
        assert one.saved == NEWEST
        assert one.state.token is not None

    of_one(scene)


# Logout


@pytest.mark.parametrize(("token", "client_id"), [(TOKEN, CHAIN), (None, None)])
def test_a_tombstone_names_the_chain_that_it_ends_and_stands_for_15_days(
    token: Token | None, client_id: str | None
) -> None:
    """As long as a refresh token lives; without a token it ends no chain by name."""

    async def scene(one: One) -> None:
        one.storage.prepare_tombstone(3, token)
        until = START_WALL + one.world.now() + TOMBSTONE_LIFE
        assert one.storage.unsaved == Record(4, client_id=client_id, logged_out_until=until)
        assert await one.storage.save_tombstone() == 4
        assert one.saved == Record(4, client_id=client_id, logged_out_until=until)
        assert one.storage.unsaved is None

    of_one(scene)


def test_the_tombstone_is_above_what_is_there() -> None:
    """Others have gone on with the chain, and may have a save under way; the generation is told."""

    async def scene(one: One) -> None:
        one.storage.prepare_tombstone(3, TOKEN)
        one.put(OTHERS)
        assert await one.storage.save_tombstone() == 7
        assert one.saved is not None
        assert (one.saved.generation, one.saved.token, one.saved.client_id) == (7, None, CHAIN)

    of_one(scene)


@pytest.mark.parametrize("left", ["nothing", "a token"])
def test_without_a_tombstone_to_be_saved_nothing_is(left: str) -> None:
    """It was saved already, or overtaken by a sign-in: no generation is told, so that nothing newer is forgotten."""

    async def scene(one: One) -> None:
        if left == "a token":
            await one.fail_to_save()
        before = one.store.counts.copy()
        assert await one.storage.save_tombstone() == 0
        assert one.store.counts == before

    of_one(scene)


def test_a_sign_in_that_comes_while_the_tombstone_waits_is_not_ended_by_it() -> None:
    """The lock was another's for a while; by then the slot holds the new chain, which others have saved, too."""

    async def scene(one: One) -> None:
        one.storage.prepare_tombstone(3, TOKEN)
        async with one.store.refresh_lock(KEY):
            leaving = asyncio.create_task(one.storage.save_tombstone())
            await asyncio.sleep(1)
            await one.storage.save(OTHERS)
        assert await leaving == 0
        assert one.saved == OTHERS

    of_one(scene)


def test_after_a_saved_logout_the_store_is_believed_again() -> None:
    """What is unsaved later is put above nothing that others have saved: that is newer."""

    async def scene(one: One) -> None:
        one.storage.prepare_tombstone(1, None)
        await one.storage.save_tombstone()
        await one.fail_to_save()
        one.put(OTHERS)
        assert await one.storage.load() == OTHERS
        await one.storage.save_unsaved()
        assert one.saved == OTHERS
        assert one.storage.unsaved is None

    of_one(scene)
