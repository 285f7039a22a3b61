"""Ending: `close()` and `logout()`, with somebody waiting, with a refresh under way, and cancelled themselves."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from nexudus_async import Freshness, LoginRequiredError, RefreshPolicy, SessionClosedError, Token, TokenManager
from nexudus_async.testing import ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER, Connect, until


async def test_close_is_idempotent_and_concurrent(connect: Connect) -> None:
    """Ten at once, and once more."""
    session = await connect()
    await session.token()
    await asyncio.gather(*(session.close() for _ in range(10)))
    await session.close()
    assert session.closed


async def test_close_ends_every_wait_at_once(emulator: NexudusEmulator, connect: Connect) -> None:
    """Those who wait for the refresh are not kept until it ends, or until `close()` gives it up."""
    session = await connect(policy=RefreshPolicy(close_timeout=60))
    with emulator.hold("token") as hold:
        waiters = [asyncio.create_task(session.token()) for _ in range(100)]
        waiters.append(asyncio.create_task(session.get(CUSTOMER)))  # type: ignore[arg-type]
        await hold.wait()
        closing = asyncio.create_task(session.close())
        async with asyncio.timeout(5):
            results = await asyncio.gather(*waiters, return_exceptions=True)
        assert all(type(result) is SessionClosedError for result in results)
        assert not closing.done()
    await closing


async def test_close_lets_a_refresh_commit(emulator: NexudusEmulator, connect: Connect, clock: ManualClock) -> None:
    """A rotation that the service has made is not thrown away for a few milliseconds."""
    session = await connect()
    await session.token()
    clock.advance(3600)
    with emulator.hold("token") as hold:
        waiter = asyncio.create_task(session.token())
        await hold.wait()
        closing = asyncio.create_task(session.close())
        await asyncio.sleep(0)
        assert not closing.done()
    await closing
    with pytest.raises(SessionClosedError):
        await waiter
    assert session.statistics().renewals == 1
    assert session.freshness is Freshness.CLOSED
    assert session.manager.current() is None


async def test_close_does_not_wait_for_ever(emulator: NexudusEmulator, connect: Connect) -> None:
    """After `close_timeout` the refresh is cancelled, and nothing runs any more."""
    session = await connect(policy=RefreshPolicy(close_timeout=0.01))
    with emulator.hold("token") as hold:
        waiter = asyncio.create_task(session.token())
        await hold.wait()
        async with asyncio.timeout(5):
            await session.close()
        with pytest.raises(SessionClosedError):
            await waiter
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "nexudus_async refresh"]


async def test_a_cancelled_close_leaves_the_session_closed(emulator: NexudusEmulator, connect: Connect) -> None:
    """And nothing running."""
    session = await connect()
    with emulator.hold("token") as hold:
        waiter = asyncio.create_task(session.token())
        await hold.wait()
        closing = asyncio.create_task(session.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert session.closed
        with pytest.raises(SessionClosedError):
            await waiter
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "nexudus_async refresh"]


async def test_nothing_is_left_behind(emulator: NexudusEmulator, connect: Connect) -> None:
    """No task after a session was used and closed."""
    before = asyncio.all_tasks()
    session = await connect()
    async with session.get(CUSTOMER) as response:
        await response.read()
    await session.close()
    emulator_tasks = {task for task in asyncio.all_tasks() - before if "nexudus_async" not in task.get_name()}
    assert asyncio.all_tasks() - before == emulator_tasks


async def test_logout_forgets_and_the_next_use_signs_in(emulator: NexudusEmulator, connect: Connect) -> None:
    """The old chain is not used again."""
    session = await connect()
    first = await session.token()
    await session.logout()
    assert session.freshness is Freshness.EMPTY
    assert session.manager.current() is None
    second = await session.token()
    assert second.access_token != first.access_token
    assert second.generation > first.generation
    assert (emulator.sign_ins, emulator.renewals) == (2, 0)


async def test_logout_discards_a_running_refresh(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """Its late result does not revive the session, and those who wait are told."""
    session = await connect()
    await session.token()
    clock.advance(3600)
    with emulator.hold("token") as hold:
        waiter = asyncio.create_task(session.token())
        await hold.wait()
        await session.logout()
        with pytest.raises(LoginRequiredError, match="logged out"):
            await waiter
    for _ in range(20):
        await asyncio.sleep(0)
    assert session.freshness is Freshness.EMPTY
    assert emulator.max_concurrent_token_requests == 1


async def test_a_sign_in_right_after_logout_does_not_overlap_the_refresh_it_ended(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """The slot is cleared by its own flight only, and the next flight waits for the one before it to end."""
    session = await connect()
    await session.token()
    clock.advance(3600)
    with emulator.hold("token", times=1) as hold:
        waiter = asyncio.create_task(session.token())
        await hold.wait()
        leaving = asyncio.create_task(session.logout())
        await asyncio.sleep(0)
        herd = [asyncio.create_task(session.token()) for _ in range(10)]
        async with asyncio.timeout(5):
            await leaving
            tokens = await asyncio.gather(*herd, *(session.token() for _ in range(10)))
        with pytest.raises(LoginRequiredError):
            await waiter
    assert len({token.access_token for token in tokens}) == 1
    assert len(emulator.token_requests) == 3


async def test_a_401_after_logout_is_the_callers(emulator: NexudusEmulator, connect: Connect) -> None:
    """A request that was under way does not sign the session in again."""
    session = await connect()
    token = await session.token()
    await session.logout()
    assert await session.manager.reject(token) is None
    assert len(emulator.token_requests) == 1


async def test_a_sign_in_that_waits_for_its_turn_is_ended_by_logout(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """It has not begun: what was asked for last is to be logged out."""
    session = await connect()
    await session.token()
    clock.advance(3600)
    with emulator.hold("token") as hold:
        refreshing = asyncio.create_task(session.token())
        await hold.wait()
        signing_in = asyncio.create_task(session.sign_in())
        await asyncio.sleep(0)
        await session.logout()
    for call in (refreshing, signing_in):
        with pytest.raises(LoginRequiredError, match="logged out while"):
            await call
    assert session.freshness is Freshness.EMPTY
    assert emulator.sign_ins == 1


async def test_a_call_whose_token_was_logged_out_of_before_it_ran_does_not_sign_in_again() -> None:
    """The flight has landed, and the logout comes before the turn of who waited for it."""

    class Source:
        key = "an account"

        def __init__(self) -> None:
            self.go, self.sign_ins = asyncio.Event(), 0

        async def login(self) -> Token:
            self.sign_ins += 1
            await self.go.wait()
            return Token("access", None, "bearer", None, 3600.0, datetime.now(UTC) + timedelta(hours=1))

        async def refresh(self, token: Token) -> Token:
            raise AssertionError

    source = Source()
    manager = TokenManager(source)
    waiter = asyncio.create_task(manager.token())
    await until(lambda: source.sign_ins == 1)
    source.go.set()
    leaving = asyncio.create_task(manager.logout())
    with pytest.raises(LoginRequiredError):
        await waiter
    await leaving
    assert (manager.freshness, source.sign_ins) == (Freshness.EMPTY, 1)
    await manager.close()
