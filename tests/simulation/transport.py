# pyright: reportPrivateUsage=false
# Nothing public leads to where sockets, threads and chance are.
"""What stands in for `aiohttp.ClientSession` where tokens are asked for, and where it is put into a session."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from random import Random
from types import TracebackType
from typing import Any, Protocol, Self, cast
from urllib.parse import parse_qsl

import aiohttp
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from nexudus_async import TokenSession, _manager
from nexudus_async._oauth import rejected_password

from .chain import TokenRequest
from .service import Answer, Fault, Outcome, Service

__all__ = ["Door", "Latency", "TokenHttp", "connect", "seeded"]

_KEY = ConnectionKey("spaces.nexudus.com", 443, True, True, None, None, None)


class Latency:
    """How long things take: mostly some turns of the loop, sometimes a while.

    slow: the share of real waits. longest: what these take at most, in seconds, one of them by chance.
    """

    def __init__(self, random: Random, slow: float, longest: tuple[float, ...] = (0.01, 0.3, 0.3, 1.5, 7.0)) -> None:
        self._random, self._slow, self._longest = random, slow, longest

    async def pass_by(self) -> None:
        chance = self._random.random()
        if chance < self._slow:
            await asyncio.sleep(self._random.choice(self._longest) * self._random.random())
        else:
            for _ in range(int(chance * 40) % 4):
                await asyncio.sleep(0)

    async def clean_up(self) -> None:
        """Close a connection, which may need a few turns."""
        for _ in range(self._random.choice((0, 0, 1, 4, 9))):
            await asyncio.sleep(0)


class Door(Protocol):
    """Who is told of every token request: `Chain`, or that of a process."""

    def sending(self, request: TokenRequest) -> None: ...
    def ended(self, request: TokenRequest, outcome: Outcome) -> None: ...
    def cancelled(self, request: TokenRequest) -> None: ...
    def answered(self, request: TokenRequest, status: int, fault: Fault) -> None: ...


class TokenHttp:
    """Carries token requests to the service, or loses them. `on_eof` is called when an answer was read to its end."""

    def __init__(self, service: Service, chain: Door, latency: Latency) -> None:
        self.closed = False
        self.service = service
        self.chain = chain
        self.latency = latency
        self.on_eof: Callable[[], None] | None = None

    async def close(self) -> None:
        self.closed = True

    def post(
        self,
        url: URL,
        *,
        data: bytes,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
        allow_redirects: bool,
        raise_for_status: bool,
        middlewares: tuple[()],
        skip_auto_headers: object = None,
    ) -> "_Exchange":
        assert url.path == "/api/token"
        assert not allow_redirects
        assert headers["Content-Type"] == "application/x-www-form-urlencoded"
        request = TokenRequest(dict(parse_qsl(bytes(data).decode())), headers["client_id"])
        return _Exchange(self, request, timeout.sock_connect or 0.0)


class _Exchange:
    """One token request, as the context manager that `ClientSession.post` returns."""

    def __init__(self, http: TokenHttp, request: TokenRequest, connect_timeout: float) -> None:
        self._http = http
        self._request = request
        self._connect_timeout = connect_timeout
        self._fault = Fault()
        self._parts: list[bytes] = []
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.content = self

    async def __aenter__(self) -> Self:
        http, request = self._http, self._request
        http.chain.sending(request)
        try:
            await self._send()
        except aiohttp.ClientError:
            http.chain.ended(request, self._fault.outcome or Outcome.LOST)
            raise
        except asyncio.CancelledError:
            try:
                await http.latency.clean_up()
            finally:
                http.chain.cancelled(request)
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc_type is asyncio.CancelledError:
            self._http.chain.cancelled(self._request)

    async def _send(self) -> None:
        http = self._http
        await http.latency.pass_by()
        fault = self._fault = http.service.faults.popleft() if http.service.faults else self._fault
        if fault.breaks == "connect":
            raise aiohttp.ClientConnectorError(_KEY, OSError(111, "refused"))
        if fault.breaks == "timeout":
            await asyncio.sleep(self._connect_timeout)
            raise aiohttp.ConnectionTimeoutError("connection timeout")
        await asyncio.sleep(fault.delay_before)
        answers = [self._processed() for _ in range(fault.processed)]
        await asyncio.sleep(fault.delay_after)
        await http.latency.pass_by()
        if fault.breaks == "drop":
            raise aiohttp.ServerDisconnectedError
        if fault.breaks == "reset":
            raise aiohttp.ClientOSError(104, "reset")
        self._answer(answers[fault.answer_of] if answers else Answer(0, "{}"))

    def _processed(self) -> Answer:
        rotate = "refresh_token" not in self._fault.without
        return self._http.service.process(self._request.form, self._request.client_id, rotate=rotate)

    def _answer(self, own: Answer) -> None:
        fault, body = self._fault, own.body
        if fault.status:
            own, body = Answer(fault.status, fault.body, fault.content_type, fault.headers), fault.body
        elif (fault.members or fault.without) and own.status == 200:
            document = json.loads(body) | dict(fault.members)
            body = json.dumps({name: value for name, value in document.items() if name not in fault.without})
        self.status, self.headers = own.status, {"Content-Type": own.content_type, **own.headers}
        middle = len(body) // 2
        self._parts = [part.encode() for part in (body[:middle], body[middle:]) if part]

    async def read(self, n: int) -> bytes:
        if self._parts:
            await self._http.latency.pass_by()
            if self._fault.breaks == "truncate" and len(self._parts) == 1:
                self._http.chain.ended(self._request, Outcome.LOST)
                raise aiohttp.ClientPayloadError("cut off")
            self._request.body += self._parts[0]
            return self._parts.pop(0)
        if self._request.outcome is None:
            self._http.chain.answered(self._request, self.status, self._fault)
            if self._http.on_eof is not None:
                self._http.on_eof()
        return b""


@contextmanager
def seeded(chance: Random) -> Generator[None]:
    """Put chance under the seed inside, and let a password's fingerprint cost nothing, and need no thread."""

    async def quick(password: str, salt: str) -> str:
        return hashlib.blake2b(f"{salt} {password}".encode(), digest_size=8).hexdigest()

    with ExitStack() as stack:
        for owner, name, stand_in in ((rejected_password, "_hash", quick), (_manager, "_system_random", chance.random)):
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, stand_in)
        yield


def connect(session: TokenSession, tokens: TokenHttp, api: object) -> None:
    """Put the stand-ins below a session."""
    own = cast(Any, session)
    own._connections._session = own._connections._pool._requests = api
    own._connections._pool._tokens = tokens
