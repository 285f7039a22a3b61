"""A Nexudus that runs in the test's own process, on a real socket.

It is written from what is known of the service, not from the client: what both got wrong would be seen by neither.
"""

import asyncio
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from yarl import URL

from nexudus_async._clock import Clock, SystemClock

from ._accounts import Accounts, User
from ._api import Handler, Route, builtin_routes
from ._clock import ManualClock
from ._faults import Fault, FaultPlan, Hold
from ._grants import Grants
from ._limits import Limits, Throttler
from ._observed import Observed
from ._service import Service
from ._totp import totp_code

__all__ = ["NexudusEmulator"]

_USERNAME = "ops@example.com"
_PASSWORD = "a&b=c+d %é"  # every character that a careless form encoding breaks
_SHUTDOWN = 0.1  # real seconds for a handler that does not let itself be cancelled
_BACKLOG = 4_096  # connections that thousands of coroutines open at once
_MAX_BODY = 64 * 2**20  # bytes


class NexudusEmulator(Observed):
    """An emulator of the Nexudus API: `async with NexudusEmulator() as emulator: ... emulator.url`.

    clock: what every expiry, limit and one-time code goes by. Of a `ManualClock` it takes the `remote()` readings:
        a service does not stop when its client is suspended, nor see its wall clock stepped.
    lifetime: seconds that access tokens live.
    host, port: where to listen; port 0 takes a free one.
    enforce_limits: throttle by `limits`, the documented ones unless given.
    unknown_account_is_500: answer a sign-in for an account that does not exist with 500, as seen live, instead of
        the documented `invalid_grant`.

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
    ) -> None:
        self.clock: Clock = clock.remote() if isinstance(clock, ManualClock) else clock or SystemClock()
        self.coworkers: list[dict[str, Any]] = [{"Id": n, "FullName": f"Coworker {n}"} for n in range(1, 61)]
        self._accounts = Accounts(self.clock)
        self._grants = Grants(self._accounts, lifetime)
        self._grants.unknown_account_is_500 = unknown_account_is_500
        throttler = Throttler(limits or Limits(), self.clock)
        routes = builtin_routes(self._accounts, self.coworkers)
        self._service = Service(self.clock, self._accounts, self._grants, throttler, routes)
        super().__init__(self._service, self._grants)
        self._service.enforce_limits = enforce_limits
        self._host, self._port = host, port
        self._runner: web.AppRunner | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.user = self.add_user(_USERNAME, _PASSWORD)

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
        return str(URL.build(scheme="http", host=self._host, port=self._port))

    async def start(self) -> None:
        """Listen. After a `stop()` at the same port again, with all users, tokens and records."""
        if self._runner is not None:
            return
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._dispatch)
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
        return await self._service.handle(request)

    # -- users and tokens ----------------------------------------------------------------------------------------

    @property
    def username(self) -> str:
        """The name of the user that exists from the start."""
        return self.user.username

    @property
    def password(self) -> str:
        """Its password as it is now."""
        return self.user.password

    def add_user(
        self,
        username: str,
        password: str,
        *,
        totp_secret: str | None = None,
        suspended: bool = False,
        must_reset: bool = False,
    ) -> User:
        """Add a user, or replace the one of that name, and return it. Its attributes may be changed at any time."""
        return self._accounts.add(User(username, password, totp_secret, suspended, must_reset))

    def totp_code(self, username: str | None = None) -> str:
        """Return the code that the authenticator app of a user shows now. Raises `LookupError` when there is none."""
        user = self._accounts.find(username or self.username)
        if user is None or user.totp_secret is None:
            raise LookupError(f"{username or self.username} has no two-factor secret")
        return totp_code(user.totp_secret, self.clock.wall())

    def revoke_access_tokens(self, username: str | None = None) -> None:
        """Let the access tokens of one user, or of all, be refused from now on."""
        self._accounts.revoke_access_tokens(username)

    def revoke_refresh_tokens(self, username: str | None = None) -> None:
        """Let the refresh tokens of one user, or of all, be refused from now on."""
        self._accounts.revoke_refresh_tokens(username)

    def revoke_all(self, username: str | None = None) -> None:
        """Do both."""
        self.revoke_access_tokens(username)
        self.revoke_refresh_tokens(username)

    @property
    def secrets(self) -> frozenset[str]:
        """Every token ever issued, and the users' passwords and keys as they are now: what no log may contain."""
        return self._accounts.secrets()

    # -- behaviour -----------------------------------------------------------------------------------------------

    @property
    def lifetime(self) -> float:
        """Seconds that the next access tokens live."""
        return self._grants.lifetime

    @lifetime.setter
    def lifetime(self, seconds: float) -> None:
        self._grants.lifetime = seconds

    @property
    def enforce_limits(self) -> bool:
        """Whether requests beyond `limits` are answered 409."""
        return self._service.enforce_limits

    @enforce_limits.setter
    def enforce_limits(self, value: bool) -> None:
        self._service.enforce_limits = value

    def route(self, method: str, path: str, handler: Handler, *, authenticated: bool = True) -> None:
        """Answer `method`, "*" for every one, at exactly `path` by `handler`, in place of what was there.

        authenticated: refuse with 401 before the handler is called when the bearer is missing or dead.
        """
        self._service.routes[method.upper(), path] = Route(handler, authenticated)

    @property
    def faults(self) -> FaultPlan:
        """The faults that wait for their request."""
        return self._service.faults

    def fail(self, where: str, fault: Fault, times: int | None = 1) -> None:
        """Let `fault` happen to the next `times` requests to `where`; with None to every one.

        where: "token", a path, or "*" for every path but the token endpoint's. Earlier faults come first.
        """
        self.faults.add(where, fault, times)

    def hold(self, where: str, *, times: int | None = None, fault: Fault | None = None) -> Hold:
        """Hold the answers of requests to `where` until `release()`. Then `fault`, if given, happens to them.

        By default the request is processed when it arrives; with `fault=Fault(applied=False)` after the release.
        """
        hold = Hold()
        self.faults.add(where, hold.holding(fault or Fault()), times, hold)
        return hold
