"""The store goes back to what it was: a replica that lagged takes over, or it is restored from a copy.

In virtual time (`tests/fleet/virtual.py`).
"""

import asyncio
import itertools
from collections import Counter

import pytest

from nexudus_async import EncryptedStore, MemoryStore, RefreshPolicy, StoreFailed
from nexudus_async.stores import TellsServer

from .virtual import Store, World, call, play, spawn

NO_JITTER = RefreshPolicy(jitter=0)
DUE = 2700.0
"""Seconds after which a token of an hour is due without jitter."""
PATIENCE = 35.0
"""Seconds that a flight may take, with its save."""


class Served(Store):
    """A store that tells which server it is on."""

    name = "one"

    async def server(self, key: str) -> str | None:
        await self._work("server", down=False)
        return self.name

    def fail_over(self, copy: Store) -> None:
        """Be another server, with what the copy has, and no locks."""
        self.flush()
        self.records, self.name = dict(copy.records), "another"


def copied(store: Store) -> Store:
    copy = Store()
    copy.records = dict(store.records)
    return copy


def check_nothing_was_sent_twice(world: World) -> None:
    sent = Counter(each.refresh_token for each in world.endpoint.log if each.refresh_token)
    assert set(sent.values()) <= {1}
    assert world.endpoint.reused == 0


@pytest.mark.parametrize("moment", [2800.0, 3601.0], ids=["the token is good", "the token has ended"])
@pytest.mark.parametrize("after", [0.02, 0.5, 2.0])
@pytest.mark.parametrize("missing", [0, 1], ids=["the note is missing", "a refresh is missing"])
def test_a_refresh_token_is_not_sent_twice_because_a_replica_has_not_heard_of_it(
    moment: float, after: float, missing: int
) -> None:
    """It takes over while one process refreshes, with the record of before, and without the lock."""

    async def scene(world: World) -> None:
        world.store = store = Served()
        pods = [world.pod(policy=NO_JITTER) for _ in range(5)]
        for pod in pods:
            await pod.token()
        replica = copied(store)
        for _ in range(missing):
            await pods[0].refresh()
            await asyncio.sleep(1)
            await pods[1].refresh()
        if not missing:
            replica = copied(store)
        await world.until(moment)
        world.endpoint.latency = 1.5
        refreshing = asyncio.create_task(pods[0].refresh())
        await asyncio.sleep(after)
        store.fail_over(replica)
        tokens = await asyncio.gather(*(pod.token() for pod in pods[1:]))
        assert all(map(world.endpoint.accepts, tokens))
        await refreshing
        await asyncio.gather(*spawn(*(call(world, pod, world.now() + 60, every=1) for pod in pods)))
        assert len({(await pod.token()).client_id for pod in pods}) == 1
        assert not [event for event in world.events if isinstance(event, StoreFailed)]

    world = play(scene, lifetime=3600)
    check_nothing_was_sent_twice(world)
    if moment < 3600:
        assert world.endpoint.count("password") == 1, "those who could wait found the new token"


def test_a_chain_that_was_saved_after_an_outage_of_the_store_is_guarded_as_any_other() -> None:
    """The record says where it was written, whoever wrote it."""

    async def scene(world: World) -> None:
        world.store = store = Served()
        pods = [world.pod(policy=NO_JITTER) for _ in range(3)]
        for pod in pods:
            await pod.token()
        store.down = True
        await pods[0].refresh()
        store.down = False
        await asyncio.sleep(60)
        assert not pods[0].statistics().unsaved
        for pod in pods[1:]:
            await pod.refresh()  # adopts, or goes on with that chain
        replica = copied(store)
        world.endpoint.latency = 1.5
        refreshing = asyncio.create_task(pods[0].refresh())
        await asyncio.sleep(0.5)
        store.fail_over(replica)
        await asyncio.gather(*(pod.refresh() for pod in pods[1:]))
        await refreshing

    check_nothing_was_sent_twice(play(scene, lifetime=3600))


def test_a_store_that_was_restored_from_a_copy_is_not_believed() -> None:
    """It does not tell which server it is, but its record is older than what it once took from this process."""

    async def scene(world: World) -> None:
        pods = [world.pod(policy=NO_JITTER) for _ in range(5)]
        for pod in pods:
            await pod.token()
        copy = copied(world.store)
        await asyncio.sleep(1)
        await pods[0].refresh()
        await world.until(2800)
        for pod in pods:
            await pod.token()
        await asyncio.sleep(2)
        await world.until(5600)
        world.endpoint.latency = 1.5
        refreshing = asyncio.create_task(pods[0].refresh())
        await asyncio.sleep(0.5)
        world.store.flush()
        world.store.records = dict(copy.records)
        await asyncio.gather(*(pod.token() for pod in pods[1:]))
        await refreshing

    check_nothing_was_sent_twice(play(scene, lifetime=3600))


