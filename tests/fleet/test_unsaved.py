"""What is still to be saved, and logout: whatever comes in between, no older token and no dead chain comes back.

In virtual time (`tests/fleet/virtual.py`).
"""

import asyncio

import pytest

from nexudus_async import LoginRequiredError, SessionClosedError, StoredToken, StoreError, TokenAdopted, TokenManager
from nexudus_async.stores._record import Record, decode, encode
from tests.inside import key_of_manager, put_store, save_now

from .virtual import Store, World, call, play

OPERATION = 2.0
"""Seconds that an operation of the slow store takes."""


def record(world: World) -> Record:
    """Return what lies in the store."""
    ((key, stored),) = world.store.records.items()
    return decode(stored, key)


def unsaved(pod: TokenManager) -> int:
    return pod.statistics().unsaved


def unreachable() -> Store:
    store = Store()
    store.down = True
    return store


async def settled(world: World) -> None:
    """Let everything be saved that can be."""
    await asyncio.sleep(200)
    assert not any(map(unsaved, world.pods))


async def begin(world: World, pods: int = 2) -> list[TokenManager]:
    """Return pods that share a token."""
    made = [world.pod() for _ in range(pods)]
    for pod in made:
        await pod.token()
    await asyncio.sleep(1)
    return made


@pytest.mark.parametrize("comes_back", [True, False], ids=["the save succeeds", "the save fails"])
@pytest.mark.parametrize("delay", [0.1, 1.0, 1.9])
def test_a_newer_token_during_a_save_is_what_is_left_to_be_saved(comes_back: bool, delay: float) -> None:
    """The attempt with the older one clears, or puts back, only what it took."""

    async def scene(world: World) -> None:
        one, two = await begin(world)
        world.store.saves_down = True
        world.store.loads_down = True
        await one.refresh()
        await asyncio.sleep(0.1)
        assert unsaved(one)
        world.store.latency = OPERATION
        saving = asyncio.create_task(save_now(one))
        await asyncio.sleep(delay)
        world.store.saves_down = world.store.loads_down = not comes_back
        newest = await one.refresh()
        await saving
        world.store.saves_down = world.store.loads_down = False
        await settled(world)
        assert record(world).token == newest
        await two.refresh()

    world = play(scene, lifetime=3600)
    assert world.endpoint.reused == 0


@pytest.mark.parametrize("delay", [0.0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5])
@pytest.mark.parametrize("down", [False, True], ids=["saves succeed", "saves fail"])
def test_a_logout_during_a_save_is_the_last_word(down: bool, delay: float) -> None:
    """A tombstone lies there, above the token, and nobody comes back with it."""

    async def scene(world: World) -> None:
        one, two = await begin(world)
        world.store.latency, world.store.saves_down = OPERATION, down
        refreshing = asyncio.create_task(one.refresh())
        await asyncio.sleep(delay)
        await one.logout()
        await asyncio.gather(refreshing, return_exceptions=True)
        world.store.latency, world.store.saves_down = 0.001, False
        await settled(world)
        left = record(world)
        assert left.token is None
        assert left.logged_out_until > 0
        await world.until(3700)
        assert (await two.token()).generation > left.generation
        await one.token()

    world = play(scene, lifetime=3600)
    assert world.endpoint.count("password") == 2
    assert world.endpoint.reused == 0


@pytest.mark.parametrize("delay", [0.1, 1.0, 1.9])
def test_a_logout_while_what_is_unsaved_is_being_saved_is_the_last_word(delay: float) -> None:
    """The saver has the older token in hand."""

    async def scene(world: World) -> None:
        one, _ = await begin(world)
        world.store.saves_down = True
        await one.refresh()
        await asyncio.sleep(0.1)
        assert unsaved(one)
        world.store.saves_down, world.store.latency = False, OPERATION
        saving = asyncio.create_task(save_now(one))
        await asyncio.sleep(2 * OPERATION + delay)  # it has looked twice
        await one.logout()
        await saving
        await settled(world)
        assert record(world).token is None

    play(scene, lifetime=3600)


def cut_off(world: World) -> None:
    """Let what is asked from now on fail at once; what is under way takes its time."""
    world.store.latency = 0.01
    world.store.loads_down = True


def test_a_failing_save_does_not_put_back_what_it_took() -> None:
    """A newer token has come in between, by a sign-in without the store: that is what is left."""

    async def scene(world: World) -> None:
        one, two = await begin(world)
        world.store.saves_down = True
        await one.refresh()
        await asyncio.sleep(0.1)
        world.store.latency = OPERATION
        saving = asyncio.create_task(save_now(one))
        await asyncio.sleep(2 * OPERATION + 0.5)  # it has looked twice, and saves now
        cut_off(world)
        newest = await one.refresh()
        await saving
        world.store.saves_down = world.store.loads_down = False
        await settled(world)
        assert record(world).token == newest
        await two.refresh()

    assert play(scene, lifetime=3600).endpoint.reused == 0


