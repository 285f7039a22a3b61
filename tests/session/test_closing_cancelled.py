# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateUsage=false, reportUnknownParameterType=false
# pyright: reportPossiblyUnboundVariable=false, reportDeprecated=false
"""`close()` that is cancelled, by whatever means: the session is closed all the same, and nothing of it is left."""

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import aiohttp
import anyio
import anyio.lowlevel
import pytest

from nexudus_async import (
    MemoryStore,
    Pacing,
    PasswordCredentials,
    RefreshPolicy,
    SessionClosedError,
    StoredToken,
    TokenSession,
)
from nexudus_async.testing import ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER, until
from tests.inside import key_of, refuse


class Connected(MemoryStore):
    """A store with a connection that is to be closed."""

    def __init__(self) -> None:
        super().__init__()
        self.disconnected = 0
        self.open = asyncio.Event()
        self.open.set()

    async def save(self, key: str, record: StoredToken) -> None:
        await self.open.wait()
        await super().save(key, record)

    async def disconnect(self) -> None:
        await asyncio.sleep(0)
        self.disconnected += 1


Make = Callable[..., Awaitable[TokenSession]]


def ours() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("nexudus_async")]


@pytest.fixture
def store() -> Connected:
    return Connected()


@pytest.fixture
async def make(emulator: NexudusEmulator, clock: ManualClock, store: Connected) -> AsyncIterator[Make]:
    """Make sessions that were used: with a keep-alive task, two aiohttp sessions and a store; all must be gone."""

    async def used(**options: Any) -> TokenSession:
        session = TokenSession(
            PasswordCredentials(emulator.username, emulator.password), base_url=emulator.url, clock=clock,
            store=store, keep_alive=True, **options,
        )  # fmt: skip
        async with session.get(CUSTOMER) as response:
            assert response.status == 200
        await until(lambda: clock.sleepers > 0)
        return session

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield used
        for _ in range(5):
            await asyncio.sleep(0)
        gc.collect()
    assert [str(each.message) for each in caught if issubclass(each.category, ResourceWarning)] == []
    assert ours() == []


async def in_a_cancelled_scope(session: TokenSession) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await session.close()


async def in_a_scope_cancelled_meanwhile(session: TokenSession) -> None:
    with anyio.move_on_after(0):
        await session.close()


async def at_the_end_of_a_cancelled_task_group(session: TokenSession) -> None:
    async with anyio.create_task_group() as group, session:
        group.cancel_scope.cancel()
        await anyio.lowlevel.checkpoint()


async def in_a_task_group_whose_other_task_fails(session: TokenSession) -> None:
    async def fails() -> None:
        raise ValueError

    with suppress(BaseExceptionGroup):
        async with anyio.create_task_group() as group, session:
            group.start_soon(fails)
            await anyio.sleep_forever()


async def cancelled_once(session: TokenSession) -> None:
    await cancelled(session, 1)


async def cancelled_twice(session: TokenSession) -> None:
    await cancelled(session, 2)


async def cancelled_again_and_again(session: TokenSession) -> None:
    await cancelled(session, 20)


async def cancelled(session: TokenSession, times: int) -> None:
    closing = asyncio.create_task(session.close())
    await asyncio.sleep(0)
    for _ in range(times):
        closing.cancel()
        await asyncio.sleep(0)
    with suppress(asyncio.CancelledError):
        await closing


async def under_a_timeout_of_nothing(session: TokenSession) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0):
            await session.close()


WAYS = [
    in_a_cancelled_scope,
    in_a_scope_cancelled_meanwhile,
    at_the_end_of_a_cancelled_task_group,
    in_a_task_group_whose_other_task_fails,
    cancelled_once,
    cancelled_twice,
    cancelled_again_and_again,
    under_a_timeout_of_nothing,
]
EVERY_WAY = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
Way = Callable[[TokenSession], Awaitable[None]]


@EVERY_WAY
async def test_an_idle_session_is_closed_with_all_that_is_its(make: Make, store: Connected, way: Way) -> None:
    """No "Unclosed client session", no keep-alive asleep, no connection of the store."""
    session = await make(pacing=Pacing(requests=("1000/second",)))
    await way(session)
    assert session.closed
    assert ours() == []
    assert store.disconnected >= 1
    await session.close()


@EVERY_WAY
@pytest.mark.parametrize("close_timeout", [0, 60])
async def test_a_session_with_a_flight_in_the_air_is_closed(
    make: Make, emulator: NexudusEmulator, way: Way, close_timeout: float
) -> None:
    """Which ends, and those who wait for it are told."""
    session = await make(policy=RefreshPolicy(close_timeout=close_timeout))
    with emulator.hold("token") as hold:
        waiter = asyncio.create_task(session.refresh())
        await hold.wait()
        async with asyncio.timeout(5):
            await way(session)
        assert session.closed
        with pytest.raises(SessionClosedError):
            await waiter
        await until(lambda: ours() == [])
    await session.close()


