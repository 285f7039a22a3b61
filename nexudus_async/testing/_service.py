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
class _Call:
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
        call = _Call(request, form, Note(self._who(request, form)), client_id)
        NOTE.set(call.note)
        record = replace(call.record(self._clock.monotonic()), username=call.note.who)
        serial = self.log.begin(record)
        status: int | None = None
        try:
            with self._gauged(call):
                response = await self._respond(call)
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
                username=call.note.who,
                milliseconds=(time.perf_counter() - began) * 1_000,
                remark=self.masker.remark(call.note.remark, request.query.items()),
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
    def _gauged(self, call: _Call) -> Generator[None]:
        with ExitStack() as stack:
            if call.is_token_request:
                stack.enter_context(self.token_gauge.busy("token"))
            if call.form.get("grant_type") == "refresh_token":
                stack.enter_context(self.refresh_gauge.busy(call.client_id or ""))
            yield

    async def _respond(self, call: _Call) -> web.StreamResponse:
        asked = preflight(call.request)
        if asked is not None and not self.routes.has(hdrs.METH_OPTIONS, call.request.path):
            return asked  # before the faults: one that is meant for a request is not for the browser's question
        fault = self.faults.take("token" if call.is_token_request else "*", call.request.path)
        if fault is None:
            return await self._answer(call)
        own = await self._own(call) if fault.applied else None
        await fault.wait()
        if own is None and not fault.replaces_answer:
            own = await self._own(call)
        return await deliver(call.request, fault, own)

    async def _own(self, call: _Call) -> web.StreamResponse:
        """Return the service's own answer, also where a handler raises it: a 404 can be late, too."""
        try:
            return await self._answer(call)
        except web.HTTPException as exc:
            return web.Response(status=exc.status, headers=exc.headers, body=exc.body)

    async def _answer(self, call: _Call) -> web.StreamResponse:
        if call.is_token_request:
            return self._token(call)
        request = call.request
        user = bearer_of(request, self._accounts)  # once more: a fault may have held it back meanwhile
        if self._settings.enforce_limits:
            wait = self.throttler.admit_call(
                user.username if user is not None else "", request.method, path=request.path, address=call.address
            )
            if wait:
                return self._throttled(request, wait)
        route = self.routes.find(request)
        if route.authenticated and user is None:
            return _invalid_token(presented=hdrs.AUTHORIZATION in request.headers)
        return await route.handler(request)

    def _token(self, call: _Call) -> web.Response:
        request = call.request
        if request.method != hdrs.METH_POST:
            raise not_allowed(request.method, [hdrs.METH_POST])
        if self._settings.enforce_limits:
            client = call.client_id or call.form.get("username", "")
            wait = self.throttler.admit_token_request(client, address=call.address)
            if wait:
                return self._throttled(request, wait)
        answer = self._grants.answer(call.form, call.client_id)
        call.note.who = answer.username or call.note.who
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
