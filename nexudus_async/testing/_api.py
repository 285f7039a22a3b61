"""The API behind the bearer: who am I, and a few endpoints that exist for tests only."""

import asyncio
import re

from aiohttp import WSMsgType, hdrs, web

from ._accounts import Accounts, User
from ._masking import shown
from ._notes import NOTE
from ._routing import Handler, Route, json_error

__all__ = ["Handler", "Route", "bearer_of", "builtin_handlers"]

_FILTER = re.compile(r"(from_|to_)?[A-Z][A-Za-z]*_[A-Z]\w*|page|size|orderBy|dir")
_USER_ID_OFFSET = 2_000  # a user's Id is not the Id of its coworker


def bearer_of(request: web.Request, accounts: Accounts) -> User | None:
    """Return whose living access token the request carries (RFC 6750, section 2.1)."""
    return accounts.bearer(_access_token(request))


def _access_token(request: web.Request) -> str:
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def builtin_handlers(accounts: Accounts) -> dict[tuple[str, str], Handler]:
    """Return the handlers by method and path; "*" is every method."""
    profile = _Profile(accounts)
    return {
        ("GET", "/api/public/billing/customer"): profile.customer,
        ("GET", "/api/public/teams/my"): profile.teams,
        ("GET", "/api/public/coworkers/profiles"): profile.profiles,
        ("GET", "/api/auth/me"): profile.operator,
        ("*", "/api/emulator/echo"): _echo,
        ("GET", "/api/emulator/websocket"): _websocket,
        ("GET", "/api/emulator/slow"): _slow,
        ("*", "/api/emulator/unauthorized"): _unauthorized,
        ("*", "/api/emulator/forbidden"): _forbidden,
    }


class _Profile:
    """Who am I: the answers are about the user whose bearer it is."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def customer(self, request: web.Request) -> web.Response:
        user = self._user(request)
        profile = {
            "Id": user.coworker_id,
            "FullName": _full_name(user),
            "Email": user.username,
            "Active": True,
            "AccessToken": user.api_access_token,  # a secret in a body: clients must not log bodies
        }
        return web.json_response(profile)

    async def profiles(self, request: web.Request) -> web.Response:
        """The bearer itself stands in this body."""
        user = self._user(request)
        account = {
            "Id": user.coworker_id + _USER_ID_OFFSET,
            "FullName": _full_name(user),
            "Email": user.username,
            "Active": True,
            "IsAdmin": user.admin,
            "AccessToken": _access_token(request),
        }
        profile = {"Id": user.coworker_id, "FullName": _full_name(user), "Active": True, "IsDefaultProfile": True}
        location = {"Id": 1, "Name": "Emulated location", "WebAddress": "emulated"}
        return web.json_response({"User": account, "DefaultBusiness": location, "Profiles": [profile]})

    async def teams(self, request: web.Request) -> web.Response:
        team = {"Id": 2_001, "Name": "First floor", "Administrator": self._user(request).username}
        return web.json_response([team])

    async def operator(self, request: web.Request) -> web.Response:
        user = self._user(request)
        return web.json_response({"Id": user.coworker_id + _USER_ID_OFFSET, "Email": user.username})

    def _user(self, request: web.Request) -> User:
        """Return whose bearer it is; refuse a filter, which the service would ignore here without a word."""
        filters = [name for name in request.query if _FILTER.fullmatch(name)]
        if filters:
            NOTE.get().remark = f"there are no filters here; {shown(filters[0])} would change nothing"
            raise json_error(web.HTTPBadRequest, NOTE.get().remark or "")
        user = bearer_of(request, self._accounts)
        assert user is not None  # the bearer was checked just before
        return user


def _full_name(user: User) -> str:
    return user.username.partition("@")[0].title()


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
    try:
        chunks, delay = int(request.query.get("chunks", "5")), float(request.query.get("delay", "0.01"))
    except ValueError:
        raise json_error(web.HTTPBadRequest, "chunks and delay are numbers, such as 5 and 0.01.") from None
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
