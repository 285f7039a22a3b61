"""What an outage writes to the log: that it begins, ever more rarely that it lasts, and that it is over.

In virtual time (`tests/fleet/virtual.py`). Of every failure there is an event all the same.
"""

import asyncio
import logging
import re
from collections.abc import Iterator

import pytest

from nexudus_async import EndpointUnavailableError, RefreshFailed, StoreFailed, TokenManager

from .virtual import World, call, play, spawn

LONG, HOUR = 900.0, 3600.0
MOST = 7
"""Lines that an outage of a quarter of an hour may write: after 0, 0.5, 1.5, 3.5 and 7.5 minutes, its end, and one to
spare."""


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """The warnings of the package, filled in at the end of `play`."""
    seen: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())

    handler = Keep(logging.WARNING)
    logging.getLogger("nexudus_async").addHandler(handler)
    yield seen
    logging.getLogger("nexudus_async").removeHandler(handler)


def of(name: str, lines: list[str], words: str) -> list[str]:
    return [line for line in lines if line.startswith(f"{name}: ") and words in line]


async def use(world: World, pods: list[TokenManager], until: float) -> None:
    await asyncio.gather(*spawn(*(call(world, pod, until, every=5) for pod in pods)))


@pytest.mark.parametrize("broken", ["down", "loads_down", "saves_down"])
def test_a_store_that_is_down_for_long(lines: list[str], broken: str) -> None:
    """Of all it does, or of what it reads, or writes: tokens of a minute need it all the time."""

    async def scene(world: World) -> None:
        pods = [world.pod() for _ in range(3)]
        await use(world, pods, 60)
        setattr(world.store, broken, True)
        await use(world, pods, LONG)
        setattr(world.store, broken, False)
        await use(world, pods, LONG + 200)

    world = play(scene, lifetime=60)
    failed = [event for event in world.events if isinstance(event, StoreFailed)]
    assert len(failed) > 100
    told = of("pod 0", lines, "token store")
    assert 3 <= len(told) <= MOST
    assert "failed: the store is switched off" in told[0]
    assert "more since the last such line)" in told[1]
    assert re.search(r"the token store works again, after [89]\d\d s", told[-1])
    assert len(lines) <= 3 * MOST


def test_a_store_that_fails_every_other_time(lines: list[str]) -> None:
    """To fail, to work and to fail again is the same trouble still."""

    async def scene(world: World) -> None:
        pod = world.pod()
        await pod.token()
        for second in range(400):
            world.store.down = second % 2 == 0
            await pod.refresh()
            await asyncio.sleep(1)

    world = play(scene, lifetime=3600)
    assert sum(isinstance(event, StoreFailed) for event in world.events) > 150
    assert len(lines) <= 2 * MOST


@pytest.mark.parametrize("shared", [True, False])
def test_a_service_that_fails_for_long(lines: list[str], shared: bool) -> None:
    """It is asked every five seconds, and that is told some five times; when it is over, once."""

    async def scene(world: World) -> None:
        pod = world.pod(shared=shared)
        world.endpoint.fault = lambda _grant: 503
        await use(world, [pod], LONG)
        world.endpoint.fault = lambda _grant: None
        await use(world, [pod], LONG + 60)

    world = play(scene, lifetime=3600)
    assert sum(isinstance(event, RefreshFailed) for event in world.events) > 100
    assert 3 <= len(lines) <= MOST
    assert "no new token" in lines[0]
    assert "a new token again, after 90" in lines[-1]


def test_a_failure_that_another_process_ends_is_over_for_all(lines: list[str]) -> None:
    """Who takes its token says so, too."""

    async def scene(world: World) -> None:
        one, two = world.pod(), world.pod()
        world.endpoint.fault = lambda _grant: 503
        for pod in (one, two):
            with pytest.raises(EndpointUnavailableError):
                await pod.refresh()
        world.endpoint.fault = lambda _grant: None
        await one.refresh()
        await two.token()
        assert (two.statistics().sign_ins, two.statistics().adoptions) == (0, 1)

    play(scene, lifetime=3600)
    for name in ("pod 0", "pod 1"):
        failed, works = of(name, lines, "")
        assert "no new token" in failed
        assert "a new token again" in works


def test_another_kind_of_failure_is_told_at_once(lines: list[str]) -> None:
    """A password that is refused, in the middle of an outage of the service."""

    async def scene(world: World) -> None:
        pod = world.pod(shared=False)
        world.endpoint.fault = lambda _grant: 503
        await use(world, [pod], 20)
        world.endpoint.fault = lambda _grant: None
        world.endpoint.password = "another"
        await use(world, [pod], 30)

    play(scene, lifetime=3600)
    assert len(lines) == 2
    assert "invalid_grant" in lines[1]


def test_failures_that_are_hours_apart_are_told_each_time(lines: list[str]) -> None:
    """Each is news."""

    async def scene(world: World) -> None:
        pod = world.pod(shared=False)
        for hour in range(1, 5):
            world.endpoint.fault = lambda _grant: None
            await pod.refresh()
            world.endpoint.fault = lambda _grant: 503
            with pytest.raises(Exception, match="503"):
                await pod.refresh()
            await world.until(hour * HOUR)

    play(scene, lifetime=8 * HOUR)
    assert len([line for line in lines if "no new token" in line]) == 4
    assert not [line for line in lines if "more since" in line]
