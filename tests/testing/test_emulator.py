"""The emulator as a server: the API behind the bearer, routes, shutdown."""

import asyncio
import logging
import time

import aiohttp
import pytest
from aiohttp import web

from nexudus_async.testing import Fault, NexudusEmulator

from .conftest import Client

CUSTOMER = "/api/public/billing/customer"
COWORKERS = "/api/spaces/coworkers"


@pytest.fixture
async def token(client: Client) -> str:
    access_token: str = (await client.sign_in()).json["access_token"]
    client.emulator.reset_record()
    return access_token


async def test_the_related_endpoints_know_who_asks(client: Client, token: str) -> None:
    """The customer's profile carries a secret; the teams are a list."""
    customer = (await client.call(CUSTOMER, token)).json
    assert customer["Email"] == client.emulator.username
    assert customer["AccessToken"] in client.emulator.secrets
    assert isinstance((await client.call("/api/public/teams/my", token)).json, list)
    assert (await client.call("/api/auth/me", token)).json["Email"] == client.emulator.username


@pytest.mark.parametrize(("bearer", "challenge"), [("dead", 'Bearer error="invalid_token"'), (None, "Bearer")])
async def test_without_a_living_bearer_it_is_a_401(client: Client, bearer: str | None, challenge: str) -> None:
    """With the challenge of RFC 6750, section 3.1, which names no error when nothing was presented."""
    answer = await client.call(CUSTOMER, bearer)
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, challenge)


async def test_a_bearer_is_a_bearer(client: Client, token: str) -> None:
    """The scheme is compared without regard to case; another scheme does not count."""
    for scheme, status in (("bearer", 200), ("BEARER", 200), ("Basic", 401)):
        headers = {"Authorization": f"{scheme} {token}"}
        async with client.http.get(client.emulator.url + CUSTOMER, headers=headers) as response:
            assert response.status == status


async def test_lists_come_in_pages(client: Client, token: str) -> None:
    """`page` from 1, `size` 25 by default, and whether there is more."""
    del client.emulator.coworkers[53:]
    pages = [(await client.call(f"{COWORKERS}?page={page}", token)).json for page in (1, 2, 3, 4)]
    assert [len(page["Records"]) for page in pages] == [25, 25, 3, 0]
    assert [page["HasNextPage"] for page in pages] == [True, True, False, False]
    assert {page["TotalPages"] for page in pages} == {3}
    assert [page["CurrentPage"] for page in pages] == [1, 2, 3, 4]
    assert (await client.call(f"{COWORKERS}?size=53", token)).json["HasNextPage"] is False
    assert (await client.call(f"{COWORKERS}?page=0", token)).status == 400
    assert (await client.call(f"{COWORKERS}?page=x", token)).status == 400


@pytest.mark.parametrize(
    ("fault", "written"), [(None, 1), (Fault.answer(502), 0), (Fault.answer(502, applied=True), 1)]
)
async def test_a_write_happens_or_not(client: Client, token: str, fault: Fault | None, written: int) -> None:
    """A 5xx does not tell: with `applied` the record is there."""
    before = len(client.emulator.coworkers)
    if fault is not None:
        client.emulator.fail(COWORKERS, fault)
    async with client.http.post(
        client.emulator.url + COWORKERS, json={"FullName": "New"}, headers={"Authorization": f"Bearer {token}"}
    ) as response:
        assert response.status == (502 if fault else 200)
    assert len(client.emulator.coworkers) - before == written


async def test_endpoints_that_always_refuse(client: Client, token: str) -> None:
    """A 401 and a 403 which no new token helps."""
    assert (await client.call("/api/emulator/unauthorized", token)).status == 401
    assert (await client.call("/api/emulator/forbidden", token)).status == 403


async def test_what_is_not_there(client: Client, token: str) -> None:
    """404 for an unknown path, 405 for a method that the path has not; HEAD goes with GET."""
    assert (await client.call("/api/nothing", token)).status == 404
    async with client.http.delete(client.emulator.url + CUSTOMER) as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET")
    async with client.http.head(client.emulator.url + CUSTOMER, headers={"Authorization": f"Bearer {token}"}) as head:
        assert (head.status, await head.read()) == (200, b"")


async def test_the_echo_and_the_slow_stream(client: Client, token: str) -> None:
    """What was sent comes back; a body comes in pieces."""
    answer = await client.call("/api/emulator/echo?a=1", token, "PUT", {"b": 2})
    assert answer.json == {"Method": "PUT", "Query": "a=1", "Body": '{"b": 2}'}
    url = f"{client.emulator.url}/api/emulator/slow?chunks=2&delay=0"
    async with client.http.get(url, headers={"Authorization": f"Bearer {token}"}) as response:
        assert await response.text() == "chunk 0\nchunk 1\n"
    assert (await client.call("/api/emulator/slow?chunks=two", token)).status == 400