def test_what_a_save_finds_pointless_is_what_it_took() -> None:
    """Another process has saved a token as new; this one has signed in once more meanwhile, and that is news."""

    async def scene(world: World) -> None:
        one, two = await begin(world)
        world.store.saves_down = True
        await one.refresh()
        await asyncio.sleep(0.1)
        world.store.saves_down = False
        await two.refresh()
        await asyncio.sleep(0.1)
        assert record(world).generation == 2
        world.store.latency = OPERATION
        saving = asyncio.create_task(save_now(one))
        await asyncio.sleep(0.5)
        cut_off(world)
        newest = await one.refresh()
        world.store.loads_down = False
        await saving
        await settled(world)
        assert (newest.generation, record(world).token) == (3, newest)

    play(scene, lifetime=3600)


@pytest.mark.parametrize("delay", [0.5, 1.9, 2.5, 3.9])
def test_no_token_is_saved_after_a_logout(delay: float) -> None:
    """Not even for the moment until the tombstone is there: the saver looks whose the slot is before it saves."""

    async def scene(world: World) -> None:
        (one,) = await begin(world, 1)
        world.store.saves_down = True
        await one.refresh()
        await asyncio.sleep(0.1)
        world.store.saves_down, world.store.latency = False, OPERATION
        saving = asyncio.create_task(save_now(one))
        await asyncio.sleep(delay)
        leaving = asyncio.create_task(one.logout())
        while not (saving.done() and leaving.done()):
            before = dict(world.store.records)
            await asyncio.sleep(0.1)
            assert world.store.records == before or record(world).token is None
        assert record(world).token is None

    play(scene, lifetime=3600)


def test_after_close_nothing_is_saved_any_more() -> None:
    """The store was out of reach, and the task that saves later is gone."""

    async def scene(world: World) -> None:
        (one,) = await begin(world, 1)
        world.store.down = True
        await one.refresh()
        await asyncio.sleep(0.1)
        await one.close()
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("nexudus_async")]
        world.store.down = False
        before = dict(world.store.records)
        await asyncio.sleep(200)
        assert world.store.records == before

    play(scene, lifetime=3600)


@pytest.mark.parametrize("delay", [0.5, 2.5, 4.0])
def test_close_during_a_save_waits_for_it(delay: float) -> None:
    """Of a flight, whose caller has the token already."""

    async def scene(world: World) -> None:
        (pod,) = await begin(world, 1)
        token = await pod.refresh()
        await asyncio.sleep(0)
        world.store.latency = 4.5
        second = await pod.refresh()
        assert second.generation == token.generation + 1
        await asyncio.sleep(delay)
        began = world.now()
        await pod.close()
        assert record(world).token == second
        assert world.now() - began <= 5.1

    play(scene, lifetime=3600)


def test_close_during_the_savers_save_waits_for_it() -> None:
    """It is offered once more, behind the attempt under way."""

    async def scene(world: World) -> None:
        (pod,) = await begin(world, 1)
        world.store.saves_down = True
        token = await pod.refresh()
        await asyncio.sleep(0.1)
        assert unsaved(pod)
        world.store.saves_down, world.store.latency = False, 0.5
        saving = asyncio.create_task(save_now(pod))
        await asyncio.sleep(1.2)
        await pod.close()
        assert record(world).token == token
        await saving

    play(scene, lifetime=3600)


async def away_and_on(world: World, one: TokenManager, two: TokenManager, *, refreshes: int) -> None:
    """Log `one` out while it cannot reach the store, which the fleet goes on with."""
    reachable = put_store(one, unreachable())
    await one.logout()
    for _ in range(refreshes):
        await two.refresh()
    await asyncio.sleep(1)
    put_store(one, reachable)


@pytest.mark.parametrize("refreshes", [0, 1, 5])
def test_a_logout_without_the_store_is_put_above_what_the_fleet_has_made_of_the_chain(refreshes: int) -> None:
    """By then its generation is higher than that of the logout."""

    async def scene(world: World) -> None:
        one, two = await begin(world)
        await away_and_on(world, one, two, refreshes=refreshes)
        dead = await two.token()
        await settled(world)
        left = record(world)
        assert left.token is None
        assert left.generation > dead.generation
        world.events.clear()
        assert (await one.token()).generation == left.generation + 1
        await world.until(world.now() + 3600)
        assert (await two.token()).generation > left.generation
        assert not any(isinstance(event, TokenAdopted) and event.account == "pod 0" for event in world.events)

    world = play(scene, lifetime=3600)
    assert world.endpoint.count("password") == 2


@pytest.mark.parametrize("refreshes", [0, 1, 5])
def test_who_logged_out_without_the_store_does_not_adopt_what_it_logged_out_of(refreshes: int) -> None:
    """It is used before the tombstone is there: it signs in anew, and the fleet follows."""

    async def scene(world: World) -> None:
        one, two = await begin(world)
        await away_and_on(world, one, two, refreshes=refreshes)
        dead = await two.token()
        token = await one.token()
        assert token.access_token != dead.access_token
        assert world.endpoint.log[-1].grant == "password"
        await settled(world)
        assert record(world).generation > dead.generation
        await world.until(world.now() + 3600)
        assert (await two.token()).client_id == (await one.token()).client_id
        assert world.endpoint.count("password") == 2

    play(scene, lifetime=3600)


