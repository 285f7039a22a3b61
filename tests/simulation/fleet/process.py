"""One process of a fleet: its clock, its session, its callers, and the two doors that its token requests pass."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

from yarl import URL

from nexudus_async import (
    Event,
    NexudusAuthError,
    PasswordCredentials,
    SessionClosedError,
    TokenAdopted,
    TokenSession,
)
from tests.simulation.api import ApiHttp
from tests.simulation.chain import TokenRequest
from tests.simulation.loop import SimulatedClock
from tests.simulation.service import Fault, Outcome
from tests.simulation.transport import TokenHttp, connect

from .facts import Seen, Sent
from .history import History
from .judge import Judge
from .store import StoreView

if TYPE_CHECKING:
    from .world import FleetWorld

__all__ = ["Process"]

GIVING_BACK = 3.5
"""Seconds that a store may take for an operation that was begun: a lock that may have been taken is given back."""
IN_TIME = 0.01
WAITING = ("token", "refresh", "logout")
"""Calls that a close ends."""
ACCOUNT = "ops@example.com"


class Process:
    """number: its place in the fleet, used by no other, before or after. ahead: seconds that its wall clock is."""

    def __init__(self, world: "FleetWorld", number: int, *, ahead: float, credentials: bool, keep_alive: bool) -> None:
        self.world, self.number = world, number
        self.judge: Judge = world.judge
        self.history: History = world.judge.history
        self.alive = True
        self.clock = SimulatedClock(world.loop, boottime=True)
        self.clock.step_wall(ahead)
        self.calls: dict[asyncio.Task[None], str] = {}
        self.burials: dict[asyncio.Task[Any] | None, int] = {}
        """How many chains had ended for it when a call began."""
        self.closed_at: float | None = None
        attended = not credentials
        self.history.seen.append(Seen(ahead, attended, credentials, started=self.clock.wall()))
        self.http = TokenHttp(world.service, _Door(self), world.latency)
        self.api = ApiHttp(world.service, world.latency, _ApiDoor(self))
        two_factor = world.setting.two_factor == "callable"
        self.session = TokenSession(
            PasswordCredentials(ACCOUNT, world.fetch_password, world.code if two_factor else None)
            if credentials else None,
            account=None if credentials else ACCOUNT, store=StoreView(world.store, number, lambda: self.alive),
            policy=world.policy, clock=self.clock, on_event=self._on_event, keep_alive=keep_alive,
        )  # fmt: skip
        connect(self.session, self.http, self.api)

    @property
    def seen(self) -> Seen:
        return self.history.seen[self.number]

    @property
    def pending(self) -> list[asyncio.Task[None]]:
        return [task for task in self.calls if not task.done()]

    def report(self, violation: str) -> None:
        if self.alive:
            self.world.report(violation)

    def arrive(self, kind: str, deadline: float = 0.0) -> asyncio.Task[None]:
        """Let a caller arrive."""
        with self.world.acting(self):
            task = self.world.loop.create_task(self._call(kind, deadline))
        self.calls[task] = kind
        return task

    def cancel(self) -> None:
        for task in self.pending:
            task.cancel()

    def die(self) -> None:
        """End without a word: what was begun may have been carried out, and nothing is given back."""
        self.alive = False
        for sent in self.history.under_way(self.number):
            sent.request.outcome, sent.request.ended = Outcome.LOST, self.world.loop.time()
        self.world.abandon(self)

    async def _call(self, kind: str, deadline: float) -> None:
        ended, logouts, task = "failed", self.seen.logouts, asyncio.current_task()
        lives = self.history.lives(self.number)
        good, turn = self.history.is_good(self.number), self.world.loop.turn
        self.burials[task] = self.seen.burials
        try:
            async with asyncio.timeout(deadline or None):
                ended = await self._work(kind)
        except asyncio.CancelledError:
            ended = "cancelled"
        except TimeoutError:
            ended = "timed out"
        except NexudusAuthError as error:
            ended = type(error).__name__
            lives = lives and self.history.lives(self.number) and logouts == self.seen.logouts
            if kind == "token" and lives and self.closed_at is None:
                self.report(f"never 3: token() raised {ended} while the token is good: {error}")
            if isinstance(error, SessionClosedError) and self.closed_at is None and not self.world.from_outside:
                self.report("SessionClosedError, but nobody closed the session")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is judged
            ended = type(error).__name__
            self.report(f"{kind} raised {error!r}")
        if kind == "token" and good and self.world.loop.turn != turn and self.closed_at is None:
            self.report("never 3: token() suspended while the token is good")
        self.world.trace("call", self.number, kind, ended)

    async def _work(self, kind: str) -> str:
        if kind in ("get", "denied"):
            async with await self.session.get("/ok" if kind == "get" else "/denied/0") as response:
                return f"answered {response.status}"
        closed = self.closed_at is not None
        if kind == "refresh":
            self.judge.asked_by_hand(self.number)
        token = await (self.session.refresh() if kind == "refresh" else self.session.token())
        if closed:
            self.report("closed: a token was served after close()")
        self.serves(token.access_token)
        return f"got {token.generation}"

    def serves(self, access: str) -> None:
        """A token is given to the caller that runs now, or sent by it."""
        self.judge.serves(self.number, access, self.burials.get(asyncio.current_task(), -1))

    async def log_out(self) -> None:
        if self.closed_at is None:
            self.judge.logs_out(self.number)
            try:
                await self.session.logout()
            except SessionClosedError:
                if self.closed_at is None:
                    self.report("SessionClosedError from logout(), but nobody closed the session")
            self.check_logouts()

    def check_logouts(self) -> None:
        if self.alive:
            self.judge.records.heard_of(self.number, unsaved=bool(self.session.statistics().unsaved))

    async def close(self) -> None:
        """Close the session, and see that it does not take too long."""
        began = self.world.loop.time()
        self.closed_at = began if self.closed_at is None else self.closed_at
        await self.session.close()
        took = self.world.loop.time() - began
        if took > self.world.policy.close_timeout + GIVING_BACK:
            self.report(f"closed: close() took {took:.1f} s")
        if took < self.world.policy.close_timeout - IN_TIME and self.closed_at == began:
            self.judge.records.closed(self.number)
        calls = [task for task in self.pending if self.calls[task] in WAITING]
        await asyncio.sleep(IN_TIME)  # whoever was woken needs some turns
        if left := [self.calls[task] for task in calls if not task.done()]:
            self.report(f"closed: calls still wait: {left}")

    def _on_event(self, event: Event) -> None:
        self.world.trace("event", self.number, type(event).__name__)
        self.world.check_text(event)
        if isinstance(event, TokenAdopted):
            self.judge.adopted(self.number)


class _Door:
    """Where the token requests of a process pass: what `Chain` is to a session without a store."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._sent: dict[TokenRequest, Sent] = {}

    def sending(self, request: TokenRequest) -> None:
        process = self._process
        request.number, request.logouts = process.world.count(), process.seen.logouts
        process.world.trace("sent", process.number, request.number, request.grant, request.refresh_token)
        process.check_logouts()
        self._sent[request] = process.judge.requests.sends(process.number, request)

    def ended(self, request: TokenRequest, outcome: Outcome) -> None:
        self._end(request, outcome, None)

    def cancelled(self, request: TokenRequest) -> None:
        if request.outcome is None:
            self._end(request, Outcome.LOST, None)

    def answered(self, request: TokenRequest, status: int, fault: Fault) -> None:
        if status != 200 or fault.outcome is not None:
            own = status == 400 and not fault.status
            self._end(request, Outcome.REFUSED if own or fault.outcome is None else fault.outcome, None)
        else:
            self._end(request, Outcome.DELIVERED, json.loads(request.body))

    def _end(self, request: TokenRequest, outcome: Outcome, document: dict[str, object] | None) -> None:
        process = self._process
        if not process.alive:
            return
        process.world.trace("ended", process.number, request.number, outcome.value)
        request.outcome, request.ended = outcome, process.world.loop.time()
        process.judge.requests.ended(self._sent[request], document)


class _ApiDoor:
    """Where the API requests of a process pass."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def sends(self, url: URL, authorization: str | None, *, foreign: bool) -> Any:
        process = self._process
        process.world.trace("api", process.number, url.path)
        access = (authorization or "").removeprefix("Bearer ")
        process.serves(access)
        return access

    def processed(self, sending: Any, status: int) -> None:
        if status == 401:
            self._process.seen.rejected.add(sending)

    def over(self, sending: Any) -> None: ...
    def answered(self, sending: Any, status: int, asked: float | None) -> None:
        self._process.world.trace("api", self._process.number, status)

    def asked_by(self, sending: Any, headers: Any, body: bytes) -> float | None:
        return None
