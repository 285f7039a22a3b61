# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateUsage=false, reportUnknownParameterType=false
# pyright: reportPossiblyUnboundVariable=false, reportDeprecated=false
"""Launching a refresh: what can fail there, an eager loop, and one flight behind another."""

import asyncio
import inspect
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from nexudus_async import Freshness, LoginRequiredError, MemoryStore, SessionClosedError, TokenManager
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER, Connect, until
from tests.inside import refuse, session_of

from .test_manager import Source


def failing(error: BaseException, *, closes: bool, times: int = 1) -> Callable[..., Any]:
    """Return a task factory that fails for the first tasks of ours. closes: whether it cleans up the coroutine."""
    left = times

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        nonlocal left
        if left and "nexudus_async" in getattr(coroutine, "__qualname__", "") + str(coroutine.cr_code.co_filename):
            left -= 1
            if closes:
                coroutine.close()
            raise error
        return asyncio.Task(coroutine, loop=loop, **options)

    return factory


@pytest.fixture
async def manager(clock: ManualClock) -> AsyncIterator[TokenManager]:
    manager = TokenManager(Source(clock), clock=clock)
    yield manager
    asyncio.get_running_loop().set_task_factory(None)
    await manager.close()


ERRORS = [MemoryError(), RecursionError("too deep"), RuntimeError("a factory in trouble"), KeyboardInterrupt()]


@pytest.mark.parametrize("closes", [True, False], ids=["cleans up", "leaves the coroutine"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_a_task_that_cannot_be_made_blocks_nobody(
    manager: TokenManager, error: BaseException, closes: bool
) -> None:
    """That call fails, nothing is said to be under way, and no coroutine is left behind; the next call launches."""
    asyncio.get_running_loop().set_task_factory(failing(error, closes=closes))
    with pytest.raises(type(error)):
        await manager.token()
    assert manager.statistics().waiting == 0
    assert "refreshing" not in repr(manager)
    async with asyncio.timeout(5):
        assert (await manager.token()).generation == 1


@pytest.mark.parametrize("state", ["advisory", "mandatory", "expired", "rejected", "requested", "sign_in"])
async def test_the_same_in_every_state(manager: TokenManager, clock: ManualClock, state: str) -> None:
    """A background refresh that cannot begin, too: the next call begins it."""
    token = await manager.token()
    calls: dict[str, Callable[[], Any]] = {
        "requested": manager.refresh,
        "sign_in": manager.sign_in,
        "rejected": lambda: manager.reject(token),
    }
    call = calls.get(state, manager.token)
    clock.advance({"advisory": 3300, "mandatory": 3550, "expired": 3600}.get(state, 0))
    asyncio.get_running_loop().set_task_factory(failing(MemoryError(), closes=False))
    with pytest.raises(MemoryError):
        await call()
    async with asyncio.timeout(5):
        await call()
        await until(lambda: manager.statistics().generation == 2)


async def test_a_launch_that_fails_while_another_flight_saves_leaves_that_one_alone(clock: ManualClock) -> None:
    """It is still waited for."""

    class Slow(MemoryStore):
        open = asyncio.Event()

        async def save(self, key: str, record: Any) -> None:
            await self.open.wait()
            await super().save(key, record)

    store = Slow()
    manager = TokenManager(Source(clock), store=store, clock=clock)
    await manager.token()
    asyncio.get_running_loop().set_task_factory(failing(MemoryError(), closes=False))
    with pytest.raises(MemoryError):
        await manager.refresh()
    asyncio.get_running_loop().set_task_factory(None)
    waiter = asyncio.create_task(manager.refresh())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiter.done()
    store.open.set()
    assert (await waiter).generation == 2
    await manager.close()


async def test_at_the_end_of_the_stack_nothing_breaks(manager: TokenManager) -> None:
    """Called a few frames before the recursion limit: an error, or a token, and afterwards a token."""

    async def deeper(left: int) -> object:
        return await (deeper(left - 1) if left else manager.token())

    frames = len(inspect.stack(0))
    for room in range(4, 60, 3):
        try:
            await asyncio.create_task(deeper(sys.getrecursionlimit() - frames - room))
        except RecursionError:
            assert manager.freshness in (Freshness.EMPTY, Freshness.FRESH)
        async with asyncio.timeout(5):
            await manager.token()
        await manager.logout()


async def test_a_401_whose_refresh_cannot_begin_is_closed(emulator: NexudusEmulator, connect: Connect) -> None:
    """Nobody will read it: its connection is not lost to the pool."""
    session = await connect()
    await session.token()
    emulator.revoke_access_tokens()
    asyncio.get_running_loop().set_task_factory(failing(MemoryError(), closes=False))
    with pytest.raises(MemoryError):
        await session.get(CUSTOMER)
    asyncio.get_running_loop().set_task_factory(None)
    connector: Any = session_of(session).connector
    assert not connector._acquired
    async with session.get(CUSTOMER) as response:
        assert response.status == 200


async def test_a_flight_that_was_ended_before_it_began_is_not_under_way(clock: ManualClock) -> None:
    """Its task was cancelled at once: by a program that ends, say."""
    manager = TokenManager(Source(clock), clock=clock)
    waiter = asyncio.create_task(manager.token())
    while "refreshing" not in repr(manager):  # noqa: ASYNC110 - has no event
        await asyncio.sleep(0)
    (flight,) = [task for task in asyncio.all_tasks() if task.get_name() == "nexudus_async refresh"]
    flight.cancel()
    with pytest.raises(SessionClosedError, match="from outside"):
        await waiter
    assert "refreshing" not in repr(manager)
    assert await manager.token()
    await manager.close()


async def test_a_third_flight_waits_for_the_first_too(clock: ManualClock) -> None:
    """The first ignores that it was cancelled, the second never began: the third is not its contemporary."""
    source = Source(clock)
    source.stubborn, source.gates[2] = True, asyncio.Event()
    manager = TokenManager(source, clock=clock)
    await manager.token()
    callers = [asyncio.create_task(manager.refresh())]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert source.calls == ["login", "refresh"]
    leaving: list[asyncio.Task[None]] = []
    for _ in range(3):
        leaving.append(asyncio.create_task(manager.logout()))
        await asyncio.sleep(0)
        callers.append(asyncio.create_task(manager.token()))
        for _ in range(5):
            await asyncio.sleep(0)
    assert source.calls == ["login", "refresh"], "the first is still under way"
    source.gates[2].set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(result) for result in results[:3]] == [LoginRequiredError] * 3
    assert source.calls == ["login", "refresh", "login"]
    await asyncio.gather(*leaving)
    await manager.close()


async def test_close_waits_for_the_first_of_three(clock: ManualClock) -> None:
    """As long as it may."""
    source = Source(clock)
    source.stubborn, source.gates[2] = True, asyncio.Event()
    manager = TokenManager(source, clock=clock)
    await manager.token()
    waiters = [asyncio.create_task(manager.refresh())]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    leaving = asyncio.create_task(manager.logout())
    await asyncio.sleep(0)
    waiters.append(asyncio.create_task(manager.token()))
    await asyncio.sleep(0)
    refuse_nothing = asyncio.create_task(manager.close())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not refuse_nothing.done()
    source.gates[2].set()
    await refuse_nothing
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "nexudus_async refresh"]
    await asyncio.gather(leaving, *waiters, return_exceptions=True)


