"""Another process has the lock and keeps it: it is never bypassed, and nobody waits for it for ever.

In virtual time (`tests/fleet/virtual.py`).
"""

import asyncio
from collections import Counter

import pytest

from nexudus_async import (
    EndpointUnavailableError,
    Freshness,
    NexudusAuthError,
    RefreshPolicy,
    StoreFailed,
    TokenManager,
)
from tests.inside import key_of_manager

from .virtual import World, call, play, spawn

LIMIT = 35.0
"""Seconds: the deadline of a flight, and a margin for the save of another process."""
A_LITTLE = 3.5
"""Seconds between two looks at the most."""


def key_of(world: World) -> str:
    return key_of_manager(world.pods[0])


@pytest.mark.parametrize("lifetime", [3600, 40], ids=["long tokens", "short tokens"])
def test_who_waits_for_a_lock_that_is_held_for_ever_fails_after_the_flights_deadline(lifetime: float) -> None:
    """With what is known, which here is nothing but that; nothing is sent past the lock."""

    async def scene(world: World) -> None:
        pods = [world.pod() for _ in range(20)]
        for pod in pods:
            await pod.token()
        await world.until(lifetime + 1)
        before = len(world.endpoint.log)
        async with world.store.refresh_lock(key_of(world)):
            began = world.now()
            results = await asyncio.gather(*(pod.token() for pod in pods), return_exceptions=True)
            waited = world.now() - began
        assert {type(result) for result in results} == {EndpointUnavailableError}
        assert LIMIT <= waited <= LIMIT + A_LITTLE
        assert len(world.endpoint.log) == before
        assert not [event for event in world.events if isinstance(event, StoreFailed)], "the store is well"

    play(scene, lifetime=lifetime)


def test_who_waits_in_vain_is_told_what_the_fleet_knows() -> None:
    """The record says how the last attempt ended."""

    async def scene(world: World) -> None:
        one, two = world.pod(), world.pod()
        world.endpoint.fault = lambda _grant: 503
        with pytest.raises(NexudusAuthError):
            await one.token()
        async with world.store.refresh_lock(key_of(world)):
            await asyncio.sleep(10)
            with pytest.raises(EndpointUnavailableError, match=r"in this or another process: .*503"):
                await two.token()

    play(scene, lifetime=3600)


def test_who_waits_in_vain_is_told_its_own_failure_with_its_cause() -> None:
    """Where the record says that it was this process's."""

    async def scene(world: World) -> None:
        pod = world.pod()
        world.endpoint.fault = lambda _grant: 503
        with pytest.raises(EndpointUnavailableError) as first:
            await pod.token()
        await asyncio.sleep(10)
        async with world.store.refresh_lock(key_of(world)):
            with pytest.raises(EndpointUnavailableError) as caught:
                await pod.token()
        assert str(caught.value) == str(first.value)
        assert "another process" not in str(caught.value)

    play(scene, lifetime=3600)


def test_holders_that_change_are_not_bypassed_either() -> None:
    """Each has the lock for ten seconds, and none brings a token: that does not add up to a minute and a half."""

    async def scene(world: World) -> None:
        pod = world.pod()

        async def hold() -> None:
            while True:
                async with world.store.refresh_lock(key_of(world)):
                    await asyncio.sleep(10)

        holders = [asyncio.create_task(hold()) for _ in range(3)]
        await asyncio.sleep(0)
        began = world.now()
        with pytest.raises(EndpointUnavailableError, match="too long"):
            await pod.token()
        assert LIMIT <= world.now() - began <= LIMIT + A_LITTLE
        for holder in holders:
            holder.cancel()
        assert world.endpoint.log == []

    play(scene, lifetime=3600)


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_an_endpoint_that_hangs_costs_a_fleet_what_it_costs_one_process(warm: bool) -> None:
    """Twenty pods: who waits while another tries shares its failure, as within one process; nobody tries once more.

    So each hears of it after the deadline and a little, and none signs in beside the chain.
    """
    waits: list[float] = []

    async def scene(world: World) -> None:
        pods = [world.pod() for _ in range(20)]
        if warm:
            for pod in pods:
                await pod.token()
        world.endpoint.fault = lambda _grant: 0
        await world.until(3601)

        async def wait(pod: TokenManager) -> None:
            began = world.now()
            with pytest.raises(EndpointUnavailableError, match="within 30 s"):
                await pod.token()
            waits.append(world.now() - began)

        await asyncio.gather(*(wait(pod) for pod in pods))
        await asyncio.sleep(60)

    world = play(scene, lifetime=3600)
    assert max(waits) <= 30 + A_LITTLE
    assert (world.endpoint.count("password"), world.endpoint.count("refresh_token")) == (1, int(warm))


def test_before_the_hard_margin_nobody_waits_for_it_and_nobody_asks_all_the_time() -> None:
    """Served at once, ten minutes long; the store is asked every few seconds."""

    async def scene(world: World) -> None:
        pods = [world.pod(policy=RefreshPolicy(jitter=0)) for _ in range(20)]
        for pod in pods:
            await pod.token()
        await world.until(2701)
        async with world.store.refresh_lock(key_of(world)):
            before = Counter(world.store.counts)
            callers = await asyncio.gather(*spawn(*(call(world, pod, world.now() + 600, every=0.5) for pod in pods)))
            assert not any(caller.failed for caller in callers)
            assert max(caller.slowest for caller in callers) == 0
            asked = world.store.counts - before
            assert asked["load"] + asked["lock"] <= 2 * 20 * 600 / 5
        assert len(world.endpoint.log) == 1
        await call(world, pods[0], world.now() + 11, every=0.5)
        assert pods[0].freshness is Freshness.FRESH

    play(scene, lifetime=3600)


@pytest.mark.parametrize("ask", ["refresh", "reject", "token"])
def test_who_joins_a_refresh_ahead_of_time_waits_only_where_the_token_held_will_not_do(ask: str) -> None:
    """That refresh leaves the lock to its holder; who wants another token waits for the lock all the same."""

    async def scene(world: World) -> None:
        one, two = world.pod(policy=RefreshPolicy(jitter=0)), world.pod(policy=RefreshPolicy(jitter=0))
        old = await one.token()
        await two.token()
        await world.until(2701)
        async with world.store.refresh_lock(key_of(world)):
            calls = {"refresh": one.refresh, "reject": lambda: one.reject(old), "token": one.token}
            assert await one.token() is old
            assert "refreshing" in repr(one)
            second = asyncio.create_task(calls[ask]())
            await asyncio.sleep(10)
            assert second.done() is (ask == "token")
        assert (await second is old) is (ask == "token")

    play(scene, lifetime=3600)


def test_a_waiter_takes_the_token_that_the_holder_brings() -> None:
    """While it still has the lock."""

    async def scene(world: World) -> None:
        one, two = world.pod(), world.pod()
        world.endpoint.latency = 5
        first, second = await asyncio.gather(one.token(), two.token())
        assert first.access_token == second.access_token
        assert len(world.endpoint.log) == 1

    play(scene, lifetime=3600)
