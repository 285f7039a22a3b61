"""One task that many wait for, on a real event loop."""

import asyncio
import time

import pytest

from nexudus_async import ConfigurationError, EndpointUnavailableError, NexudusAuthError, SessionClosedError
from nexudus_async._refresh.single_flight import Flight

from .work import Work, join, launch, settle


async def test_all_who_wait_get_the_one_outcome() -> None:
    """One run, one value; a waiter that comes after the landing does not wait."""
    work = Work()
    flight = launch(work)
    waiters = await join(flight, 10)
    assert (flight.waiting, flight.landed) == (10, False)
    work.go.set()
    assert await asyncio.gather(*waiters) == ["token"] * 10
    assert (flight.waiting, flight.landed) == (0, True)
    assert await flight.wait() == "token"
    assert work.log == ["began", "landed", "saved"]


async def test_cancelling_the_first_of_ten_harms_nobody() -> None:
    """Nine are served by the same run."""
    work = Work()
    flight = launch(work)
    waiters = await join(flight, 10)
    waiters[0].cancel()
    await settle()
    assert waiters[0].cancelled()
    assert flight.waiting == 9
    work.go.set()
    assert await asyncio.gather(*waiters[1:]) == ["token"] * 9
    assert work.log == ["began", "landed", "saved"]


async def test_cancelling_all_leaves_the_task_to_finish() -> None:
    """A rotated refresh token is kept, and saved, although nobody waits for it."""
    work = Work()
    flight = launch(work)
    waiters = await join(flight, 10)
    for waiter in waiters:
        waiter.cancel()
    await settle()
    assert all(waiter.cancelled() for waiter in waiters)
    assert flight.waiting == 0
    work.go.set()
    await flight.until_ended()
    assert work.log == ["began", "landed", "saved"]
    assert await flight.wait() == "token"


