"""A token endpoint on a real socket, with a clock that jumps over every pause between tries."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from nexudus_async import PasswordCredentials, TokenEndpoint
from nexudus_async.testing import ManualClock, NexudusEmulator

MakeEndpoint = Callable[..., TokenEndpoint]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(autojump=True)


@pytest.fixture
async def emulator(clock: ManualClock) -> AsyncIterator[NexudusEmulator]:
    async with NexudusEmulator(clock=clock) as emulator:
        yield emulator


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


@pytest.fixture
def make(http: aiohttp.ClientSession, emulator: NexudusEmulator, clock: ManualClock) -> MakeEndpoint:
    """Return a function that makes an endpoint for the emulator; `totp=` and other keywords as wanted."""

    def make(*, totp: Any = None, base_url: str | None = None, **options: Any) -> TokenEndpoint:
        credentials = PasswordCredentials(emulator.username, emulator.password, totp)
        arguments: dict[str, Any] = {"credentials": credentials, "clock": clock} | options
        return TokenEndpoint(http, base_url or emulator.url, **arguments)

    return make
