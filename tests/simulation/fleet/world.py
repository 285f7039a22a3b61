"""A fleet and everything around it."""

import asyncio
import json
import logging
from collections.abc import Generator
from contextlib import contextmanager
from random import Random
from typing import Any

from nexudus_async import RefreshPolicy
from tests.simulation.days import Action, Run
from tests.simulation.known import KNOWN
from tests.simulation.loop import START_WALL, VirtualLoop
from tests.simulation.service import SECRET, TOTP_STEP, Service
from tests.simulation.transport import Latency

from .content import LATER, content_of
from .judge import Judge
from .process import Process
from .settle import settle
from .store import StoreServer

__all__ = ["FleetWorld"]

REFRESH = "nexudus_async refresh"


class FleetWorld:
    """Processes, the store and the service. `from_outside`: whether a flight was cancelled by somebody."""

    def __init__(self, run: Run, loop: VirtualLoop, chance: Random) -> None:
        setting = run.scenario.setting
        self.run, self.loop, self.chance, self.setting = run, loop, chance, setting
        self.policy = RefreshPolicy(**setting.policy)
        self.password = f"password-{SECRET}-0"
        self.service = Service(loop.time, setting.lifetime, self.password)
        self.service.two_factor = setting.two_factor
        self.latency = Latency(chance, setting.slow)
        self.judge = Judge(
            loop.time,
            lambda number: self.processes[number].clock.wall(),
            lambda number: self.processes[number].session.statistics().generation,
            self.report,
        )
        self.store = self.judge.history.server = StoreServer(
            loop.time, chance, Latency(chance, setting.slow, (0.001, 0.01, 0.2)), self.judge.records, self.trace
        )
        self.from_outside = False
        self.processes: list[Process] = []
        self._requests = 0
        self._owners: dict[asyncio.Task[Any], Process] = {}
        self._acting: Process | None = None
        loop.on_task = self._on_task
        self.first_password = self.password

    # What the processes need

    async def fetch_password(self) -> str:
        await self.latency.pass_by()
        return self.password

    def code(self) -> str:
        return f"code-{SECRET}-{int((START_WALL + self.loop.time()) // TOTP_STEP)}"

    def count(self) -> int:
        self._requests += 1
        return self._requests

    @contextmanager
    def acting(self, process: Process) -> Generator[None]:
        """Let the tasks that are made inside belong to a process."""
        self._acting = process
        try:
            yield
        finally:
            self._acting = None

    def abandon(self, process: Process) -> None:
        """End everything that a process has begun."""
        vars(process.session.manager)["_state"].close()  # or it would warn that nobody has
        for task, owner in self._owners.items():
            if owner is process and not task.done():
                task.cancel()

    def tasks_of(self, process: Process) -> list[str]:
        """Return the names of what is still to be done in a process."""
        return sorted(task.get_name() for task, owner in self._owners.items() if owner is process and not task.done())

    def _on_task(self, task: asyncio.Task[Any]) -> None:
        by = asyncio.current_task(self.loop)
        process = self._acting or (self._owners.get(by) if by is not None else None)
        if process is None:
            return
        self._owners[task] = process
        if task.get_name() == REFRESH:
            self.judge.launched(process.number, task, forced=by is not None and process.calls.get(by) == "refresh")
        else:
            self.judge.begun_by(task, by)

    # What happens

    async def live(self) -> None:
        """Play the actions, then see that everything comes right."""
        self.loop.set_exception_handler(
            lambda _, context: self.report(f"the loop caught: {context['message']} {context.get('exception')!r}")
        )
        for number, ahead in enumerate(self.setting.skews):
            self.start(ahead, credentials=number != self.setting.without_credentials)
        for action in self.run.scenario.actions:
            await asyncio.sleep(action.after)
            self.trace("action", action.kind, action.what, action.who, action.n, action.x)
            self.perform(action)
            if self.run.is_over:
                break
        await settle(self)

    def start(self, ahead: float, *, credentials: bool) -> None:
        """Start a process."""
        number = len(self.processes)
        process = Process(self, number, ahead=ahead, credentials=credentials, keep_alive=self.setting.keep_alive)
        self.processes.append(process)

    def perform(self, action: Action) -> None:
        """Let it happen, now."""
        alive = [each for each in self.processes if each.alive]
        process, what, x, store = alive[action.who % len(alive)], action.what, action.x, self.store
        match action.kind:
            case "token" | "get" | "refresh" | "denied":
                for _ in range(action.n):
                    process.arrive(action.kind, x)
            case "everywhere":
                for each in alive:
                    each.arrive(what, x)
            case "cancel":
                process.cancel()
            case "fault" | "outage":
                self.service.queue(what, action.n, x)
            case "revoke access":
                self.service.revoke_access_tokens()
            case "revoke refresh":
                self.service.revoke_refresh_tokens()
            case "password":
                self._change_password(what)
            case "store":
                store.troubles.extend([(process.number, what, x)] * action.n)
            case "store down":
                for each in alive if what == "for all" else [process]:
                    store.down_until[each.number] = self.loop.time() + x
            case "store lags":
                store.lag_until = self.loop.time() + x
            case "store lost":
                self.judge.history.forgets()
                store.lose_everything()
            case "store goes back":
                self.judge.history.forgets()
                store.go_back()
            case "store edited":
                self._edit(what)
            case "logout":
                with self.acting(process):
                    process.calls[self.loop.create_task(process.log_out())] = "logout"
            case "close" if process.closed_at is None:
                self._do(process, process.close())
            case "restart":
                if what == "killed":
                    process.die()
                    self.start(process.seen.ahead, credentials=process.seen.has_credentials)
            case _:
                pass

    def _do(self, process: Process, work: Any) -> None:
        with self.acting(process):
            self.loop.create_task(work)

    def _edit(self, what: str) -> None:
        """Let somebody write over the record; a later release has refreshed the chain before, under the lock."""
        content, token, store = content_of(self.store.record), None, self.store
        if content is None or content.is_later or content.is_none or store.is_locked:
            return
        if what == LATER and content.refresh and not content.in_doubt:
            form = {"grant_type": "refresh_token", "refresh_token": content.refresh}
            answer = json.loads(self.service.process(form, content.client_id).body)
            token = answer if "access_token" in answer else None
            if token is not None:
                self.judge.requests.of_an_outsider(content.client_id, content.refresh)
        store.edit(what, token)
        if what != LATER:
            self.judge.history.forgets()

    def _change_password(self, what: str) -> None:
        new = f"password-{SECRET}-{self.loop.turn}"
        self.service.suspended = what == "suspended"
        if what in ("theirs", "both"):
            self.service.password = new
        if what in ("ours", "both"):
            self.password = new

    # What is seen

    def report(self, violation: str) -> None:
        known = self.run.known or violation.startswith(tuple(KNOWN))
        (self.run.known if known else self.run.violations).append(violation)
        self.trace("VIOLATION", violation)

    def trace(self, *parts: object) -> None:
        self.run.trace.append((round(self.loop.time(), 3), *parts))

    def check_text(self, what: object) -> None:
        if SECRET in str(what) or SECRET in repr(what):
            self.report(f"never 5: a secret in the text of {type(what).__name__}")

    def on_log(self, record: logging.LogRecord) -> None:
        self.check_text(record.getMessage())
