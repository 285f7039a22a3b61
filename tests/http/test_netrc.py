"""netrc, of a session that trusts the environment: an entry for the host is its caller's own, a default nobody's."""

import base64
import gc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from nexudus_async import PasswordCredentials
from nexudus_async._http import aiohttp_internals as internals
from nexudus_async._http.netrc_file import is_netrc_default, netrc_entries
from nexudus_async._oauth.endpoint import TokenEndpoint
from nexudus_async.testing import Fault, NexudusEmulator
from tests.conftest import CUSTOMER, Connect

from .conftest import Carry

ECHO = "/api/emulator/echo"
WEBSOCKET = "/api/emulator/websocket"
Write = Callable[[str], object]
NAMED = "machine 127.0.0.1 login me password pw\n"
DEFAULT = "machine example.com login you password pw\ndefault login me password pw\n"


class SocksConnector(aiohttp.TCPConnector):
    """Token requests go through the session that has it."""

    async def _wrap_create_connection(self, *args: Any, **kwargs: Any) -> Any:
        return await super()._wrap_create_connection(*args, **kwargs)  # pyright: ignore[reportUnknownMemberType]


@pytest.fixture(autouse=True)
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return what writes the file that aiohttp reads; it is not there yet."""
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return (tmp_path / "netrc").write_text


async def test_an_entry_for_the_host_is_the_callers_own(emulator: NexudusEmulator, carry: Carry, netrc: Write) -> None:
    """A default beside it changes nothing: the request goes out as its owner wants it, without a sign-in."""
    netrc(NAMED + DEFAULT)
    async with aiohttp.ClientSession(trust_env=True) as lent:
        carrier = await carry(client_session=lent, foreign={"trust_env": True})
        assert await carrier.status("GET", CUSTOMER) == 401
    assert [record.headers["Authorization"][:6] for record in emulator.requests] == ["Basic "]


async def test_a_session_that_does_not_trust_the_environment_knows_no_netrc(
    emulator: NexudusEmulator, carry: Carry, netrc: Write
) -> None:
    """Nor does aiohttp then."""
    netrc(NAMED)
    carrier = await carry()
    assert await carrier.status("GET", CUSTOMER) == 200


async def test_a_default_entry_is_nobodys_own(emulator: NexudusEmulator, carry: Carry, netrc: Write) -> None:
    """A request carries our token, and its 401 is ours to handle."""
    netrc(DEFAULT)
    async with aiohttp.ClientSession(trust_env=True) as lent:
        carrier = await carry(client_session=lent, foreign={"trust_env": True})
        assert await carrier.status("GET", CUSTOMER) == 200
        emulator.revoke_access_tokens()
        assert await carrier.status("POST", ECHO, json={"a": 1}, headers={"X-Own": "1"}) == 200
    assert emulator.renewals == 1
    assert emulator.requests[-1].headers["X-Own"] == "1"
    assert {record.headers.get("Authorization", "none")[:7] for record in emulator.requests} == {"none", "Bearer "}


@pytest.mark.parametrize(
    "entry",
    [
        "login me password pw",
        "login me account mine password pw",
        "account mine password pw",
        "password pw",
        "login me",
        "login \N{LATIN SMALL LETTER E WITH ACUTE} password pw",
    ],
)
async def test_a_default_entry_is_known_whatever_it_has(carry: Carry, netrc: Write, entry: str) -> None:
    """A login, or an account in its place, and a password, or none."""
    netrc("default " + entry + "\n")
    async with aiohttp.ClientSession(trust_env=True) as lent:
        carrier = await carry(client_session=lent, foreign={"trust_env": True})
        assert await carrier.status("GET", CUSTOMER) == 200


@pytest.mark.parametrize(
    ("login", "encoding"),
    [
        ("\N{LATIN SMALL LETTER E WITH ACUTE}", "latin-1"),
        ("\N{LATIN SMALL LETTER E WITH ACUTE}", "utf-8"),
        ("\N{EURO SIGN}", "utf-8"),
    ],
)
async def test_a_default_entry_is_known_in_whatever_encoding(netrc: Write, login: str, encoding: str) -> None:
    """Releases of aiohttp differ in it."""
    netrc(f"default login {login} password pw\n")
    header = "Basic " + base64.b64encode(f"{login}:pw".encode(encoding)).decode()
    async with aiohttp.ClientSession(trust_env=True) as http:
        request: Any = SimpleNamespace(session=http, url=URL("http://127.0.0.1/"), headers={"Authorization": header})
        assert await is_netrc_default(request)


@pytest.mark.parametrize(
    ("system", "name", "found"),
    [("Linux", ".netrc", True), ("Linux", "_netrc", False), ("Windows", "_netrc", True), ("Windows", ".netrc", False)],
)
async def test_without_the_variable_the_file_is_in_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, name: str, found: bool
) -> None:
    """As aiohttp finds it, and whoever else may read it."""
    monkeypatch.delenv("NETRC")
    monkeypatch.setattr("pathlib.Path.home", lambda: tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("platform.system", lambda: system)
    (tmp_path / name).write_text(DEFAULT)
    (tmp_path / name).chmod(0o644)
    assert ("default" in await netrc_entries()) is found


async def test_a_websocket_goes_past_a_default_entry(emulator: NexudusEmulator, carry: Carry, netrc: Write) -> None:
    """A handshake is a request like any other, with the keywords of its caller."""
    netrc(DEFAULT)
    async with aiohttp.ClientSession(trust_env=True) as lent:
        carrier = await carry(client_session=lent, foreign={"trust_env": True})
        here = "https://here.example"
        async with (carrier.foreign or carrier.session).ws_connect(WEBSOCKET, origin=here) as opened:
            await opened.send_str("ours")
            assert await opened.receive_str() == "ours"
    assert emulator.requests[-1].headers["Origin"] == here


async def test_a_redirect_past_a_default_entry_loses_the_token(
    emulator: NexudusEmulator, carry: Carry, netrc: Write
) -> None:
    """To another origin goes what netrc has for it, as without us."""
    netrc(DEFAULT)
    async with NexudusEmulator() as other, aiohttp.ClientSession(trust_env=True) as lent:
        other.route("GET", "/x", lambda request: answer(200), authenticated=False)
        carrier = await carry(client_session=lent, foreign={"trust_env": True})
        emulator.fail(ECHO, Fault.redirect(other.url + "/x"))
        assert await carrier.status("GET", ECHO) == 200
        assert other.requests[0].headers["Authorization"].startswith("Basic ")


async def answer(status: int) -> web.Response:
    return web.Response(status=status)


async def test_middlewares_run_past_a_default_entry(emulator: NexudusEmulator, connect: Connect, netrc: Write) -> None:
    """The lent session's, and those of a request in their place."""

    def note(name: str) -> Any:
        async def middleware(request: aiohttp.ClientRequest, handler: Any) -> Any:
            ran.append((name, request.headers["Authorization"][:7]))
            return await handler(request)

        return middleware

    ran: list[tuple[str, str]] = []
    netrc(DEFAULT)
    async with aiohttp.ClientSession(trust_env=True, middlewares=(note("session"),)) as lent:
        session = await connect(client_session=lent)
        several: list[Any] = [{}, {"middlewares": (note("request"),)}, {"middlewares": ()}]
        for options in several:
            async with session.get(CUSTOMER, **options) as response:
                assert response.status == 200
        assert not lent.closed
    assert ran == [("session", "Bearer "), ("request", "Bearer ")]


