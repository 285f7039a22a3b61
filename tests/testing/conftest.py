"""A plain aiohttp client for the emulator: none of the package's own client is used here."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from nexudus_async.testing import ManualClock, NexudusEmulator

CUSTOMER = "/api/public/billing/customer"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    json: Any


class Client:
    """Speaks to one emulator, by hand."""

    def __init__(self, http: aiohttp.ClientSession, emulator: NexudusEmulator) -> None:
        self.http = http
        self.emulator = emulator

    async def token(self, form: Mapping[str, str], client_id: str | None = None) -> Answer:
        headers = {} if client_id is None else {"client_id": client_id}
        async with self.http.post(f"{self.emulator.url}/api/token", data=form, headers=headers) as response:
            return Answer(response.status, response.headers, await response.json())

    async def sign_in(self, client_id: str | None = None, **fields: str) -> Answer:
        form = {
            "grant_type": "password",
            "username": self.emulator.username,
            "password": self.emulator.password,
            **fields,
        }
        return await self.token(form, client_id)

    async def refresh(self, refresh_token: str, client_id: str | None = "ops@example.com") -> Answer:
        return await self.token({"grant_type": "refresh_token", "refresh_token": refresh_token}, client_id)

    async def call(
        self, path: str, access_token: str | None, method: str = "GET", body: Mapping[str, object] | None = None
    ) -> Answer:
        headers = {} if access_token is None else {"Authorization": f"Bearer {access_token}"}
        async with self.http.request(method, self.emulator.url + path, headers=headers, json=body) as response:
            return Answer(response.status, response.headers, await response.json(content_type=None))


class Http:
    """Any HTTP client: it knows an address, and keeps the last answer."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self.url = url
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.text = ""

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        async with self._http.request(method, self.url + path, json=body, headers=headers) as response:
            self.status, self.headers = response.status, response.headers
            self.text = await response.text()
            return await response.json() if response.content_type == "application/json" else None

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self.ask(method, "/_emulator" + path, body)
        assert self.status in (200, 201), self.text
        return answer

    async def form(self, **fields: str) -> Any:
        """Ask the token endpoint; a field client_id goes into the header."""
        headers = {"client_id": fields.pop("client_id")} if "client_id" in fields else {}
        async with self._http.post(f"{self.url}/api/token", data=fields, headers=headers) as response:
            self.status = response.status
            return await response.json()

    async def sign_in(self, username: str, password: str, **more: str) -> Any:
        return await self.form(grant_type="password", username=username, password=password, **more)

    async def call(self, token: str, path: str = CUSTOMER) -> int:
        await self.ask("GET", path, Authorization=f"Bearer {token}")
        return self.status


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def emulator(clock: ManualClock) -> AsyncIterator[NexudusEmulator]:
    async with NexudusEmulator(clock=clock) as emulator:
        yield emulator


@pytest.fixture
async def client(emulator: NexudusEmulator) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as http:
        yield Client(http, emulator)


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with NexudusEmulator() as emulator, aiohttp.ClientSession() as session:
        url = emulator.url
        del emulator
        yield Http(session, url)
