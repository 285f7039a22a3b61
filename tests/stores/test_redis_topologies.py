# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateUsage=false, reportUnknownParameterType=false
# pyright: reportPossiblyUnboundVariable=false, reportDeprecated=false
"""How Redis stands in a data centre: behind TLS with users of few rights, under a sentinel, as a cluster.

All of them are real servers on this machine.
"""

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.sentinel import Sentinel
from redis.crc import key_slot

from nexudus_async import Event, PasswordCredentials, StoreFailed, TokenSession, TokenStore
from nexudus_async.errors import StoreError
from nexudus_async.stores import RedisStore, StoredToken
from nexudus_async.testing import NexudusEmulator
from tests.inside import key_of
from tests.valkey import PATIENCE, Valkey, behind_tls, follow, form_cluster, primary_of, running, sentinel, wait_until

from .certificates import server_context

pytestmark = pytest.mark.fleet

ONE, TWO = StoredToken(1, "one"), StoredToken(2, "two")
RIGHTS = ("~nexudus:*", "resetchannels", "+get", "+set", "+del", "+eval")
"""What the README tells an administrator to allow."""


@pytest.fixture
async def emulator() -> AsyncIterator[NexudusEmulator]:
    """On real time, as the servers."""
    async with NexudusEmulator() as emulator:
        yield emulator


class Fleet:
    """Sessions of one account, each on a store of its own."""

    def __init__(self, emulator: NexudusEmulator, stack: AsyncExitStack) -> None:
        self._emulator, self._stack = emulator, stack
        self.events: list[Event] = []

    async def join(self, store: TokenStore) -> TokenSession:
        credentials = PasswordCredentials(self._emulator.username, self._emulator.password)
        session = TokenSession(credentials, base_url=self._emulator.url, store=store, on_event=self.events.append)
        return await self._stack.enter_async_context(session)

    @property
    def store_failures(self) -> list[str]:
        return [str(event.error) for event in self.events if isinstance(event, StoreFailed)]


@pytest.fixture
async def fleet(emulator: NexudusEmulator) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        yield Fleet(emulator, stack)


# TLS, and a user of few rights


@contextmanager
def limited(valkey: Valkey, *rights: str) -> Generator[None]:
    valkey.command("ACL", "SETUSER", "pod", "reset", "on", ">hunter2", *rights)
    try:
        yield
    finally:
        valkey.command("ACL", "DELUSER", "pod")


async def test_over_tls_with_a_user_of_few_rights(
    valkey: Valkey, fleet: Fleet, emulator: NexudusEmulator, tmp_path: Path
) -> None:
    """Verified, four commands, the keys of one prefix: nothing else is needed to share a token."""
    context, public = server_context(tmp_path)
    async with behind_tls(valkey, context) as port:
        with limited(valkey, *RIGHTS):
            stores = [RedisStore(f"rediss://pod:hunter2@localhost:{port}?ssl_ca_certs={public}") for _ in range(2)]
            one, two = [await fleet.join(store) for store in stores]
            assert (await one.token()).access_token == (await two.token()).access_token
            refreshed = await one.refresh()
            assert refreshed.generation == 2
            assert (await stores[1].load(key_of(two))) is not None
            await one.logout()
            assert await stores[0].server(key_of(one)) is None, "which server it is, is not for everybody to know"
            for store in stores:
                await store.aclose()
    assert fleet.store_failures == []
    assert (emulator.sign_ins, emulator.renewals) == (1, 1)


@pytest.mark.parametrize("missing", ["+get", "+eval", "~nexudus:*"])
async def test_a_right_that_is_missing_is_told(valkey: Valkey, missing: str) -> None:
    """By the server's code; without the command, which holds the record."""
    with limited(valkey, *(right for right in RIGHTS if right != missing)):
        store = RedisStore(f"redis://pod:hunter2@127.0.0.1:{valkey.port}")
        try:
            with pytest.raises(StoreError, match="NOPERM"):  # noqa: PT012 - one of the two
                await store.save("a", ONE)
                await store.load("a")
        finally:
            await store.aclose()


async def test_a_restarted_server_has_another_name(tmp_path: Path) -> None:
    """And the same one as long as it runs: what was written to it is there."""
    with running(tmp_path, 1) as (server,):
        store = RedisStore(server.url)
        first = await store.server("a")
        assert first
        assert await store.server("a") == await store.server("b") == first
        server.stop()
        server.start()
        assert await store.server("a") not in (None, first)
        await store.aclose()


