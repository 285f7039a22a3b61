"""What must check, with exactly these types. Read by mypy and pyright; never run."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import assert_type

import aiohttp
import httpx
from yarl import URL

from nexudus_async import (
    BearerMiddleware,
    Clock,
    EncryptedStore,
    Event,
    FileStore,
    Freshness,
    Listener,
    MemoryStore,
    NexudusAuthError,
    Pacing,
    PasswordCredentials,
    PasswordResetRequiredError,
    RedisStore,
    RefreshFailed,
    RefreshPolicy,
    Statistics,
    StoredToken,
    Throttle,
    Token,
    TokenEndpoint,
    TokenEndpointError,
    TokenManager,
    TokenObtained,
    TokenSession,
    TokenSource,
    TokenStore,
    totp_from_secret,
)
from nexudus_async.httpx import NexudusAuth
from nexudus_async.otel import OpenTelemetryMetrics, OpenTelemetrySpans
from nexudus_async.prometheus import PrometheusMetrics
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator


async def vault() -> str:
    return "password"


CREDENTIALS = PasswordCredentials("ops@example.com", vault, totp_from_secret("JBSWY3DPEHPK3PXP"))
assert_type(PasswordCredentials.from_env(), PasswordCredentials)


class OwnStore:
    """A store of a user's own: no base class."""

    async def load(self, key: str) -> StoredToken | None: ...
    async def save(self, key: str, record: StoredToken) -> None: ...
    async def clear(self, key: str) -> None: ...

    @asynccontextmanager
    async def refresh_lock(self, key: str) -> AsyncGenerator[None]:
        yield


class OwnSource:
    """A source of a user's own."""

    key = "own"

    async def login(self) -> Token:
        raise NotImplementedError

    async def refresh(self, token: Token, /) -> Token:
        return token


class OwnClock:
    """A clock of a user's own."""

    def monotonic(self) -> float:
        return 0.0

    def wall(self) -> float:
        return 0.0


def listen(event: Event) -> None:
    match event:
        case TokenObtained(grant=grant, waiters=waiters):
            assert_type(waiters, int)
            print(grant)
        case RefreshFailed(error=error):
            assert_type(error, NexudusAuthError)
        case _:
            assert_type(event.account, str)


STORES: list[TokenStore] = [
    MemoryStore(),
    FileStore("tokens.json"),
    RedisStore("redis://localhost"),
    EncryptedStore(MemoryStore(), b"key"),
    OwnStore(),
]
LISTENERS: list[Listener] = [listen, print, OpenTelemetryMetrics(), OpenTelemetrySpans(), PrometheusMetrics()]
CLOCKS: list[Clock] = [OwnClock(), ManualClock()]
SOURCE: TokenSource = OwnSource()


async def a_session() -> None:
    async with TokenSession(
        CREDENTIALS,
        base_url=URL("https://spaces.nexudus.com"),
        client_id="worker",
        store=OwnStore(),
        policy=RefreshPolicy(advisory_window=600, hard_margin=30.0),
        allowed_origins=["https://example.com", URL("https://example.org")],
        keep_alive=True,
        throttle=Throttle(max_replays=3),
        pacing=Pacing.documented(),
        on_event=listen,
        clock=OwnClock(),
    ) as session:
        assert_type(session, TokenSession)
        assert_type(await session.token(), Token)
        assert_type(await session.refresh(), Token)
        assert_type(await session.sign_in(), Token)
        assert_type(session.freshness, Freshness)
        assert_type(session.statistics(), Statistics)
        assert_type(session.manager, TokenManager)
        assert_type(session.middleware, BearerMiddleware)
        assert_type(session.closed, bool)
    TokenSession(store=MemoryStore(), account="ops@example.com", throttle=None)


async def requests(session: TokenSession) -> None:
    async with session.get("/api", params={"page": 1}, timeout=aiohttp.ClientTimeout(total=5)) as response:
        assert_type(response, aiohttp.ClientResponse)
        assert_type(response.status, int)
    assert_type(await session.post(URL("/api"), json={"a": 1}, raise_for_status=True), aiohttp.ClientResponse)
    assert_type(await session.request("PUT", "/api", data=b"x", headers={"X": "y"}), aiohttp.ClientResponse)
    async with session.ws_connect("/ws", heartbeat=5) as socket:
        assert_type(socket, "aiohttp.ClientWebSocketResponse[bool]")


def a_token(token: Token) -> None:
    assert_type(token.access_token, str)
    assert_type(token.refresh_token, str | None)
    assert_type(token.client_id, str | None)
    assert_type(token.expires_at, datetime)
    assert_type(token.authorization, str)
    assert_type(token.generation, int)
    assert_type(token.lifetime, float)


async def parts(http: aiohttp.ClientSession) -> None:
    endpoint = TokenEndpoint(http, "https://spaces.nexudus.com", CREDENTIALS, client_id="worker")
    manager = TokenManager(endpoint, store=FileStore("tokens.json"), on_event=listen, clock=ManualClock())
    assert_type(manager.current(), Token | None)
    assert_type(await manager.reject(await manager.token()), Token | None)
    aiohttp.ClientSession(middlewares=(BearerMiddleware(manager, "https://spaces.nexudus.com"),))
    TokenManager(OwnSource())
    httpx.AsyncClient(auth=NexudusAuth(manager, ["https://spaces.nexudus.com"]))


def errors(error: Exception) -> None:
    if isinstance(error, PasswordResetRequiredError):
        assert_type(error.reset_token, str | None)
    if isinstance(error, TokenEndpointError):
        assert_type(error.transient, bool)
        assert_type(error.retry_after, float | None)
        assert_type(error.status, int | None)
    if isinstance(error, NexudusAuthError):
        as_aiohttps: aiohttp.ClientError = error
        print(as_aiohttps)


async def tests_of_users() -> None:
    async with NexudusEmulator(lifetime=60) as emulator:
        assert_type(emulator.url, str)
        assert_type(emulator.sign_ins, int)
        emulator.fail("token", Fault.answer(503), times=None)
    code: Callable[[], str] = totp_from_secret("JBSWY3DPEHPK3PXP")
    print(code())