def test_a_restart_of_the_store_costs_a_fleet_no_sign_in() -> None:
    """Nobody was refreshing, but who knows: the refresh waits for as long as another's may take, and no caller does."""

    async def scene(world: World) -> None:
        world.store = store = Served()
        pods = [world.pod(policy=NO_JITTER) for _ in range(5)]
        for pod in pods:
            await pod.token()
        await world.until(100)
        store.fail_over(copied(store))
        await world.until(DUE)
        callers = await asyncio.gather(*spawn(*(call(world, pod, DUE + 60) for pod in pods)))
        assert not any(caller.failed for caller in callers)
        assert max(caller.slowest for caller in callers) < 0.1

    world = play(scene, lifetime=3600)
    assert [sent.grant for sent in world.endpoint.log] == ["password", "refresh_token"]
    assert DUE + PATIENCE <= world.endpoint.log[1].at <= DUE + PATIENCE + 10


def test_the_next_refresh_on_the_same_server_waits_for_nothing() -> None:
    """What was written to it is there."""

    async def scene(world: World) -> None:
        world.store = store = Served()
        pod = world.pod(policy=NO_JITTER)
        await pod.token()
        store.fail_over(copied(store))
        await call(world, pod, 2 * DUE + 60)

    world = play(scene, lifetime=3600)
    moments = [sent.at for sent in world.endpoint.log]
    assert len(moments) == 3
    assert moments[2] - moments[1] == pytest.approx(DUE, abs=1)


def test_who_finds_a_note_on_the_new_server_waits_for_nothing() -> None:
    """Another process has waited, and failed for another reason: the chain is where it was."""

    async def scene(world: World) -> None:
        world.store = store = Served()
        one, two = (world.pod(policy=NO_JITTER) for _ in range(2))
        for pod in (one, two):
            await pod.token()
        store.fail_over(copied(store))
        await world.until(DUE)
        world.endpoint.fault = lambda _grant: 503
        await call(world, one, DUE + 60)
        world.endpoint.fault = lambda _grant: None
        await world.until(DUE + 120)
        await call(world, two, DUE + 125)

    world = play(scene, lifetime=3600)
    assert [(sent.pod, sent.status) for sent in world.endpoint.log[1:]] == [("pod 0", 503), ("pod 1", 200)]


def test_a_token_that_the_store_did_not_take_is_no_reason_to_doubt() -> None:
    """Its record is older than the token held, because the newer one is still to be saved."""

    async def scene(world: World) -> None:
        pod = world.pod()
        await pod.token()
        await asyncio.sleep(1)
        world.store.saves_down = True
        world.store.loads_down = True
        await pod.refresh()
        while not pod.statistics().unsaved:  # noqa: ASYNC110 - has no event
            await asyncio.sleep(0.01)
        world.store.saves_down = world.store.loads_down = False
        await pod.refresh()
        assert [sent.grant for sent in world.endpoint.log][2:] == ["refresh_token"]

    play(scene, lifetime=3600)


def test_a_store_that_gives_another_name_each_time_delays_a_refresh_and_costs_nothing_else() -> None:
    """As a service of many machines behind one address may."""

    async def scene(world: World) -> None:
        names = itertools.count()

        class Changing(Served):
            async def server(self, key: str) -> str | None:
                return f"machine {next(names)}"

        world.store = Changing()
        pods = [world.pod() for _ in range(5)]
        callers = await asyncio.gather(*spawn(*(call(world, pod, 86400, every=10) for pod in pods)))
        assert not any(caller.failed for caller in callers)

    world = play(scene, lifetime=3600)
    assert world.endpoint.count("password") == 1
    assert world.endpoint.count("refresh_token") >= 86400 / 3600


def test_a_sign_in_by_hand_and_a_store_that_does_not_tell_wait_for_nothing() -> None:
    """There is nothing to doubt."""

    async def scene(world: World) -> None:
        pod = world.pod(policy=NO_JITTER)
        await pod.token()
        world.store.flush()
        await pod.sign_in()
        await pod.refresh()
        assert [sent.grant for sent in world.endpoint.log] == ["password", "password", "refresh_token"]

    play(scene, lifetime=3600)


async def test_an_encrypted_store_tells_what_the_one_inside_tells() -> None:
    """And nothing where that is silent."""
    key = "0" * 43 + "="
    assert await EncryptedStore(MemoryStore(), key).server("a") is None
    inside = Served()
    assert isinstance(inside, TellsServer)
    assert await EncryptedStore(inside, key).server("a") == "one"
