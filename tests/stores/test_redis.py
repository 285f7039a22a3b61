"""What a server adds to the contract: expiry, given clients, URLs and passwords. Against a real Valkey."""

import asyncio
import pickle
import traceback
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis
from cryptography.fernet import Fernet
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from nexudus_async import PasswordCredentials, TokenSession
from nexudus_async.errors import ConfigurationError, StoreError
from nexudus_async.stores import EncryptedStore, RedisStore, StoredToken
from nexudus_async.testing import NexudusEmulator
from tests.valkey import Valkey
from tests.values.renderers import Factory, on_every_loop, run

from .test_contract import try_lock

pytestmark = pytest.mark.fleet

ONE, TWO = StoredToken(1, "one"), StoredToken(2, "two")


@pytest.fixture
async def client(valkey: Valkey) -> AsyncIterator[Redis]:
    async with Redis(port=valkey.port) as client:
        yield client


async def connections(client: Redis) -> int:
    info = await client.info("clients")  # pyright: ignore[reportUnknownMemberType] - its keywords have no types
    return int(info["connected_clients"])


async def test_records_and_locks_expire(near: RedisStore, client: Redis, prefix: str) -> None:
    """A record lasts 30 days from its last save, a lock 60 seconds; both are named by prefix and key, in one slot."""
    async with near.refresh_lock("a"):
        await near.save("a", ONE)
        assert 59_000 < await client.pttl(f"{prefix}{{a}}:lock") <= 60_000
        assert 2_591_999_000 < await client.pttl(f"{prefix}{{a}}:record") <= 2_592_000_000


async def test_content_of_another_type_is_an_error_and_replaced(near: RedisStore, client: Redis, prefix: str) -> None:
    """Also when it is not even a string."""
    await client.rpush(f"{prefix}{{a}}:record", "x")
    with pytest.raises(StoreError):
        await near.load("a")
    await near.save("a", ONE)
    assert await near.load("a") == ONE


@on_every_loop
def test_a_server_may_be_named(loop: Factory | None, valkey: Valkey, prefix: str) -> None:
    """By a name that has to be looked up, which uvloop does by itself."""

    async def play() -> None:
        store = RedisStore(f"redis://localhost:{valkey.port}", prefix)
        await store.save("a", ONE)
        assert await store.load("a") == ONE
        await store.aclose()

    run(loop, play())


@pytest.mark.parametrize("text", ["", "7", "[]", "{}", '{"generation": "9", "payload": ""}', "nonsense"])
async def test_text_that_is_no_record_is_replaced(near: RedisStore, client: Redis, prefix: str, text: str) -> None:
    """The server compares generations only with a record's."""
    await client.set(f"{prefix}{{a}}:record", text)
    with pytest.raises(StoreError, match="cannot be read"):
        await near.load("a")
    await near.save("a", ONE)
    assert await near.load("a") == ONE


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


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_closed_session_leaves_no_connection_open_and_harms_no_other(
    valkey: Valkey, client: Redis, prefix: str, encrypted: bool
) -> None:
    """Of a store made from a URL; nobody has to close that, and another session that has it goes on."""
    inner = RedisStore(valkey.url, prefix)
    store = EncryptedStore(inner, Fernet.generate_key()) if encrypted else inner
    before = await connections(client)
    async with NexudusEmulator() as emulator:
        credentials = PasswordCredentials(emulator.username, emulator.password)
        async with TokenSession(credentials, base_url=emulator.url, store=store) as another:
            async with TokenSession(credentials, base_url=emulator.url, store=store) as session:
                await session.token()
                assert await connections(client) > before
            await another.token()
            await another.refresh()
        assert (emulator.sign_ins, emulator.renewals) == (1, 1)
    while await connections(client) > before:  # noqa: ASYNC110 - the server sees it a moment later
        await asyncio.sleep(0.01)


async def test_no_secret_is_in_an_error_or_its_variables(valkey: Valkey, near: RedisStore, prefix: str) -> None:
    """Neither the password of the URL nor a payload, even where a tool prints the variables of every frame."""
    wrong = RedisStore(f"redis://user:hunter2@127.0.0.1:{valkey.port}", prefix)
    with pytest.raises(StoreError) as refused:
        await wrong.save("a", StoredToken(1, "hunter2"))
    await wrong.aclose()
    valkey.stop()
    try:
        with pytest.raises(StoreError) as stopped:
            await near.save("a", StoredToken(1, "hunter2"))
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


async def test_two_event_loops_at_once_are_a_configuration_error(near: RedisStore) -> None:
    """A connection of one loop would hang or break in another."""
    await near.load("a")
    with pytest.raises(ConfigurationError, match="one event loop"):
        await asyncio.to_thread(lambda: asyncio.run(near.load("a")))


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


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 0.0001, 1e300, 10**400, True, "60", None])
def test_durations_must_be_positive_and_finite(seconds: Any) -> None:
    """A lock or a record that lasts no time, or for ever, cannot be meant."""
    with pytest.raises(ConfigurationError, match="lease"):
        RedisStore("redis://example.org", lease=seconds)
    with pytest.raises(ConfigurationError, match="record_ttl"):
        RedisStore("redis://example.org", record_ttl=seconds)


def test_the_lease_can_be_read() -> None:
    """In seconds, to be compared with what a policy lets a refresh take; it cannot be changed."""
    store: Any = RedisStore("redis://example.org", lease=45.5)
    assert store.lease == 45.5
    assert RedisStore("redis://example.org").lease == 60
    with pytest.raises(AttributeError):
        store.lease = 1


@pytest.mark.parametrize("client", [None, 7, b"redis://localhost", ["redis://localhost"], object(), Redis])
def test_what_is_no_client_is_a_configuration_error(client: Any) -> None:
    """At once, and it says what to pass."""
    with pytest.raises(ConfigurationError, match=r"a URL as text, or a client of redis\.asyncio"):
        RedisStore(client)


def test_a_client_that_blocks_is_a_configuration_error() -> None:
    """It has the same methods, and would stop the event loop."""
    blocking: Any = redis.Redis()
    with pytest.raises(ConfigurationError, match="this client blocks"):
        RedisStore(blocking)
    blocking.close()


@pytest.mark.parametrize("prefix", [None, 7, b"nexudus:", "\ud800"])
def test_a_prefix_is_text(prefix: Any) -> None:
    """Of a kind that can be sent."""
    with pytest.raises(ConfigurationError, match="prefix must be text"):
        RedisStore("redis://example.org", prefix)


@pytest.mark.parametrize("client", [Redis(), RedisCluster("localhost", 7000)], ids=["plain", "cluster"])
def test_a_clusters_client_will_do(client: Redis | RedisCluster) -> None:
    """As will one that is told where the server is by Sentinel: it is of the same class as a plain one."""
    assert repr(RedisStore(client)).startswith(f"<RedisStore a given {type(client).__name__}, ")
