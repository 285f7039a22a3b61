"""What can go wrong on the way to the token endpoint: other hosts, huge bodies, answers that are none."""

import asyncio
import json
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from nexudus_async import EndpointUnavailableError, MalformedResponseError, RefreshPolicy, WrongHostError
from nexudus_async.testing import Fault, NexudusEmulator
from tests.leaks import leaked

from .conftest import MakeEndpoint
from .grants import GOOD

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(handle: Handler) -> AsyncGenerator[str]:
    """Serve bytes by hand; yield the origin."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("grant", ["sign-in", "refresh"])
async def test_a_redirect_is_refused_and_nothing_reaches_the_other_host(
    make: MakeEndpoint, emulator: NexudusEmulator, status: int, grant: str
) -> None:
    """A 307 would take the password along: to another port, another name of this host, or a path of its own."""
    endpoint = make()
    token = await endpoint.login()
    emulator.reset_record()
    async with NexudusEmulator() as other:
        for host in ("127.0.0.1", "localhost"):
            emulator.fail("token", Fault.redirect(f"{other.url.replace('127.0.0.1', host)}/api/token", status))
            with pytest.raises(WrongHostError) as caught:
                await (endpoint.login() if grant == "sign-in" else endpoint.refresh(token))
            assert caught.value.status == status
            assert not leaked(caught.value, emulator.secrets)
        assert other.requests == []
    emulator.fail("token", Fault.redirect("/elsewhere", status))
    with pytest.raises(WrongHostError):
        await endpoint.login()
    assert [request.path for request in emulator.requests] == ["/api/token"] * 3


async def test_a_wrong_host_does_not_burn_the_refresh_token(make: MakeEndpoint, emulator: NexudusEmulator) -> None:
    """Nobody there has looked at it."""
    endpoint = make()
    token = await endpoint.login()
    emulator.fail("token", Fault.html(200))
    with pytest.raises(WrongHostError) as caught:
        await endpoint.refresh(token)
    assert not caught.value.refresh_token_spent
    assert (await endpoint.refresh(token)).refresh_token != token.refresh_token


async def test_a_body_of_50_mb_is_not_read_to_its_end(make: MakeEndpoint) -> None:
    """One MiB, and what was on its way, at most."""
    size, sent = 50_000_000, list[int]()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % size)
        sent.append(0)
        while sent[-1] < size:
            writer.write(b'"' + b"x" * 65_535)
            await writer.drain()
            sent[-1] += 65_536

    async with raw_server(flood) as url:
        with pytest.raises(MalformedResponseError):
            await make(base_url=url).login()
    assert len(sent) == 3
    assert max(sent) < size / 2


async def test_a_small_body_that_unpacks_to_a_huge_one_is_not_read_either(make: MakeEndpoint) -> None:
    """The limit counts what comes out."""
    packer = zlib.compressobj(wbits=31)
    bomb = packer.compress(b" " * 200_000_000) + packer.flush()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb))
        writer.write(bomb)
        await writer.drain()

    async with raw_server(answer) as url:
        with pytest.raises(MalformedResponseError):
            await make(base_url=url).login()


@pytest.mark.parametrize("extra", [0, 1])
async def test_the_limit_is_one_mib(make: MakeEndpoint, emulator: NexudusEmulator, extra: int) -> None:
    """An answer padded to the limit is read, one byte more is not."""
    document = {"access_token": "a", "expires_in": 60, "padding": ""}
    document["padding"] = "x" * (1024 * 1024 - len(json.dumps(document)) + extra)
    emulator.fail("token", Fault.json(document), times=3)
    if extra:
        with pytest.raises(MalformedResponseError):
            await make().login()
    else:
        assert (await make().login()).access_token == "a"


DROPPED = {
    "nothing": b"",
    "a status only": b"HTTP/1.1 200 OK\r\n",
    "half a body": b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"access_token": "tok',
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{",
}
UNREADABLE = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a bad header": b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    "a huge header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "a bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "bad gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
}


@pytest.mark.parametrize("answer", [*DROPPED.values(), *UNREADABLE.values()], ids=[*DROPPED, *UNREADABLE])
async def test_what_is_not_http_is_a_lost_answer(make: MakeEndpoint, emulator: NexudusEmulator, answer: bytes) -> None:
    """For a refresh: one replay, then spent. A sign-in is tried again, but not if the same answer would come again.

    An error of this package, and no secret in aiohttp's frames.
    """
    connections = 0

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    token = await make().login()
    async with raw_server(babble) as url:
        endpoint = make(base_url=url)
        with pytest.raises((EndpointUnavailableError, MalformedResponseError)) as refreshing:
            await endpoint.refresh(token)
        assert connections == 2
        assert refreshing.value.refresh_token_spent
        with pytest.raises((EndpointUnavailableError, MalformedResponseError)) as signing_in:
            await endpoint.login()
    unreadable = answer in UNREADABLE.values()
    assert connections == 2 + (1 if unreadable else 3)
    assert isinstance(signing_in.value, MalformedResponseError) or not unreadable
    for error in (refreshing.value, signing_in.value):
        assert not leaked(error, emulator.secrets)


@pytest.mark.parametrize("length", [8_000, 8_200])
async def test_an_answer_with_a_long_header_is_not_asked_for_again(
    make: MakeEndpoint, emulator: NexudusEmulator, length: int
) -> None:
    """Each time would be a successful sign-in at the service, which ends the refresh token of the one before."""
    emulator.fail("token", Fault.answer(200, json.dumps(GOOD), headers={"X-Cookie": "x" * length}), times=None)
    if length < 8_190:
        assert (await make().login()).access_token == GOOD["access_token"]
    else:
        with pytest.raises(MalformedResponseError, match="could not be read") as caught:
            await make().login()
        assert caught.value.__cause__ is caught.value.__context__ is None  # its words may be those of the answer
    assert len(emulator.token_requests) == 1


async def test_no_word_of_a_broken_answer_is_shown(make: MakeEndpoint) -> None:
    """aiohttp's error repeats the line that it cannot read, and that may be the token."""
    for answer in (b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nX: 1\r\n"):

        async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes = answer) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer + b'{"access_token": "AcCeSs", "refresh_token": "ReFrEsH"}\r\n\r\n')

        async with raw_server(babble) as url:
            with pytest.raises(MalformedResponseError) as caught:
                await make(base_url=url).login()
        assert not leaked(caught.value, ["AcCeSs", "ReFrEsH"])


async def test_no_header_of_half_an_answer_is_shown(make: MakeEndpoint) -> None:
    """aiohttp puts what it got into its error."""

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: session=AcCeSs\r\nX-More: 1\r\n")

    async with raw_server(babble) as url:
        with pytest.raises(EndpointUnavailableError, match="dropped the request") as caught:
            await make(base_url=url).login()
    assert not leaked(caught.value, ["AcCeSs"])


async def test_connecting_ends_in_time_and_counts_as_not_sent(make: MakeEndpoint) -> None:
    """A peer that takes the connection and then says nothing, in the middle of TLS: three tries, each bounded."""
    accepted: list[bytes] = []

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        accepted.append(await reader.read(1))
        await reader.read()

    async with raw_server(silent) as origin:
        endpoint = make(base_url=origin.replace("http:", "https:"), policy=RefreshPolicy(connect_timeout=0.02))
        async with asyncio.timeout(5):
            with pytest.raises(EndpointUnavailableError, match="could not be reached"):
                await endpoint.login()
    assert len(accepted) == 3
