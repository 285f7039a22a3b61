"""Which hosts there are: `NAME.spaces.nexudus.com` signs in, and a portal's error says what to write instead."""

import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import aiohttp.abc
import pytest

from nexudus_async import (
    ExchangeCredentials,
    PasswordCredentials,
    RefreshTokenCredentials,
    TokenSession,
    TokenSessions,
    WrongHostError,
)
from nexudus_async.testing import Fault, NexudusEmulator
from tests.conftest import CUSTOMER, Connect

PORTAL = "acme.nexudus.site"
LOCATION = "acme.spaces.nexudus.com"
KINDS = ["password", "refresh token", "JWT"]


class Everywhere(aiohttp.abc.AbstractResolver):
    """Knows this machine by every name."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        family = socket.AF_INET
        return [aiohttp.abc.ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None: ...


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(resolver=Everywhere())
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield http


def at(host: str, emulator: NexudusEmulator, http: aiohttp.ClientSession) -> dict[str, Any]:
    url = emulator.url.replace("127.0.0.1", host)
    return {"base_url": url, "client_session": http, "allow_insecure_http": True}


def credentials(kind: str, emulator: NexudusEmulator) -> Any:
    if kind == "password":
        return PasswordCredentials(emulator.username, emulator.password)
    if kind == "refresh token":
        return RefreshTokenCredentials(emulator.issue().refresh_token, client_id=emulator.username)
    return ExchangeCredentials(emulator.one_time_jwt())


@pytest.mark.parametrize("kind", KINDS)
async def test_a_location_signs_in_and_serves(
    emulator: NexudusEmulator, connect: Connect, http: aiohttp.ClientSession, kind: str
) -> None:
    """With its name before `spaces.nexudus.com`; the requests go there, too."""
    session = await connect(credentials(kind, emulator), **at(LOCATION, emulator, http))
    async with session.get(CUSTOMER) as response:
        assert (response.status, response.url.host) == (200, LOCATION)


@pytest.mark.parametrize("fault", [Fault.answer(405), Fault.html()], ids=["405", "a page"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_portal_says_what_to_write_instead(
    emulator: NexudusEmulator, connect: Connect, http: aiohttp.ClientSession, kind: str, fault: Fault
) -> None:
    """Its own name in the place of NAME. It is asked once, and not again for a while."""
    emulator.fail("*", fault, times=None)
    emulator.fail("token", fault, times=None)
    session = await connect(credentials(kind, emulator), **at(PORTAL, emulator, http))
    for _ in range(2):
        with pytest.raises(WrongHostError, match=f"is a portal; base_url must be https://{LOCATION}"):
            await session.get(CUSTOMER)
    assert len(emulator.requests) == 1


async def test_members_of_a_portal_are_told_the_same(emulator: NexudusEmulator, http: aiohttp.ClientSession) -> None:
    """By `TokenSessions`."""
    emulator.fail("token", Fault.answer(405), times=None)
    options = at(PORTAL, emulator, http)
    async with TokenSessions(lambda account: credentials("password", emulator), **options) as members:
        session: TokenSession = await members.session(emulator.username)
        with pytest.raises(WrongHostError, match=LOCATION):
            await session.token()