async def test_a_websocket_behind_the_bearer(client: Client, token: str) -> None:
    """It sends back what it is sent; without a bearer there is no handshake."""
    url = f"{client.emulator.url}/api/emulator/websocket"
    async with client.http.ws_connect(url, headers={"Authorization": f"Bearer {token}"}) as socket:
        await socket.send_str("text")
        await socket.send_bytes(b"bytes")
        assert (await socket.receive_str(), await socket.receive_bytes()) == ("text", b"bytes")
    with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
        await client.http.ws_connect(url)


async def test_own_routes_before_and_after_the_start() -> None:
    """Behind the bearer or not; the latest wins; an answer raised is an answer."""

    async def hello(request: web.Request) -> web.Response:
        return web.json_response(request.method)

    async def conflict(request: web.Request) -> web.Response:
        raise web.HTTPConflict

    emulator = NexudusEmulator()
    emulator.route("get", "/open", hello, authenticated=False)
    async with emulator, aiohttp.ClientSession() as http:
        client = Client(http, emulator)
        emulator.route("*", "/closed", hello)
        emulator.route("POST", "/closed", conflict, authenticated=False)
        token = (await client.sign_in()).json["access_token"]
        assert (await client.call("/open", None)).json == "GET"
        assert (await client.call("/closed", None)).status == 401
        assert (await client.call("/closed", token, "PATCH")).json == "PATCH"
        async with http.post(f"{emulator.url}/closed") as response:
            assert response.status == 409
        assert emulator.requests[-1].status == 409


async def test_a_client_that_leaves_is_not_an_error(
    client: Client, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is recorded without a status, and nothing is logged."""
    client.emulator.fail(CUSTOMER, Fault.big(20_000_000))
    async with client.http.get(client.emulator.url + CUSTOMER) as response:
        await response.content.readexactly(10)
    while client.emulator.requests[0].finished is None:  # noqa: ASYNC110  the server learns of it in its own time
        await asyncio.sleep(0)
    assert client.emulator.requests[0].status is None
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_it_stops_at_once_with_handlers_that_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held answers, open websockets and handlers that wait for ever do not hold the test up."""
    monkeypatch.setattr("nexudus_async.testing._emulator._SHUTDOWN", 5.0)  # seconds that it must not come to

    reached = asyncio.Event()

    async def for_ever(request: web.Request) -> web.Response:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with aiohttp.ClientSession() as http:
        async with NexudusEmulator() as emulator:
            client = Client(http, emulator)
            token = (await client.sign_in()).json["access_token"]
            emulator.route("GET", "/hang", for_ever)
            hold = emulator.hold("token")
            url = f"{emulator.url}/api/emulator/websocket"
            socket = await http.ws_connect(url, headers={"Authorization": f"Bearer {token}"})
            tasks = [asyncio.create_task(client.call("/hang", token)), asyncio.create_task(client.sign_in())]
            await hold.wait()
            await reached.wait()
            started = time.monotonic()
        assert time.monotonic() - started < 1
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [record.status for record in emulator.requests] == [200, None, None, None]
        assert [isinstance(outcome, aiohttp.ClientConnectionError) for outcome in outcomes] == [True, True]
        await socket.close()


async def test_an_outage_and_the_same_address_again() -> None:
    """Stopped it refuses connections; started again it is where it was, and knows its tokens."""
    fresh = aiohttp.TCPConnector(force_close=True)
    async with NexudusEmulator() as emulator, aiohttp.ClientSession(connector=fresh) as http:
        client, url = Client(http, emulator), emulator.url
        token = (await client.sign_in()).json["access_token"]
        await emulator.stop()
        await emulator.stop()
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.sign_in()
        await emulator.start()
        await emulator.start()
        assert emulator.url == url
        assert (await client.call(CUSTOMER, token)).status == 200


async def test_no_address_before_the_start() -> None:
    """The error says how to start it. `repr` always works."""
    emulator = NexudusEmulator()
    assert "stopped" in repr(emulator)
    with pytest.raises(RuntimeError, match="async with"):
        _ = emulator.url


async def test_a_thousand_clients_at_once(client: Client, token: str) -> None:
    """All of them are answered, and recorded in order of arrival."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        crowd = Client(http, client.emulator)
        answers = await asyncio.gather(*(crowd.call(CUSTOMER, token) for _ in range(1_000)))
    assert {answer.status for answer in answers} == {200}
    assert len(client.emulator.requests) == 1_000
