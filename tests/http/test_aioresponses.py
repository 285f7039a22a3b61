# pyright: reportUnknownMemberType=false
# aioresponses has no complete types.
"""A user who mocks aiohttp with aioresponses sees the header."""

import aiohttp
import pytest
from aioresponses import aioresponses

from nexudus_async import PasswordCredentials, TokenSession
from nexudus_async.testing import AioresponsesResponse

pytestmark = pytest.mark.skipif(
    not aiohttp.__version__.startswith("3."), reason="aioresponses 0.7.9 does not know aiohttp 4"
)
BASE = "https://spaces.nexudus.com"
TOKEN = {"access_token": "mocked", "token_type": "bearer", "expires_in": 604799, "refresh_token": "0" * 32}


async def test_a_mocked_call_shows_the_authorization_header() -> None:
    """`headers=` is what the mock records."""
    with aioresponses() as mocked:
        mocked.post(f"{BASE}/api/token", payload=TOKEN, response_class=AioresponsesResponse)
        mocked.get(f"{BASE}/api/x", payload={"a": 1}, response_class=AioresponsesResponse)
        async with TokenSession(PasswordCredentials("ops@example.com", "pw")) as session, session.get("/api/x") as got:
            assert await got.json() == {"a": 1}
        mocked.assert_called_with(f"{BASE}/api/x", headers={"Authorization": "Bearer mocked"}, raise_for_status=False)


async def test_a_mocked_401_leads_to_a_mocked_refresh() -> None:
    """The whole way round, without a socket."""
    with aioresponses() as mocked:
        mocked.post(f"{BASE}/api/token", payload=TOKEN, response_class=AioresponsesResponse)
        mocked.get(f"{BASE}/api/x", status=401, response_class=AioresponsesResponse)
        refreshed = TOKEN | {"access_token": "refreshed"}
        mocked.post(f"{BASE}/api/token", payload=refreshed, response_class=AioresponsesResponse)
        mocked.get(f"{BASE}/api/x", payload={}, response_class=AioresponsesResponse)
        async with TokenSession(PasswordCredentials("ops@example.com", "pw")) as session:
            async with session.get("/api/x") as response:
                assert response.status == 200
            assert (await session.token()).access_token == "refreshed"