@pytest.fixture
async def eager() -> AsyncIterator[None]:
    if sys.version_info < (3, 12):
        pytest.skip("asyncio.eager_task_factory is new in Python 3.12")
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    yield
    loop.set_task_factory(None)


@pytest.mark.usefixtures("eager")
async def test_an_eager_loop_serves_a_source_that_never_waits(clock: ManualClock) -> None:
    """The whole flight runs inside the launch."""
    manager = TokenManager(Source(clock), clock=clock)
    assert (await manager.token()).generation == 1
    assert (await manager.refresh()).generation == 2
    assert (await manager.sign_in()).generation == 3
    clock.advance(3600)
    tokens = await asyncio.gather(*(manager.token() for _ in range(100)))
    assert {token.generation for token in tokens} == {4}
    await manager.logout()
    assert (await manager.token()).generation == 5
    assert "refreshing" not in repr(manager)
    await manager.close()


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("shared", [False, True])
async def test_an_eager_loop_does_all_that_another_does(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, shared: bool
) -> None:
    """Requests, a herd, a revocation, keep-alive, a logout, a close; with a store and without."""
    session = await connect(keep_alive=True, store=MemoryStore() if shared else None)

    async def fetch() -> int:
        async with session.get(CUSTOMER) as response:
            return response.status

    assert set(await asyncio.gather(*(fetch() for _ in range(50)))) == {200}
    emulator.revoke_access_tokens()
    assert set(await asyncio.gather(*(fetch() for _ in range(50)))) == {200}
    assert (emulator.sign_ins, emulator.renewals) == (1, 1)
    token = await session.token()
    refuse(session.manager, token)
    assert (await session.token()).generation >= token.generation
    clock.autojump = shared
    await session.logout()
    clock.autojump = False
    assert await session.token()
    await session.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("nexudus_async")]


@pytest.mark.usefixtures("eager")
async def test_an_eager_loop_goes_on_after_a_pause_of_no_time(emulator: NexudusEmulator, connect: Connect) -> None:
    """`Retry-After: 0`: the pause is over when it begins, and so is its alarm."""
    session, connect.clock.autojump = await connect(), True
    for _ in range(3):
        emulator.fail(CUSTOMER, Fault.throttled(0))
        async with asyncio.timeout(5), session.get(CUSTOMER) as response:
            assert response.status == 200
    for _ in range(3):
        emulator.fail(CUSTOMER, Fault.throttled(2), times=2)
        async with asyncio.timeout(5), session.get(CUSTOMER) as response:
            assert response.status == 200
