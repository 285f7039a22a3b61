"""A store that answers now and then: what it does late, does in spite of an error, or has and cannot read.

In virtual time (`tests/fleet/virtual.py`).
"""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from nexudus_async import (
    CredentialsRejectedError,
    LoginRequiredError,
    NexudusAuthError,
    StoredToken,
    StoreError,
    TokenManager,
    UnreadableRecordError,
)
from nexudus_async.stores._record import Latch, Pause, Record, above, decode, encode
from tests.inside import put_store, save_now, storage_of

from .virtual import Store, World, play


class Wavering(Store):
    """Its next operations fail, each in the way named for it."""

    def __init__(self) -> None:
        super().__init__()
        self.failing_loads = 0
        self.saves_work_and_fail = False
        self.drops_what_is_sure = False
        self.unreadable = False

    async def load(self, key: str) -> StoredToken | None:
        found = await super().load(key)
        if self.failing_loads:
            self.failing_loads -= 1
            raise StoreError("no answer")
        if self.unreadable:
            raise UnreadableRecordError("not a record")
        return found

    async def save(self, key: str, record: StoredToken) -> None:
        if self.drops_what_is_sure and not decode(record, key).in_doubt:
            raise StoreError("no answer")
        await super().save(key, record)
        self.unreadable = False
        if self.saves_work_and_fail:
            raise StoreError("the answer was lost")


def record(store: Store) -> Record:
    ((key, stored),) = store.records.items()
    return decode(stored, key)


async def begin(world: World, store: Store, pods: int = 2) -> list[TokenManager]:
    made = [world.pod(store=store) for _ in range(pods)]
    for pod in made:
        await pod.token()
    await asyncio.sleep(1)
    return made


def test_what_is_unsaved_is_never_saved_unseen() -> None:
    """The load before it failed: nobody knows what the store has by now."""
    store = Wavering()

    async def scene(world: World) -> None:
        one, two = await begin(world, store)
        store.saves_down = True
        await one.refresh()
        await asyncio.sleep(0.1)
        store.saves_down = False
        await two.logout()
        store.failing_loads = 1
        saves = store.counts["save"]
        await save_now(one)
        assert store.counts["save"] == saves
        await save_now(one)
        assert record(store).token is None

    play(scene, lifetime=3600)


def test_a_record_that_nobody_can_read_counts_as_none() -> None:
    """One sign-in under the lock, which replaces it; the fleet goes on with one chain."""
    store = Wavering()

    async def scene(world: World) -> None:
        store.unreadable = True
        pods = [world.pod(store=store) for _ in range(3)]
        tokens = await asyncio.gather(*(pod.token() for pod in pods))
        assert len({token.access_token for token in tokens}) == 1
        assert record(store).token == tokens[0]

    assert play(scene, lifetime=3600).endpoint.count("password") == 1


def test_a_warm_process_puts_its_own_in_the_place_of_what_nobody_can_read() -> None:
    """In doubt at first: another process may be refreshing."""
    store = Wavering()

    async def scene(world: World) -> None:
        (one,) = await begin(world, store, 1)
        store.unreadable = True
        await world.until(3599)
        await one.token()
        await asyncio.sleep(1)
        assert record(store).token == one.current()

    assert play(scene, lifetime=3600).endpoint.reused == 0


def test_a_chain_of_ones_own_is_shared_once_it_may_be_in_the_store() -> None:
    """The save failed, and was carried out: another process may have refreshed with it."""
    store = Wavering()

    async def scene(world: World) -> None:
        store.failing_loads = 1
        one, two = world.pod(store=store), world.pod(store=store)
        await one.token()
        store.saves_work_and_fail = True
        await save_now(one)
        store.saves_work_and_fail = False
        assert one.statistics().unsaved
        await two.token()
        await two.refresh()
        here, away = store, Store()
        away.down = True
        put_store(one, away)
        await world.until(3590)
        await one.token()
        put_store(one, here)

    assert play(scene, lifetime=3600).endpoint.reused == 0


def test_a_chain_that_the_store_was_never_told_of_is_refreshed_without_it() -> None:
    """It is one's own: no further sign-in."""

    async def scene(world: World) -> None:
        world.store.down = True
        pod = world.pod()
        await pod.token()
        await world.until(3599)
        await pod.token()

    endpoint = play(scene, lifetime=3600).endpoint
    assert (endpoint.count("password"), endpoint.count("refresh_token")) == (1, 1)


