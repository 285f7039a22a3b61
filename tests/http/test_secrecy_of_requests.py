"""API requests that fail, in every way and on every event loop: no tool that shows variables shows the token."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from nexudus_async import BearerMiddleware, PasswordCredentials, TokenSession
from nexudus_async._http.tracebacks import hide_what_was_sent
from nexudus_async.errors import chain_of
from nexudus_async.testing import NexudusEmulator
from tests.values.renderers import Factory, leaks, of_a_library, on_every_loop, run

Send = Callable[..., Awaitable[aiohttp.ClientResponse]]
Handler = Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]
CARRIERS = ["session", "middleware"]
HANG = b"hang"
ANSWERS = {
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "nothing": b"",
    "a long header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 9_000 + b"\r\n\r\n",
    "half an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{",
    "redirects": b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n",
    "an error": b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
    "too slow": HANG,
}


class Server:
    """An API that answers what it is told, before it has read the request or after."""

    def __init__(self, answer: bytes, *, read: bool) -> None:
        self._answer, self._read = answer, read
        self.headers = b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._read:
                self.headers = await reader.readuntil(b"\r\n\r\n")
            if self._answer == HANG:
                await reader.read()
            writer.write(self._answer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def carrier(kind: str, server: Server, **options: Any) -> AsyncGenerator[tuple[Send, str, str]]:
    """Yield what sends requests with the token to `server`, its URL, and the access token."""
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with (
        listening,
        NexudusEmulator() as emulator,
        TokenSession(
            PasswordCredentials(emulator.username, emulator.password), base_url=emulator.url, allowed_origins=[url]
        ) as session,
    ):
        token = await session.token()
        if kind == "session":
            yield session.request, url, token.access_token
        else:
            middleware = BearerMiddleware(session.manager, [url])
            async with aiohttp.ClientSession(middlewares=(middleware,), **options) as http:
                yield http.request, url, token.access_token


async def failure(send: Send, *args: Any, **options: Any) -> BaseException:
    """Return what a request, read to its end, raises."""

    async def read() -> None:
        response = await send(*args, raise_for_status=True, **options)
        await response.read()

    with pytest.raises((aiohttp.ClientError, TimeoutError)) as caught:
        await read()
    return caught.value


@on_every_loop
@pytest.mark.parametrize("kind", CARRIERS)
@pytest.mark.parametrize("read", [True, False], ids=["after the request", "before it reads"])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_request_that_fails(loop: Factory | None, kind: str, read: bool, answer: bytes) -> None:
    """With a body and without; its error keeps its type and its text."""

    async def play() -> None:
        server = Server(answer, read=read)
        async with carrier(kind, server) as (send, url, access):
            timeout = aiohttp.ClientTimeout(total=None, sock_read=0.05)
            apart: dict[str, Any] = {"middlewares": ()} if kind == "session" else {}  # another way to send
            for method, options in (("GET", {}), ("POST", {"data": b"x" * 100}), ("PUT", {"json": {"a": 1}} | apart)):
                error = await failure(send, method, f"{url}/me", timeout=timeout, **options)
                assert type(error).__module__.startswith("aiohttp") or isinstance(error, TimeoutError)
                assert str(error)
                assert not leaks(error, [access, f"Bearer {access}"])
            assert access.encode() in server.headers or not read

    run(loop, play())


@on_every_loop
@pytest.mark.parametrize("kind", CARRIERS)
def test_nobody_there(loop: Factory | None, kind: str) -> None:
    """Connection refused."""

    async def play() -> None:
        async with carrier(kind, Server(b"", read=True)) as (send, url, access):
            pass
        async with carrier(kind, Server(b"", read=True)) as (send, other, access):
            error = await failure(send, "GET", f"{other}/", proxy=url)  # where nobody listens any more
            assert isinstance(error, aiohttp.ClientConnectorError)
            assert not leaks(error, [access])

    run(loop, play())


@on_every_loop
@pytest.mark.parametrize("kind", CARRIERS)
def test_a_request_that_is_cancelled(loop: Factory | None, kind: str) -> None:
    """Or outlives its caller's patience."""

    async def play() -> None:
        async with carrier(kind, Server(HANG, read=True)) as (send, url, access):
            with pytest.raises(TimeoutError) as late:
                async with asyncio.timeout(0.1):
                    await send("POST", url, data=b"x" * 1_000_000)
            task = asyncio.ensure_future(send("GET", url))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as cancelled:
                await task
            assert not leaks(late.value, [access])
            assert not leaks(cancelled.value, [access])

    run(loop, play())