async def begin_to_save(session: TokenSession, emulator: NexudusEmulator, store: Connected) -> None:
    """Refresh, and let the store hang when the token is here and to be saved."""
    with emulator.hold("token") as hold:
        refreshing = asyncio.create_task(session.refresh())
        await hold.wait()
        store.open.clear()
    await refreshing


@EVERY_WAY
async def test_a_session_with_a_save_under_way_is_closed(
    make: Make, emulator: NexudusEmulator, store: Connected, way: Way
) -> None:
    """A store that hangs holds nobody up who was cancelled."""
    session = await make()
    await begin_to_save(session, emulator, store)
    async with asyncio.timeout(5):
        await way(session)
    assert session.closed
    await until(lambda: ours() == [])
    assert store.disconnected >= 1


async def test_a_second_close_at_the_same_time_waits_too(make: Make, emulator: NexudusEmulator) -> None:
    """Whoever returns from `close()` finds nothing running; the first is not the only one who may rely on that."""
    session = await make()
    with emulator.hold("token") as hold:
        waiter = asyncio.create_task(session.refresh())
        await hold.wait()
        closing = [asyncio.create_task(session.close()) for _ in range(3)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert not any(each.done() for each in closing)
    await asyncio.gather(*closing)
    assert ours() == []
    with pytest.raises(SessionClosedError):
        await waiter
    assert session.statistics().generation == 2


async def test_a_second_close_after_a_cancelled_one_finishes_it(make: Make, emulator: NexudusEmulator) -> None:
    """As does one in the middle of the first's end."""
    session = await make()
    with emulator.hold("token") as hold:
        waiter = asyncio.create_task(session.refresh())
        await hold.wait()
        first = asyncio.create_task(session.close())
        await asyncio.sleep(0)
        first.cancel()
        await session.close()
        assert ours() == []
        await asyncio.gather(first, waiter, return_exceptions=True)


async def test_close_waits_for_the_flight_before_the_last(
    make: Make, emulator: NexudusEmulator, store: Connected
) -> None:
    """One saves, the next waits behind it: close waits for both."""
    session = await make(policy=RefreshPolicy(close_timeout=60))
    await begin_to_save(session, emulator, store)
    second = asyncio.create_task(session.refresh())
    await asyncio.sleep(0)
    flights = [task for task in asyncio.all_tasks() if task.get_name() == "nexudus_async refresh"]
    assert len(flights) == 2
    closing = asyncio.create_task(session.close())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not closing.done()
    assert not any(flight.done() for flight in flights)
    store.open.set()
    await closing
    assert all(flight.done() for flight in flights)
    await asyncio.gather(second, return_exceptions=True)


@EVERY_WAY
async def test_a_logout_that_waits_for_another_process_is_ended(make: Make, store: Connected, way: Way) -> None:
    """It raises `SessionClosedError`, and the lock of the other is left alone."""
    session = await make()
    async with store.refresh_lock(key_of(session)):
        leaving = asyncio.create_task(session.logout())
        await asyncio.sleep(0.01)
        assert not leaving.done()
        async with asyncio.timeout(5):
            await way(session)
            with pytest.raises(SessionClosedError):
                await leaving
        await until(lambda: ours() == [])


async def test_a_borrowed_session_stays_open_and_the_token_session_beside_it_does_not(
    emulator: NexudusEmulator, clock: ManualClock
) -> None:
    """Though the close was cancelled."""
    async with aiohttp.ClientSession() as borrowed:
        session = TokenSession(
            PasswordCredentials(emulator.username, emulator.password), base_url=emulator.url, client_session=borrowed
        )
        await session.token()
        await in_a_cancelled_scope(session)
        assert not borrowed.closed
        assert session._connections._pool._tokens is not None
        assert session._connections._pool._tokens.closed


async def test_a_refused_request_under_way_does_not_hold_close_up(make: Make, emulator: NexudusEmulator) -> None:
    """A replay that waits for its refresh is told."""
    session = await make()
    token = await session.token()
    with emulator.hold("token") as hold:
        refuse(session.manager, token)
        emulator.revoke_access_tokens()
        request = asyncio.create_task(session.get(CUSTOMER).__aenter__())
        await hold.wait()
        await until(lambda: session.statistics().waiting == 1)
        await in_a_cancelled_scope(session)
        with pytest.raises(SessionClosedError):
            await request
