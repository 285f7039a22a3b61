"""What stands in for aiohttp where API requests go: the session's own client, and a foreign one with middlewares."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Protocol, Self, cast

import aiohttp
from aiohttp.streams import EMPTY_PAYLOAD
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from nexudus_async import BearerMiddleware

from .service import Service
from .transport import Latency

__all__ = ["ALLOWED", "API_FAULTS", "FOREIGN", "ApiFault", "ApiHttp", "ForeignSession", "stream"]

ALLOWED = "https://files.example:8443"
"""An origin that may see the token besides the service's own."""
FOREIGN = (
    "https://elsewhere.example/ok",
    "http://spaces.nexudus.com/ok",
    "https://spaces.nexudus.com:8443/ok",
    "https://x.spaces.nexudus.com/ok",
    "https://files.example/ok",
    "http://files.example:8443/ok",
)
"""Others: some differ from those that may in nothing but the scheme or the port."""


@dataclass(frozen=True, slots=True)
class ApiFault:
    """One thing that goes wrong with one API request. status: 0 for a connection that breaks. body: in words."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""


API_FAULTS = {
    "401": ApiFault(401),
    "500": ApiFault(500),
    "503": ApiFault(503),
    "drop": ApiFault(0),
    "conflict": ApiFault(409),
    "409": ApiFault(409, {"Retry-After": "2"}),
    "429": ApiFault(429, {"Retry-After": "1"}),
    "429 alone": ApiFault(429),
    "429 in words": ApiFault(429, body=b"Too many requests. Wait 2 seconds."),
    "429 long": ApiFault(429, {"Retry-After": "100"}),
}


class Response(aiohttp.ClientResponse):
    """An API answer, as far as the library and its callers look at it."""

    def __init__(self, fault: ApiFault, authorization: str | None, asked_by: str) -> None:  # not aiohttp's: no network
        self.status, self.asked_by = fault.status, asked_by
        self.content = EMPTY_PAYLOAD
        self.done = False
        """Whether it was read, released or closed, or its connection would be lost to the pool."""
        self._answer = CIMultiDictProxy(CIMultiDict(fault.headers))
        self._words = fault.body
        self._request: Any = SimpleNamespace(headers=CIMultiDict({"Authorization": authorization or ""}))

    @property
    def headers(self) -> CIMultiDictProxy[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._answer

    @property
    def history(self) -> tuple[aiohttp.ClientResponse, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return ()

    @property
    def request_info(self) -> aiohttp.RequestInfo:  # pyright: ignore[reportIncompatibleVariableOverride]
        return cast(aiohttp.RequestInfo, self._request)

    async def read(self) -> bytes:
        self.done = True
        return self._words

    def release(self) -> None:
        self.done = True

    close = release

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.release()


class Door(Protocol):
    """Who is told of every API request: `Sendings`, or that of a process. What `sends` returns stands for one."""

    def sends(self, url: URL, authorization: str | None, *, foreign: bool) -> Any: ...
    def processed(self, sending: Any, status: int) -> None: ...
    def over(self, sending: Any) -> None: ...
    def answered(self, sending: Any, status: int, asked: float | None) -> None: ...
    def asked_by(self, sending: Any, headers: Mapping[str, str], body: bytes) -> float | None: ...


class ApiHttp:
    """Carries API requests. Whatever starts with /denied is refused with 401 whoever asks.

    faults: what goes wrong with the next ones. limit: how many are let through in how many seconds, if not all.
    """

    trust_env = False
    raise_for_status = False

    def __init__(self, service: Service, latency: Latency, sendings: Door) -> None:
        self.closed = False
        self.faults: deque[str] = deque()
        self.limit: tuple[int, int] | None = None
        self.answers: list[Response] = []
        self._service = service
        self._latency = latency
        self._sendings = sendings
        self._times: deque[float] = deque()

    async def close(self) -> None:
        self.closed = True

    def heal(self) -> None:
        self.faults.clear()
        self.limit = None

    async def request(
        self, method: str, url: URL, *, headers: Mapping[str, str] | None = None, **kwargs: Any
    ) -> Response:
        return await self.carry(url, (headers or {}).get("Authorization"))

    async def carry(self, url: URL, authorization: str | None, *, foreign: bool = False) -> Response:
        """Send one request. foreign: by a session of somebody else's."""
        sending = self._sendings.sends(url, authorization, foreign=foreign)
        answer = ApiFault(0)
        try:
            await self._latency.pass_by()
            answer = self._answer_to(url, authorization)
            self._sendings.processed(sending, answer.status)
            await self._latency.pass_by()
        finally:
            self._sendings.over(sending)
        self._sendings.answered(sending, answer.status, self._sendings.asked_by(sending, answer.headers, answer.body))
        if not answer.status:
            raise aiohttp.ServerDisconnectedError
        response = Response(answer, authorization, f"{sending} {answer.status}")
        self.answers.append(response)
        return response

    def leaks(self) -> set[str]:
        """Return the kinds of requests whose answers nobody has read, released or closed, with the status."""
        return {response.asked_by for response in self.answers if not response.done}

    def _answer_to(self, url: URL, authorization: str | None) -> ApiFault:
        if self.faults:
            return API_FAULTS[self.faults.popleft()]
        if (full_for := self._full_for()) > 0:
            return ApiFault(409, {"Retry-After": str(full_for)})
        accepted = self._service.accepts(authorization or "") and not url.path.startswith("/denied")
        return ApiFault(200 if accepted else 401)

    def _full_for(self) -> int:
        """Return the seconds to wait for the limit, 0 for none; who need not wait is counted."""
        if self.limit is None:
            return 0
        (amount, seconds), now = self.limit, self._service.now()
        while self._times and self._times[0] <= now - seconds:
            self._times.popleft()
        if len(self._times) >= amount:
            return int(self._times[0] + seconds - now) + 1
        self._times.append(now)
        return 0


