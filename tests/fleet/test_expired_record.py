"""Tokens of one chain whose lifetimes differ: a record that has expired lends its refresh token, and takes nothing.

In virtual time (`tests/fleet/virtual.py`).
"""

import asyncio

import pytest

from nexudus_async import Freshness, NexudusAuthError, RefreshPolicy, TokenAdopted, TokenManager

from .virtual import World, call, play, spawn

POLICY = RefreshPolicy(jitter=0)


async def differ(world: World) -> tuple[TokenManager, TokenManager]:
    """Return a process whose token lives for an hour, and one whose newer token has ended long before."""
    one, two = world.pod(policy=POLICY), world.pod(policy=POLICY)
    for pod in (one, two):
        await pod.token()
    await world.until(100)
    world.endpoint.lifetime = 600
    await two.refresh()
    world.endpoint.lifetime = 3600
    await world.until(2800)
    world.events.clear()
    return one, two


@pytest.mark.parametrize("status", [503, 500, 409])
def test_an_expired_record_takes_no_living_token_away(status: int) -> None:
    """Its refresh fails, and its callers go on with the token that is good for minutes."""

    async def scene(world: World) -> None:
        one, _ = await differ(world)
        world.endpoint.fault = lambda _grant: status
        first = await one.token()
        caller = await call(world, one, 3590, every=5)
        assert not caller.failed
        assert (await one.token()).access_token == first.access_token
        assert one.freshness is Freshness.MANDATORY
        assert one.statistics().failures >= 1
        assert not [event for event in world.events if isinstance(event, TokenAdopted)]

    play(scene, lifetime=3600)


def test_the_refresh_token_of_an_expired_record_is_the_one_that_is_sent() -> None:
    """Ours was ended by it."""

    async def scene(world: World) -> None:
        one, two = await differ(world)
        await one.token()
        await asyncio.sleep(1)
        assert one.freshness is Freshness.FRESH
        assert (await two.token()).access_token == (await one.token()).access_token
        assert [sent.refresh_token for sent in world.endpoint.log] == [None, "refresh-2", "refresh-4"]

    assert play(scene, lifetime=3600).endpoint.reused == 0


def test_a_refresh_by_hand_that_fails_beside_an_expired_record_takes_nothing() -> None:
    """Nor does a 401, whose token may have been good after all."""

    async def scene(world: World) -> None:
        one, _ = await differ(world)
        world.endpoint.fault = lambda _grant: 503
        first = await one.token()
        with pytest.raises(NexudusAuthError):
            await one.refresh()
        assert (await one.token()).access_token == first.access_token
        assert one.current() is None, "it is due"
        assert one.freshness is Freshness.ADVISORY

    play(scene, lifetime=3600)


def test_an_expired_record_is_no_token_for_who_has_none() -> None:
    """A process that starts refreshes it."""

    async def scene(world: World) -> None:
        await differ(world)
        three = world.pod()
        assert world.endpoint.accepts(await three.token())
        assert world.endpoint.log[-1].refresh_token == "refresh-4"

    play(scene, lifetime=3600)


def test_a_token_that_expires_on_its_way_takes_no_living_one_away() -> None:
    """The service gives two seconds, and its answer takes three: the one held is served, with the new refresh token."""

    async def scene(world: World) -> None:
        pod = world.pod(policy=POLICY)
        first = await pod.token()
        await world.until(2800)
        world.endpoint.lifetime, world.endpoint.latency = 2, 1.5
        with pytest.raises(NexudusAuthError, match="expired before it arrived"):
            await pod.refresh()
        assert (await pod.token()).access_token == first.access_token
        world.endpoint.lifetime = 3600
        assert world.endpoint.accepts(await pod.refresh())

    assert play(scene, lifetime=3600).endpoint.reused == 0


@pytest.mark.parametrize("seed", range(5))
def test_lifetimes_and_clocks_that_differ_fail_nobody(seed: int) -> None:
    """Six hours of hosts up to forty seconds apart, and tokens of five minutes to two hours, turn by turn."""

    async def scene(world: World) -> None:
        pods = [world.pod(skew=skew) for skew in (0.0, 20.0, -20.0, 10.0)]
        callers = spawn(*(call(world, pod, 6 * 3600, every=7, start=world.random.random()) for pod in pods))
        while world.now() < 6 * 3600:
            world.endpoint.lifetime = world.random.choice([300, 900, 3600, 7200])
            await asyncio.sleep(200)
        assert not any(caller.failed for caller in await asyncio.gather(*callers))

    world = play(scene, lifetime=3600, seed=seed)
    assert world.endpoint.reused == 0
    assert world.endpoint.count("password") == 1