async def test_who_was_a_replica_in_between_has_another_name(tmp_path: Path) -> None:
    """It was not restarted, and lacks what it had not heard of when it took over again."""
    with running(tmp_path, 2, repl_diskless_sync_delay="0") as (one, two):
        await asyncio.to_thread(follow, two, one)
        store, other = RedisStore(one.url), RedisStore(two.url)
        first = await store.server("a")
        two.command("REPLICAOF", "NO", "ONE")
        assert await other.server("a") not in (None, first)
        await asyncio.to_thread(follow, one, two)
        one.command("REPLICAOF", "NO", "ONE")
        assert await store.server("a") not in (None, first)
        for each in (store, other):
            await each.aclose()


# A sentinel


async def test_a_fail_over_in_the_middle_of_a_refresh(fleet: Fleet, emulator: NexudusEmulator, tmp_path: Path) -> None:
    """The primary dies while a process refreshes: the fleet goes on with the replica, and nothing is sent twice."""
    with running(tmp_path, 2, repl_diskless_sync_delay="0") as (primary, replica):  # noqa: SIM117 - the second needs the first
        with sentinel(tmp_path, primary, replica) as port:
            watcher: Any = Sentinel([("127.0.0.1", port)], socket_timeout=1)  # type: ignore[no-untyped-call]
            clients: list[Redis] = [watcher.master_for("tokens", socket_timeout=1) for _ in range(2)]
            one, two = [await fleet.join(RedisStore(client)) for client in clients]
            old = await one.token()
            assert (await two.token()).access_token == old.access_token
            with emulator.hold("token") as hold:
                refreshing = asyncio.create_task(one.refresh())
                await hold.wait()
                await asyncio.to_thread(primary.stop)
                await asyncio.to_thread(wait_until, lambda: primary_of(port) == replica.port)
                waiting = asyncio.create_task(two.refresh())
                await asyncio.sleep(0.5)
            newer = await asyncio.gather(refreshing, waiting)
            assert all(token.access_token != old.access_token for token in newer)
            newest = await two.refresh()
            record = await RedisStore(clients[0]).load(key_of(one))
            assert record is not None
            assert record.generation == newest.generation
            for client in (*clients, *watcher.sentinels):
                await client.aclose()
    assert emulator.refresh_tokens_reused == 0
    assert emulator.max_concurrent_renewals == 1


# A cluster


def of_another_node(key: str, count: int) -> str:
    """Return a key whose slot belongs to another of so many nodes."""
    share = 16384 // count

    def node(name: str) -> int:
        return min(key_slot(f"nexudus:{{{name}}}:record".encode()) // share, count - 1)

    return next(name for number in range(1000) if node(name := f"key {number}") != node(key))


async def test_a_cluster_whose_owner_of_the_slot_is_stopped(
    fleet: Fleet, emulator: NexudusEmulator, tmp_path: Path
) -> None:
    """An outage for the accounts of its slots, and for no others; it ends when the node is back."""
    options = {"cluster_enabled": "yes", "cluster_node_timeout": "1000", "cluster_require_full_coverage": "no"}
    with running(tmp_path, 3, **options) as nodes:
        await asyncio.to_thread(form_cluster, nodes)
        clients = [RedisCluster(host="127.0.0.1", port=nodes[0].port, socket_timeout=1) for _ in range(2)]
        one, two = [await fleet.join(RedisStore(client)) for client in clients]
        assert (await one.token()).access_token == (await two.token()).access_token
        assert (await one.refresh()).generation == 2
        key, store = key_of(one), RedisStore(clients[0])
        owner = next(node for node in nodes if f"nexudus:{{{key}}}:record" in node.command("KEYS", "*"))
        elsewhere = of_another_node(key, 3)
        assert fleet.store_failures == []
        owner.stop()
        with pytest.raises(StoreError):
            await store.load(key)
        await store.save(elsewhere, ONE)
        assert await store.load(elsewhere) == ONE
        assert await two.token(), "a good token needs no store"
        assert await two.refresh(), "and what must be refreshed is, apart from the chain"
        assert fleet.store_failures
        owner.start()
        async with asyncio.timeout(PATIENCE):
            while one.statistics().unsaved or two.statistics().unsaved or not await _answers(store, key):  # noqa: ASYNC110 - has no event
                await asyncio.sleep(0.1)
        await one.refresh()
        await store.save(elsewhere, TWO)
        for client in clients:
            await client.aclose()
    assert emulator.refresh_tokens_reused == 0


async def _answers(store: RedisStore, key: str) -> bool:
    try:
        await store.load(key)
    except StoreError:
        return False
    return True
