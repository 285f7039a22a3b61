"""The token goes to the origins that were named, and to no other: redirects, absolute URLs, look-alikes."""

import inspect
import warnings
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from nexudus_async import ConfigurationError
from nexudus_async.testing import Fault, NexudusEmulator
from tests.conftest import CUSTOMER, Connect

from .conftest import Carry

ECHO = "/api/emulator/echo"


class Elsewhere:
    """Other servers; they note the `Authorization` of everything that arrives."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []
        self.back: str | None = None

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append(request.headers.get("Authorization"))
        if self.back is not None:
            raise web.HTTPTemporaryRedirect(self.back)
        return web.Response(text="elsewhere")


@pytest.fixture
async def elsewhere() -> AsyncIterator[Elsewhere]:
    handler = Elsewhere()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    handler.port = runner.addresses[0][1]  # type: ignore[attr-defined]
    yield handler
    await runner.cleanup()


def other_port(elsewhere: Elsewhere) -> str:
    return f"http://127.0.0.1:{elsewhere.port}"  # type: ignore[attr-defined]


def other_host(elsewhere: Elsewhere) -> str:
    return f"http://localhost:{elsewhere.port}"  # type: ignore[attr-defined]


@pytest.mark.parametrize("where", [other_port, other_host])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_redirect_to_another_origin_loses_the_token(
    emulator: NexudusEmulator, carry: Carry, elsewhere: Elsewhere, status: int, where: Any, method: str
) -> None:
    """Another port or another host never sees `Authorization`, whatever the kind of redirect."""
    carrier = await carry()
    emulator.fail(ECHO, Fault.redirect(where(elsewhere) + "/x", status))
    assert await carrier.status(method, ECHO, data="body" if method == "POST" else None) == 200
    assert elsewhere.seen == [None]


@pytest.mark.parametrize("where", [other_port, other_host])
async def test_an_absolute_url_of_another_origin_goes_without_the_token(
    emulator: NexudusEmulator, carry: Carry, elsewhere: Elsewhere, where: Any
) -> None:
    """And without a sign-in."""
    carrier = await carry()
    assert await carrier.status("GET", where(elsewhere) + "/x") == 200
    assert elsewhere.seen == [None]
    assert emulator.token_requests == []


async def test_a_url_without_scheme_that_names_another_host_goes_without_the_token(
    carry: Carry, elsewhere: Elsewhere
) -> None:
    """`//host/path` is an absolute URL in disguise."""
    carrier = await carry()
    assert await carrier.status("GET", f"//127.0.0.1:{elsewhere.port}/x") == 200  # type: ignore[attr-defined]
    assert elsewhere.seen == [None]


async def test_a_401_of_another_origin_is_the_callers(
    emulator: NexudusEmulator, carry: Carry, elsewhere: Elsewhere
) -> None:
    """It was not our header that was refused: nothing is refreshed, nothing replayed."""
    carrier = await carry()
    token = await carrier.session.token()
    async with NexudusEmulator() as other:
        emulator.fail(ECHO, Fault.redirect(other.url + CUSTOMER))
        assert await carrier.status("GET", ECHO) == 401
        assert len(other.requests) == 1
    assert (await carrier.session.token()) is token


async def test_an_absolute_url_of_our_origin_carries_the_token(emulator: NexudusEmulator, carry: Carry) -> None:
    """Written out in full, in other case, with the default path: it is the same origin."""
    carrier = await carry()
    for url in (emulator.url + CUSTOMER, emulator.url.replace("http", "HTTP") + CUSTOMER):
        assert await carrier.status("GET", url) == 200


async def test_a_redirect_within_the_origin_keeps_the_token(emulator: NexudusEmulator, carry: Carry) -> None:
    """307 to another path of the same origin, followed by a revocation: the redirect is followed and replayed."""
    carrier = await carry()
    await carrier.session.token()
    emulator.fail(ECHO, Fault.redirect(CUSTOMER))
    assert await carrier.status("GET", ECHO) == 200


async def test_after_a_redirect_a_refused_read_is_replayed(emulator: NexudusEmulator, carry: Carry) -> None:
    """GET may be repeated from the start."""
    carrier = await carry()
    await carrier.session.token()
    emulator.revoke_access_tokens()
    emulator.fail(ECHO, Fault.redirect(CUSTOMER), times=2)
    assert await carrier.status("GET", ECHO) == 200


async def test_after_a_redirect_a_refused_write_is_the_callers(emulator: NexudusEmulator, connect: Connect) -> None:
    """Nobody knows which hop has acted on it. (The middleware sees hops, not requests, and replays its own.)"""
    session = await connect()
    await session.token()
    emulator.fail(ECHO, Fault.redirect("/api/emulator/unauthorized", 308))
    async with session.post(ECHO, data="write") as response:
        assert response.status == 401
    assert len([record for record in emulator.requests if record.path == ECHO]) == 1


async def test_an_allowed_origin_carries_the_token_called_directly(
    emulator: NexudusEmulator, carry: Carry, elsewhere: Elsewhere
) -> None:
    """That is what `allowed_origins` is for."""
    carrier = await carry(allowed_origins=[other_port(elsewhere)])
    token = await carrier.session.token()
    assert await carrier.status("GET", other_port(elsewhere) + "/x") == 200
    assert elsewhere.seen == [f"Bearer {token.access_token}"]


async def test_the_way_out_and_back_again_is_judged_hop_by_hop(
    emulator: NexudusEmulator, carry: Carry, elsewhere: Elsewhere
) -> None:
    """Ours, another, ours: the other one sees nothing."""
    carrier = await carry()
    elsewhere.back = emulator.url + "/api/emulator/forbidden"
    emulator.fail(ECHO, Fault.redirect(other_port(elsewhere)))
    await carrier.status("GET", ECHO)
    assert elsewhere.seen == [None]


@pytest.mark.parametrize("own", [{"headers": {"authorization": "Basic own"}}, {"headers": [("AUTHORIZATION", "x")]}])
async def test_the_callers_own_authorization_wins_and_its_401_is_the_callers(
    emulator: NexudusEmulator, carry: Carry, own: dict[str, Any]
) -> None:
    """Untouched, without a sign-in, and never replayed."""
    carrier = await carry()
    assert await carrier.status("GET", CUSTOMER, **own) == 401
    assert emulator.token_requests == []
    assert len(emulator.requests) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of newer versions of aiohttp
async def test_auth_counts_as_the_callers_own(emulator: NexudusEmulator, carry: Carry) -> None:
    """aiohttp refuses a request that has a header besides."""
    if not hasattr(aiohttp, "BasicAuth"):
        pytest.skip("aiohttp 4 has no auth=")
    carrier = await carry()
    assert await carrier.status("GET", CUSTOMER, auth=aiohttp.BasicAuth("me", "pw")) == 401
    assert emulator.token_requests == []
    assert emulator.requests[0].headers["Authorization"].startswith("Basic ")


async def test_user_info_in_the_url_counts_as_the_callers_own(emulator: NexudusEmulator, carry: Carry) -> None:
    """aiohttp makes a header of it."""
    carrier = await carry()
    url = str(URL(emulator.url + CUSTOMER).with_user("me").with_password("pw"))
    assert await carrier.status("GET", url) == 401
    assert emulator.token_requests == []
    assert emulator.requests[0].headers["Authorization"].startswith("Basic ")


async def test_netrc_counts_as_the_callers_own(
    emulator: NexudusEmulator, carry: Carry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a session that trusts the environment, aiohttp makes a header of it too."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password pw\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with aiohttp.ClientSession(trust_env=True) as borrowed:
        carrier = await carry(client_session=borrowed, foreign={"trust_env": True})
        assert await carrier.status("GET", CUSTOMER) == 401
    assert emulator.token_requests == []


async def test_a_session_that_trusts_the_environment_works_without_a_netrc(
    emulator: NexudusEmulator, carry: Carry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry for another machine is none for ours."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine example.com login me password pw\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with aiohttp.ClientSession(trust_env=True) as borrowed:
        carrier = await carry(client_session=borrowed, foreign={"trust_env": True})
        assert await carrier.status("GET", CUSTOMER) == 200


async def test_the_callers_headers_are_never_changed(emulator: NexudusEmulator, carry: Carry) -> None:
    """They are copied."""
    carrier = await carry()
    headers = {"X-Own": "1"}
    assert await carrier.status("GET", CUSTOMER, headers=headers) == 200
    assert headers == {"X-Own": "1"}
    assert emulator.requests[-1].headers["X-Own"] == "1"


async def test_a_per_request_middleware_cannot_drop_the_header(emulator: NexudusEmulator, connect: Connect) -> None:
    """`middlewares=` replaces the session's; the header does not come by one."""
    session = await connect()
    async with session.get(CUSTOMER, middlewares=()) as response:
        assert response.status == 200