@on_every_loop
def test_a_handshake_that_fails(loop: Factory | None) -> None:
    """Of a WebSocket: refused, and garbage."""

    async def play() -> None:
        for answer in (ANSWERS["SSH"], ANSWERS["an error"], ANSWERS["nothing"]):
            for read in (True, False):
                server = await asyncio.start_server(Server(answer, read=read), "127.0.0.1", 0)
                url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
                async with server, NexudusEmulator() as emulator, TokenSession(
                    PasswordCredentials(emulator.username, emulator.password),
                    base_url=emulator.url, allowed_origins=[url],
                ) as session:  # fmt: skip
                    access = (await session.token()).access_token
                    with pytest.raises(aiohttp.ClientError) as caught:
                        await session.ws_connect(url)
                    assert not leaks(caught.value, [access])

    run(loop, play())


TRANSPORT = """
class Wrapped:
    def __init__(self, transport):
        self.transport = transport

    def __getattr__(self, name):
        return getattr(self.transport, name)

    def write(self, data):
        copied = bytes(data)
        raise OSError(5, f"no room for {len(copied)} bytes")

class Wrapping(aiohttp.TCPConnector):
    async def connect(self, *args, **options):
        connection = await super().connect(*args, **options)
        connection.protocol.transport = Wrapped(connection.protocol.transport)
        return connection
"""


@on_every_loop
def test_what_is_below_aiohttps_writer_is_not_shown(loop: Factory | None) -> None:
    """A transport of somebody else's holds the bytes as they are sent."""

    async def play() -> None:
        connector = of_a_library(TRANSPORT, "Wrapping")
        async with carrier("middleware", Server(HANG, read=True), connector=connector()) as (send, url, access):
            error = await failure(send, "POST", url, data=b"x")
            assert "no room" in "".join(map(str, chain_of(error)))
            assert not leaks(error, [access])

    run(loop, play())


def frames_of(error: BaseException) -> list[str]:
    """Return the names of the functions in the traceback."""
    names: list[str] = []
    traceback = error.__traceback__
    while traceback is not None:
        names.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    return names


async def test_the_callers_own_frames_stay() -> None:
    """A bug in a middleware or in a body's generator must be found."""

    async def my_middleware(request: aiohttp.ClientRequest, handler: Handler) -> aiohttp.ClientResponse:
        raise ZeroDivisionError

    async def my_body() -> AsyncIterator[bytes]:
        yield b"x"
        raise LookupError

    async with carrier("session", Server(ANSWERS["an error"], read=True)) as (send, url, access):
        with pytest.raises(ZeroDivisionError) as caught:
            await send("GET", url, middlewares=(my_middleware,))
        assert frames_of(caught.value)[-1] == "my_middleware"
        assert "_request" in frames_of(caught.value)
        with pytest.raises(aiohttp.ClientConnectionError) as broken:
            await send("POST", url, data=my_body())
        cause = broken.value.__cause__
        assert isinstance(cause, LookupError)
        assert frames_of(cause) == ["my_body"]
        assert not leaks(caught.value, [access])
        assert not leaks(broken.value, [access])


@pytest.mark.parametrize(
    ("module", "stays"),
    [
        ("ssl", False), ("asyncio.sslproto", False), ("aiohttp.client", False), ("aiohttp._websocket.writer", False),
        ("uvloop", False), ("aiohttp_retry.client", True), ("my.ssl", True), ("sslkeylog", True),
    ],
)  # fmt: skip
def test_frames_go_by_the_package_that_they_are_of(module: str, stays: bool) -> None:
    """However deep inside it, and not by a name that only resembles it."""

    def fail() -> None:
        raise ValueError

    names: dict[str, Any] = {"__name__": module}
    exec("def send(body):\n    body()", names)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        names["send"](fail)
    hide_what_was_sent(caught.value)
    here = "test_frames_go_by_the_package_that_they_are_of"
    assert frames_of(caught.value) == ([here, "send", "fail"] if stays else [here, "fail"])


@pytest.mark.parametrize("kind", CARRIERS)
async def test_an_error_that_was_being_handled_keeps_its_frames(kind: str) -> None:
    """It is the caller's, frames of asyncio included, whether ours comes at once or after a wait."""
    at_once = {"chunked": True, "headers": {"Content-Length": "1"}, "data": b"x"}
    later = {"timeout": aiohttp.ClientTimeout(total=0.05)}
    seen: list[tuple[bool, list[str]]] = []
    async with carrier(kind, Server(HANG, read=True)) as (send, url, _):
        for options in (at_once, later):
            try:
                await asyncio.wait_for(asyncio.Event().wait(), 0)
            except TimeoutError as error:
                with pytest.raises((ValueError, TimeoutError)) as caught:
                    await send("GET", url, **options)
                seen.append((error in chain_of(caught.value), frames_of(error)))
    assert [is_context for is_context, _ in seen] == [True, True]
    assert all("wait_for" in frames for _, frames in seen)


def test_a_circle_of_errors_has_an_end() -> None:
    """And the members of a group are looked at, too."""
    one, two = ValueError("one"), ExceptionGroup("two", [KeyError("three")])
    one.__cause__, two.__context__ = two, one
    hide_what_was_sent(one)