_Handler = Callable[[Any], Awaitable[Response]]


class ForeignSession:
    """Somebody else's session, with our middleware; and, around it, one that tries again, as aiohttp's cookbook has it.

    on_pass: called before each try.
    """

    def __init__(self, api: ApiHttp, bearer: BearerMiddleware, on_pass: Callable[[], None]) -> None:
        self._api, self._bearer, self._on_pass = api, bearer, on_pass

    async def get(self, url: str, authorization: str | None = None) -> Response:
        """Send a request through our middleware."""
        return await self._through_ours(_request(url, authorization=authorization))

    async def post(self, url: str) -> Response:
        """Send one whose body is used up by the first sending."""
        return await self._through_ours(_request(url, body=stream()))

    async def get_patiently(self, url: str) -> Response:
        """Send a request through one middleware that tries again after a 503, and ours inside it."""
        request = _request(url)
        for pause in (0.1, 0.5):
            self._on_pass()
            response = await self._through_ours(request)
            if response.status != 503:
                return response
            response.release()
            await asyncio.sleep(pause)
        self._on_pass()
        return await self._through_ours(request)

    async def _through_ours(self, request: Any) -> Response:
        return cast(Response, await self._bearer(request, self._innermost))

    async def _innermost(self, request: Any) -> Response:
        return await self._api.carry(request.url, request.headers.get("Authorization"), foreign=True)


def _request(url: str, body: object = None, authorization: str | None = None) -> Any:
    """Return what a middleware sees of `aiohttp.ClientRequest`."""
    headers = CIMultiDict[str]() if authorization is None else CIMultiDict({"Authorization": authorization})
    method = "GET" if body is None else "POST"
    session = SimpleNamespace(trust_env=False)
    return SimpleNamespace(url=URL(url), method=method, headers=headers, body=body, session=session)


async def stream() -> AsyncIterator[bytes]:
    """Return a body that can be read once."""
    yield b"once"
