"""The httpx `Auth`: the token goes where it belongs, a 401 leads to one refresh and one replay, nothing is shown."""

import asyncio
import io
import logging
import pickle
import socket
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from aiohttp import web

from nexudus_async import ConfigurationError, PasswordCredentials, SessionClosedError, TokenSession
from nexudus_async.errors import chain_of
from nexudus_async.httpx import NexudusAuth
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER, Connect, until
from tests.values.renderers import leaks

ECHO = "/api/emulator/echo"
UNAUTHORIZED = "/api/emulator/unauthorized"

Clients = Callable[..., httpx.AsyncClient]


@pytest.fixture
async def clients(emulator: NexudusEmulator) -> AsyncIterator[Clients]:
    async with AsyncExitStack() as stack:
        made: list[httpx.AsyncClient] = []

        def make(auth: httpx.Auth, **options: Any) -> httpx.AsyncClient:
            client = httpx.AsyncClient(auth=auth, base_url=emulator.url, trust_env=False, **options)
            stack.push_async_callback(client.aclose)
            made.append(client)
            return client

        yield make


@pytest.fixture
async def elsewhere(clock: ManualClock) -> AsyncIterator[NexudusEmulator]:
    """Another origin: one port away."""
    async with NexudusEmulator(clock=clock) as other:
        yield other


def authorizations(emulator: NexudusEmulator, path: str) -> list[str | None]:
    return [record.headers.get("Authorization") for record in emulator.requests if record.path == path]


