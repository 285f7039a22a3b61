"""One session, its callers, and whatever happens to them."""

import asyncio
import logging
from random import Random
from typing import Any

from yarl import URL

from nexudus_async import (
    CredentialsRejectedError,
    Event,
    Freshness,
    NexudusAuthError,
    PasswordCredentials,
    PasswordResetRequiredError,
    RefreshPolicy,
    TokenSession,
    TotpRequiredError,
)

from .actions import Action, Run
from .book import Book
from .callers import Callers
from .chain import Chain
from .checks import Checks
from .loop import SimulatedClock, VirtualLoop
from .replays import Replays
from .service import SECRET, TOTP_STEP, TYPED_CODE, Service
from .settle import settle
from .transport import ApiHttp, Latency, TokenHttp, connect

__all__ = ["World"]

RENEWAL = "nexudus_async renewal"
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
        self.book = Book(self.clock, self.policy)
        self.chain = Chain(self.book, self.report, self.trace, attended=setting.two_factor == "typed")
        self.checks = Checks(self.book, self.report, lambda: loop.turn, loop.time, lambda: bool(self.chain.flying()))
        self.latency = Latency(chance, setting.slow)
        self.events: list[Event] = []
        self.replays = Replays(self.clock.monotonic, self.report)
        self.vault_troubles: list[str] = []
        self.listener = "quiet"
        self.listener_calls = 0
        self.cancel_at_eof = False
        self.session = self._session()
        self.callers = Callers(self.session, self.checks, self.book, self.replays, chance, self.report, self.trace)
        loop.on_task = self._on_task

    def _session(self) -> TokenSession:
        setting = self.setting
        totp: Any = {"": None, "typed": TYPED_CODE, "callable": self._code}[setting.two_factor]
        password: Any = self._password if setting.callable_password else self.password
        credentials = PasswordCredentials("ops@example.com", password, totp)
        return TokenSession(credentials, policy=self.policy, clock=self.clock, on_event=self._on_event)

    def _code(self) -> str:
        return f"code-{SECRET}-{int(self.clock.wall() // TOTP_STEP)}"

    async def _password(self) -> str:
        trouble = self.vault_troubles.pop() if self.vault_troubles else ""
        await self.latency.pass_by()
        if trouble == "raises":
            raise LookupError("the vault is sealed")
        await asyncio.sleep(1000.0 if trouble == "hangs" else 0.0)
        return self.password

    async def live(self) -> None:
        """Play the actions, then see that everything comes right."""
        self.loop.set_exception_handler(lambda _, context: self.report(f"the loop caught: {context['message']}"))
        http = TokenHttp(self.service, self.chain, self.latency)
        http.on_eof = self._on_eof
        api = ApiHttp(self.service, self.latency, self._on_api_request)
        connect(self.session, http, api, self.chance.random)
        for action in self.run.scenario.actions:
            await asyncio.sleep(action.after)
            self.trace("action", action.kind, action.what, action.n, action.x)
            self.perform(action)
            self.checks.check_text(self.session)
            if self.run.violations:
                break
        await settle(self)

    def report(self, violation: str) -> None:
        self.run.violations.append(violation)
        self.trace("VIOLATION", violation)

    def trace(self, *parts: object) -> None:
        self.run.trace.append((round(self.loop.time(), 3), *parts))

    def perform(self, action: Action) -> None:
        """Let it happen, now."""
        service, what, x = self.service, action.what, action.x
        match action.kind:
            case "token" | "get" | "send" | "foreign" | "denied" | "refresh":
                for _ in range(action.n):
                    self.callers.arrive(action.kind, x, again=what == "again")
            case "reject":
                for _ in range(action.n):
                    self.callers.reject(x)
            case "poll":
                self.callers.poll(action.n, x)
            case "current":
                self._check_current()
            case "cancel":
                self.callers.cancel(x)
            case "fault" | "outage":
                service.queue(what, action.n, x)
            case "api fault":
                service.api_faults.extend([what] * action.n)
            case "revoke access":
                service.revoke_access_tokens()
            case "revoke refresh":
                service.revoke_refresh_tokens()
            case "password":
                self._change_password(what)
            case "vault":
                self.vault_troubles.extend([what] * action.n)
            case "suspend" if self.chain.clock_may_change():
                self.clock.suspend(x)
            case "step wall" if self.chain.clock_may_change():
                self.clock.step_wall(x)
            case "cancel flight":
                self._cancel_flight(what)
            case "listener":
                self.listener = what
            case "logout":
                self.loop.create_task(self._log_out())
            case "close":
                self.loop.create_task(self.close())
            case "heal":
                service.heal(self.password)
            case _:  # time passes, or nobody may set the clock now
                pass

    def _check_current(self) -> None:
        token, book = self.session.manager.current(), self.book
        if token is not None and (book.closed or book.phase() in ("hard", "none")):
            self.report("current() returned a token that is not fresh")

    def _change_password(self, what: str) -> None:
        new = f"password-{SECRET}-{self.loop.turn}"
        if what in ("theirs", "both"):
            self.service.password = new
        if what in ("ours", "both") and self.setting.callable_password:
            self.password = new
        self.service.suspended = what == "suspended"

    def _cancel_flight(self, what: str) -> None:
        self.checks.from_outside = True
        if what == "at the end":
            self.cancel_at_eof = True
            return
        self.chain.disturb()
        for task in self.chain.flying():
            task.cancel()

    async def _log_out(self) -> None:
        if not self.session.closed:
            self.chain.disturb()
            self.chain.log_out()
            await self.session.logout()

    async def close(self) -> None:
        """Close the session, and see that it does not take too long."""
        self.chain.disturb()
        self.book.closed = True
        began = self.loop.time()
        self.checks.closed_at = began if self.checks.closed_at is None else self.checks.closed_at
        await self.session.close()
        if self.loop.time() - began > self.policy.close_timeout + 0.01:
            self.report(f"closed: close() took {self.loop.time() - began:.1f} s")

    # What the world sees

    def on_log(self, record: logging.LogRecord) -> None:
        if SECRET in record.getMessage():
            self.report("never 5: a secret in the log")
        errors = [each for each in record.args or () if isinstance(each, NexudusAuthError)]
        if record.levelno == logging.DEBUG and errors:
            self.book.fail("latch", self.session.statistics().retry_in)
        if record.levelno == logging.WARNING and errors:
            error = errors[0]
            self.checks.check_text(error)
            if type(error) is NexudusAuthError:
                self.report(f"unexpected: {error!r} from {error.__cause__!r}")
            kind = "latch" if isinstance(error, LATCHING) else "served" if self._is_served() else "empty"
            self.chain.failed(kind, self.session.statistics().retry_in)

    def _is_served(self) -> bool:
        if self.book.newest is not None and self.book.newest.doubtful and not self.book.closed:
            return self.session.freshness in (Freshness.FRESH, Freshness.ADVISORY, Freshness.MANDATORY)
        return self.book.is_servable() and not self.book.closed

    def _on_task(self, task: asyncio.Task[Any]) -> None:
        if task.get_name() != RENEWAL:
            return
        call = self.callers.present()
        if call.requests and not self.book.is_due():
            self.replays.forces(call)
        self.chain.launched(task, forced=call.kind == "refresh")

    def _on_eof(self) -> None:
        if self.cancel_at_eof:
            self.cancel_at_eof = False
            self.chain.disturb()
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

    def _on_api_request(self, url: URL, authorization: str | None, status: int) -> None:
        call = self.callers.present()
        call.requests += 1
        call.sent = authorization or ""
        self.trace("api", call.number, url.path, status)
        if authorization is None:
            if url.host != "elsewhere.example":
                self.report("a request was sent without the token")
            return
        if url.host == "elsewhere.example":
            self.report("never 4: the token was sent to another origin")
        if status == 401:
            self.book.reject(authorization.removeprefix("Bearer "))

    def _on_event(self, event: Event) -> None:
        self.events.append(event)
        self.trace("event", type(event).__name__)
        self.checks.check_text(event)
        if self.listener == "raise":
            raise RuntimeError("a listener in trouble")
        if self.listener == "quiet" or self.listener_calls > 5 or self.session.closed:
            return
        self.listener_calls += 1
        self.session.statistics()
        if self.listener == "logout":
            self.listener = "quiet"
            self.loop.create_task(self._log_out())
        else:
            self.callers.arrive(self.listener)
