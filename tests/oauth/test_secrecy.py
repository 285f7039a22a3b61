"""Token requests that fail, in every way and on every event loop: no tool that shows variables shows a secret."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import aiohttp
import pytest

from nexudus_async import (
    NexudusAuthError,
    PasswordCredentials,
    RefreshPolicy,
    Token,
    TokenEndpoint,
    TokenSession,
)
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.values.renderers import Factory, leaks, of_a_library, on_every_loop, run

USERNAME = "member-" + "m" * 90 + "@example.com"
PASSWORD = "Pa55-Word " + "correct horse & battery+staple=é" * 4
CODE = "Ein-Mal-Code-493817-und-noch-etwas-mehr"
REFRESH = "0123456789abcdef0123456789abcdef"
SECRETS = (PASSWORD, CODE, REFRESH)
TOKEN = Token("AcCeSs-" + "t" * 90, REFRESH, "bearer", "worker-1", 60.0, datetime(2026, 1, 1, tzinfo=UTC))
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answer: bytes, read: bool) -> None:
    """Answer, having read the request or not, and hang up."""
    if read:
        await reader.readuntil(b"\r\n\r\n")
    writer.write(answer)
    writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with the request itself, as a broken proxy might, in a header that is none."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 400 Bad Request\r\n" + await reader.read(65_536) + b"\r\n\r\n")
    writer.close()


VAULT = """
def vault(secret):
    opened = secret + "!"
    raise LookupError(len(opened))
"""
NOSY = """
class Nosy(aiohttp.TCPConnector):
    async def connect(self, request, *args, **options):
        body = request.body
        body = b"".join([await body.as_bytes() if hasattr(body, "as_bytes") else body._value])  # aiohttp 3.12.0
        if hasattr(self, "reached"):
            self.reached.set()
            await self.never.wait()
        errors = [OSError(111, "refused")]
        try:
            self.look_at(body)
        except KeyError as exc:
            errors.append(exc)
        raise ExceptionGroup("no address", errors)

    def look_at(self, body):
        raise KeyError(len(body))
"""
HALF = b'HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"refresh_token": "' + REFRESH.encode() + b'", '
ANSWERS = {
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "nothing": b"",
    "a long header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 9_000 + b"\r\n\r\n",
    "half an answer": HALF,
    "a page": b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
}
SERVERS: dict[str, Handler] = {
    "an echo": echo,
    **{name: partial(babble, answer=answer, read=True) for name, answer in ANSWERS.items()},
    **{f"{name}, before it reads": partial(babble, answer=answer, read=False) for name, answer in ANSWERS.items()},
}


@asynccontextmanager
async def serving(handle: Handler) -> AsyncGenerator[str]:
    """Serve by hand; yield the origin."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def failures(url: str, **options: Any) -> list[BaseException]:
    """Return what comes of a sign-in and of a refresh."""
    policy = RefreshPolicy(connect_timeout=0.05)
    credentials = PasswordCredentials(USERNAME, PASSWORD, lambda: CODE)
    result: list[BaseException] = []
    async with aiohttp.ClientSession(**options) as session:
        for grant in ("password", "refresh_token"):
            endpoint = TokenEndpoint(session, url, credentials, policy=policy, clock=ManualClock(autojump=True))
            with pytest.raises(NexudusAuthError) as caught:
                await (endpoint.login() if grant == "password" else endpoint.refresh(TOKEN))
            result.append(caught.value)
    return result


def check(errors: list[BaseException]) -> None:
    assert errors
    for error in errors:
        assert not leaks(error, [*SECRETS, TOKEN.access_token])


@on_every_loop
@pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)
def test_a_server_that_is_none(loop: Factory | None, server: Handler) -> None:
    """What it sends may come before the request was written, in the middle of it, or never."""

    async def play() -> list[BaseException]:
        async with serving(server) as url:
            return await failures(url) + await failures(url)

    check(run(loop, play()))


@on_every_loop
def test_nobody_there(loop: Factory | None) -> None:
    """Connection refused."""

    async def play() -> list[BaseException]:
        async with serving(echo) as url:
            pass
        return await failures(url)

    check(run(loop, play()))


@on_every_loop
def test_a_connection_that_takes_too_long(loop: Factory | None) -> None:
    """A peer that says nothing, in the middle of TLS."""

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def play() -> list[BaseException]:
        async with serving(silent) as url:
            return await failures(url.replace("http:", "https:"))

    check(run(loop, play()))