def test_a_late_save_replaces_no_newer_token() -> None:
    """Who finds a token in doubt is above whatever the one who wrote that may yet save."""

    async def scene(world: World) -> None:
        one, two = await begin(world, world.store)
        ((key, before),) = world.store.records.items()
        world.store.saves_down = False
        refreshed = await one.refresh()
        await asyncio.sleep(0.1)
        late = world.store.records[key]
        noted = Record(before.generation, decode(before, key).token, in_doubt=True)
        world.store.records[key] = encode(noted, key)
        signed_in = await two.refresh()
        await asyncio.sleep(0.1)
        assert refreshed.generation < signed_in.generation
        await world.store.save(key, late)
        assert record(world.store).token == signed_in

    play(scene, lifetime=3600)


def test_a_logout_that_comes_second_takes_notice_of_the_first() -> None:
    """It was put off, a sign-in came in between, and the other's ends that: this process hears of it at once."""

    async def scene(world: World) -> None:
        one, two = await begin(world, world.store)
        ((key, _),) = world.store.records.items()
        async with world.store.refresh_lock(key):
            first = asyncio.create_task(one.logout())
            await asyncio.sleep(0.5)
        await one.token()
        await two.logout()
        await first
        await asyncio.sleep(10)
        assert one.current() is None or record(world.store).token == one.current()

    play(scene, lifetime=3600)


@pytest.mark.parametrize("newest", [Record(7), Record(7, client_id="theirs")], ids=str)
def test_a_tombstone_keeps_what_holds_the_fleet_off(newest: Record) -> None:
    """A logout mends no service, and makes no password right."""
    latch, pause = Latch(1, 2.0, "CredentialsRejectedError"), Pause(1, 2.0, False, "EndpointUnavailableError", "")
    held = Record(newest.generation, client_id=newest.client_id, latch=latch, pause=pause)
    tombstone = above(Record(3, logged_out_until=9.0), held)
    assert (tombstone.generation, tombstone.latch, tombstone.pause) == (9, latch, pause)


def test_a_logout_does_not_wake_the_passwords_of_others() -> None:
    """One process has found the password wrong; another, which still had a token, logs out: nobody sends it again."""

    async def scene(world: World) -> None:
        one, two = await begin(world, world.store)
        world.endpoint.password = "changed"
        world.endpoint.revoke()
        token = one.current()
        assert token is not None
        with pytest.raises(CredentialsRejectedError):
            await one.reject(token)
        sent = len(world.endpoint.log)
        await two.logout()
        three = world.pod("wrong", store=world.store)
        for pod in (one, two):
            with pytest.raises(CredentialsRejectedError):
                await pod.token()
        assert len(world.endpoint.log) <= sent + 1  # a logout may probe once
        await three.close()

    play(scene, lifetime=3600)


def test_a_tombstone_that_the_store_loses_is_remembered_by_who_made_it() -> None:
    """Another process puts the chain back, of whose end it never heard: the one that ended it does not adopt that."""

    async def scene(world: World) -> None:
        one = world.pod()
        await one.token()
        worker = world.pod(None)
        await worker.token()
        ((key, _),) = world.store.records.items()
        for _ in range(3):
            await one.refresh()
            await asyncio.sleep(0.1)
        world.store.down = True
        await worker.logout()
        world.store.down = False
        await asyncio.sleep(60)
        assert record(world.store).token is None
        world.store.flush()
        newest = one.current()
        assert newest is not None
        world.store.records[key] = encode(Record(newest.generation, newest, client_id=newest.client_id), key)
        with pytest.raises(LoginRequiredError):
            await worker.token()

    play(scene, lifetime=3600)


def test_what_the_store_has_not_confirmed_is_noted_before_it_is_sent() -> None:
    """The save of a token failed, and may be carried out yet: it does not take the note away."""
    store, noted = Wavering(), list[bool]()

    async def scene(world: World) -> None:
        one, two = await begin(world, store)
        store.drops_what_is_sure = True
        token = await one.refresh()
        await asyncio.sleep(0.1)
        store.drops_what_is_sure = False
        ((key, _),) = store.records.items()
        late = encode(Record(token.generation, token, client_id=token.client_id), key)

        def look(_grant: str) -> None:
            if late.generation >= store.records[key].generation:
                store.records[key] = late
            noted.append(record(store).in_doubt)

        world.endpoint.fault = look
        await one.refresh()
        world.endpoint.fault = lambda _grant: None
        await asyncio.sleep(0.1)
        assert record(store).token == one.current()
        await two.refresh()

    assert play(scene, lifetime=3600).endpoint.reused == 0
    assert noted == [True]


