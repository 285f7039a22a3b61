"""The two ways a request can carry the token; the contract tests run against both."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from yarl import URL

from nexudus_async import BearerMiddleware, TokenSession
from nexudus_async.testing import NexudusEmulator
from tests.conftest import Connect


class Carrier:
    """Sends requests either through a `TokenSession` or through a foreign session with the middleware."""

    def __init__(self, session: TokenSession, foreign: aiohttp.ClientSession | None, emulator: NexudusEmulator) -> None:
        self.session, self.emulator = session, emulator
        self.foreign = foreign

    async def request(self, method: str, url: str, **options: Any) -> aiohttp.ClientResponse:
        if self.foreign is None:
            return await self.session.request(method, url, **options)
        return await self.foreign.request(method, url, **options)

    async def status(self, method: str, url: str, **options: Any) -> int:
        response = await self.request(method, url, **options)
        async with response:
            await response.read()
        return response.status


Carry = Callable[..., Awaitable[Carrier]]


@pytest.fixture(params=["session", "middleware"])
async def carry(request: pytest.FixtureRequest, connect: Connect) -> AsyncIterator[Carry]:
    async with AsyncExitStack() as stack:

        async def make(*, foreign: dict[str, Any] | None = None, **options: Any) -> Carrier:
            session = await connect(**options)
            if request.param == "session":
                return Carrier(session, None, connect.emulator)
            origins = [connect.emulator.url, *options.get("allowed_origins", ())]
            middleware = BearerMiddleware(session.manager, origins, allow_insecure_http=True)
            base = URL(connect.emulator.url + "/")
            http = aiohttp.ClientSession(base, middlewares=(middleware,), **(foreign or {}))
            return Carrier(session, await stack.enter_async_context(http), connect.emulator)

        yield make
