"""`keep_alive=True` while nothing works: it keeps to the pauses like everybody else. In virtual time.

With tokens that live for sixty days, so that it refreshes one that is good: its refresh token would end before it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from nexudus_async import MemoryStore, NexudusAuthError, TokenManager
from tests.fleet.virtual import PASSWORD, Sent, World, play
from tests.inside import kept_alive

DAY = 86400.0
LATEST = 14 * DAY
LIFETIME = 60 * DAY
SHARED = pytest.mark.parametrize("shared", [False, True], ids=["alone", "with a store"])

Bad = Callable[[World], None]


def everything_revoked(world: World) -> None:
    world.endpoint.revoke(access=False)
    world.endpoint.password = "changed"


def answers_503(world: World) -> None:
    world.endpoint.fault = lambda _grant: 503


def answers_nothing(world: World) -> None:
    world.endpoint.fault = lambda _grant: 0


def answers_502(world: World) -> None:
    world.endpoint.fault = lambda _grant: 502


def throttles(world: World) -> None:
    world.endpoint.fault = lambda _grant: 429


def bad_day(bad: Bad, *, shared: bool, seconds: float) -> tuple[list[Sent], World]:
    """Let it keep a session alive for two weeks, and then for a bad day; return the token requests of that day."""
    sent: list[Sent] = []

    async def scene(world: World) -> None:
        pod = world.pod(shared=shared)
        await pod.token()
        await world.leap(LATEST - 65)
        keeper = kept_alive(pod)
        try:
            await world.until(LATEST - 5)
            assert len(world.endpoint.log) == 1
            bad(world)
            await asyncio.sleep(5 + seconds)
            assert world.endpoint.accepts(await pod.token()), "served meanwhile"
            sent.extend(world.endpoint.log[1:])
        finally:
            await keeper.stop()

    return sent, play(scene, lifetime=LIFETIME)


@SHARED
def test_after_a_revocation_and_with_a_changed_password_it_asks_as_seldom_as_the_latch_allows(shared: bool) -> None:
    """One refresh, then a sign-in after a minute, after five, and every hour: not two a second."""
    sent, _ = bad_day(everything_revoked, shared=shared, seconds=120)
    assert [each.grant for each in sent] == ["refresh_token", "password", "password"]
    sent, _ = bad_day(everything_revoked, shared=shared, seconds=DAY / 4)
    grants = Counter(each.grant for each in sent)
    assert grants["refresh_token"] == 1
    assert 6 <= grants["password"] <= 9


@SHARED
@pytest.mark.parametrize("bad", [answers_503, throttles], ids=["503", "429"])
def test_with_an_endpoint_that_is_out_of_order_it_keeps_to_the_back_off(shared: bool, bad: Bad) -> None:
    """30, 60, 120 and 300 s: some twelve an hour, each as many tries as a flight has."""
    sent, world = bad_day(bad, shared=shared, seconds=DAY / 4)
    flights = [each for each in world.events if type(each).__name__ == "RefreshFailed"]
    assert 50 <= len(flights) <= 76
    assert len(sent) <= 3 * len(flights)
    assert {each.grant for each in sent} == {"refresh_token"}


@SHARED
@pytest.mark.parametrize("bad", [answers_502, answers_nothing], ids=["502", "no answer"])
def test_a_lost_answer_is_replayed_once_and_then_signed_in(shared: bool, bad: Bad) -> None:
    """And then the pauses hold for the sign-ins."""
    sent, world = bad_day(bad, shared=shared, seconds=7200)
    refreshes = [each for each in sent if each.grant == "refresh_token"]
    assert len(refreshes) <= 2
    assert len(sent) <= 110
    assert world.endpoint.reused == 0


@SHARED
def test_it_goes_on_when_the_day_is_over(shared: bool) -> None:
    """Within a pause, and by a refresh where the refresh token is left."""

    async def scene(world: World) -> None:
        pod = world.pod(shared=shared)
        await pod.token()
        await world.leap(LATEST - 65)
        keeper = kept_alive(pod)
        await world.until(LATEST - 5)
        answers_503(world)
        await asyncio.sleep(DAY / 4)
        world.endpoint.fault = lambda _grant: None
        await asyncio.sleep(420)
        assert pod.statistics().generation == 2
        assert world.endpoint.count("password") == 1
        await keeper.stop()

    play(scene, lifetime=LIFETIME)


@SHARED
def test_a_refresh_by_hand_passes(shared: bool) -> None:
    """Back-off and latch are for those who do not ask."""

    async def scene(world: World) -> None:
        pod = world.pod(shared=shared)
        await pod.token()
        await world.leap(LATEST - 65)
        keeper = kept_alive(pod)
        await world.until(LATEST - 5)
        everything_revoked(world)
        await asyncio.sleep(400)
        before = len(world.endpoint.log)
        with pytest.raises(NexudusAuthError):
            await pod.refresh()
        assert len(world.endpoint.log) == before + 1
        world.endpoint.password = PASSWORD
        assert await pod.refresh()
        await keeper.stop()

    play(scene, lifetime=LIFETIME)


def test_it_asks_the_store_seldom_while_another_process_has_the_lock() -> None:
    """For as long as that may take."""

    async def scene(world: World) -> None:
        pod = world.pod()
        await pod.token()
        await asyncio.sleep(0.1)
        ((key, _),) = world.store.records.items()
        await world.leap(LATEST - 65)
        keeper = kept_alive(pod)
        await world.until(LATEST - 5)
        async with world.store.refresh_lock(key):
            before = Counter(world.store.counts)
            await asyncio.sleep(3600)
            assert 0 < (world.store.counts - before)["load"] <= 3600 / 4
        await keeper.stop()

    play(scene, lifetime=LIFETIME)


def test_it_asks_the_store_seldom_while_the_endpoint_is_out_of_order() -> None:
    """The whole fleet together, and not each process for itself."""

    async def scene(world: World) -> None:
        pods: list[TokenManager] = [world.pod() for _ in range(5)]
        for pod in pods:
            await pod.token()
        await world.leap(LATEST - 65)
        keepers = [kept_alive(pod) for pod in pods]
        await world.until(LATEST - 5)
        answers_503(world)
        before = Counter(world.store.counts)
        await asyncio.sleep(3600)
        assert (world.store.counts - before)["load"] <= 5 * 3600 / 4
        for keeper in keepers:
            await keeper.stop()

    play(scene, lifetime=LIFETIME)


def test_a_fleet_that_is_kept_alive_refreshes_once() -> None:
    """All meet the fourteenth day in the same half minute."""

    async def scene(world: World) -> None:
        pods = [world.pod() for _ in range(10)]
        for pod in pods:
            await pod.token()
        keepers = [kept_alive(pod) for pod in pods]
        for turn in (1, 2, 3):
            await world.leap(turn * (LATEST + 100) - 60)
            await asyncio.sleep(120)
            assert world.endpoint.count("refresh_token") == turn
            assert {pod.statistics().generation for pod in pods} == {turn + 1}
        for keeper in keepers:
            await keeper.stop()

    world = play(scene, lifetime=LIFETIME)
    assert world.endpoint.reused == 0


@pytest.mark.parametrize("lifetime", [5.0, 60.0, 3600.0])
def test_with_any_lifetime_a_bad_hour_is_no_storm(lifetime: float) -> None:
    """Nobody but it asks; everything is dead."""

    async def scene(world: World) -> None:
        pod = world.pod(store=MemoryStore())
        await pod.token()
        keeper = kept_alive(pod)
        everything_revoked(world)
        await asyncio.sleep(3600 + lifetime)
        await keeper.stop()

    world = play(scene, lifetime=lifetime)
    assert world.endpoint.count("refresh_token") == 1
    assert world.endpoint.count("password") <= 6