async def test_cancelling_at_the_moment_of_landing_is_cancelled() -> None:
    """A waiter that was woken and then cancelled before it ran must not swallow the cancellation."""
    work = Work()
    flight = launch(work)
    waiters = await join(flight, 3)
    flight.succeed("token")
    waiters[0].cancel()
    results = await asyncio.gather(*waiters, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == ["token", "token"]
    work.go.set()
    await flight.until_ended()


async def test_cancelled_just_before_landing() -> None:
    """Its future is done already when the flight lands; the others are still woken."""
    work = Work()
    flight = launch(work)
    waiters = await join(flight, 3)
    waiters[1].cancel()
    flight.succeed("token")
    results = await asyncio.gather(*waiters, return_exceptions=True)
    assert isinstance(results[1], asyncio.CancelledError)
    assert results[0] == results[2] == "token"
    work.go.set()
    await flight.until_ended()


async def test_each_waiter_has_an_error_of_its_own() -> None:
    """A traceback grows on the object that is raised; what all share is the cause."""
    error = EndpointUnavailableError("down", status=503, retry_after=7.0)
    work = Work(error=error)
    flight = launch(work)
    waiters = await join(flight, 5)
    work.go.set()
    raised = await asyncio.gather(*waiters, return_exceptions=True)
    assert len({id(each) for each in raised} | {id(error)}) == 6
    for each in raised:
        assert isinstance(each, EndpointUnavailableError)
        assert (str(each), each.status, each.retry_after) == ("down", 503, 7.0)
        assert each.__cause__ is error
    with pytest.raises(EndpointUnavailableError, match="down"):
        await flight.wait()


async def test_a_foreign_error_is_wrapped() -> None:
    """Without its words, which may hold anything."""

    async def broken(flight: Flight[str]) -> None:
        raise ValueError("s3cr3t")

    flight = Flight(broken)
    flight.start()
    with pytest.raises(NexudusAuthError, match=r"^the refresh raised ValueError$"):
        await flight.wait()


async def test_an_unusual_error_ends_the_wait_too() -> None:
    """A BaseException is no reason to wait for ever."""

    class Unusual(BaseException):
        pass

    async def broken(flight: Flight[str]) -> None:
        await asyncio.sleep(0)
        raise Unusual

    flight = Flight(broken)
    flight.start()
    with pytest.raises(NexudusAuthError, match=r"^the refresh raised Unusual$"):
        await flight.wait()


async def test_work_that_forgets_its_outcome_is_an_error() -> None:
    """Not a hang."""

    async def forgetful(flight: Flight[str]) -> None:
        await asyncio.sleep(0)

    flight = Flight(forgetful)
    flight.start()
    with pytest.raises(NexudusAuthError, match="without an outcome"):
        await flight.wait()


async def test_cancelled_from_outside_is_never_a_cancellation_of_the_waiters() -> None:
    """Their own tasks were not cancelled: SessionClosedError."""
    work = Work()
    flight = launch(work)
    waiters = await join(flight, 5)
    flight.cancel()
    for error in await asyncio.gather(*waiters, return_exceptions=True):
        assert type(error) is SessionClosedError
    assert work.log == ["began", "cancelled"]
    assert flight.ended


async def test_cancelled_before_it_started() -> None:
    """The work never runs, and nobody waits for ever."""
    work = Work()
    flight = launch(work)
    flight.cancel()
    with pytest.raises(SessionClosedError):
        await flight.wait()
    assert work.log == []


async def test_the_first_outcome_stays() -> None:
    """Whatever comes later: a value, an error, a cancellation."""
    work = Work()
    flight = launch(work)
    flight.fail(SessionClosedError("closed"))
    flight.fail(ConfigurationError("late"))
    flight.succeed("late")
    work.go.set()
    await flight.until_ended()
    with pytest.raises(SessionClosedError, match="closed"):
        await flight.wait()
    other = launch(Work())
    other.succeed("token")
    other.cancel()
    await other.until_ended()
    assert await other.wait() == "token"


async def test_the_outcome_may_come_before_the_end() -> None:
    """Waiters are woken while the task goes on to save."""
    work = Work()
    work.save.clear()
    flight = launch(work)
    waiters = await join(flight, 2)
    work.go.set()
    async with asyncio.timeout(5):
        assert await asyncio.gather(*waiters) == ["token"] * 2
    assert (flight.landed, flight.ended) == (True, False)
    assert work.log == ["began", "landed"]
    work.save.set()
    await flight.until_ended()
    assert flight.ended


async def test_waiting_for_the_end_can_be_cancelled() -> None:
    """That does not touch the task."""
    work = Work()
    flight = launch(work)
    ending = asyncio.create_task(flight.until_ended())
    await settle()
    ending.cancel()
    await asyncio.gather(ending, return_exceptions=True)
    assert not flight.ended
    work.go.set()
    await flight.until_ended()
    assert work.log == ["began", "landed", "saved"]


async def test_the_end_is_that_of_the_flight_before_too() -> None:
    """Cut off, a flight may end sooner than the one that it waits for."""
    first, second = Work(), Work()
    before = launch(first)
    flight = launch(second, before)
    await settle()
    flight._task.cancel()  # type: ignore[union-attr] # from outside
    await settle()
    ending = asyncio.create_task(flight.until_ended())
    await settle()
    assert not ending.done()
    first.go.set()
    await ending
    assert (before.ended, second.log) == (True, [])


async def test_twenty_thousand_cancelled_at_once_do_not_hold_the_loop() -> None:
    """Less than half a second for all of them together; the flight goes on."""
    held: list[float] = []
    for _ in range(3):  # the best of three: the machine may be busy with something else
        work = Work()
        flight = launch(work)
        waiters = await join(flight, 20_000)
        assert flight.waiting == 20_000
        began = time.thread_time()
        for waiter in waiters:
            waiter.cancel()
        await asyncio.wait(waiters)
        held.append(time.thread_time() - began)
        work.go.set()
        assert await flight.wait() == "token"
        await flight.until_ended()
    assert min(held) < 0.5