@pytest.mark.parametrize("refreshes", [0, 1, 5])
@pytest.mark.parametrize("meanwhile", ["nothing", "refresh", "sign_in", "logout"])
def test_who_signs_in_again_before_the_store_is_back_does_not_fall_back_either(refreshes: int, meanwhile: str) -> None:
    """Its own chain replaces the one that it logged out of, whatever generation that has reached; so does a logout."""

    async def scene(world: World) -> None:
        one, two = await begin(world)
        reachable = put_store(one, unreachable())
        await one.logout()
        own = await one.token()
        for _ in range(refreshes):
            await two.refresh()
        await asyncio.sleep(1)
        dead = await two.token()
        put_store(one, reachable)
        if meanwhile == "logout":
            await one.logout()
        elif meanwhile != "nothing":
            own = await getattr(one, meanwhile)()
        await settled(world)
        left = record(world)
        assert left.generation > dead.generation
        assert left.token is None if meanwhile == "logout" else left.token is not None
        if left.token is not None:
            assert left.token.access_token == own.access_token == (await one.token()).access_token
        await world.until(world.now() + 3600)
        tokens = [await pod.token() for pod in (one, two)]
        assert len({token.access_token for token in tokens}) == 1
        await call(world, two, world.now() + 5)

    world = play(scene, lifetime=3600)
    assert world.endpoint.reused == 0


def test_a_logout_that_waits_for_another_process_is_ended_by_close() -> None:
    """With `SessionClosedError`, and not after the minute that it may take."""

    async def scene(world: World) -> None:
        one, _ = await begin(world)
        async with world.store.refresh_lock(key_of_manager(one)):
            leaving = asyncio.create_task(one.logout())
            await asyncio.sleep(3)
            began = world.now()
            await one.close()
            with pytest.raises(SessionClosedError):
                await leaving
            assert world.now() - began <= 5.1

    play(scene, lifetime=3600)


def test_without_credentials_nobody_comes_back_to_a_chain_that_was_logged_out() -> None:
    """Though the store was out of reach, and another refreshes it."""

    async def scene(world: World) -> None:
        _, two = await begin(world)
        worker = world.pod(None)
        await worker.token()
        await away_and_on(world, worker, two, refreshes=2)
        with pytest.raises(LoginRequiredError):
            await worker.token()
        await settled(world)
        assert record(world).token is None

    play(scene, lifetime=3600)


class Late(Store):
    """A store that obeys a save after it was given up on."""

    late = False

    async def save(self, key: str, record: StoredToken) -> None:
        kept = self.records[key].generation if self.late else record.generation
        if record.generation <= kept:  # a note that a refresh has begun, too
            return await super().save(key, record)
        asyncio.get_running_loop().call_later(2.0, self._arrive, key, record)
        raise StoreError("no answer")

    def _arrive(self, key: str, record: StoredToken) -> None:
        if self.records[key].generation <= record.generation:
            self.records[key] = record


@pytest.mark.parametrize("signs_in", [False, True], ids=["of a refresh", "of a sign-in"])
@pytest.mark.parametrize("in_doubt", [False, True], ids=["", "after a crash"])
def test_a_save_that_arrives_late_does_not_undo_a_logout(signs_in: bool, in_doubt: bool) -> None:
    """It was sent before the logout: the tombstone is above it."""

    async def scene(world: World) -> None:
        store = world.store = Late()
        one, two = await begin(world)
        if in_doubt:
            ((key, stored),) = store.records.items()
            store.records[key] = encode(decode(stored, key)._replace(in_doubt=True), key)
        store.late = True
        await (two.sign_in() if signs_in else two.refresh())
        store.late = False
        await one.logout()
        await settled(world)
        assert record(world).token is None

    play(scene, lifetime=3600)


def test_who_signs_in_while_the_tombstone_is_being_saved_keeps_the_token() -> None:
    """It is of a chain that the logout did not end."""

    async def scene(world: World) -> None:
        one, _ = await begin(world)
        world.store.latency = OPERATION
        leaving = asyncio.create_task(one.logout())
        await asyncio.sleep(1.5 * OPERATION)  # it has looked, and saves now
        world.store.loads_down, world.store.latency = True, 0.001
        token = await one.token()
        await leaving
        assert one.current() == token
        world.store.loads_down = False
        await settled(world)
        assert record(world).token == one.current()

    world = play(scene, lifetime=3600)
    assert world.endpoint.count("password") == 2


def test_a_logout_while_the_tombstone_of_another_is_being_saved_is_saved_too() -> None:
    """And is no longer unsaved after that."""

    async def scene(world: World) -> None:
        one, _ = await begin(world)
        world.store.latency = OPERATION
        leaving = asyncio.create_task(one.logout())
        await asyncio.sleep(1.5 * OPERATION)  # it has looked, and saves now
        world.store.latency = 0.001
        await asyncio.gather(leaving, one.logout())
        await settled(world)
        assert record(world).token is None

    play(scene, lifetime=3600)
