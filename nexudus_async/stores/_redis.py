"""Records in a Redis or Valkey server, for processes on any number of hosts."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeVar, cast

from nexudus_async._token import Secret
from nexudus_async._validation import check_methods, check_seconds
from nexudus_async.errors import ConfigurationError, StoreError, UnreadableRecordError, without_frames

from ._protocol import StoredToken
from ._redis_client import OPERATION_LIMIT, OwnClient, words_of
from ._support import RECORD_TTL, decode, encode, extra, finish, poll

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

T = TypeVar("T")

LEASE = 60.0
"""Seconds a refresh lock lasts when its holder dies: twice a flight's deadline: a sign-in may follow a slow refresh."""
LONGEST = 100 * 365 * 86400.0
"""Seconds that a server can count to, and more than anybody means."""

# What has a higher generation stays; what cannot be read is replaced.
SAVE = """
local found, kept = pcall(cjson.decode, redis.pcall('get', KEYS[1]) or '')
if found and type(kept) == 'table' and type(kept.payload) == 'string' and type(kept.generation) == 'number'
    and kept.generation > tonumber(ARGV[1]) then
  return 0
end
redis.call('set', KEYS[1], ARGV[3], 'PX', ARGV[2])
return 1
"""

# redis-py's own Lock is not used: when its SET is cancelled, or sent again after a lost answer, the lock stays taken
# until the lease ends, because the token it was taken with is forgotten, or not recognised. Its waiting has no jitter.
ACQUIRE = """
local holder = redis.call('get', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

# A holder that comes back after its lease must not give away the lock of the one who followed.
RELEASE = """
if redis.call('get', KEYS[1]) == ARGV[1] then
  return redis.call('del', KEYS[1])
end
return 0
"""

# The name that a server gives itself at each start, and the one that its data get when a replica takes over: who was
# primary, replica and primary again may lack writes, too. By a script with a key, a cluster asks the node that has it.
SERVER = """
local function find(section, pattern)
  local info = redis.pcall('info', section)
  return type(info) == 'string' and string.match(info, pattern)
end
local name = find('server', 'run_id:(%w+)')
return name and name .. ':' .. (find('replication', 'master_replid:(%w+)') or '')
"""


class Commands(Protocol):
    """What is used of a redis-py client, a cluster's included."""

    def get(self, name: str) -> Awaitable[str | bytes | None]: ...

    def delete(self, *names: str) -> Awaitable[int]: ...

    def eval(self, script: str, numkeys: int, *keys_and_args: str) -> Awaitable[object]: ...


