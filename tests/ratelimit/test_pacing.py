"""Pacing: no 409 from a service that enforces its limits, and nobody overtakes."""

import asyncio
import itertools
from typing import Any, Self

import aiohttp
import pytest

from nexudus_async import ConfigurationError, Pacing, PacingFailed, SessionClosedError
from nexudus_async.testing import Fault, Limits, ManualClock, NexudusEmulator, Rate
from tests.conftest import CUSTOMER, Connect, until
from tests.inside import pacer_of
from tests.valkey import Valkey

from .throttling import ECHO, settle, status


def answers(emulator: NexudusEmulator) -> list[int | None]:
    return [record.status for record in emulator.requests if record.path != "/api/token"]


class PassingTime:
    """Lets time pass while requests are paced: a tenth of a second whenever none is on its way."""

    def __init__(self, emulator: NexudusEmulator, clock: ManualClock) -> None:
        self._emulator, self._clock = emulator, clock
        self._sent = 0
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(self._on_request)
        self.http = aiohttp.ClientSession(trace_configs=[trace])

    async def _on_request(self, *_: object) -> None:
        self._sent += 1

    async def _pass(self) -> None:
        while True:
            await self._clock.wait_for_sleepers()
            for _ in range(25):  # whoever was let through is given the time to send
                await asyncio.sleep(0)
            if self._sent == sum(record.finished is not None for record in self._emulator.requests):
                self._clock.advance(0.1)

    async def __aenter__(self) -> Self:
        self._driver = asyncio.create_task(self._pass())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._driver.cancel()
        await asyncio.gather(self._driver, return_exceptions=True)
        await self.http.close()


async def test_a_job_of_three_hundred_reads_sees_no_409(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """At the documented limits, from any number of coroutines; it takes the two minutes that the limits ask for."""
    emulator.enforce_limits = True
    started = clock.monotonic()
    async with PassingTime(emulator, clock) as time:
        session = await connect(client_session=time.http, pacing=Pacing.documented(), throttle=None)
        assert set(await asyncio.gather(*(status(session) for _ in range(300)))) == {200}
    assert set(answers(emulator)) == {200}
    assert 120 <= clock.monotonic() - started <= 180


async def test_the_documented_limits_are_kept_with_some_leeway(connect: Connect, clock: ManualClock) -> None:
    """What is sent evenly does not arrive so: 40 ms for two in a row, 200 ms at the end of a minute."""
    clock.autojump = True
    session = await connect(pacing=Pacing.documented())
    times: list[float] = []
    for _ in range(121):
        await pacer_of(session).wait("GET")
        times.append(clock.monotonic())
    assert min(after - before for before, after in itertools.pairwise(times)) >= 0.14
    assert times[120] - times[0] >= 60.2


async def test_the_public_api_as_it_was_seen(emulator: NexudusEmulator, connect: Connect, clock: ManualClock) -> None:
    """Ten requests in five seconds, refused with 429: none is; the first ten go at once."""
    emulator.limits, emulator.enforce_limits = Limits(api=(), public=(Rate(10, 5),)), True
    async with PassingTime(emulator, clock) as time:
        session = await connect(pacing=Pacing.public_api(), throttle=None, client_session=time.http)
        await session.token()
        began = clock.monotonic()
        assert set(await asyncio.gather(*(status(session) for _ in range(25)))) == {200}
        assert 10 <= clock.monotonic() - began <= 12
    assert set(answers(emulator)) == {200}
    assert emulator.requests[10].started - emulator.requests[1].started < 1


async def test_writes_have_limits_of_their_own(emulator: NexudusEmulator, connect: Connect, clock: ManualClock) -> None:
    """60 a minute."""
    emulator.enforce_limits = True
    async with PassingTime(emulator, clock) as time:
        session = await connect(client_session=time.http, pacing=Pacing.documented(), throttle=None)
        assert set(await asyncio.gather(*(status(session, ECHO, "POST") for _ in range(100)))) == {200}


async def test_first_come_first_served(emulator: NexudusEmulator, connect: Connect, clock: ManualClock) -> None:
    """In the order in which they were asked for."""
    async with PassingTime(emulator, clock) as time:
        session = await connect(client_session=time.http, pacing=Pacing(requests=["1/second"]))
        await asyncio.gather(*(status(session, f"{ECHO}?n={n}") for n in range(5)))
    sent = [record.query["n"] for record in emulator.requests if record.path == ECHO]
    assert sent == ["0", "1", "2", "3", "4"]


async def test_a_pace_is_not_used_up_by_those_who_wait_for_a_token(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """Or all of them would go at once when it is there."""
    session = await connect(pacing=Pacing(spacing=1))
    with emulator.hold("token") as hold:
        tasks = [asyncio.create_task(status(session)) for _ in range(5)]
        await hold.wait()
        for _ in range(10):
            clock.advance(1)
            await settle()
    await until(lambda: session.statistics().generation == 1)
    await settle()
    assert len(answers(emulator)) == 1
    for sent in (2, 3, 4, 5):
        clock.advance(1.1)
        await settle()
        assert len(answers(emulator)) == sent
    assert await asyncio.gather(*tasks) == [200] * 5


async def test_a_cancelled_wait_lets_the_next_go(connect: Connect, clock: ManualClock) -> None:
    """And takes nothing of the budget with it that others need."""
    session = await connect(pacing=Pacing(requests=["1/minute"]))
    assert await status(session) == 200
    first, second = (asyncio.create_task(status(session)) for _ in range(2))
    await clock.wait_for_sleepers()
    first.cancel()
    await asyncio.sleep(0)
    await clock.wait_for_sleepers()
    clock.advance(61)
    async with asyncio.timeout(5):
        assert await second == 200


async def test_closing_ends_the_wait(connect: Connect, clock: ManualClock) -> None:
    """Of all who are paced."""
    session = await connect(pacing=Pacing(requests=["1/hour"]))
    assert await status(session) == 200
    tasks = [asyncio.create_task(status(session)) for _ in range(5)]
    await clock.wait_for_sleepers()
    await session.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, SessionClosedError) for result in results)


