"""One session, its callers, and whatever happens to them."""

import asyncio
import contextlib
import logging
from random import Random
from typing import Any

import anyio

from nexudus_async import (
    CredentialsRejectedError,
    Event,
    Freshness,
    MalformedResponseError,
    NexudusAuthError,
    PasswordCredentials,
    PasswordResetRequiredError,
    RefreshPolicy,
    SessionClosedError,
    TokenRejected,
    TokenSession,
    TotpRequiredError,
)

from .api import ApiHttp, ForeignSession
from .book import Book
from .callers import Callers
from .chain import Chain
from .checks import Checks
from .client import limits_of, session_of
from .days import Run
from .known import KNOWN
from .loop import SimulatedClock, VirtualLoop
from .perform import perform
from .replays import Replays
from .sendings import Sendings
from .service import SECRET, TOTP_STEP, TYPED_CODE, Service
from .settle import settle
from .transport import Latency, TokenHttp, connect

__all__ = ["World"]

REFRESH, KEEP_ALIVE = "nexudus_async refresh", "nexudus_async keep-alive"
UNAUTHORIZED = 401
LATCHING = (CredentialsRejectedError, PasswordResetRequiredError, TotpRequiredError)


class World:
    """One session and everything around it."""

    def __init__(self, run: Run, loop: VirtualLoop, chance: Random) -> None:
        setting = run.scenario.setting
        self.run, self.loop, self.chance, self.setting = run, loop, chance, setting
        self.clock = SimulatedClock(loop, boottime=setting.boottime)
        self.password = self.first_password = f"password-{SECRET}-0"
        self.service = Service(self.clock.elsewhere, setting.lifetime, self.password)
        self.service.two_factor = setting.two_factor
        self.policy = RefreshPolicy(**setting.policy)
        self.book = Book(self.clock, self.policy, kept_alive=setting.keep_alive)
        attended = setting.two_factor == "typed"
        self.chain = Chain(self.book, self._have_changed, self.report, self.trace, attended=attended)
        self.checks = Checks(self.book, self.report, lambda: loop.turn, loop.time, lambda: bool(self.chain.flying()))
        self.latency = Latency(chance, setting.slow)
        self.events: list[Event] = []
        self.replays = Replays(self.clock.monotonic, self.report)
        self.vault_troubles: list[str] = []
        self.listener = "quiet"
        self.listener_calls = 0
        self.cancel_at_eof = self.no_memory = self.close_is_enough = False
        self.flight_ended, self.flights_open = 0.0, 0
        self.vault_failed = False
        self.refused_in: asyncio.Task[Any] | None = None
        self.told_twice = 0
        """How many flights have failed in whose course a refresh token was refused, of which there is an event, too."""
        sendings = Sendings(
            self.book, self.replays, limits_of(setting), lambda: self.callers.present(), loop.time, self._idle_since,  # noqa: PLW0108
            self.report, self.trace,
        )  # fmt: skip
        self.http = TokenHttp(self.service, self.chain, self.latency)
        self.http.on_eof = self._on_eof
        self.api = ApiHttp(self.service, self.latency, sendings)
        self.session = self._session()
        self.callers = Callers(
            self.session, self._foreign_session, self.checks, self.book, self.replays, chance, self.report, self.trace
        )
        self.callers.asked_by_hand = self.chain.asked_by_hand
        loop.on_task, loop.before_task = self._on_task, self._before_task

    def _session(self) -> TokenSession:
        setting = self.setting
        totp: Any = {"": None, "typed": TYPED_CODE, "callable": self._code}[setting.two_factor]
        password: Any = self._password if setting.callable_password else self.password
        credentials = PasswordCredentials("ops@example.com", password, totp)
        return session_of(setting, credentials, self.policy, self.clock, self._on_event)

    def _foreign_session(self) -> ForeignSession:
        return ForeignSession(self.api, self.session.middleware, self.callers.passes)

    def _have_changed(self, refused: str) -> bool:
        return self.setting.callable_password and self.password != refused

    def _code(self) -> str:
        return f"code-{SECRET}-{int(self.clock.wall() // TOTP_STEP)}"

    async def _password(self) -> str:
        trouble = self.vault_troubles.pop() if self.vault_troubles else ""
        await self.latency.pass_by()
        self.vault_failed |= bool(trouble)
        if trouble == "raises":
            raise LookupError("the vault is sealed")
        await asyncio.sleep(1000.0 if trouble == "hangs" else 0.0)
        return self.password

    async def live(self) -> None:
        """Play the actions, then see that everything comes right."""
        self.loop.set_exception_handler(lambda _, context: self.report(f"the loop caught: {context['message']}"))
        connect(self.session, self.http, self.api)
        for action in self.run.scenario.actions:
            await asyncio.sleep(action.after)
            self.trace("action", action.kind, action.what, action.n, action.x)
            perform(self, action)
            self.checks.check_text(self.session)
            if self.run.is_over:
                break
        await settle(self)

    def report(self, violation: str) -> None:
        known = self.run.known or violation.startswith(tuple(KNOWN))  # what follows would tell nothing
        (self.run.known if known else self.run.violations).append(violation)
        self.trace("VIOLATION", violation)

    def trace(self, *parts: object) -> None:
        self.run.trace.append((round(self.loop.time(), 3), *parts))

    async def log_out(self) -> None:
        """Somebody logs out, and nothing from before is to be seen again."""
        if not self.session.closed:
            self.chain.disturb()
            self.chain.log_out()
            with contextlib.suppress(SessionClosedError):  # closed meanwhile
                await self.session.logout()

    async def close(self, *, scope: bool = False) -> None:
        """Close the session, and see that it does not take too long. scope: inside one of anyio that is cancelled."""
        self.chain.disturb()
        self.book.closed = True
        began = self.loop.time()
        self.checks.closed_at = began if self.checks.closed_at is None else self.checks.closed_at
        with anyio.CancelScope() as cancelled:
            if scope:
                cancelled.cancel()
            try:
                await self.session.close()
            finally:
                if self.chain.flying():
                    self.report("closed: a flight is under way after close()")
        if self.loop.time() - began > self.policy.close_timeout + 0.01:
            self.report(f"closed: close() took {self.loop.time() - began:.1f} s")

    # What the world sees

    def on_log(self, record: logging.LogRecord) -> None:
        if SECRET in record.getMessage():
            self.report("never 5: a secret in the log")
        errors = [each for each in record.args or () if isinstance(each, NexudusAuthError)]
        if errors:
            self.checks.check_text(errors[0])
        if "nothing sent" in record.msg:
            self.book.rest(self.session.statistics().retry_in)
        if "refresh token is of no more use" in record.msg:
            self.refused_in = asyncio.current_task()
        if "no new token" in record.msg:
            self.told_twice += asyncio.current_task() is self.refused_in
            error = errors[0]
            if type(error) is NexudusAuthError:
                self.report(f"unexpected: {error!r} from {error.__cause__!r}")
            pause = self.session.statistics().retry_in
            without_reason = isinstance(error, MalformedResponseError) and error.status in range(400, 500)
            kind = "latch" if isinstance(error, LATCHING) else "served" if self._is_served() else "empty"
            kind = "unexplained" if kind == "empty" and without_reason else kind
            code = isinstance(error, TotpRequiredError) and self.setting.two_factor == "callable"
            self.chain.failed(kind, pause, code=code)

    def _is_served(self) -> bool:
        newest = self.book.newest
        if newest is not None and (newest.doubtful or self.book.is_on_border()) and not self.book.closed:
            return self.session.freshness in (Freshness.FRESH, Freshness.ADVISORY, Freshness.MANDATORY)
        return self.book.is_servable() and not (self.book.closed or self.book.told_rejected)

    def _on_task(self, task: asyncio.Task[Any]) -> None:
        if task.get_name() != REFRESH:
            return
        call = self.callers.present()
        wanted = self.book.is_due() or self.book.refused
        if call.answers and call.answers[-1][0] == UNAUTHORIZED and not wanted:
            self.replays.forces(call)
        by = asyncio.current_task()
        kept_alive = by is not None and by.get_name() == KEEP_ALIVE
        self.chain.launched(task, forced=call.kind == "refresh", kept_alive=kept_alive)
        self.flights_open += 1
        task.add_done_callback(self._on_flight_end)

    def _on_flight_end(self, _: asyncio.Task[Any]) -> None:
        self.flights_open -= 1
        self.flight_ended = self.loop.time()

    def _idle_since(self) -> float:
        return self.loop.time() if self.flights_open else max(self.flight_ended, self.chain.last_ended)

    def _before_task(self, name: object) -> None:
        if self.no_memory and name == REFRESH:
            self.no_memory, self.checks.no_memory = False, True
            raise MemoryError

    def _on_eof(self) -> None:
        if self.cancel_at_eof:
            self.cancel_at_eof = False
            self.chain.disturb()
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

    def _on_event(self, event: Event) -> None:
        self.events.append(event)
        self.trace("event", type(event).__name__)
        if isinstance(event, TokenRejected) and event.generation == self.session.statistics().generation:
            self.book.told_rejected = True
            self.book.refused |= self.book.holds()  # with what is remembered, nothing else will be had
        self.checks.check_text(event)
        if self.listener == "raise":
            raise RuntimeError("a listener in trouble")
        if self.listener == "quiet" or self.listener_calls > 5 or self.session.closed:
            return
        self.listener_calls += 1
        self.session.statistics()
        if self.listener == "logout":
            self.listener = "quiet"
            self.loop.create_task(self.log_out())
        else:
            self.callers.arrive(self.listener)
