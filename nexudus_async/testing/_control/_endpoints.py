"""The control interface's endpoints: each reads JSON, calls the Python interface, and shows what came of it."""

import importlib.resources
from typing import Any, Final

from aiohttp import hdrs, web

from nexudus_async.testing._accounts import User
from nexudus_async.testing._described import (
    CHANGE_MEMBERS,
    change_settings,
    change_user,
    fault_from,
    settings_as_json,
    user_from,
)
from nexudus_async.testing._input import Fields, InvalidInputError, parse_json, whole_number
from nexudus_async.testing._one_time import JWT_LIFETIME
from nexudus_async.testing._routing import Handler, Route, Routes, json_error
from nexudus_async.testing._steered import Steered
from nexudus_async.testing._world import World

from . import _views as views
from ._access import Access
from ._help import CONTROL_HELP

PREFIX: Final = "/_emulator"
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cache-Control": "no-store",
}
_SHOWN_SESSIONS: Final = 100  # on the page; a fleet's tests may have thousands
_SHOWN_REQUESTS: Final = 60


class Control:
    """Serves the page and the interface. `host` and `remote_control`: see `Access`."""

    def __init__(self, emulator: Steered, world: World, host: str, remote_control: bool | None) -> None:
        self._emulator = emulator
        self._world = world
        self._access = Access(host, remote_control)
        self._routes = Routes("No such resource; GET /_emulator lists all there are.")
        for (method, path), handler in self.handlers().items():
            self._routes.add(method, path, Route(handler, authenticated=False))

    def owns(self, request: web.Request) -> bool:
        """Return whether a request is for the page or the interface, and not for the service."""
        if request.path == "/":  # with a bearer it is a client of the service, which finds nothing there
            return request.method in (hdrs.METH_GET, hdrs.METH_HEAD) and hdrs.AUTHORIZATION not in request.headers
        return request.path == PREFIX or request.path.startswith(PREFIX + "/")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        refusal = self._access.refusal(request)
        if refusal is not None:
            return refusal
        try:
            return await self._routes.find(request).handler(request)
        except ValueError as exc:
            return web.json_response({"Message": str(exc)}, status=400)

    def handlers(self) -> dict[tuple[str, str], Handler]:
        return {
            ("GET", "/"): self._page,
            ("GET", PREFIX): self._help,
            ("GET", PREFIX + "/health"): self._health,
            ("POST", PREFIX + "/reset"): self._reset,
            ("POST", PREFIX + "/seed"): self._seed,
            ("GET", PREFIX + "/users"): self._users,
            ("POST", PREFIX + "/users"): self._add_user,
            ("GET", PREFIX + "/users/{username}"): self._show_user,
            ("PATCH", PREFIX + "/users/{username}"): self._change_user,
            ("DELETE", PREFIX + "/users/{username}"): self._remove_user,
            ("GET", PREFIX + "/users/{username}/totp"): self._totp,
            ("GET", PREFIX + "/sessions"): self._sessions,
            ("POST", PREFIX + "/issue"): self._issue,
            ("POST", PREFIX + "/jwt"): self._jwt,
            ("POST", PREFIX + "/revoke"): self._revoke,
            ("GET", PREFIX + "/faults"): self._faults,
            ("POST", PREFIX + "/faults"): self._add_fault,
            ("DELETE", PREFIX + "/faults"): self._clear_faults,
            ("GET", PREFIX + "/requests"): self._requests,
            ("DELETE", PREFIX + "/requests"): self._forget_requests,
            ("GET", PREFIX + "/counts"): self._counts,
            ("GET", PREFIX + "/clock"): self._clock,
            ("POST", PREFIX + "/clock"): self._advance,
            ("GET", PREFIX + "/settings"): self._settings,
            ("PATCH", PREFIX + "/settings"): self._change_settings,
            ("GET", PREFIX + "/state"): self._state,
        }

    # -- the page ------------------------------------------------------------------------------------------------

    async def _page(self, _: web.Request) -> web.Response:
        page = importlib.resources.files("nexudus_async.testing._control").joinpath("page.html").read_text("utf-8")
        return web.Response(text=page, content_type="text/html", headers=_PAGE_HEADERS)

    async def _state(self, _: web.Request) -> web.Response:
        """All that the page shows, in one answer; its form may change with the page."""
        sessions = views.sessions(self._world)
        record = self._world.service.log.numbered()[-_SHOWN_REQUESTS:]
        answer = {
            **self._time(),
            "sessions": sessions[:_SHOWN_SESSIONS],
            "sessions_in_all": len(sessions),
            "users": [views.user(user) for user in self._emulator.users],
            "faults": views.faults(self._world),
            "counts": views.counts(self._emulator),
            "requests": [views.request(number, each, self._world) for number, each in record],
            "settings": settings_as_json(self._emulator.settings, self._emulator.limits),
        }
        return _json(answer)

    async def _help(self, _: web.Request) -> web.Response:
        return web.Response(text=CONTROL_HELP)

    async def _health(self, request: web.Request) -> web.Response:
        url = f"{request.scheme}://{request.host}"
        return _json({"status": "ok", "url": url, "users": len(self._emulator.users), **self._time()})

    # -- all of it -----------------------------------------------------------------------------------------------

    async def _reset(self, request: web.Request) -> web.Response:
        await _fields(request, "a reset", ())
        self._emulator.reset()
        return await self._health(request)

    async def _seed(self, request: web.Request) -> web.Response:
        self._emulator.load_seed((await _fields(request, "a seed", ("users", "coworkers", "settings", "faults"))).all())
        return await self._health(request)

    # -- users ---------------------------------------------------------------------------------------------------

    async def _users(self, _: web.Request) -> web.Response:
        return _json({"users": [views.user(user) for user in self._emulator.users]})

    async def _add_user(self, request: web.Request) -> web.Response:
        user = self._world.accounts.add(user_from(await _body(request)))
        return _json(views.user(user), status=201)

    async def _show_user(self, request: web.Request) -> web.Response:
        return _json(views.user(self._user(request.match_info["username"])))

    async def _change_user(self, request: web.Request) -> web.Response:
        user = self._user(request.match_info["username"])
        fields = await _fields(request, "a change of a user", (*CHANGE_MEMBERS, "keep_sessions"))
        password = fields.text("password") if "password" in fields else None
        keep = fields.flag("keep_sessions")
        change_user(user, fields)
        if password is not None and keep:
            user.password = password
        elif password is not None:
            self._emulator.change_password(user.username, password)
            change_user(user, fields)  # a new password must not be reset, unless this says so
        return _json(views.user(user))

    async def _remove_user(self, request: web.Request) -> web.Response:
        self._emulator.remove_user(self._user(request.match_info["username"]).username)
        return await self._users(request)

    async def _totp(self, request: web.Request) -> web.Response:
        user = self._user(request.match_info["username"])
        if user.totp_secret is None:
            raise InvalidInputError(
                f'{user.username} has no two-factor secret; set one by PATCH {{"totp_secret": "BASE32"}}'
            )
        return _json({"code": self._emulator.totp_code(user.username)})

    def _user(self, username: str) -> User:
        try:
            return self._emulator.find_user(username)
        except LookupError as exc:
            raise json_error(web.HTTPNotFound, str(exc)) from None

    # -- tokens --------------------------------------------------------------------------------------------------

    async def _sessions(self, _: web.Request) -> web.Response:
        return _json({"sessions": views.sessions(self._world)})

    async def _issue(self, request: web.Request) -> web.Response:
        fields = await _fields(request, "an issue", ("username", "client_id", "lifetime"))
        user = self._user(fields.text("username", self._emulator.username))
        lifetime = fields.number("lifetime", self._emulator.lifetime, least=0.001)
        pair = self._emulator.issue(user, client_id=fields.optional_text("client_id"), lifetime=lifetime)
        answer = {
            "access_token": pair.access_token,
            "token_type": "bearer",
            "expires_in": pair.expires_in,
            "refresh_token": pair.refresh_token,
            "client_id": pair.client_id,
        }
        return _json(answer, status=201)

    async def _jwt(self, request: web.Request) -> web.Response:
        fields = await _fields(request, "a JWT", ("username", "lifetime"))
        user = self._user(fields.text("username", self._emulator.username))
        lifetime = fields.number("lifetime", JWT_LIFETIME, least=0.001)
        token = self._emulator.one_time_jwt(user, lifetime=lifetime)
        return _json({"token": token, "expires_in": lifetime}, status=201)

    async def _revoke(self, request: web.Request) -> web.Response:
        fields = await _fields(request, "a revocation", ("what", "username"))
        name = fields.optional_text("username")
        username = None if name is None else self._user(name).username
        what = fields.one_of("what", ("access", "refresh", "all"))
        if what != "refresh":
            self._emulator.revoke_access_tokens(username)
        if what != "access":
            self._emulator.revoke_refresh_tokens(username)
        return await self._sessions(request)

    # -- faults and the record -----------------------------------------------------------------------------------

    async def _faults(self, _: web.Request) -> web.Response:
        return _json({"faults": views.faults(self._world)})

    async def _add_fault(self, request: web.Request) -> web.Response:
        self._emulator.fail(*fault_from(await _body(request)))
        return _json({"faults": views.faults(self._world)}, status=201)

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self._emulator.faults.clear()
        return await self._faults(request)

    async def _requests(self, request: web.Request) -> web.Response:
        query = Fields(_numbers(request.query), "the query", ("since", "path", "limit"))
        since, limit = query.whole("since", 0, least=0), query.whole("limit", 2**53)
        path = query.optional_text("path")
        found = [
            (number, record)
            for number, record in self._world.service.log.numbered()
            if number > since and path in (None, record.path)
        ]
        return _json({"requests": [views.request(number, each, self._world) for number, each in found[-limit:]]})

    async def _forget_requests(self, request: web.Request) -> web.Response:
        self._emulator.reset_record()
        return await self._counts(request)

    async def _counts(self, _: web.Request) -> web.Response:
        return _json(views.counts(self._emulator))

    # -- the clock and the settings ------------------------------------------------------------------------------

    async def _clock(self, _: web.Request) -> web.Response:
        return _json(self._time())

    async def _advance(self, request: web.Request) -> web.Response:
        fields = await _fields(request, "a clock", ("advance",))
        self._emulator.advance(fields.number("advance"))
        return _json(self._time())

    def _time(self) -> dict[str, Any]:
        return {"now": views.time(self._world.clock.wall()), "ahead": self._world.clock.shift}

    async def _settings(self, _: web.Request) -> web.Response:
        return _json(settings_as_json(self._emulator.settings, self._emulator.limits))

    async def _change_settings(self, request: web.Request) -> web.Response:
        body = await _body(request)
        self._emulator.limits = change_settings(body, self._emulator.settings, self._emulator.limits)
        return await self._settings(request)


async def _body(request: web.Request) -> object:
    """Return the JSON of the body; nothing at all is an empty object."""
    try:
        text = await request.text()
    except (UnicodeDecodeError, LookupError):
        raise InvalidInputError("the body is JSON in UTF-8") from None
    return parse_json(text, "the body") if text.strip() else {}


async def _fields(request: web.Request, what: str, known: tuple[str, ...]) -> Fields:
    return Fields(await _body(request), what, known)


def _numbers(query: Any) -> dict[str, object]:
    """Return a query with its whole numbers as numbers; what is longer than any of use stays text."""
    return {name: value if (number := whole_number(value)) is None else number for name, value in query.items()}


def _json(value: object, status: int = 200) -> web.Response:
    return web.json_response(value, status=status, headers={"Cache-Control": "no-store"})
