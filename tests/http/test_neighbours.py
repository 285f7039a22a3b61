"""A host beside `base_url` that gets no token: it may have been meant to, and so it is told of, once."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from nexudus_async.testing import Fault, NexudusEmulator
from tests.conftest import CUSTOMER, Connect
from tests.inside import goes_with_the_token

NEIGHBOURS = [
    ("http://other.spaces.nexudus.com", True),
    ("http://nexudus.com", True),
    ("http://api.nexudus.com", True),
    ("http://example.org", False),
    ("http://nexudus.com.example.org", False),
    ("http://notnexudus.com", False),
    ("http://localhost", False),
    ("http://127.0.0.1", False),
]
EACH = pytest.mark.parametrize(("url", "told"), NEIGHBOURS, ids=[url for url, _ in NEIGHBOURS])


class Here(AbstractResolver):
    """Every host is this machine."""

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[Any]:
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": family, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        pass


@pytest.fixture
async def stranger() -> AsyncIterator[int]:
    """A server that answers anybody; its port."""

    async def answer(request: web.Request) -> web.Response:
        assert "Authorization" not in request.headers
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@EACH
@pytest.mark.parametrize("way", ["session", "middleware", "redirect"])
async def test_a_neighbour_is_told_of_once(
    emulator: NexudusEmulator, connect: Connect, stranger: int, caplog: pytest.LogCaptureFixture, url: str, told: bool,
    way: str,
) -> None:  # fmt: skip
    """By name, with what to write; strangers are nobody's business, nor is this machine."""
    base = emulator.url.replace("127.0.0.1", "spaces.nexudus.com")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Here())) as borrowed:
        session = await connect(base_url=base, client_session=borrowed, allow_insecure_http=True)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=Here()), middlewares=(session.middleware,)
        ) as foreign:
            for number in range(3):
                target = f"{url}:{stranger}/{number}"
                if way == "redirect":
                    emulator.fail(CUSTOMER, Fault.redirect(target))
                    target = base + CUSTOMER
                through: Any = session if way == "session" else foreign
                async with through.get(target) as response:
                    assert response.status == 200
    lines = [record.getMessage() for record in caplog.records if "carry no token" in record.getMessage()]
    assert len(lines) == int(told)
    if told:
        assert url.removeprefix("http://") in lines[0]
        assert "allowed_origins" in lines[0]


async def test_a_named_neighbour_is_no_neighbour(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """It gets the token."""
    session = await connect(base_url="https://spaces.nexudus.com", allowed_origins=["https://api.nexudus.com"])
    assert goes_with_the_token(session, "https://api.nexudus.com/x")
    assert caplog.records == []


async def test_addresses_have_no_neighbours(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """Their last two numbers are no domain."""
    session = await connect(base_url="https://10.0.0.1")
    assert not goes_with_the_token(session, "https://192.168.0.1/x")
    assert caplog.records == []


async def test_hosts_beyond_count_are_not_told_of_for_ever(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """A crawler of a hundred thousand portals."""
    session = await connect(base_url="https://spaces.nexudus.com")
    for number in range(300):
        assert not goes_with_the_token(session, f"https://portal{number}.nexudus.com/")
    assert len(caplog.records) == 100
