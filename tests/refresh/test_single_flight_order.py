"""Flights one after the other, the context they run in, and loops with eager tasks."""

import asyncio
import contextvars
import sys

import pytest

from nexudus_async import EndpointUnavailableError, SessionClosedError
from nexudus_async._refresh.single_flight import Flight

from .work import Work, join, launch, settle

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


async def test_a_flight_waits_for_the_one_before() -> None:
    """Its last savings included: two never run at once."""
    first, second = Work(), Work()
    first.save.clear()
    one = launch(first)
    first.go.set()
    await settle()
    assert one.landed
    two = launch(second, one)
    second.go.set()
    await settle()
    assert (second.log, two.landed) == ([], False)
    first.save.set()
    assert await two.wait() == "token"
    assert first.log[-1] == "saved"


async def test_a_flight_that_has_ended_delays_nobody() -> None:
    """Nor is it kept in memory by those that follow."""
    first, second = Work(), Work()
    first.go.set()
    second.go.set()
    one = launch(first)
    await one.until_ended()
    two = launch(second, one)
    assert vars(two)["_after"] is None
    assert await two.wait() == "token"
    three = launch(second, two)
    await three.wait()
    assert vars(three)["_after"] is None


async def test_cancelling_reaches_the_flight_before() -> None:
    """And its waiters: nothing is left running."""
    first, second = Work(), Work()
    one = launch(first)
    two = launch(second, one)
    waiters = [*await join(one, 2), *await join(two, 2)]
    two.cancel()
    async with asyncio.timeout(5):
        errors = await asyncio.gather(*waiters, return_exceptions=True)
    assert [type(error) for error in errors] == [SessionClosedError] * 4
    assert (one.ended, two.ended) == (True, True)
    assert (first.log, second.log) == (["began", "cancelled"], [])


async def test_the_failure_of_the_one_before_is_not_inherited() -> None:
    """Each flight has its own outcome."""
    first, second = Work(error=EndpointUnavailableError("down")), Work()
    one = launch(first)
    two = launch(second, one)
    first.go.set()
    second.go.set()
    assert await two.wait() == "token"
    with pytest.raises(EndpointUnavailableError):
        await one.wait()


async def test_the_task_has_an_empty_context() -> None:
    """Variables of whoever happened to start it do not reach into it."""
    seen: list[str] = []

    async def look(flight: Flight[str]) -> None:
        seen.append(VARIABLE.get())
        flight.succeed("token")

    VARIABLE.set("the caller's")
    flight = Flight(look)
    flight.start()
    await flight.wait()
    assert seen == ["unset"]
    assert VARIABLE.get() == "the caller's"


eager = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")


def be_eager() -> None:
    asyncio.get_running_loop().set_task_factory(vars(asyncio)["eager_task_factory"])


@eager
async def test_eager_work_that_lands_within_start() -> None:
    """The outcome is there before `start` returns, and the next waiter has it."""
    be_eager()

    async def at_once(flight: Flight[str]) -> None:
        flight.succeed(VARIABLE.get())

    VARIABLE.set("the caller's")
    flight = Flight(at_once)
    flight.start()
    assert flight.landed
    assert await flight.wait() == "unset"
    await flight.until_ended()
    assert flight.ended


@eager
async def test_eager_work_that_fails_within_start() -> None:
    """Its error is an outcome as any other."""
    be_eager()

    async def at_once(flight: Flight[str]) -> None:
        raise EndpointUnavailableError("down")

    flight = Flight(at_once)
    flight.start()
    with pytest.raises(EndpointUnavailableError):
        await flight.wait()


@eager
async def test_eager_flights_keep_their_order() -> None:
    """Landing, saving, cascade: as with ordinary tasks."""
    be_eager()
    first, second = Work(), Work()
    first.go.set()
    second.go.set()
    first.save.clear()
    one = launch(first)
    two = launch(second, one)
    assert [await one.wait(), await one.wait()] == ["token", "token"]
    assert second.log == []
    first.save.set()
    assert await two.wait() == "token"
    third, fourth = Work(), Work()
    three = launch(third)
    four = launch(fourth, three)
    waiters = [*await join(three, 1), *await join(four, 1)]
    four.cancel()
    for error in await asyncio.gather(*waiters, return_exceptions=True):
        assert type(error) is SessionClosedError
