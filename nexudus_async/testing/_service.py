"""The emulator's request handling: record, fault, throttle, bearer, handler."""

import logging
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from aiohttp import hdrs, web

from nexudus_async._clock import Clock

from ._accounts import Accounts
from ._api import bearer_of
from ._delivery import Dropped, deliver
from ._faults import FaultPlan
from ._grants import Grants
from ._limits import Throttler
from ._masking import Masker
from ._notes import NOTE, Note
from ._records import Gauge, RequestLog, RequestRecord, Served
from ._routing import Routes, not_allowed, preflight
from ._settings import Settings

TOKEN_PATH = "/api/token"
_FORM = "application/x-www-form-urlencoded"

_logger = logging.getLogger("nexudus_async.testing")


@dataclass(slots=True)
class _Exchange:
    """One request under way. form: the fields of a token request, empty for every other."""

    request: web.Request
    form: Mapping[str, str]
    note: Note
    client_id: str | None

    @property
    def is_token_request(self) -> bool:
        return self.request.path == TOKEN_PATH

    @property
    def address(self) -> str:
        return self.request.remote or ""

    def record(self, started: float) -> RequestRecord:
        request = self.request
        return RequestRecord(request.method, request.path, request.query, request.headers, self.form, started)


class Service:
    """Answers every request of the emulated service. `on_request` is told of each, once its answer has been made."""

    def __init__(
        self,
        clock: Clock,
        accounts: Accounts,
        grants: Grants,
        throttler: Throttler,
        *,
        settings: Settings,
        on_request: Callable[[Served], None] | None,
    ) -> None:
        self.routes: Routes = Routes()
        self.faults: FaultPlan = FaultPlan()
        self.log: RequestLog = RequestLog()
        self.token_gauge: Gauge = Gauge()
        self.refresh_gauge: Gauge = Gauge()
        self.throttler = throttler
        self.masker: Masker = Masker(accounts.is_secret)
        self._settings = settings
        self._clock = clock
        self._accounts = accounts
        self._grants = grants
        self._on_request = on_request

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request and record it."""
        began = time.perf_counter()
        form = await _read_form(request)
        client_id = None if self._settings.drop_client_id else request.headers.get("client_id")
        exchange = _Exchange(request, form, Note(self._who(request, form)), client_id)
        NOTE.set(exchange.note)
        record = replace(exchange.record(self._clock.monotonic()), username=exchange.note.who)
        serial = self.log.begin(record)
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
            outcome = replace(
                record,
                finished=self._clock.monotonic(),
                status=status,
                username=exchange.note.who,
                milliseconds=(time.perf_counter() - began) * 1_000,
                remark=self.masker.remark(exchange.note.remark, request.query.items()),
            )
            self.log.finish(serial, outcome)
            self._tell(request, outcome)

    def _who(self, request: web.Request, form: Mapping[str, str]) -> str | None:
        """Return whose the request is, as far as can be told before it is processed, which a fault may prevent."""
        user = bearer_of(request, self._accounts) or self._accounts.find(form.get("username", ""))
        return None if user is None else user.username

    def _tell(self, request: web.Request, record: RequestRecord) -> None:
        if self._on_request is None:
            return
        path, took = self.masker.path(request.rel_url.raw_path), record.milliseconds or 0.0
        try:
            self._on_request(Served(record.method, path, record.status, took, record.username, record.remark))
        except Exception:  # whoever listens cannot break a request
            _logger.exception("on_request raised")

    @contextmanager
    def _gauged(self, exchange: _Exchange) -> Generator[None]:
        with ExitStack() as stack:
            if exchange.is_token_request:
                stack.enter_context(self.token_gauge.busy("token"))
            if exchange.form.get("grant_type") == "refresh_token":
                stack.enter_context(self.refresh_gauge.busy(exchange.client_id or ""))
            yield

    async def _respond(self, exchange: _Exchange) -> web.StreamResponse:
        asked = preflight(exchange.request)
        if asked is not None and not self.routes.has(hdrs.METH_OPTIONS, exchange.request.path):
            return asked  # before the faults: one that is meant for a request is not for the browser's question
        fault = self.faults.take("token" if exchange.is_token_request else "*", exchange.request.path)
        if fault is None:
            return await self._answer(exchange)
        own = await self._own(exchange) if fault.applied else None
        await fault.wait()
        if own is None and not fault.replaces_answer:
            own = await self._own(exchange)
        return await deliver(exchange.request, fault, own)

    async def _own(self, exchange: _Exchange) -> web.StreamResponse:
        """Return the service's own answer, also where a handler raises it: a 404 can be late, too."""
        try:
            return await self._answer(exchange)
        except web.HTTPException as exc:
            return web.Response(status=exc.status, headers=exc.headers, body=exc.body)

    async def _answer(self, exchange: _Exchange) -> web.StreamResponse:
        if exchange.is_token_request:
            return self._token(exchange)
        request = exchange.request
        user = bearer_of(request, self._accounts)  # once more: a fault may have held it back meanwhile
        if self._settings.enforce_limits:
            wait = self.throttler.admit_call(
                user.username if user is not None else "", request.method, path=request.path, address=exchange.address
            )
            if wait:
                return self._throttled(request, wait)
        route = self.routes.find(request)
        if route.authenticated and user is None:
            return _invalid_token(presented=hdrs.AUTHORIZATION in request.headers)
        return await route.handler(request)

    def _token(self, exchange: _Exchange) -> web.Response:
        request = exchange.request
        if request.method != hdrs.METH_POST:
            raise not_allowed(request.method, [hdrs.METH_POST])
        if self._settings.enforce_limits:
            client = exchange.client_id or exchange.form.get("username", "")
            wait = self.throttler.admit_token_request(client, address=exchange.address)
            if wait:
                return self._throttled(request, wait)
        answer = self._grants.answer(exchange.form, exchange.client_id)
        exchange.note.who = answer.username or exchange.note.who
        return web.json_response(dict(answer.payload), status=answer.status, headers={"Cache-Control": "no-store"})

    def _throttled(self, request: web.Request, wait: int) -> web.Response:
        limits = self.throttler.limits
        message = {"Message": f"Too many requests. Wait {wait} seconds."}
        headers = {"Retry-After": str(wait)} if limits.retry_after else {}
        return web.json_response(message, status=limits.status_for(request.path), headers=headers)


async def _read_form(request: web.Request) -> Mapping[str, str]:
    if request.path != TOKEN_PATH or request.content_type != _FORM:
        return {}
    try:
        fields = await request.post()
    except (UnicodeDecodeError, LookupError):  # no text in the charset that was named: as a body of another kind
        return {}
    return {name: value for name, value in fields.items() if isinstance(value, str)}


def _invalid_token(*, presented: bool) -> web.Response:
    # RFC 6750, section 3.1: no error code for a request that presented nothing.
    challenge = 'Bearer error="invalid_token"' if presented else "Bearer"
    headers = {hdrs.WWW_AUTHENTICATE: challenge}
    return web.json_response({"Message": "Authorization has been denied."}, status=401, headers=headers)
