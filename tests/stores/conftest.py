"""The stores that the contract is held against."""

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from redis.asyncio import Redis

from nexudus_async.stores import EncryptedStore, FileStore, MemoryStore, RedisStore, StoredToken, TokenStore
from nexudus_async.stores._file_locks import FileLocks
from tests.valkey import Valkey

from .proxy import Proxy

FERNET_KEY = Fernet.generate_key()


@dataclass
class Backend:
    """One place for records.

    open: makes another store object over the same records, as another process would.
    spoil: puts content there, under a key, that no store wrote.
    replaces: whether the next save takes the place of that.
    """

    open: Callable[[], TokenStore]
    spoil: Callable[[str], Awaitable[None]]
    replaces: bool = True


def memory() -> Backend:
    store = MemoryStore()

    async def spoil(key: str) -> None:
        pytest.skip("memory holds nothing but records")

    return Backend(lambda: store, spoil)


def file(folder: Path) -> Backend:
    path = folder / "state" / "tokens.json"

    async def spoil(key: str) -> None:
        path.parent.mkdir(exist_ok=True)
        path.touch(mode=0o600)
        path.write_text('{"records": {"a": {"generation": 1, "payl')

    return Backend(lambda: FileStore(path), spoil)


def encrypted(inner: Backend) -> Backend:
    async def spoil(key: str) -> None:
        await inner.open().save(key, StoredToken(1_000_000, json.dumps(["plain", "text"])))

    return Backend(lambda: EncryptedStore(inner.open(), FERNET_KEY), spoil, replaces=False)


@pytest.fixture
async def redis_backend(valkey: Valkey) -> AsyncIterator[Backend]:
    made: list[RedisStore] = []
    prefix = f"test-{uuid.uuid4().hex}:"

    def open_store() -> TokenStore:
        made.append(RedisStore(valkey.url, prefix))
        return made[-1]

    async def spoil(key: str) -> None:
        async with Redis(port=valkey.port) as client:
            await client.set(f"{prefix}{{{key}}}:record", '{"generation": 1000000, "payload": 3}')

    yield Backend(open_store, spoil)
    for store in made:
        await store.aclose()


@pytest.fixture(
    params=[
        "memory",
        "file",
        "file without ranges",
        pytest.param("redis", marks=pytest.mark.fleet),
        "encrypted memory",
        "encrypted file",
    ]
)
def backend(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backend:
    match request.param:
        case "memory":
            return memory()
        case "file":
            return file(tmp_path)
        case "file without ranges":  # as on macOS and Windows
            monkeypatch.setattr("nexudus_async.stores._file.locks_beside", FileLocks)
            return file(tmp_path)
        case "encrypted memory":
            return encrypted(memory())
        case "encrypted file":
            return encrypted(file(tmp_path))
        case _:
            found: Backend = request.getfixturevalue("redis_backend")
            return found


@pytest.fixture
def prefix() -> str:
    return f"test-{uuid.uuid4().hex}:"


@pytest.fixture
async def near(valkey: Valkey, prefix: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(valkey.url, prefix)
    yield store
    await store.aclose()


@pytest.fixture
async def proxy(valkey: Valkey) -> AsyncIterator[Proxy]:
    async with Proxy(valkey.port).running() as proxy:
        yield proxy


@pytest.fixture
async def far(proxy: Proxy, prefix: str) -> AsyncIterator[RedisStore]:
    """The same records as `near`, through the proxy."""
    store = RedisStore(proxy.url, prefix)
    yield store
    await store.aclose()
