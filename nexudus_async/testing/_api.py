"""The API behind the bearer: the documented endpoints, and a few that exist for tests only."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import WSMsgType, hdrs, web

from ._accounts import Accounts, User

__all__ = ["Handler", "Route", "bearer_of", "builtin_routes"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """A handler, and whether it is behind the bearer."""

    handler: Handler
    authenticated: bool = True


def bearer_of(request: web.Request, accounts: Accounts) -> User | None:
    """Return whose living access token the request carries (RFC 6750, section 2.1)."""
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return accounts.bearer(token.strip()) if scheme.lower() == "bearer" else None


def builtin_routes(accounts: Accounts, coworkers: list[dict[str, Any]]) -> dict[tuple[str, str], Route]:
    """Return the routes by method and path; "*" is every method."""
    profile, pages = _Profile(accounts), _Pages(coworkers)
    handlers: dict[tuple[str, str], Handler] = {
        ("GET", "/api/public/billing/customer"): profile.customer,
        ("GET", "/api/public/teams/my"): profile.teams,
        ("GET", "/api/auth/me"): profile.operator,
        ("GET", "/api/spaces/coworkers"): pages.get,
        ("POST", "/api/spaces/coworkers"): pages.post,
        ("*", "/api/emulator/echo"): _echo,
        ("GET", "/api/emulator/websocket"): _websocket,
        ("GET", "/api/emulator/slow"): _slow,
        ("*", "/api/emulator/unauthorized"): _unauthorized,
        ("*", "/api/emulator/forbidden"): _forbidden,
    }
    return {key: Route(handler) for key, handler in handlers.items()}


class _Profile:
    """Who am I: the answers are about the user whose bearer it is."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def customer(self, request: web.Request) -> web.Response:
        user = self._user(request)
        profile = {
            "Id": 1_001,
            "FullName": user.username.partition("@")[0].title(),
            "Email": user.username,
            "Active": True,
            "AccessToken": user.api_access_token,  # a secret in a body: clients must not log bodies
        }
        return web.json_response(profile)

    async def teams(self, request: web.Request) -> web.Response:
        team = {"Id": 2_001, "Name": "First floor", "Administrator": self._user(request).username}
        return web.json_response([team])

    async def operator(self, request: web.Request) -> web.Response:
        return web.json_response({"Id": 3_001, "Email": self._user(request).username})

    def _user(self, request: web.Request) -> User:
        user = bearer_of(request, self._accounts)
        assert user is not None  # the bearer was checked just before
        return user


class _Pages:
    """A list in pages, as every list of the API is."""

    def __init__(self, records: list[dict[str, Any]]) -> None:
        self._records = records

    async def get(self, request: web.Request) -> web.Response:
        try:
            page, size = int(request.query.get("page", "1")), int(request.query.get("size", "25"))
        except ValueError:
            page, size = 0, 0
        if page < 1 or size < 1:
            return web.json_response({"Message": "page and size are 1 or more"}, status=400)
        pages = math.ceil(len(self._records) / size)
        answer = {
            "Records": self._records[(page - 1) * size : page * size],
            "CurrentPage": page,
            "CurrentPageSize": size,
            "TotalItems": len(self._records),
            "TotalPages": pages,
            "HasNextPage": page < pages,
            "HasPreviousPage": page > 1,
        }
        return web.json_response(answer)

    async def post(self, request: web.Request) -> web.Response:
        record = await request.json()
        identifier = 1 + max((known["Id"] for known in self._records), default=0)
        self._records.append({**record, "Id": identifier})
        return web.json_response({"Status": 200, "WasSuccessful": True, "Value": {"Id": identifier}})


async def _echo(request: web.Request) -> web.Response:
    body = await request.read()
    answer = {"Method": request.method, "Query": request.query_string, "Body": body.decode("utf-8", "replace")}
    return web.json_response(answer)


async def _websocket(request: web.Request) -> web.WebSocketResponse:
    """Send every message back."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


async def _slow(request: web.Request) -> web.StreamResponse:
    """Stream `chunks` pieces with `delay` real seconds before each."""
    chunks, delay = int(request.query.get("chunks", "5")), float(request.query.get("delay", "0.01"))
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    for number in range(chunks):
        await asyncio.sleep(delay)
        await response.write(f"chunk {number}\n".encode())
    return response


async def _unauthorized(_: web.Request) -> web.Response:
    """Refuse as if the token were the matter, which it is not."""
    return web.json_response({"Message": "Access Denied"}, status=401, headers={"WWW-Authenticate": "Bearer"})


async def _forbidden(_: web.Request) -> web.Response:
    return web.json_response({"Message": "You cannot do this."}, status=403)