async def test_a_session_whose_middlewares_cannot_be_seen_is_used_as_it_is(
    emulator: NexudusEmulator, connect: Connect, netrc: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an aiohttp that keeps them elsewhere: netrc's entry counts as the caller's own."""
    netrc(DEFAULT)
    monkeypatch.setattr(internals, "MIDDLEWARES", "_gone")
    async with aiohttp.ClientSession(trust_env=True) as lent:
        session = await connect(client_session=lent)
        async with session.get(CUSTOMER) as response:
            assert response.status == 401
    assert emulator.token_requests == []


@pytest.mark.parametrize("entries", [None, "", "machine", NAMED.replace("127.0.0.1", "example.com")])
async def test_a_file_without_an_entry_changes_nothing(connect: Connect, netrc: Write, entries: str | None) -> None:
    """Nor does one that cannot be read, or none at all: the header is there from the start, as traces and mocks see."""

    async def note(session: aiohttp.ClientSession, context: object, start: aiohttp.TraceRequestStartParams) -> None:
        seen.append(start.headers.get("Authorization", "none")[:7])

    seen: list[str] = []
    traced = aiohttp.TraceConfig()
    traced.on_request_start.append(note)
    if entries is not None:
        netrc(entries)
    async with aiohttp.ClientSession(trust_env=True, trace_configs=[traced]) as lent:
        session = await connect(client_session=lent)
        async with session.get(CUSTOMER) as response:
            assert response.status == 200
    assert seen == ["none", "Bearer "]  # of the token request, whose settings are the lent session's, and of ours


async def test_nothing_keeps_the_token_of_a_request_that_is_over(connect: Connect, netrc: Write) -> None:
    """aiohttp may remember the middlewares that were used last."""

    async def look(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        found.extend(each for each in gc.get_objects() if type(each).__name__ == "_Carry")
        return await handler(request)

    found: list[Any] = []
    netrc(DEFAULT)
    async with aiohttp.ClientSession(trust_env=True, middlewares=(look,)) as lent:
        session = await connect(client_session=lent)
        async with session.get(CUSTOMER) as response:
            assert response.status == 200
    assert found
    assert {each.authorization for each in found} == {None}


@pytest.mark.parametrize("entries", [NAMED, DEFAULT])
@pytest.mark.parametrize("connector", [None, aiohttp.TCPConnector, SocksConnector])
async def test_a_token_request_carries_nothing_of_netrc(
    emulator: NexudusEmulator, connect: Connect, netrc: Write, entries: str, connector: Any
) -> None:
    """Own sessions and lent ones, in a pool of its own and in the lent one."""
    netrc(entries)
    async with aiohttp.ClientSession(trust_env=True, connector=connector and connector()) as lent:
        session = await connect(client_session=lent if connector else None)
        await session.token()
        await session.refresh()
    assert [record.headers.get("Authorization") for record in emulator.token_requests] == [None, None]


async def test_nor_does_one_of_an_endpoint_by_itself(emulator: NexudusEmulator, netrc: Write) -> None:
    """Its session is whatever its user has."""
    netrc(NAMED)
    async with aiohttp.ClientSession(trust_env=True) as http:
        credentials = PasswordCredentials(emulator.username, emulator.password)
        await TokenEndpoint(http, emulator.url, credentials).login()
    assert "Authorization" not in emulator.token_requests[0].headers


@pytest.mark.parametrize("connector", [aiohttp.TCPConnector, SocksConnector])
async def test_proxies_of_the_environment_are_used_all_the_same(
    emulator: NexudusEmulator, connect: Connect, netrc: Write, monkeypatch: pytest.MonkeyPatch, connector: Any
) -> None:
    """The host of `base_url` is nowhere: only a proxy knows it."""
    netrc(DEFAULT)
    for name in ("http_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", emulator.url)
    async with aiohttp.ClientSession(trust_env=True, connector=connector()) as lent:
        session = await connect(client_session=lent, base_url="http://spaces.test", allow_insecure_http=True)
        async with session.get(CUSTOMER) as response:
            assert response.status == 200
    assert [record.headers["Host"] for record in emulator.requests] == ["spaces.test", "spaces.test"]
    assert "Authorization" not in emulator.token_requests[0].headers
