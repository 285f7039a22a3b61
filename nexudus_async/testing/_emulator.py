"""A Nexudus that runs in the test's own process, on a real socket.

It is written from what is known of the service, not from the client: what both got wrong would be seen by neither.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from aiohttp import hdrs, web
from yarl import URL

from nexudus_async._clock import Clock, SystemClock

from ._accounts import User
from ._clock import ManualClock
from ._control import Control
from ._limits import Limits
from ._records import Served
from ._routing import allow_origin
from ._settings import Settings
from ._steered import Steered
from ._world import World

_USERNAME = "ops@example.com"
_PASSWORD = "a&b=c+d %é"  # every character that a careless form encoding breaks
_SHUTDOWN = 0.1  # real seconds for a handler that does not let itself be cancelled
_BACKLOG = 4_096  # connections that thousands of coroutines open at once
_MAX_BODY = 64 * 2**20  # bytes
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # what a client on this machine writes instead


class NexudusEmulator(Steered):
    """An emulator of the Nexudus API: `async with NexudusEmulator() as emulator: ... emulator.url`.

    clock: what every expiry, limit and one-time code goes by. Of a `ManualClock` it takes the `remote()` readings:
        a service does not stop when its client is suspended, nor see its wall clock stepped.
    lifetime: seconds that access tokens live.
    host, port: where to listen; port 0 takes a free one. Everything else than loopback, such as "0.0.0.0", lets
        anybody who reaches the port sign in, read every token and set everything: there is no password on it.
    enforce_limits: throttle by `limits`, the documented ones unless given.
    unknown_account_is_500: answer a sign-in for an account that does not exist with 500, as seen live, instead of
        the documented `invalid_grant`.
    remote_control: who may use the page at `/` and the control interface below `/_emulator`: True for whoever reaches
        the port, False for programs on this machine only, None for the latter while `host` is loopback.
    on_request: called with a `Served`, which holds no secret, after each request to the emulated service.
    keep_requests: how many requests `requests` remembers, the oldest go first; None for all, as a test wants it.

    One user, `user`, exists from the start. Not safe to share between threads. It logs nothing of what it is sent.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        lifetime: float = 604_799,
        host: str = "127.0.0.1",
        port: int = 0,
        enforce_limits: bool = False,
        limits: Limits | None = None,
        unknown_account_is_500: bool = False,
        remote_control: bool | None = None,
        on_request: Callable[[Served], None] | None = None,
        keep_requests: int | None = None,
    ) -> None:
        if not 0 <= port <= 65_535:
            raise ValueError(f"port is a number from 0, for a free one, to 65535; not {port!r}")
        time = clock.remote() if isinstance(clock, ManualClock) else clock or SystemClock()
        settings = Settings(lifetime, enforce_limits, unknown_account_is_500)
        world = World(time, settings, limits or Limits(), on_request)
        super().__init__(world, User(_USERNAME, _PASSWORD))
        world.service.log.keep = keep_requests
        world.checkpoint()
        self.clock: Clock = world.clock
        self._service = world.service
        self._control = Control(self, world, host, remote_control)
        self._host, self._port = host, port
        self._started = False
        self._runner: web.AppRunner | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        place = self.url if self._runner is not None else "stopped"
        return f"<NexudusEmulator {place} requests={len(self.requests)} faults={len(self.faults)}>"

    # -- the server ----------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """The origin to use as `base_url`, without a slash at the end. Raises `RuntimeError` before the start."""
        if not self._port:
            raise RuntimeError("the emulator has no address yet; use it as `async with NexudusEmulator() as emulator`")
        return str(URL.build(scheme="http", host=_ANY_ADDRESS.get(self._host, self._host), port=self._port))

    async def start(self) -> None:
        """Listen. After a `stop()` at the same port again, with all users, tokens and records.

        Raises `OSError` when the port is taken.
        """
        if self._runner is not None:
            return
        if not self._started:
            self._started = True
            self.checkpoint()
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._dispatch)
        app.on_response_prepare.append(self._prepare)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port, backlog=_BACKLOG).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._port = runner.addresses[0][1]
        self._runner = runner

    async def stop(self) -> None:
        """Stop at once: handlers still at work are cancelled, connections closed. Twice does no harm."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        for task in self._tasks:
            task.cancel()
        await runner.cleanup()

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._is_for_people(request):
            return await self._control.handle(request)
        return await self._service.handle(request)

    async def _prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        if hdrs.ORIGIN in request.headers and not self._is_for_people(request):
            allow_origin(response)

    def _is_for_people(self, request: web.Request) -> bool:
        """Return whether a request is for the page or the control interface: a route of a test's own comes first."""
        return self._control.owns(request) and not self._service.routes.knows(request.path)