@on_every_loop
def test_an_answer_that_takes_too_long(loop: Factory | None) -> None:
    """Cut off by the deadline, or by a caller of the endpoint who gives up."""

    async def play() -> list[BaseException]:
        async with NexudusEmulator() as emulator, aiohttp.ClientSession() as session:
            endpoint = TokenEndpoint(session, emulator.url, PasswordCredentials(USERNAME, PASSWORD, lambda: CODE))
            with emulator.hold("token"), pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.1):
                    await endpoint.login()
            with emulator.hold("token") as hold:
                task = asyncio.create_task(endpoint.refresh(TOKEN))
                await hold.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError) as cancelled:
                    await task
        return [caught.value, cancelled.value]

    check(run(loop, play()))


@on_every_loop
def test_a_refusal_that_repeats_everything(loop: Factory | None) -> None:
    """In its words, and as its code."""

    async def play() -> list[BaseException]:
        async with NexudusEmulator() as emulator:
            errors: list[BaseException] = []
            for everything in (f"{PASSWORD} {CODE}", REFRESH):
                for fault in (
                    Fault.json({"error": "invalid_grant", "error_description": everything}, 400),
                    Fault.json({"error": everything}, 400),
                    Fault.answer(400, everything),
                    Fault.answer(200, everything),
                    Fault.redirect(f"https://{everything}.example/{everything}"),
                ):
                    emulator.fail("token", fault, times=None)
                    errors.append((await failures(emulator.url))[everything == REFRESH])
                    emulator.faults.clear()
            return errors

    check(run(loop, play()))


@on_every_loop
@pytest.mark.parametrize("what", ["password", "totp"])
def test_a_callable_that_raises(loop: Factory | None, what: str) -> None:
    """With a secret among its variables, or as an argument that is bound to it."""

    vault = of_a_library(VAULT, "vault")

    async def play() -> list[BaseException]:
        raising = partial(vault, PASSWORD)
        credentials = PasswordCredentials(USERNAME, PASSWORD, raising)
        if what == "password":
            credentials = PasswordCredentials(USERNAME, raising)
        session = TokenSession(credentials, base_url="http://127.0.0.1:9")
        async with session:
            with pytest.raises(NexudusAuthError, match=f"the {what} callable raised LookupError") as caught:
                await session.token()
        assert PASSWORD[:16] not in repr(credentials) + repr(credentials.password) + repr(credentials.totp)
        assert caught.value.__cause__ is not None
        return [caught.value]

    check(run(loop, play()))


@on_every_loop
def test_a_session_and_its_waiters(loop: Factory | None) -> None:
    """Through the flight: what each waiter gets, its cause included."""

    async def play() -> list[BaseException]:
        async with serving(SERVERS["SSH, before it reads"]) as url:
            session = TokenSession(PasswordCredentials(USERNAME, PASSWORD, lambda: CODE), base_url=url)
            async with session:
                results = await asyncio.gather(*(session.token() for _ in range(3)), return_exceptions=True)
        errors = [each for each in results if isinstance(each, NexudusAuthError)]
        assert len(errors) == 3
        return list(errors)

    check(run(loop, play()))


@on_every_loop
def test_a_connector_that_knows_the_body(loop: Factory | None) -> None:
    """Its frames hold what it was given, and those of what its error came from."""

    async def play() -> list[BaseException]:
        async with of_a_library(NOSY, "Nosy")() as connector:
            return await failures("http://127.0.0.1:9", connector=connector, connector_owner=False)

    errors = run(loop, play())
    assert all(isinstance(error.__cause__, ExceptionGroup) for error in errors)
    check(errors)


@on_every_loop
def test_a_connector_that_knows_the_body_and_is_cancelled(loop: Factory | None) -> None:
    """While it waits for an address, say."""

    async def play() -> list[BaseException]:
        async with of_a_library(NOSY, "Nosy")() as connector, aiohttp.ClientSession(connector=connector) as session:
            connector.reached, connector.never = asyncio.Event(), asyncio.Event()
            endpoint = TokenEndpoint(session, "http://127.0.0.1:9", PasswordCredentials(USERNAME, PASSWORD))
            task = asyncio.create_task(endpoint.refresh(TOKEN))
            await connector.reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as cancelled:
                await task
        return [cancelled.value]

    check(run(loop, play()))
