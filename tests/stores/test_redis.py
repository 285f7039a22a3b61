"""What a server adds to the contract: leases, lost answers, outages and passwords. Against a real Valkey."""

import asyncio
import pickle
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import anyio
import pytest
from redis.asyncio import Redis

from nexudus_async.errors import ConfigurationError, StoreError
from nexudus_async.stores import RedisStore, StoredToken
from tests.conftest import Valkey

from .processes import kill, python
from .proxy import Proxy
from .test_contract import try_lock

pytestmark = pytest.mark.fleet

ONE, TWO = StoredToken(1, "one"), StoredToken(2, "two")


@pytest.fixture
def prefix() -> str:
    return f"test-{uuid.uuid4().hex}:"


@pytest.fixture
async def client(valkey: Valkey) -> AsyncIterator[Redis]:
    async with Redis(port=valkey.port) as client:
        yield client


@pytest.fixture
async def store(valkey: Valkey, prefix: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(valkey.url, prefix)
    yield store
    await store.aclose()


@pytest.fixture
async def proxy(valkey: Valkey) -> AsyncIterator[Proxy]:
    async with Proxy(valkey.port).running() as proxy:
        yield proxy


@pytest.fixture
async def far(proxy: Proxy, prefix: str) -> AsyncIterator[RedisStore]:
    """The same records through the proxy."""
    store = RedisStore(proxy.url, prefix)
    yield store
    await store.aclose()


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
    store: RedisStore, valkey: Valkey, prefix: str
) -> None:
    """Nobody gives it back; the server does."""
    with python(HOLD, valkey.url, prefix) as process:
        assert not await try_lock(store, "a")
        kill(process)
    async with asyncio.timeout(3), store.refresh_lock("a"):
        pass


async def test_a_lock_whose_answer_is_lost_is_recognised_by_its_owner(far: RedisStore, proxy: Proxy) -> None:
    """The second attempt, on a new connection, finds the lock taken by itself, and does not wait for the lease."""
    await far.load("a")
    proxy.lose_next = 1
    async with asyncio.timeout(2), far.refresh_lock("a"):
        assert proxy.lose_next == 0


async def test_a_lock_won_without_an_answer_is_given_back(far: RedisStore, store: RedisStore, proxy: Proxy) -> None:
    """Who is told of a failure does not hold the lock for the length of the lease without knowing."""
    await far.load("a")
    proxy.lose_next = 2  # the attempt's and its repetition's
    with pytest.raises(StoreError, match="lock failed"):
        async with far.refresh_lock("a"):
            pytest.fail("the answer was lost")
    assert proxy.lose_next == 0
    assert await try_lock(store, "a")


@pytest.mark.parametrize("by_scope", [True, False])
async def test_a_lock_won_while_its_waiter_is_cancelled_is_given_back(
    far: RedisStore, store: RedisStore, proxy: Proxy, by_scope: bool
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
    assert not await try_lock(store, "a")
    (scope if by_scope else entry).cancel()
    proxy.answering.set()
    await asyncio.wait([entry])
    assert entry.cancelled() is not by_scope
    assert await try_lock(store, "a")


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
    valkey: Valkey, store: RedisStore, prefix: str
) -> None:
    """An outage needs no new store, and ends for the first command after it."""
    await asyncio.gather(*(store.save(f"key {number}", ONE) for number in range(20)))
    valkey.stop()
    try:
        started = time.monotonic()
        for command in (store.load("a"), store.save("a", ONE), store.clear("a"), store.refresh_lock("a").__aenter__()):
            with pytest.raises(StoreError, match="ConnectionError"):
                await command
        assert time.monotonic() - started < 2
    finally:
        valkey.start()
    await asyncio.gather(*(store.save(f"key {number}", TWO) for number in range(20)))
    assert await store.load("key 7") == TWO


async def test_an_outage_inside_the_lock_is_not_the_holders_error(valkey: Valkey, store: RedisStore) -> None:
    """A renewal that succeeded does not fail because the lock cannot be given back: the lease ends it."""

    async def renew() -> None:
        async with store.refresh_lock("a"):
            valkey.stop()

    async def fail() -> None:
        async with store.refresh_lock("a"):
            valkey.stop()
            raise ZeroDivisionError

    try:
        await renew()
        valkey.start()
        with pytest.raises(ZeroDivisionError):
            await fail()
    finally:
        valkey.start()


async def test_records_and_locks_expire(store: RedisStore, client: Redis, prefix: str) -> None:
    """A record lasts 30 days from its last save, a lock 60 seconds; both are named by prefix and key, in one slot."""
    async with store.refresh_lock("a"):
        await store.save("a", ONE)
        assert 59_000 < await client.pttl(f"{prefix}{{a}}:lock") <= 60_000
        assert 2_591_999_000 < await client.pttl(f"{prefix}{{a}}:record") <= 2_592_000_000


