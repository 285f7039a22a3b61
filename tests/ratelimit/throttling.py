"""A place of the service whose answers a test gives one by one, and how to call it."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from aiohttp import web

from nexudus_async import TokenSession
from nexudus_async.testing import ManualClock, NexudusEmulator
from nexudus_async.testing._records import RequestRecord
from tests.conftest import CUSTOMER, until

ECHO = "/api/emulator/echo"
PLACE = "/api/place"
POOL = 100
"""aiohttp's own limit of connections."""
STEP = 0.1
"""Seconds by which time passes at once: less than the time between two requests at the start."""


class Place:
    """Keeps every request to `PLACE` until the test answers it. `names`: the query of each, in order of arrival.

    peers: the connections that they came by.
    """

    def __init__(self, emulator: NexudusEmulator, clock: ManualClock) -> None:
        self._clock = clock
        self.names: list[str] = []
        self.peers: set[object] = set()
        self._open: deque[asyncio.Future[web.Response]] = deque()
        emulator.route("*", PLACE, self._keep)

    async def _keep(self, request: web.Request) -> web.Response:
        self.names.append(request.query_string)
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))
        future: asyncio.Future[web.Response] = asyncio.get_running_loop().create_future()
        self._open.append(future)
        return await future

    async def count(self, n: int) -> None:
        """Wait until `n` requests have arrived in all, give any more the time to, and see that there are none."""
        await until(lambda: len(self.names) >= n)
        await settle()
        assert len(self.names) == n

    def answer(self, n: int = 1, *, status: int = 200, retry_after: float | None = None) -> None:
        """Answer the `n` requests that have been kept longest."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        for _ in range(n):
            future = self._open.popleft()
            if not future.done():  # its client has left
                future.set_result(web.json_response({}, status=status, headers=headers))

    def answer_newest(self) -> None:
        self._open.pop().set_result(web.json_response({}))

    def answer_all(self) -> None:
        self.answer(len(self._open))

    async def serve(self, *tasks: "asyncio.Future[Any]") -> None:
        """Answer whatever arrives, and let the time pass that is waited for, until the tasks are done."""
        await let_time_pass(self._clock, *tasks, meanwhile=self.answer_all)


async def let_time_pass(
    clock: ManualClock, *tasks: "asyncio.Future[Any]", meanwhile: Callable[[], object] = lambda: None
) -> None:
    """Let time pass wherever it is waited for, until the tasks are done."""
    async with asyncio.timeout(30):
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0.001)
            meanwhile()
            clock.advance(STEP if clock.sleepers else 0)


async def greet(request: web.Request) -> web.WebSocketResponse:
    """Accept a WebSocket, say hello, and hang up."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_str("hello")
    await socket.close()
    return socket


async def status(session: TokenSession, path: str = CUSTOMER, method: str = "GET", **options: Any) -> int:
    async with session.request(method, path, **options) as response:
        await response.read()
        return response.status


def start(session: TokenSession, names: Iterable[Any], **options: Any) -> "list[asyncio.Task[int]]":
    return [asyncio.create_task(status(session, f"{PLACE}?{name}", **options)) for name in names]


def sent(emulator: NexudusEmulator, path: str = CUSTOMER) -> list[RequestRecord]:
    return [record for record in emulator.requests if record.path == path]


def calls(emulator: NexudusEmulator) -> int:
    return len(emulator.requests) - len(emulator.token_requests)


async def settle() -> None:
    """Let everything happen that is going to happen without the clock: some turns of the loop, and the sockets."""
    for _ in range(20):
        await asyncio.sleep(0.001)


async def fill_the_pool(session: TokenSession, place: Place) -> "list[asyncio.Task[int]]":
    tasks = start(session, range(POOL))
    await place.count(POOL)
    return tasks


async def begin_a_pause(place: Place, clock: ManualClock, seconds: float = 5) -> None:
    place.answer(status=409, retry_after=seconds)
    await clock.wait_for_sleepers()