async def test_without_a_token_a_request_is_not_sent(emulator: NexudusEmulator, carry: Carry) -> None:
    """Not even without the header."""
    emulator.user.suspended = True
    carrier = await carry()
    with pytest.raises(aiohttp.ClientError, match="refused"):
        await carrier.status("GET", CUSTOMER)
    assert {record.path for record in emulator.requests} == {"/api/token"}


async def test_a_redirect_of_the_token_endpoint_is_refused(
    emulator: NexudusEmulator, connect: Connect, elsewhere: Elsewhere
) -> None:
    """A password must not follow a 307."""
    session = await connect()
    emulator.fail("token", Fault.redirect(other_host(elsewhere) + "/api/token", 307))
    with pytest.raises(aiohttp.ClientError, match="not the token endpoint"):
        await session.token()
    assert elsewhere.seen == []


async def test_a_websocket_of_another_origin_goes_without_the_token(connect: Connect) -> None:
    """The rule knows ws as http."""
    session = await connect()
    async with NexudusEmulator() as other:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(other.url.replace("http", "ws") + "/api/emulator/websocket")
        assert "Authorization" not in other.requests[0].headers
    async with session.ws_connect(connect.emulator.url.replace("http", "ws") + "/api/emulator/websocket") as socket:
        await socket.send_str("ours")
        assert await socket.receive_str() == "ours"