async def test_content_of_another_type_is_an_error_and_replaced(store: RedisStore, client: Redis, prefix: str) -> None:
    """Also when it is not even a string."""
    await client.rpush(f"{prefix}{{a}}:record", "x")
    with pytest.raises(StoreError):
        await store.load("a")
    await store.save("a", ONE)
    assert await store.load("a") == ONE


@pytest.mark.parametrize("text", ["", "7", "[]", "{}", '{"generation": "9", "payload": ""}', "nonsense"])
async def test_text_that_is_no_record_is_replaced(store: RedisStore, client: Redis, prefix: str, text: str) -> None:
    """The server compares generations only with a record's."""
    await client.set(f"{prefix}{{a}}:record", text)
    with pytest.raises(StoreError, match="cannot be read"):
        await store.load("a")
    await store.save("a", ONE)
    assert await store.load("a") == ONE


@pytest.mark.parametrize("decode_responses", [True, False])
async def test_a_given_client_is_used_and_stays_open(
    valkey: Valkey, prefix: str, decode_responses: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its settings are its owner's, as is closing it."""
    async with Redis(port=valkey.port, decode_responses=decode_responses) as client:
        store = RedisStore(client, prefix)
        async with store.refresh_lock("a"):
            await store.save("a", ONE)
            assert not await try_lock(store, "a")
        assert await store.load("a") == ONE
        with monkeypatch.context() as patch:
            patch.setattr(Redis, "aclose", None)  # would fail if it were called
            await store.aclose()
        assert repr(store) == f"<RedisStore a given Redis, prefix {prefix!r}, lease 60 s>"


async def test_no_secret_is_in_an_error_or_its_variables(valkey: Valkey, store: RedisStore, prefix: str) -> None:
    """Neither the password of the URL nor a payload, even where a tool prints the variables of every frame."""
    wrong = RedisStore(f"redis://user:hunter2@127.0.0.1:{valkey.port}", prefix)
    with pytest.raises(StoreError) as refused:
        await wrong.save("a", StoredToken(1, "hunter2"))
    await wrong.aclose()
    valkey.stop()
    try:
        with pytest.raises(StoreError) as stopped:
            await store.save("a", StoredToken(1, "hunter2"))
    finally:
        valkey.start()
    for error in (refused.value, stopped.value):
        frames = error.__traceback__
        assert frames is not None
        error.__traceback__ = frames.tb_next  # this test's own variables do show it
        assert "hunter2" not in "".join(
            traceback.TracebackException.from_exception(error, capture_locals=True).format()
        )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:hunter2@example.org", "redis://example.org:6379"),
        ("rediss://user:hunter2@example.org:7000/3?ssl_cert_reqs=none", "rediss://example.org:7000"),
        ("unix:///run/valkey.sock?password=hunter2", "unix:///run/valkey.sock"),
    ],
)
def test_a_store_is_made_without_an_event_loop_and_hides_its_password(url: str, shown: str) -> None:
    """Making one does nothing; its repr is a status line; it cannot be pickled."""
    store = RedisStore(url)
    assert repr(store) == f"<RedisStore {shown}, prefix 'nexudus:', lease 60 s>"
    with pytest.raises(TypeError, match="password"):
        pickle.dumps(store)


def test_a_store_serves_one_event_loop_after_another(valkey: Valkey, prefix: str) -> None:
    """A module's own store works in every `asyncio.run`."""
    store = RedisStore(valkey.url, prefix)

    async def main(generation: int) -> StoredToken | None:
        try:
            async with store.refresh_lock("a"):
                await store.save("a", StoredToken(generation, "text"))
            return await store.load("a")
        finally:
            await store.aclose()

    assert [asyncio.run(main(number)) for number in (1, 2)] == [StoredToken(1, "text"), StoredToken(2, "text")]


async def test_two_event_loops_at_once_are_a_configuration_error(store: RedisStore) -> None:
    """A connection of one loop would hang or break in another."""
    await store.load("a")
    with pytest.raises(ConfigurationError, match="one event loop"):
        await asyncio.to_thread(lambda: asyncio.run(store.load("a")))


@pytest.mark.parametrize(
    "url",
    [
        "hunter2",
        "http://hunter2@example.org",
        "redis://:hunter2/x@example.org",
        "redis://:12/hunter2@example.org",
        "redis://:12#hunter2@example.org",
        "redis://example.org?hunter2=1",
        "redis://example.org?socket_timeout=hunter2",
    ],
)
def test_a_url_that_cannot_work_is_a_configuration_error_that_does_not_show_it(url: str) -> None:
    """A password with characters that end a URL's parts must not show as a host or a port."""
    with pytest.raises(ConfigurationError, match="percent-encoded") as caught:
        RedisStore(url)
    assert caught.value.__context__ is None
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 0.0001])
def test_durations_must_be_positive(seconds: float) -> None:
    """A lock or a record that lasts no time, or for ever, cannot be meant."""
    with pytest.raises(ConfigurationError, match="lease"):
        RedisStore("redis://example.org", lease=seconds)
    with pytest.raises(ConfigurationError, match="record_ttl"):
        RedisStore("redis://example.org", record_ttl=seconds)
