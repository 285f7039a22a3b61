"""Between a store and its server: leases that end, answers that are lost, outages. Against a real Valkey."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

import anyio
import pytest

from nexudus_async import PasswordCredentials, TokenSession
from nexudus_async.errors import StoreError
from nexudus_async.stores import RedisStore, StoredToken
from nexudus_async.testing import NexudusEmulator
from tests.valkey import Valkey

from .processes import kill, python
from .proxy import Proxy
from .test_contract import try_lock

pytestmark = pytest.mark.fleet

ONE, TWO = StoredToken(1, "one"), StoredToken(2, "two")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


async def test_a_lost_lease_lets_another_in_and_is_not_given_back_twice(valkey: Valkey, prefix: str) -> None:
    """Who comes back after the lease frees nobody else's lock, and its older save is refused."""
    late, next_holder = RedisStore(valkey.url, prefix, lease=0.15), RedisStore(valkey.url, prefix)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(late.aclose)
        stack.push_async_callback(next_holder.aclose)
        stack_of_late = await stack.enter_async_context(AsyncExitStack())
        await stack_of_late.enter_async_context(late.refresh_lock("a"))
        assert not await try_lock(next_holder, "a")
        async with asyncio.timeout(2), next_holder.refresh_lock("a"):
            await next_holder.save("a", TWO)
            await late.save("a", ONE)
            await stack_of_late.aclose()
            assert not await try_lock(late, "a")
        assert await late.load("a") == TWO


HOLD = """
import asyncio, sys
from nexudus_async.stores import RedisStore
async def main():
    async with RedisStore(sys.argv[1], sys.argv[2], lease=0.5).refresh_lock("a"):
        print("ready", flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_the_lock_of_a_killed_process_is_free_after_the_lease(
    near: RedisStore, valkey: Valkey, prefix: str
) -> None:
    """Nobody gives it back; the server does."""
    with python(HOLD, valkey.url, prefix) as process:
        assert not await try_lock(near, "a")
        kill(process)
    async with asyncio.timeout(3), near.refresh_lock("a"):
        pass


async def test_a_lock_whose_answer_is_lost_is_recognised_by_its_owner(far: RedisStore, proxy: Proxy) -> None:
    """The second attempt, on a new connection, finds the lock taken by itself, and does not wait for the lease."""
    await far.load("a")
    proxy.lose_next = 1
    async with asyncio.timeout(2), far.refresh_lock("a"):
        assert proxy.lose_next == 0


async def test_a_lock_won_without_an_answer_is_given_back(far: RedisStore, near: RedisStore, proxy: Proxy) -> None:
    """Who is told of a failure does not hold the lock for the length of the lease without knowing."""
    await far.load("a")
    proxy.lose_next = 2  # the attempt's and its repetition's
    with pytest.raises(StoreError, match="lock failed"):
        async with far.refresh_lock("a"):
            pytest.fail("the answer was lost")
    assert proxy.lose_next == 0
    assert await try_lock(near, "a")


@pytest.mark.parametrize("by_scope", [True, False])
async def test_a_lock_won_while_its_waiter_is_cancelled_is_given_back(
    far: RedisStore, near: RedisStore, proxy: Proxy, by_scope: bool
) -> None:
    """The server has said yes, the answer is on its way, and the waiter's task or scope is cancelled."""
    scope = anyio.CancelScope()

    async def enter() -> None:
        with scope:
            async with far.refresh_lock("a"):
                await asyncio.Event().wait()

    await far.load("a")
    proxy.answering.clear()
    seen = proxy.answers
    entry = asyncio.create_task(enter())
    await until(lambda: proxy.answers > seen)
    assert not await try_lock(near, "a")
    (scope if by_scope else entry).cancel()
    proxy.answering.set()
    await asyncio.wait([entry])
    assert entry.cancelled() is not by_scope
    assert await try_lock(near, "a")


async def test_cancelled_commands_give_their_connections_back(far: RedisStore, proxy: Proxy) -> None:
    """Many more cancellations than connections, under anyio's scopes, while the server is silent: later all works."""
    await far.save("a", ONE)
    for _ in range(3):
        proxy.answering.clear()
        started = time.monotonic()
        with anyio.move_on_after(0.02):
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(far.load, "a")
        assert time.monotonic() - started < 1
        proxy.answering.set()
        assert await far.load("a") == ONE