class RedisStore:
    """Keeps the records in Redis or Valkey. Needs the extra `redis`.

    client_or_url: a `redis://`, `rediss://` or `unix://` URL, whose client is made at first use, or a client of
        `redis.asyncio` (plain, from Sentinel, or a cluster's), which stays its owner's to close. Of the client made
        from a URL, a session that is closed closes the connections.
    prefix: stands before every key name. Record and lock of a key share a hash tag, hence a cluster slot.
    lease: seconds after which a lock whose holder died is free. Longer than a refresh and its save may take.
    record_ttl: seconds a record is kept after its last save.

    Belongs to the event loop it is used in, not to the one it is made in. Every command ends within three seconds, or
    raises `StoreError`, which says what failed and why, and shows neither the password nor the URL. A failover of the
    server may lose a lock: the generation of the record still guards the save. Raises `ConfigurationError` without
    redis-py and for values that cannot work. Cannot be pickled.
    """

    def __init__(
        self,
        client_or_url: "Redis | RedisCluster | str",
        prefix: str = "nexudus:",
        *,
        lease: float = LEASE,
        record_ttl: float = RECORD_TTL,
    ) -> None:
        with extra("redis"):
            from redis.exceptions import RedisClusterException, RedisError  # noqa: PLC0415 - an extra
        # RuntimeError: what asyncio raises for a connection whose event loop is closed.
        self._foreign = (RedisError, RedisClusterException, OSError, TimeoutError, RuntimeError)
        self._own = OwnClient(client_or_url) if isinstance(client_or_url, str) else None
        self._given = None if isinstance(client_or_url, str) else _checked(client_or_url)
        self._prefix = _text(prefix)
        self._lease_ms = _milliseconds("lease", lease)
        self._record_ttl_ms = _milliseconds("record_ttl", record_ttl)
        self._left: dict[str, tuple[str, float]] = {}
        """Tokens of locks that could not be given back, and their ends (monotonic): who has the token gets the lock."""

    @property
    def lease(self) -> float:
        """Seconds after which a lock whose holder died is free."""
        return self._lease_ms / 1000

    async def load(self, key: str) -> StoredToken | None:
        """Return the record under `key`, or None.

        Raises `StoreError` without an answer, and `UnreadableRecordError` for a record that cannot be read: the next
        `save` replaces it. Cancelling takes effect at once, and has none on the store.
        """
        text = await self._ask("load", lambda client: client.get(self._name(key, "record")))
        try:
            return None if text is None else decode(text)
        except ValueError:
            text = None  # this frame is in the traceback
        raise UnreadableRecordError("redis: the stored record cannot be read; the next save replaces it")

    async def save(self, key: str, record: StoredToken) -> None:
        """Keep `record`, unless the one that is there has a higher generation.

        Raises `StoreError` without an answer: it may be saved all the same. So it may when cancelled, which takes
        effect at once.
        """
        name, text = self._name(key, "record"), Secret(encode(record))
        await self._ask(
            "save", lambda client: client.eval(SAVE, 1, name, str(record.generation), str(self._record_ttl_ms), text)
        )

    async def clear(self, key: str) -> None:
        """Forget the record under `key`, readable or not; nothing happens when there is none.

        Raises `StoreError` and is cancelled as `save`.
        """
        await self._ask("clear", lambda client: client.delete(self._name(key, "record")))

    @asynccontextmanager
    async def refresh_lock(self, key: str) -> AsyncGenerator[None, None]:
        """Return the lock on `key`, exclusive among all that use the server, free when the lease of its holder ends.

        Entering waits until the lock is free: put a deadline around it; `anyio.move_on_after(0)` only tries. Raises
        `StoreError` without an answer. Cancelling leaves it free once the server has answered, within three seconds.
        Not reentrant. Not prolonged: who holds it for longer than the lease is no longer alone.
        """
        name = self._name(key, "lock")
        token = self._left.pop(name)[0] if name in self._left else secrets.token_hex(16)
        may_be_held = False

        async def attempt() -> bool:
            nonlocal may_be_held
            may_be_held = True  # until an answer says otherwise: the server may have obeyed and the answer be lost
            may_be_held = await self._script("lock", ACQUIRE, name, token, str(self._lease_ms))
            return may_be_held

        try:
            await poll(lambda: finish(attempt()))
            yield
        finally:
            if may_be_held:
                await finish(self._give_back(name, token))

    async def server(self, key: str) -> str | None:
        """Return the name of the server of `key`, another after each start and fail-over; None where it hides it.

        Raises `StoreError` without an answer. Cancelling takes effect at once, and has none on the store.
        """
        name = await self._ask("server", lambda client: client.eval(SERVER, 1, self._name(key, "record")))
        return name.decode() if isinstance(name, bytes) else name if isinstance(name, str) else None

    async def disconnect(self) -> None:
        """Close the connections that nobody uses now, of a client made from a URL. Raises nothing.

        A session does this when it is closed; others go on using the store.
        """
        if self._own is not None:
            await self._own.disconnect()

    async def aclose(self) -> None:
        """Close the client that was made from a URL; a given one is left alone. The store may be used again."""
        if self._own is not None:
            await self._own.aclose()

    def __repr__(self) -> str:
        where = self._own or f"a given {type(self._given).__name__}"
        return f"<RedisStore {where}, prefix {self._prefix!r}, lease {self.lease:g} s>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a RedisStore holds a connection and its password; make one in each process")

    async def _give_back(self, name: str, token: str) -> None:
        try:
            await self._script("unlock", RELEASE, name, token)
        except StoreError:
            now = time.monotonic()
            self._left = {left: kept for left, kept in self._left.items() if now < kept[1]}
            self._left[name] = token, now + self.lease

    def _name(self, key: str, part: str) -> str:
        return f"{self._prefix}{{{key}}}:{part}"

    async def _script(self, action: str, script: str, *arguments: str) -> bool:
        return await self._ask(action, lambda client: client.eval(script, 1, *arguments)) == 1

    async def _ask(self, action: str, command: Callable[[Commands], Awaitable[T]]) -> T:
        # asyncio's timeout, as redis-py uses itself: anyio's would cancel again while a connection is being closed.
        try:
            async with asyncio.timeout(OPERATION_LIMIT):
                return await command(self._commands())
        except self._foreign as exc:
            raise StoreError(f"redis: {action} failed ({words_of(exc)})") from without_frames(exc)

    def _commands(self) -> Commands:
        return cast("Commands", self._given if self._own is None else self._own.get())


def _checked(client: object) -> object:
    """Return `client`. Raises `ConfigurationError` for what cannot be one."""
    instead = "a URL as text, or a client of redis.asyncio"
    check_methods("client_or_url", client, ("get", "delete", "eval"), instead)
    execute = getattr(client, "execute_command", None)
    if execute is not None and not iscoroutinefunction(execute):
        raise ConfigurationError(f"client_or_url must be {instead}; this client blocks, that of `redis` itself")
    return client


def _text(prefix: object) -> str:
    if isinstance(prefix, str):
        with suppress(UnicodeEncodeError):
            prefix.encode()
            return prefix
    raise ConfigurationError(f"prefix must be text that can be sent, not {type(prefix).__name__}")


def _milliseconds(name: str, seconds: float) -> int:
    check_seconds(name, seconds, zero=False)
    if not 0.001 <= seconds <= LONGEST:
        raise ConfigurationError(f"{name} must be from a millisecond to {LONGEST:.0f} seconds, not {seconds:g}")
    return int(seconds * 1000)
