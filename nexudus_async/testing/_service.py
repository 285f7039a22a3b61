"""The emulator's request handling: record, fault, throttle, bearer, handler."""

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from aiohttp import hdrs, web

from nexudus_async._clock import Clock

from ._accounts import Accounts
from ._api import Route, bearer_of
from ._delivery import Dropped, deliver
from ._faults import FaultPlan
from ._grants import Grants
from ._limits import Throttler
from ._records import Gauge, RequestLog, RequestRecord

__all__ = ["TOKEN_PATH", "Service"]

TOKEN_PATH = "/api/token"
_FORM = "application/x-www-form-urlencoded"


@dataclass(slots=True)
class _Exchange:
    """One request under way. form: the fields of a token request, empty for every other."""

    request: web.Request
    form: Mapping[str, str]
    username: str | None = None

    @property
    def is_token_request(self) -> bool:
        return self.request.path == TOKEN_PATH

    @property
    def client_id(self) -> str | None:
        return self.request.headers.get("client_id")

    def record(self, started: float) -> RequestRecord:
        request = self.request
        return RequestRecord(request.method, request.path, request.query, request.headers, self.form, started)


class Service:
    """Answers every request. Routes are looked up here, because aiohttp's own are frozen once it runs."""

    def __init__(
        self,
        clock: Clock,
        accounts: Accounts,
        grants: Grants,
        throttler: Throttler,
        routes: dict[tuple[str, str], Route],
    ) -> None:
        self.routes = routes
        self.faults = FaultPlan()
        self.log = RequestLog()
        self.token_gauge, self.renewal_gauge = Gauge(), Gauge()
        self.enforce_limits = False
        self._clock = clock
        self._accounts = accounts
        self._grants = grants
        self._throttler = throttler

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request and record it."""
        exchange = _Exchange(request, await _read_form(request))
        serial = self.log.begin(exchange.record(self._clock.monotonic()))
        status: int | None = None
        try:
            with self._gauged(exchange):
                response = await self._respond(exchange)
            status = None if isinstance(response, Dropped) else response.status
            return response
        except ConnectionError:  # the client has left; aiohttp would log it as an error of the handler
            return Dropped()
        except Exception as exc:
            status = exc.status if isinstance(exc, web.HTTPException) else 500
            raise
        finally:
            now = self._clock.monotonic()
            self.log.finish(serial, finished=now, status=status, username=exchange.username)

    @contextmanager
    def _gauged(self, exchange: _Exchange) -> Generator[None]:
        with ExitStack() as stack:
            if exchange.is_token_request:
                stack.enter_context(self.token_gauge.busy("token"))
            if exchange.form.get("grant_type") == "refresh_token":
                stack.enter_context(self.renewal_gauge.busy(exchange.client_id or ""))
            yield

    async def _respond(self, exchange: _Exchange) -> web.StreamResponse:
        fault = self.faults.take("token" if exchange.is_token_request else "*", exchange.request.path)
        if fault is None:
            return await self._answer(exchange)
        own = await self._answer(exchange) if fault.applied else None
        await fault.wait()
        if own is None and not fault.replaces_answer:
            own = await self._answer(exchange)
        return await deliver(exchange.request, fault, own)

    async def _answer(self, exchange: _Exchange) -> web.StreamResponse:
        if exchange.is_token_request:
            return self._token(exchange)
        request = exchange.request
        user = bearer_of(request, self._accounts)
        exchange.username = user.username if user is not None else None
        if self.enforce_limits and (wait := self._throttler.admit_call(exchange.username or "", request.method)):
            return _throttled(wait)
        route = self._find(request)
        if route.authenticated and user is None:
            return _invalid_token(presented=hdrs.AUTHORIZATION in request.headers)
        return await route.handler(request)

    def _token(self, exchange: _Exchange) -> web.Response:
        if exchange.request.method != hdrs.METH_POST:
            raise web.HTTPMethodNotAllowed(exchange.request.method, [hdrs.METH_POST])
        client = exchange.client_id or exchange.form.get("username", "")
        if self.enforce_limits and (wait := self._throttler.admit_token_request(client)):
            return _throttled(wait)
        answer = self._grants.answer(exchange.form, exchange.client_id)
        exchange.username = answer.username
        return web.json_response(dict(answer.payload), status=answer.status, headers={"Cache-Control": "no-store"})

    def _find(self, request: web.Request) -> Route:
        method = hdrs.METH_GET if request.method == hdrs.METH_HEAD else request.method
        for key in ((request.method, request.path), (method, request.path), ("*", request.path)):
            if key in self.routes:
                return self.routes[key]
        allowed = [known for known, path in self.routes if path == request.path]
        if allowed:
            raise web.HTTPMethodNotAllowed(request.method, allowed)
        raise web.HTTPNotFound(text='{"Message": "No such resource."}', content_type="application/json")


async def _read_form(request: web.Request) -> Mapping[str, str]:
    if request.path != TOKEN_PATH or request.content_type != _FORM:
        return {}
    return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}


def _throttled(wait: int) -> web.Response:
    # 409 instead of 429 "for legacy reasons", as documented.
    return web.json_response({"Message": "Too many requests."}, status=409, headers={"Retry-After": str(wait)})


def _invalid_token(*, presented: bool) -> web.Response:
    # RFC 6750, section 3.1: no error code for a request that presented nothing.
    challenge = 'Bearer error="invalid_token"' if presented else "Bearer"
    headers = {hdrs.WWW_AUTHENTICATE: challenge}
    return web.json_response({"Message": "Authorization has been denied."}, status=401, headers=headers)