async def test_requests_carry_the_token_of_the_session(
    emulator: NexudusEmulator, connect: Connect, clients: Clients
) -> None:
    """One sign-in serves both kinds of client."""
    session = await connect()
    client = clients(NexudusAuth(session))
    answers = await asyncio.gather(*(client.get(CUSTOMER) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    async with session.get(CUSTOMER) as response:
        assert response.status == 200
    assert emulator.sign_ins == 1
    assert set(authorizations(emulator, CUSTOMER)) == {(await session.token()).authorization}


async def test_a_manager_with_origins_will_do(emulator: NexudusEmulator, connect: Connect, clients: Clients) -> None:
    session = await connect()
    for origins in (emulator.url, [emulator.url]):
        assert (await clients(NexudusAuth(session.manager, origins)).get(CUSTOMER)).status_code == 200


async def test_another_origin_gets_no_token(
    emulator: NexudusEmulator, connect: Connect, clients: Clients, elsewhere: NexudusEmulator
) -> None:
    """Another port, host or scheme is another origin; nobody signs in for it, and its 401 is the caller's."""
    client = clients(NexudusAuth(await connect()))
    port = emulator.url.rpartition(":")[2]
    assert (await client.get(elsewhere.url + CUSTOMER)).status_code == 401
    assert (await client.get(f"http://localhost:{port}{CUSTOMER}")).status_code == 401
    with pytest.raises(httpx.ConnectError):
        await client.get(f"https://127.0.0.1:{port}{CUSTOMER}")
    assert emulator.token_requests == elsewhere.token_requests == []
    assert authorizations(emulator, CUSTOMER) == authorizations(elsewhere, CUSTOMER) == [None]


async def test_what_is_no_url_is_for_httpx_to_refuse(connect: Connect, emulator: NexudusEmulator) -> None:
    async with httpx.AsyncClient(auth=NexudusAuth(await connect())) as client:
        for url in ("/relative", "ftp://127.0.0.1/", "http:///"):
            with pytest.raises(httpx.UnsupportedProtocol):
                await client.get(url)
    assert emulator.token_requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("named", [False, True])
async def test_a_redirect_to_another_origin_loses_the_token(
    emulator: NexudusEmulator, connect: Connect, clients: Clients, elsewhere: NexudusEmulator, status: int, named: bool
) -> None:
    """httpx strips it, of an allowed origin too; the 401 there is none of ours."""
    session = await connect(allowed_origins=[elsewhere.url] if named else [])
    client = clients(NexudusAuth(session), follow_redirects=True)
    emulator.fail(CUSTOMER, Fault.redirect(elsewhere.url + CUSTOMER, status))
    assert (await client.get(CUSTOMER)).status_code == 401
    assert authorizations(elsewhere, CUSTOMER) == [None]
    assert session.statistics().rejections == 0


async def test_a_redirect_within_the_origin_keeps_the_token(
    emulator: NexudusEmulator, connect: Connect, clients: Clients
) -> None:
    """And a 401 behind it is replayed for a method that only reads."""
    client = clients(NexudusAuth(await connect()), follow_redirects=True)
    emulator.fail(ECHO, Fault.redirect(CUSTOMER, 307), times=2)
    emulator.fail(CUSTOMER, Fault.answer(401))
    answer = await client.get(ECHO)
    assert answer.status_code == 200
    assert [record.path for record in emulator.requests[1:]] == [ECHO, CUSTOMER, "/api/token", ECHO, CUSTOMER]


async def test_a_redirected_write_is_not_replayed(
    emulator: NexudusEmulator, connect: Connect, clients: Clients
) -> None:
    """Of a write nobody knows which hop has acted on it."""
    client = clients(NexudusAuth(await connect()), follow_redirects=True)
    emulator.fail(CUSTOMER, Fault.redirect(ECHO, 307))
    emulator.fail(ECHO, Fault.answer(401))
    assert (await client.post(CUSTOMER, content=b"x")).status_code == 401
    assert len(authorizations(emulator, ECHO)) == 1


async def test_a_redirect_from_elsewhere_brings_no_token(
    emulator: NexudusEmulator, connect: Connect, clients: Clients, elsewhere: NexudusEmulator
) -> None:
    """httpx asks an `Auth` once for each request, not for each hop."""
    client = clients(NexudusAuth(await connect()), follow_redirects=True)
    elsewhere.fail(ECHO, Fault.redirect(emulator.url + CUSTOMER))
    assert (await client.get(elsewhere.url + ECHO)).status_code == 401
    assert authorizations(emulator, CUSTOMER) == [None]
    assert emulator.token_requests == []


class Hops:
    """Redirects the first request to `location`, and notes what every request carries."""

    def __init__(self, location: str) -> None:
        self.location, self.seen = location, list[tuple[str, bool]]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append((f"{request.url}", "Authorization" in request.headers))
        return httpx.Response(302, headers={"Location": self.location}) if len(self.seen) == 1 else httpx.Response(200)


async def test_an_upgrade_to_https_is_an_origin_of_its_own(connect: Connect, emulator: NexudusEmulator) -> None:
    """httpx takes the header along from http to https of one host: refused, unless both are named."""
    manager = (await connect()).manager
    hops = Hops("https://localhost/")
    async with httpx.AsyncClient(transport=httpx.MockTransport(hops), follow_redirects=True) as client:
        with pytest.raises(ConfigurationError, match="name https://localhost in origins too"):
            await client.get("http://localhost/", auth=NexudusAuth(manager, "http://localhost"))
        assert hops.seen == []
        assert emulator.token_requests == []
        both = NexudusAuth(manager, ["http://localhost", "https://localhost"])
        assert (await client.get("http://localhost/", auth=both)).status_code == 200
    assert hops.seen == [("http://localhost/", True), ("https://localhost/", True)]


async def test_a_hundred_requests_refused_at_once_refresh_once(
    emulator: NexudusEmulator, connect: Connect, clients: Clients
) -> None:
    session = await connect()
    client = clients(NexudusAuth(session), limits=httpx.Limits(max_connections=10))
    await session.token()
    emulator.revoke_access_tokens()
    answers = await asyncio.gather(*(client.get(CUSTOMER) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert (emulator.sign_ins, emulator.renewals) == (1, 1)
    assert len(authorizations(emulator, CUSTOMER)) == 200


@pytest.mark.parametrize("named", [False, True])
async def test_the_second_401_is_the_callers(
    emulator: NexudusEmulator, connect: Connect, clients: Clients, named: bool
) -> None:
    """A permission: seen thirty times, for one refresh, and known to the session as well."""
    session = await connect()
    client = clients(NexudusAuth(session, emulator.url if named else None))
    for _ in range(30):
        assert (await client.get(UNAUTHORIZED)).status_code == 401
    async with session.get(UNAUTHORIZED) as response:
        assert response.status == 401
    assert (emulator.sign_ins, emulator.renewals) == (1, 1)


async def test_a_token_that_has_worked_here_is_no_permission(
    emulator: NexudusEmulator, connect: Connect, clients: Clients
) -> None:
    """What httpx's answers say of a token counts: it had worked, and was dead when its replay was refused."""
    session = await connect()
    client = clients(NexudusAuth(session))

    async def dies(_: web.Request) -> web.Response:
        if emulator.renewals == 1 and not authorizations(emulator, ECHO):
            assert (await client.get(ECHO)).status_code == 200
        return web.Response(status=200 if emulator.renewals == 2 else 401)

    emulator.route("GET", "/dies", dies, authenticated=False)
    assert (await client.get("/dies")).status_code == 401
    assert (await client.get("/dies")).status_code == 200, "one more refresh is allowed"


async def chunks() -> AsyncGenerator[bytes]:
    yield b"body"


@pytest.mark.parametrize(
    ("body", "replayed"),
    [
        ({}, True),
        ({"content": b"body"}, True),
        ({"content": "body"}, True),
        ({"json": {"a": 1}}, True),
        ({"data": {"a": "1"}}, True),
        ({"content": chunks}, False),
        ({"files": {"a": ("a.txt", io.BytesIO(b"body"))}}, False),
    ],
    ids=["nothing", "bytes", "text", "json", "form", "generator", "file"],
)
async def test_what_cannot_be_sent_again_is_not_replayed(
    emulator: NexudusEmulator, connect: Connect, clients: Clients, body: dict[str, Any], replayed: bool
) -> None:
    """Its 401 is the caller's; the token is refreshed for the next request."""
    session = await connect()
    client = clients(NexudusAuth(session))
    await session.token()
    emulator.revoke_access_tokens()
    options: dict[str, Any] = {name: value() if value is chunks else value for name, value in body.items()}
    answer = await client.post(ECHO, **options)
    assert answer.status_code == (200 if replayed else 401)
    assert len(authorizations(emulator, ECHO)) == (2 if replayed else 1)
    await until(lambda: emulator.renewals == 1)
    assert (await client.post(ECHO, content=b"next")).status_code == 200


async def test_the_refresh_does_not_wait_for_the_body_of_the_401(
    emulator: NexudusEmulator, connect: Connect, clients: Clients
) -> None:
    """httpx reads the first answer to its end before it replays; the refresh is under way meanwhile."""
    session = await connect()

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=401 if emulator.renewals == 0 else 200)
        await response.prepare(request)
        await response.write(b"x")
        await until(lambda: emulator.renewals == 1)
        return response

    emulator.route("GET", "/slow", slow, authenticated=False)
    assert (await clients(NexudusAuth(session)).get("/slow")).status_code == 200


async def test_a_callers_own_authorization_wins(emulator: NexudusEmulator, connect: Connect, clients: Clients) -> None:
    """By header, by the client's headers, by the URL or by `auth=`; and its 401 is the caller's."""
    auth = NexudusAuth(await connect())
    own = {"Authorization": "Bearer own"}
    client, with_default = clients(auth), clients(auth, headers=own)
    await client.get(CUSTOMER, headers=own)
    await with_default.get(CUSTOMER)
    await client.get(emulator.url.replace("//", "//a:b@") + CUSTOMER)
    await client.get(CUSTOMER, auth=("a", "b"))
    assert authorizations(emulator, CUSTOMER) == ["Bearer own"] * 2 + ["Basic YTpi"] * 2
    assert emulator.token_requests == []


async def test_a_request_sent_again_carries_the_newest_token(
    emulator: NexudusEmulator, connect: Connect, clients: Clients
) -> None:
    """The header of its first sending, or of the hop before, is ours and not the caller's own."""
    session = await connect()
    client = clients(NexudusAuth(session))
    request = client.build_request("GET", CUSTOMER)
    await client.send(request)
    await session.refresh()
    await client.send(request)
    emulator.fail(ECHO, Fault.redirect(CUSTOMER))
    redirect = await client.get(ECHO)
    await session.refresh()
    emulator.revoke_access_tokens()
    assert redirect.next_request is not None
    assert (await client.send(redirect.next_request)).status_code == 200
    assert len(set(authorizations(emulator, CUSTOMER))) == 4


async def test_no_token_no_request(emulator: NexudusEmulator, connect: Connect, clients: Clients) -> None:
    """The error is the token's own."""
    session = await connect()
    client = clients(NexudusAuth(session))
    await session.close()
    with pytest.raises(SessionClosedError):
        await client.get(CUSTOMER)
    assert emulator.requests == []


async def test_cancelling_a_request_leaves_the_refresh_alone(
    emulator: NexudusEmulator, connect: Connect, clients: Clients
) -> None:
    session = await connect()
    client = clients(NexudusAuth(session))
    with emulator.hold("token", times=1) as hold:
        waiting = asyncio.create_task(client.get(CUSTOMER))
        await hold.wait()
        waiting.cancel()
        await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert (await session.token()).generation == 1
    assert emulator.sign_ins == 1


async def test_a_client_without_an_event_loop_is_refused(connect: Connect, emulator: NexudusEmulator) -> None:
    """At the first request, with what to use instead."""
    client = httpx.Client(auth=NexudusAuth(await connect()))
    with client, pytest.raises(ConfigurationError, match=r"httpx\.AsyncClient"):
        await asyncio.to_thread(client.get, emulator.url)
    assert emulator.requests == []


async def test_arguments_that_cannot_work_are_refused(connect: Connect) -> None:
    session = await connect()
    refused: Any = PasswordCredentials("a", "b")
    with pytest.raises(ConfigurationError, match="TokenSession or a TokenManager, not PasswordCredentials"):
        NexudusAuth(refused)
    with pytest.raises(ConfigurationError, match="origins must name at least one"):
        NexudusAuth(session.manager)
    with pytest.raises(ConfigurationError, match="plain http"):
        NexudusAuth(session, "http://example.com")
    NexudusAuth(session, "http://example.com", allow_insecure_http=True)


LARGE = b"x" * 20_000_000
"""More than fits into the buffers of a connection."""


async def fail_to_send(session: TokenSession, header: bytes = LARGE, **options: Any) -> httpx.TransportError:
    """Send a header to a server that reads nothing, and return the error."""
    timeout = httpx.Timeout(5, write=0.05)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        async with httpx.AsyncClient(auth=NexudusAuth(session, url), timeout=timeout, trust_env=False) as client:
            with pytest.raises(httpx.TransportError) as caught:
                await client.get(url, headers=[(b"X-Header", header)], **options)
    return caught.value


async def test_no_tool_shows_the_token_in_a_traceback(connect: Connect) -> None:
    """Nor in what the error has; the frames of httpx that wrote the header are not in it."""
    session = await connect()
    token = await session.token()
    assert leaks(await fail_to_send(session), [token.access_token]) == []


async def test_a_trace_of_the_callers_own_hears_everything(connect: Connect) -> None:
    heard: list[str] = []

    async def trace(name: str, info: dict[str, Any]) -> None:
        heard.append(name)

    await fail_to_send(await connect(), extensions={"trace": trace})
    assert "http11.send_request_headers.failed" in heard
    assert "connection.connect_tcp.complete" in heard


async def test_an_error_that_the_caller_handles_keeps_its_frames(connect: Connect) -> None:
    """It is the context of ours, and none of our business."""
    session = await connect()
    try:
        raise KeyError("the caller's")
    except KeyError as handled:
        failed = await fail_to_send(session, b"forbidden\0")
        frames, links = traceback.extract_tb(handled.__traceback__), list(chain_of(failed))
        is_context = handled in links
    assert frames
    assert is_context


async def test_nothing_that_httpx_shows_has_the_token(
    connect: Connect, clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    """Its log at DEBUG, the repr of request and response, of headers and extensions, and pickles."""
    caplog.set_level(logging.DEBUG)
    session = await connect()
    answer = await clients(NexudusAuth(session)).get(CUSTOMER)
    request = answer.request
    shown = [caplog.text, *map(repr, (answer, request, request.headers, request.headers.raw, request.extensions))]
    assert (await session.token()).access_token not in "".join(shown)
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(request)