async def test_a_fleet_keeps_one_budget_in_redis(connect: Connect, valkey: Valkey) -> None:
    """What one process has sent, the other may not; the server's clock counts."""
    pacing = Pacing(requests=["5/hour"], redis_url=valkey.url)
    one, two = await connect(pacing=pacing), await connect(pacing=pacing)
    for session in (one, two, one, two, one):
        assert await status(session) == 200
    waiting = asyncio.create_task(status(two))
    await connect.clock.wait_for_sleepers()
    assert not waiting.done()
    waiting.cancel()


async def test_closing_leaves_no_connection_to_redis(connect: Connect, valkey: Valkey) -> None:
    """Only the one that asks who is connected is left."""

    def connected() -> int:
        return len(valkey.command("CLIENT", "LIST").splitlines())

    before = connected()
    session = await connect(pacing=Pacing(requests=["5/hour"], redis_url=valkey.url))
    assert await status(session) == 200
    assert connected() > before
    await session.close()
    await until(lambda: connected() == before)


async def test_a_fleet_keeps_the_spacing_in_redis_too(connect: Connect, clock: ManualClock, valkey: Valkey) -> None:
    """Not each process for itself; other accounts have their own."""
    pacing = Pacing(spacing=3600, redis_url=valkey.url)
    one, two = await connect(pacing=pacing, client_id="spaced"), await connect(pacing=pacing, client_id="spaced")
    three = await connect(pacing=pacing)
    assert await status(one) == 200
    waiting = asyncio.create_task(status(two))
    await clock.wait_for_sleepers()
    assert await status(three) == 200
    assert not waiting.done()
    waiting.cancel()


@pytest.mark.parametrize(
    "url", ["redis.example.com", "redis://:sec/ret@redis.example.com", "redis://redis.example.com?timeot=3"]
)
async def test_a_redis_url_that_cannot_work_is_told_when_the_session_is_made(connect: Connect, url: str) -> None:
    """Nothing of it is shown: a password with a slash in it is easily taken for a port."""
    with pytest.raises(ConfigurationError, match="not a Redis URL") as caught:
        await connect(pacing=Pacing.documented(redis_url=url))
    assert "sec" not in str(caught.value)
    assert caught.value.__context__ is None


async def test_a_redis_url_needs_no_port(connect: Connect) -> None:
    """As elsewhere: 6379 is the usual one."""
    await connect(pacing=Pacing.documented(redis_url="redis://localhost"))


async def test_a_redis_that_is_down_fails_no_request(connect: Connect) -> None:
    """They go out unpaced; one event tells of it, and another when it is tried again in vain."""
    session = await connect(pacing=Pacing(requests=["1/hour"], redis_url="redis://127.0.0.1:1"))
    for _ in range(3):
        assert await status(session) == 200
    failed = PacingFailed(error="ConnectionError", pause=60)
    assert [event for event in connect.events if isinstance(event, PacingFailed)] == [failed]
    connect.clock.advance(60)
    assert await status(session) == 200
    assert [event for event in connect.events if isinstance(event, PacingFailed)] == [failed] * 2


async def test_a_redis_that_stays_down_is_told_ever_more_rarely(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried each minute: that makes sixty events in an hour, and seven lines."""
    session = await connect(pacing=Pacing(requests=["1/hour"], redis_url="redis://127.0.0.1:1"))
    for _ in range(60):
        assert await status(session) == 200
        connect.clock.advance(60)
    assert len([event for event in connect.events if isinstance(event, PacingFailed)]) == 60
    lines = [record.getMessage() for record in caplog.records if "pacing" in record.getMessage()]
    assert len(lines) == 7
    assert lines[-1].endswith("more since the last such line)")


async def test_nobody_is_let_through_during_a_pause_that_the_api_asked_for(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """Else those whose time has come would gather behind it, and go in one burst at its end."""
    session = await connect(pacing=Pacing(spacing=1))
    assert await status(session) == 200
    emulator.fail(CUSTOMER, Fault.throttled(30))
    clock.advance(1)
    tasks = [asyncio.create_task(status(session)) for _ in range(20)]
    await until(lambda: session.statistics().paused_for == 30)
    assert session.statistics().queued == 20
    assert session.statistics().throttled == 1
    for _ in range(30):
        await clock.wait_for_sleepers()
        clock.advance(1)
        await settle()
    assert len(answers(emulator)) == 3
    for n in range(4, 10):
        clock.advance(1)
        await settle()
        assert len(answers(emulator)) == n
    clock.autojump = True
    clock.advance(1)
    async with asyncio.timeout(5):
        assert await asyncio.gather(*tasks) == [200] * 20
    assert session.statistics().paused_for == session.statistics().queued == 0


@pytest.mark.parametrize(
    "nonsense",
    [
        {"requests": ["often"]},
        {"requests": "1/second"},
        {"writes": [7]},
        {"spacing": -1},
        {},
        {"requests": ["0/second"]},
        {"writes": ["0/day"]},
    ],
)
def test_nonsense_is_refused(nonsense: dict[str, Any]) -> None:
    """With what to write instead."""
    with pytest.raises(ConfigurationError):
        Pacing(**nonsense)
