"""One refresh for all who need it, and what cancelling does to it."""

import asyncio
import time

import pytest

from nexudus_async import Freshness, NexudusAuthError, TokenEndpointError
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER, Connect, until


@pytest.mark.parametrize("herd", [1_000, 10_000])
async def test_a_herd_signs_in_once_and_refreshes_once(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, herd: int
) -> None:
    """However many coroutines need a token, the first or the next, one request brings it."""
    session = await connect()
    for requests in (1, 2):
        tokens = await asyncio.gather(*(session.token() for _ in range(herd)))
        assert len({token.access_token for token in tokens}) == 1
        assert len(emulator.token_requests) == requests
        clock.advance(3600)
    assert (emulator.sign_ins, emulator.renewals) == (1, 1)


async def test_a_cold_herd_of_requests_signs_in_once(emulator: NexudusEmulator, connect: Connect) -> None:
    """The same holds for requests, all of which succeed."""
    session = await connect()

    async def fetch() -> int:
        async with session.get(CUSTOMER) as response:
            return response.status

    assert set(await asyncio.gather(*(fetch() for _ in range(1_000)))) == {200}
    assert len(emulator.token_requests) == 1


async def test_a_fresh_token_is_served_without_letting_another_task_run(connect: Connect) -> None:
    """The hot path does not suspend: driving the coroutine by hand ends it at the first step."""
    session = await connect()
    token = await session.token()
    coroutine = session.token()
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    assert stop.value.value is token


async def test_the_first_of_ten_waiters_cancelled_leaves_nine_served(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """The flight is not the first caller's: it goes on for the others with the same request."""
    session = await connect()
    with emulator.hold("token") as hold:
        waiters = [asyncio.create_task(session.token()) for _ in range(10)]
        await hold.wait()
        waiters[0].cancel()
        await asyncio.sleep(0)
    results = await asyncio.gather(*waiters, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert len({token.access_token for token in results[1:]}) == 1  # type: ignore[union-attr]
    assert len(emulator.token_requests) == 1


async def test_all_waiters_cancelled_keeps_the_rotated_refresh_token(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """The refresh commits with nobody waiting, and the next one uses what it brought."""
    session = await connect()
    await session.token()
    clock.advance(3600)
    with emulator.hold("token") as hold:
        waiters = [asyncio.create_task(session.token()) for _ in range(10)]
        await hold.wait()
        for waiter in waiters:
            waiter.cancel()
        results = await asyncio.gather(*waiters, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
    await until(lambda: session.freshness is Freshness.FRESH)
    clock.advance(3600)
    await session.token()
    assert (emulator.sign_ins, emulator.renewals, emulator.refresh_tokens_reused) == (1, 2, 0)


async def test_ten_impatient_callers_in_a_row_share_one_refresh(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """Each gives up after half the time a refresh takes; from the third on they are served."""
    session = await connect()
    await session.token()
    clock.advance(3600)
    hold = emulator.hold("token")
    served = 0
    for caller in range(10):
        task = asyncio.create_task(session.token())
        await hold.wait()
        if caller < 2:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            hold.release()
            await task
            served += 1
    assert served == 8
    assert len(emulator.token_requests) == 2


async def test_each_waiter_gets_an_error_object_of_its_own(emulator: NexudusEmulator, connect: Connect) -> None:
    """A traceback grows on the object that is raised, so none is raised twice; all have the same cause."""
    session = await connect()
    emulator.user.suspended = True
    errors = await asyncio.gather(*(session.token() for _ in range(100)), return_exceptions=True)
    assert all(isinstance(error, TokenEndpointError) for error in errors)
    assert len({id(error) for error in errors}) == 100
    assert len({id(error.__cause__) for error in errors}) == 1  # type: ignore[union-attr]
    assert len(emulator.token_requests) == 1


async def test_a_cancelled_flight_is_an_error_and_not_a_cancellation_for_its_waiters(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """Somebody cancels every task of the loop: those who wait are told what happened to the refresh."""
    session = await connect()
    with emulator.hold("token") as hold:
        waiter = asyncio.create_task(session.token())
        await hold.wait()
        flights = [task for task in asyncio.all_tasks() if task.get_name() == "nexudus_async refresh"]
        assert len(flights) == 1
        flights[0].cancel()
        with pytest.raises(NexudusAuthError, match="cancelled from outside"):
            await waiter
    assert await session.token()


async def test_twenty_thousand_waiters_cancelled_at_once_hold_the_loop_shortly(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """Cancelling is linear: half a second of this thread's own time is generous for 20,000, whoever else computes."""
    session = await connect()
    held: list[float] = []
    with emulator.hold("token") as hold:
        for _ in range(3):  # the best of three: the machine may be busy with something else
            waiters = [asyncio.create_task(session.token()) for _ in range(20_000)]
            await hold.wait()
            started = time.thread_time()
            for waiter in waiters:
                waiter.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            held.append(time.thread_time() - started)
            await asyncio.gather(*waiters, return_exceptions=True)
    assert min(held) < 0.5
    assert await session.token()
    assert len(emulator.token_requests) == 1


async def test_two_sessions_of_one_account_never_invalidate_each_other(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """Each has a client_id of its own, and Nexudus keeps one refresh token for each client_id."""
    one, two = await connect(), await connect()
    for _ in range(3):
        assert (await one.token()).client_id != (await two.token()).client_id
        clock.advance(3600)
    assert (emulator.sign_ins, emulator.renewals, emulator.renewals_refused) == (2, 4, 0)


async def test_a_forced_refresh_joins_the_one_under_way(emulator: NexudusEmulator, connect: Connect) -> None:
    """`refresh()` of a hundred callers is one refresh."""
    session = await connect()
    first = await session.token()
    tokens = await asyncio.gather(*(session.refresh() for _ in range(100)))
    assert {token.generation for token in tokens} == {first.generation + 1}
    assert len(emulator.token_requests) == 2


async def test_a_fault_of_the_first_flight_is_not_the_second_ones(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """A failure is shared by those who waited, and remembered for a second; then the next call tries again."""
    session = await connect()
    emulator.fail("token", Fault.json({"error": "unsupported_grant_type"}, 400))
    with pytest.raises(TokenEndpointError):
        await session.token()
    with pytest.raises(TokenEndpointError):
        await session.token()
    assert len(emulator.token_requests) == 1
    clock.advance(1)
    assert await session.token()
    assert len(emulator.token_requests) == 2
