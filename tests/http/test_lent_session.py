"""A lent session keeps its meaning: its connector, its limits and its base_url."""

import asyncio
import json
import socket
from types import MappingProxyType
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from nexudus_async import ConfigurationError
from nexudus_async._http.aiohttp_internals import POOL_ONLY, token_session_like
from nexudus_async.errors import MalformedResponseError
from nexudus_async.testing import Fault, NexudusEmulator
from tests.conftest import CUSTOMER, Connect, until

ECHO = "/api/emulator/echo"


class HomeConnector(aiohttp.TCPConnector):
    """As Home Assistant's: another period for closing, a method of its own, nothing of how it connects."""

    _cleanup_closed_period = 60.0

    async def lookup(self, host: str) -> list[Any]:
        """Return the addresses of `host`."""
        return cast("list[Any]", await self._resolve_host(host, 0))


async def test_a_connectors_subclass_that_connects_alike_is_protected_alike(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """Its pool is full; the token is had all the same, and by its settings."""
    hold = emulator.hold(ECHO)
    connector = HomeConnector(limit=1, family=socket.AF_INET)
    async with aiohttp.ClientSession(connector=connector) as lent:
        cast("Any", lent)._default_headers = MappingProxyType({"User-Agent": "Home/1"})  # as Home Assistant does
        session = await connect(client_session=lent)
        await session.token()
        occupying = asyncio.create_task(session.get(ECHO))
        await hold.wait()
        async with asyncio.timeout(5):
            assert await session.refresh()
        hold.release()
        (await occupying).release()
    assert {request.headers["User-Agent"] for request in emulator.requests} == {"Home/1"}


async def test_a_connectors_subclass_may_replace_all_that_belongs_to_the_pool() -> None:
    """And is still one that connects as aiohttp's."""
    usual = {name: getattr(aiohttp.TCPConnector, name, None) for name in POOL_ONLY}
    async with aiohttp.ClientSession(connector=type("OwnPool", (aiohttp.TCPConnector,), usual)()) as lent:
        twin = token_session_like(lent)
        assert twin is not None
        await twin.close()


@pytest.mark.parametrize(
    "part", ["connect", "_create_connection", "_create_direct_connection", "_wrap_create_connection", "_resolve_host"]
)
@pytest.mark.parametrize("on", ["class", "object"])
async def test_a_connector_that_connects_in_its_own_way_is_not_gone_round(
    emulator: NexudusEmulator, connect: Connect, part: str, on: str
) -> None:
    """A SOCKS connector is a subclass of aiohttp's, too."""
    used: list[str] = []
    usual = getattr(aiohttp.TCPConnector, part)

    async def own_way(self: aiohttp.TCPConnector, *args: Any, **kwargs: Any) -> Any:
        used.append(part)
        return await usual(self, *args, **kwargs)

    connector = type("SocksConnector", (HomeConnector,), {part: own_way} if on == "class" else {})()
    if on == "object":
        setattr(connector, part, own_way.__get__(connector))
    async with aiohttp.ClientSession(connector=connector) as lent:
        session = await connect(client_session=lent)
        await session.token()
    assert used
    assert len(emulator.requests) == 1


BIG_HEADER = Fault.answer(
    200,
    json.dumps({"access_token": "big", "token_type": "bearer", "expires_in": 3600, "refresh_token": "0" * 32}),
    headers={"X-Big": "x" * 20_000},
)


async def test_an_answer_to_a_lent_sessions_own_authorization_says_nothing_about_the_token(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """Its middleware may put in another. The token has worked nowhere then, so that its 401 is a permission."""

    async def own(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if request.url.path == ECHO:
            request.headers["Authorization"] = "Basic b3duOm93bg=="
        return await handler(request)

    async def echo(_: web.Request) -> web.Response:
        return web.Response()

    async def forbidden(_: web.Request) -> web.Response:
        arrived.append(asyncio.Event())
        if len(arrived) == 2:  # the replay
            await arrived[1].wait()
        return web.Response(status=401)

    arrived: list[asyncio.Event] = []
    emulator.route("GET", ECHO, echo, authenticated=False)
    emulator.route("GET", "/forbidden", forbidden)
    async with aiohttp.ClientSession(middlewares=(own,)) as lent:
        session = await connect(client_session=lent)
        first = asyncio.create_task(session.get("/forbidden").__aenter__())
        await until(lambda: len(arrived) == 2)
        (await session.get(ECHO)).release()
        arrived[1].set()
        assert (await first).status == 401
        assert (await session.get("/forbidden")).status == 401
    assert emulator.renewals == 1


async def test_a_lent_sessions_limits_hold_for_token_requests(emulator: NexudusEmulator, connect: Connect) -> None:
    """An answer that its owner allows is read, not asked for again."""
    emulator.fail("token", BIG_HEADER)
    async with aiohttp.ClientSession(max_field_size=32_000, max_line_size=32_000) as lent:
        session = await connect(client_session=lent)
        assert (await session.token()).access_token == "big"
    assert len(emulator.token_requests) == 1


async def test_an_own_session_has_aiohttps_limits(emulator: NexudusEmulator, connect: Connect) -> None:
    """8,190 bytes for a header."""
    connect.clock.autojump = True
    emulator.fail("token", BIG_HEADER, None)
    session = await connect()
    with pytest.raises(MalformedResponseError):
        await session.token()


@pytest.mark.parametrize("place", ["https://me:hidden@other.example/api/", "http://127.0.0.1:9/", "https://127.0.0.1/"])
async def test_a_lent_session_for_another_origin_is_refused(connect: Connect, place: str) -> None:
    """Its owner means another host than the one that the password would go to."""
    async with aiohttp.ClientSession(place) as lent:
        with pytest.raises(ConfigurationError, match="base_url") as refused:
            await connect(client_session=lent)
        message = str(refused.value)
        assert connect.emulator.url in message
        assert str(URL(place).origin()) in message
        assert "hidden" not in message
        assert "me:" not in message


async def test_a_lent_session_whose_headers_are_no_multidict_is_looked_at(connect: Connect) -> None:
    """Home Assistant puts a plain mapping in their place."""
    async with aiohttp.ClientSession() as lent:
        cast("Any", lent)._default_headers = MappingProxyType({"authorization": "Basic x"})
        with pytest.raises(ConfigurationError, match="Authorization"):
            await connect(client_session=lent)


async def test_a_lent_session_for_our_origin_may_have_a_path(emulator: NexudusEmulator, connect: Connect) -> None:
    """Ours is resolved first."""
    async with aiohttp.ClientSession(emulator.url + "/api/") as lent:
        session = await connect(client_session=lent)
        async with session.get(CUSTOMER) as response:
            assert response.status == 200