def test_a_chain_of_ones_own_is_not_refreshed_while_it_is_being_saved() -> None:
    """The store may have it any moment, as a good one; then another sends the same refresh token."""

    async def scene(world: World) -> None:
        world.store.down = True
        one, two = world.pod(), world.pod()
        await one.token()
        world.store.down, world.store.latency = False, 2.0
        saving = asyncio.create_task(save_now(one))
        await asyncio.sleep(4.5)  # it has looked twice, and saves now
        world.store.loads_down, world.store.latency = True, 0.01
        await one.refresh()
        assert world.endpoint.count("refresh_token") == 0
        await saving
        world.store.loads_down = False
        await two.refresh()

    assert play(scene, lifetime=3600).endpoint.reused == 0


@pytest.mark.parametrize("lost", [False, True], ids=["the store has the chain", "the store has lost it"])
@pytest.mark.parametrize("asked", [False, True], ids=["the saver comes first", "a caller does"])
def test_a_logout_ends_newer_tokens_of_the_chain_that_the_store_never_had(asked: bool, lost: bool) -> None:
    """A worker without credentials could not reach the store, and refreshed; another, which did not know, logs out.

    Where the store does not say which chain that is, who logs out knows it.
    """

    async def scene(world: World) -> None:
        one = world.pod()
        await one.token()
        worker = world.pod(None)
        await worker.token()
        away = Store()
        away.down = True
        here = put_store(worker, away)
        newest = [await worker.refresh() for _ in range(3)][-1]
        if lost:
            world.store.flush()
        await one.logout()
        assert record(world.store).generation < newest.generation, "or it would end it anyhow"
        put_store(worker, here)
        if not asked:
            await asyncio.sleep(200)
        with pytest.raises(LoginRequiredError):
            await worker.refresh()
        await asyncio.sleep(200)
        assert record(world.store).token is None
        assert worker.current() is None

    assert play(scene, lifetime=3600).endpoint.count("refresh_token") == 3


def test_a_logout_without_a_chain_ends_no_other() -> None:
    """Of a process that held nothing: it names no `client_id`, as tokens of a source of one's own have none."""

    async def scene(world: World) -> None:
        (one,) = await begin(world, world.store, 1)
        storage = storage_of(one)
        token = one.current()
        assert token is not None
        storage.keep(Record(5, replace(token, client_id=None, generation=5)))
        assert storage.news_of_logout(Record(2, logged_out_until=9e9)) is None
        assert storage.unsaved is not None

    play(scene, lifetime=3600)


def test_what_a_lost_record_lent_is_put_back_above_it() -> None:
    """Its token had expired, ours lives: we have its refresh token, and others the one before that."""

    async def scene(world: World) -> None:
        one, _ = await begin(world, world.store)
        ((key, _),) = world.store.records.items()
        token = one.current()
        assert token is not None
        ended = replace(
            token, access_token="ended", refresh_token="lent", expires_at=token.expires_at - timedelta(hours=2)
        )
        world.store.records[key] = encode(Record(2, ended, client_id=ended.client_id), key)
        world.endpoint.fault = lambda _grant: 503
        with pytest.raises(NexudusAuthError):
            await one.refresh()
        world.store.flush()
        with pytest.raises(NexudusAuthError):
            await one.refresh()
        left = record(world.store)
        assert left.token is not None
        assert (left.generation, str.__str__(left.token.refresh_token or "")) == (2, "lent")

    play(scene, lifetime=3600)


def test_a_chain_of_ones_own_is_not_saved_while_it_is_refreshed() -> None:
    """The store comes back in the middle: it gets the successor, and nobody else has the refresh token that is sent."""

    async def scene(world: World) -> None:
        world.store.down = True
        one, two = world.pod(), world.pod()
        await one.token()
        world.endpoint.latency = 2.0
        refreshing = asyncio.create_task(one.refresh())
        await asyncio.sleep(0.5)
        world.store.down = False
        await save_now(one)
        assert not world.store.records
        await two.refresh()
        token = await refreshing
        assert one.statistics().unsaved == 1
        await save_now(one)
        assert (one.statistics().unsaved, one.current()) == (0, token)

    assert play(scene, lifetime=3600).endpoint.reused == 0


