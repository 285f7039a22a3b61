"""The contestants: ours, the limits, and other libraries, each used as its own documentation shows.

Each is an async context manager that gives an `Asker`: a function that sends one GET to a path and reads the answer.
The aiohttp ones have the same jar and pool, the httpx ones the same limits; each has its token before it is measured.
"""

import asyncio
import time
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import httpx
from aiohttp_oauth2_client.grant.resource_owner_password_credentials import (  # pyright: ignore[reportMissingTypeStubs]
    ResourceOwnerPasswordCredentialsGrant,
)
from aiohttp_oauth2_client.middleware import OAuth2Middleware  # pyright: ignore[reportMissingTypeStubs]
from httpx_auth import OAuth2, OAuth2ResourceOwnerPasswordCredentials

from nexudus_async import PasswordCredentials, RefreshPolicy, TokenSession

with warnings.catch_warnings(record=True):  # it announces another httpx
    from authlib.integrations.httpx_client import AsyncOAuth2Client

USERNAME, PASSWORD = "ops@example.com", "made-up"
FIXED = {"Authorization": "Bearer made-up-access-000001-" + 200 * "a"}
Asker = Callable[[str], Awaitable[bytes]]
Contestant = Callable[[str], AbstractAsyncContextManager[Asker]]
Middleware = aiohttp.ClientMiddlewareType


def _pool() -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(limit=0)


def _aiohttp(origin: str, *middlewares: Middleware, headers: dict[str, str] | None = None) -> aiohttp.ClientSession:
    jar = aiohttp.DummyCookieJar()
    return aiohttp.ClientSession(origin, connector=_pool(), cookie_jar=jar, middlewares=middlewares, headers=headers)


def _by_aiohttp(session: aiohttp.ClientSession | TokenSession) -> Asker:
    async def ask(path: str) -> bytes:
        async with session.get(path) as response:
            return await response.read()

    return ask


@asynccontextmanager
async def bare(origin: str) -> AsyncGenerator[Asker]:
    """aiohttp with a header that never changes: the limit."""
    async with _aiohttp(origin, headers=FIXED) as session:
        yield _by_aiohttp(session)


@asynccontextmanager
async def ours(origin: str, policy: RefreshPolicy | None = None) -> AsyncGenerator[Asker]:
    """`TokenSession` over a session like everybody's."""
    async with (
        aiohttp.ClientSession(connector=_pool(), cookie_jar=aiohttp.DummyCookieJar()) as http,
        TokenSession(
            PasswordCredentials(USERNAME, PASSWORD), base_url=origin, client_session=http, policy=policy
        ) as session,
    ):
        await session.token()
        yield _by_aiohttp(session)


@asynccontextmanager
async def our_middleware(origin: str) -> AsyncGenerator[Asker]:
    """`BearerMiddleware` in an aiohttp session."""
    async with (
        TokenSession(PasswordCredentials(USERNAME, PASSWORD), base_url=origin) as session,
        _aiohttp(origin, session.middleware) as http,
    ):
        await session.token()
        yield _by_aiohttp(http)


@asynccontextmanager
async def idle_middleware(origin: str) -> AsyncGenerator[Asker]:
    """A middleware that does nothing: the limit of all middlewares. It sends no token."""

    async def passes(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        return await handler(request)

    async with _aiohttp(origin, passes, headers=FIXED) as session:
        yield _by_aiohttp(session)


class LockedToken:
    """A token behind a lock, refreshed by whoever finds it old: what one writes in ten lines."""

    def __init__(self, http: aiohttp.ClientSession, *, margin: float = 30.0) -> None:
        self._http, self._margin = http, margin
        self._lock = asyncio.Lock()
        self._header, self._until = "", 0.0

    async def header(self) -> str:
        async with self._lock:
            if time.time() >= self._until:
                async with self._http.post("/api/token", data={"grant_type": "password"}) as response:
                    token = await response.json()
                self._header, self._until = (
                    f"Bearer {token['access_token']}",
                    time.time() + token["expires_in"] - self._margin,
                )
            return self._header

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.headers["Authorization"] = await self.header()
        return await handler(request)


@asynccontextmanager
async def locked(origin: str) -> AsyncGenerator[Asker]:
    """A middleware with `LockedToken`."""
    async with _aiohttp(origin) as tokens:
        holder = LockedToken(tokens)
        async with _aiohttp(origin, holder) as session:
            await holder.header()
            yield _by_aiohttp(session)


def oauth2_grant(origin: str) -> Any:
    """Return aiohttp-oauth2-client's password grant."""
    return ResourceOwnerPasswordCredentialsGrant(f"{origin}/api/token", USERNAME, PASSWORD)


@asynccontextmanager
async def oauth2_client(origin: str) -> AsyncGenerator[Asker]:
    """aiohttp-oauth2-client: its middleware with the password grant."""
    async with oauth2_grant(origin) as grant, _aiohttp(origin, OAuth2Middleware(grant)) as session:
        await grant.prepare_headers()
        yield _by_aiohttp(session)


def _by_httpx(client: Any) -> Asker:
    async def ask(path: str) -> bytes:
        response = await client.get(path)  # reads the body
        return bytes(response.content)

    return ask


def _httpx_options(origin: str) -> dict[str, Any]:
    return {"base_url": origin, "limits": httpx.Limits(max_connections=None), "timeout": 300.0, "trust_env": False}


@asynccontextmanager
async def bare_httpx(origin: str) -> AsyncGenerator[Asker]:
    """httpx with a header that never changes: the limit of the two below."""
    async with httpx.AsyncClient(headers=FIXED, **_httpx_options(origin)) as client:
        yield _by_httpx(client)


def authlib_client(origin: str) -> Any:
    """Return authlib's httpx client: it refreshes by itself when it knows the token endpoint."""
    endpoint = f"{origin}/api/token"
    return AsyncOAuth2Client("made-up", token_endpoint=endpoint, leeway=30, **_httpx_options(origin))


@asynccontextmanager
async def authlib(origin: str) -> AsyncGenerator[Asker]:
    """authlib's `AsyncOAuth2Client` with the password grant."""
    async with authlib_client(origin) as client:
        await client.fetch_token(f"{origin}/api/token", username=USERNAME, password=PASSWORD)
        yield _by_httpx(client)


@asynccontextmanager
async def httpx_auth(origin: str) -> AsyncGenerator[Asker]:
    """httpx-auth's password grant on `httpx.AsyncClient`."""
    with httpx.Client(trust_env=False) as tokens:
        auth = OAuth2ResourceOwnerPasswordCredentials(
            f"{origin}/api/token", username=USERNAME, password=PASSWORD, client=tokens
        )
        OAuth2.token_cache.clear()
        async with httpx.AsyncClient(auth=auth, **_httpx_options(origin)) as client:
            ask = _by_httpx(client)
            await ask("/")
            yield ask