@pytest.mark.parametrize("kind", ["header", "auth"])
async def test_a_borrowed_session_with_authorization_of_its_own_is_refused(
    emulator: NexudusEmulator, connect: Connect, kind: str
) -> None:
    """It would win over the token on every request."""
    async with AsyncExitStack() as stack:
        if kind == "header":
            session = aiohttp.ClientSession(headers={"authorization": "Basic x"})
        elif "auth" not in inspect.signature(aiohttp.ClientSession).parameters:
            pytest.skip("aiohttp 4 has no auth=")
        else:
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # newer versions of aiohttp
                session = aiohttp.ClientSession(auth=aiohttp.BasicAuth("a", "b"))
        await stack.enter_async_context(session)
        with pytest.raises(ConfigurationError, match="Authorization"):
            await connect(client_session=session)


async def test_cookies_of_one_account_do_not_travel_with_another(emulator: NexudusEmulator, connect: Connect) -> None:
    """An own session has no cookie jar."""

    async def bake(request: web.Request) -> web.Response:
        response = web.json_response(dict(request.cookies))
        response.set_cookie("who", "one")
        return response

    emulator.route("GET", "/cookie", bake)
    session = await connect(base_url=emulator.url.replace("127.0.0.1", "localhost"))  # aiohttp keeps none for addresses
    for _ in range(2):
        async with session.get("/cookie") as response:
            assert await response.json() == {}
