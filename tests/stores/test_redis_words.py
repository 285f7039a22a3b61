"""What a store says when its server refuses: why, and no secret. Against a real Valkey, and real TLS."""

import asyncio
import errno
import socket
import ssl
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    DataError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as Disconnected

from nexudus_async.errors import StoreError
from nexudus_async.stores import RedisStore, StoredToken
from nexudus_async.stores._redis_client import words_of
from tests.valkey import Valkey

from .certificates import server_context

pytestmark = pytest.mark.fleet

ONE = StoredToken(1, "hunter2")


Command = Callable[..., Awaitable[object]]


@pytest.fixture
async def command(valkey: Valkey) -> AsyncIterator[Command]:
    """Give the server a command; what is changed by it is put right at the end."""
    async with Redis(port=valkey.port) as client:
        command = cast("Command", client.execute_command)  # pyright: ignore[reportUnknownMemberType] - it has no types
        yield command
        await command("CONFIG", "SET", "maxmemory", "0")
        await command("REPLICAOF", "NO", "ONE")
        await command("ACL", "DELUSER", "reader")


async def refusal(url: str, operation: Callable[[RedisStore], Any] = lambda store: store.save("a", ONE)) -> str:
    """Return what the store says, once it is sure that nothing else says more."""
    store = RedisStore(url)
    try:
        with pytest.raises(StoreError) as caught:
            await operation(store)
    finally:
        await store.aclose()
    caught.value.__traceback__ = None
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "hunter2" not in shown
    return str(caught.value)


async def test_a_wrong_password(valkey: Valkey, command: Command) -> None:
    """The server's own code, and not the password."""
    await command("ACL", "SETUSER", "reader", "on", ">right", "~*", "+@all")
    said = await refusal(f"redis://reader:hunter2@127.0.0.1:{valkey.port}")
    assert said.startswith("redis: save failed (AuthenticationError: ")
    assert said.endswith("WRONGPASS)")


async def test_no_password(valkey: Valkey, command: Command) -> None:
    """Where one is needed."""
    await command("CONFIG", "SET", "requirepass", "hunter2")
    try:
        assert "NOAUTH" in await refusal(valkey.url)
    finally:
        await command("AUTH", "hunter2")
        await command("CONFIG", "SET", "requirepass", "")


async def test_a_user_who_may_not(valkey: Valkey, command: Command) -> None:
    """ACL rules of which a command is none."""
    await command("ACL", "SETUSER", "reader", "on", ">hunter2", "~*", "+@read", "+@connection")
    assert "NOPERM" in await refusal(f"redis://reader:hunter2@127.0.0.1:{valkey.port}")


async def test_a_replica(valkey: Valkey, command: Command) -> None:
    """A fail-over left the store behind."""
    await command("REPLICAOF", "127.0.0.1", "1")
    assert "READONLY" in await refusal(valkey.url)


async def test_a_full_server(valkey: Valkey, command: Command) -> None:
    """It may evict nothing."""
    await command("CONFIG", "SET", "maxmemory", "1")
    assert "OOM" in await refusal(valkey.url)
    assert "OOM" in await refusal(valkey.url, lambda store: store.refresh_lock("a").__aenter__())


async def test_nobody_there() -> None:
    """Whether the host has one address or several."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for host in ("127.0.0.1", "localhost"):
        assert (
            await refusal(f"redis://:hunter2@{host}:{port}")
            == "redis: save failed (ConnectionError: Connection refused)"
        )


@pytest.fixture
async def tls(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Start a TLS server that is somebody; return its URL with the certificate to trust, or with the usual ones."""
    servers: list[asyncio.Server] = []

    async def ended(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def start(*, trusted: bool, **certificate: Any) -> str:
        context, public = server_context(tmp_path, **certificate)
        servers.append(await asyncio.start_server(ended, "127.0.0.1", 0, ssl=context))
        port = servers[-1].sockets[0].getsockname()[1]
        return f"rediss://:hunter2@localhost:{port}" + (f"?ssl_ca_certs={public}" if trusted else "")

    yield start
    for server in servers:
        server.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(server.wait_closed(), 1)


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ({"trusted": False}, "self-signed certificate"),
        ({"trusted": True, "days": -0.5}, "certificate has expired"),
        ({"trusted": True, "name": "elsewhere.example"}, "Hostname mismatch"),
    ],
    ids=["self-signed", "expired", "hostname"],
)
async def test_a_certificate_that_cannot_be_verified(
    tls: Callable[..., Any], certificate: dict[str, Any], words: str
) -> None:
    """Why not."""
    said = await refusal(await tls(**certificate))
    assert "certificate verify failed" in said
    assert words in said.replace("self signed", "self-signed")  # the older spelling of OpenSSL


async def test_no_tls_where_some_is_expected() -> None:
    """What OpenSSL makes of the answer."""

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"-DENIED hunter2\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert "WRONG_VERSION_NUMBER" in await refusal(f"rediss://:hunter2@127.0.0.1:{port}")


def _with(error: BaseException, context: BaseException) -> BaseException:
    error.__context__ = context
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        # As redis-py 6 raises them, without the code.
        (AuthenticationError("invalid username-password pair"), "AuthenticationError: NOAUTH or WRONGPASS"),
        (ReadOnlyError("You can't write against a read only replica."), "ReadOnlyError: READONLY"),
        (OutOfMemoryError("command not allowed"), "OutOfMemoryError: OOM"),
        (NoPermissionError("this user has no permissions"), "NoPermissionError: NOPERM"),
        (BusyLoadingError("hunter2"), "BusyLoadingError: LOADING"),
        (ResponseError("MISCONF hunter2"), "ResponseError: MISCONF"),
        (ResponseError("ERR hunter2"), "ResponseError: ERR"),
        (ResponseError("hunter2 hunter2"), "ResponseError"),
        (DataError("hunter2"), "DataError"),
        (TimeoutError(), "TimeoutError: no answer in time"),
        (Disconnected("Connection closed by server."), "ConnectionError"),
        (
            _with(Disconnected("x"), ConnectionRefusedError(errno.ECONNREFUSED, "hunter2")),
            "ConnectionError: Connection refused",
        ),
        (
            _with(Disconnected("x"), OSError(f"Multiple exceptions: [Errno {errno.ECONNREFUSED}] hunter2")),
            "ConnectionError: Connection refused",
        ),
        (_with(Disconnected("x"), OSError("hunter2")), "ConnectionError"),
        (
            _with(Disconnected("x"), socket.gaierror(-2, "Name or service not known")),
            "ConnectionError: Name or service not known",
        ),
        (_with(Disconnected("x"), ssl.SSLError(1, "hunter2")), "ConnectionError"),
    ],
    ids=range(16),
)
def test_words_are_of_those_that_are_no_secret(error: BaseException, words: str) -> None:
    """The class, and a code or what the operating system says; never a server's free text."""
    assert words_of(error) == words