async def test_a_silent_server_is_an_error_within_the_limit(
    far: RedisStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No command waits longer than its limit, whatever the client's own limits are; a lock needs two commands."""
    monkeypatch.setattr("nexudus_async.stores._redis.OPERATION_LIMIT", 0.1)
    await far.load("a")
    proxy.answering.clear()
    for command in (far.load("a"), far.save("a", ONE), far.clear("a"), far.refresh_lock("a").__aenter__()):
        started = time.monotonic()
        with pytest.raises(StoreError, match="TimeoutError"):
            await command
        assert 0.09 < time.monotonic() - started < 0.5


async def test_a_stopped_server_is_an_error_and_a_started_one_is_used_again(
    valkey: Valkey, near: RedisStore, prefix: str
) -> None:
    """An outage needs no new store, and ends for the first command after it."""
    await asyncio.gather(*(near.save(f"key {number}", ONE) for number in range(20)))
    valkey.stop()
    try:
        started = time.monotonic()
        for command in (near.load("a"), near.save("a", ONE), near.clear("a"), near.refresh_lock("a").__aenter__()):
            with pytest.raises(StoreError, match="ConnectionError"):
                await command
        assert time.monotonic() - started < 2
    finally:
        valkey.start()
    await asyncio.gather(*(near.save(f"key {number}", TWO) for number in range(20)))
    assert await near.load("key 7") == TWO


async def test_an_outage_inside_the_lock_is_not_the_holders_error(valkey: Valkey, near: RedisStore) -> None:
    """A refresh that succeeded does not fail because the lock cannot be given back: the lease ends it."""

    async def refresh() -> None:
        async with near.refresh_lock("a"):
            valkey.stop()

    async def fail() -> None:
        async with near.refresh_lock("a"):
            valkey.stop()
            raise ZeroDivisionError

    try:
        await refresh()
        valkey.start()
        with pytest.raises(ZeroDivisionError):
            await fail()
    finally:
        valkey.start()


async def test_a_lock_that_could_not_be_given_back_keeps_out_others_only(
    far: RedisStore, near: RedisStore, proxy: Proxy
) -> None:
    """After a fail-over that has copied the lock, say: who had it has yet to save a token, and nobody else can."""
    await far.load("a")
    async with far.refresh_lock("a"):
        proxy.refuse()
    proxy.accept()
    assert not await try_lock(near, "a")
    async with asyncio.timeout(2), far.refresh_lock("a"):
        assert not await try_lock(near, "a")
    assert await try_lock(near, "a")


async def test_what_could_not_be_given_back_is_forgotten_with_its_lease(far: RedisStore, proxy: Proxy) -> None:
    """Or a store for many accounts would remember each outage of each."""
    store = RedisStore(f"redis://127.0.0.1:{proxy.port}", lease=0.2)
    for number in range(5):
        async with store.refresh_lock(f"account {number}"):
            proxy.refuse()
        proxy.accept()
    await asyncio.sleep(0.3)
    async with store.refresh_lock("another"):
        proxy.refuse()
    proxy.accept()
    assert len(vars(store)["_left"]) == 1
    await store.aclose()


async def test_a_fleet_does_not_wait_for_the_lease_of_a_lock_that_could_not_be_given_back(
    far: RedisStore, near: RedisStore, proxy: Proxy
) -> None:
    """Who has refreshed loses sight of the server, lock in hand: it saves its token as soon as it sees it again."""
    async with NexudusEmulator() as emulator, AsyncExitStack() as stack:
        credentials = PasswordCredentials(emulator.username, emulator.password)
        one, two = [
            await stack.enter_async_context(TokenSession(credentials, base_url=emulator.url, store=store))
            for store in (far, near)
        ]
        assert await one.token() == await two.token()
        with emulator.hold("token") as held:
            refreshing = asyncio.create_task(one.refresh())
            await held.wait()
            proxy.refuse()
        newer = await refreshing
        waiting = asyncio.create_task(two.refresh())
        await asyncio.sleep(0.2)
        proxy.accept()
        async with asyncio.timeout(10):
            assert (await waiting).access_token == newer.access_token
        assert (emulator.sign_ins, emulator.renewals) == (1, 1)