@pytest.mark.parametrize("status", [502, 0], ids=["a gateway's", "none"])
def test_a_chain_refreshed_without_credentials_and_store_is_in_doubt_when_the_answer_was_lost(status: int) -> None:
    """The store comes back, and is told of the chain: whoever finds it there does not send the same refresh token."""

    async def scene(world: World) -> None:
        one, _ = await begin(world, world.store)
        worker = world.pod(None)
        await worker.token()
        world.store.down = True
        own = await worker.refresh()
        world.endpoint.fault = lambda _grant: status
        world.endpoint.used_by_faults = True
        with pytest.raises(NexudusAuthError):
            await worker.refresh()
        world.endpoint.fault = lambda _grant: None
        world.store.down = False
        await save_now(worker)
        left = record(world.store)
        assert (left.token, left.in_doubt) == (own, True)
        assert (await one.refresh()).access_token == own.access_token, "it is good"
        assert world.endpoint.accepts(await one.refresh())
        assert {sent.pod for sent in world.endpoint.log if sent.refresh_token == own.refresh_token} == {"pod 2"}

    play(scene, lifetime=3600)


def test_a_chain_refreshed_without_credentials_is_in_doubt_while_that_is_under_way() -> None:
    """The store comes back in the middle; and where it then turns out that nothing was used, it is not."""

    async def scene(world: World) -> None:
        await begin(world, world.store)
        worker = world.pod(None)
        await worker.token()
        world.store.down = True
        await worker.refresh()
        world.endpoint.latency = 2.0
        world.endpoint.fault = lambda _grant: 429
        refreshing = asyncio.create_task(worker.refresh())
        await asyncio.sleep(0.5)
        unsaved = storage_of(worker).unsaved
        assert unsaved is not None
        assert unsaved.in_doubt
        with pytest.raises(NexudusAuthError):
            await refreshing
        world.store.down = False
        await save_now(worker)
        assert not record(world.store).in_doubt

    play(scene, lifetime=3600)


@pytest.mark.parametrize("pods", [1, 2], ids=["an empty store", "an older record"])
def test_a_chain_of_ones_own_is_in_doubt_when_its_answer_was_lost(pods: int) -> None:
    """The store is back, and has not been told of the chain yet: when it is, nobody sends that refresh token again."""

    async def scene(world: World) -> None:
        one, two = world.pod(), world.pod()
        for pod in (one, two)[: 2 * pods - 2]:
            await pod.token()
        await asyncio.sleep(1)
        world.store.down = True
        own = await (one.token() if pods == 1 else one.refresh())
        world.store.down = False
        world.endpoint.fault = lambda _grant: 0
        world.endpoint.used_by_faults = True
        with pytest.raises(NexudusAuthError):
            await one.refresh()
        await asyncio.sleep(0.1)
        await save_now(one)
        left = record(world.store)
        assert (left.token, left.in_doubt, left.client_id) == (own, True, own.client_id)
        world.endpoint.fault = lambda _grant: None
        for _ in range(2):
            await two.refresh()
        assert [sent.pod for sent in world.endpoint.log if sent.refresh_token == own.refresh_token] == ["pod 0"]

    play(scene, lifetime=3600)


def test_a_chain_of_ones_own_whose_refresh_is_turned_away_is_as_good_as_before() -> None:
    """Nothing was used: the others go on with it."""

    async def scene(world: World) -> None:
        one, two = world.pod(), world.pod()
        world.store.down = True
        own = await one.token()
        world.store.down = False
        world.endpoint.fault = lambda _grant: 503
        with pytest.raises(NexudusAuthError):
            await one.refresh()
        world.endpoint.fault = lambda _grant: None
        await asyncio.sleep(60)
        assert (record(world.store).token, record(world.store).in_doubt) == (own, False)
        for _ in range(2):
            await two.refresh()
        assert world.endpoint.count("password") == 1

    play(scene, lifetime=3600)


def test_a_lost_record_that_a_failed_sign_in_puts_back_is_in_doubt() -> None:
    """Another process was refreshing when the store was emptied: nobody sends the same refresh token."""

    async def scene(world: World) -> None:
        one, two = await begin(world, world.store)
        three = world.pod()
        token = await three.token()
        world.endpoint.fault = lambda _grant: 0
        world.endpoint.used_by_faults = True
        refreshing = asyncio.create_task(two.refresh())
        await asyncio.sleep(0.5)
        world.endpoint.fault = lambda _grant: None
        world.store.flush()
        world.endpoint.password = "another"
        with pytest.raises(CredentialsRejectedError):
            await one.sign_in()
        world.endpoint.password = "right"
        await three.refresh()
        await asyncio.gather(refreshing, return_exceptions=True)
        assert [sent.pod for sent in world.endpoint.log if sent.refresh_token == token.refresh_token] == ["pod 1"]

    play(scene, lifetime=3600)
