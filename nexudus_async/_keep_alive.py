"""Staying signed in while idle: refreshes a token that nobody asks for, so that its chain never ends.

Nexudus' refresh tokens live 15 days. A worker that sleeps for longer would have to sign in again, and an account with
two-factor on may need a person for that. So the token is refreshed when it is due, as if somebody had asked, and after
14 days at the latest.
"""

import asyncio
import contextvars
import logging

from ._clock import sleep_idly
from ._refresh.coordinator import Coordinator
from ._refresh.policy import Freshness

LONGEST_PAUSE = 30.0
"""Seconds between looks at the clock: the event loop's own timers stand still while a host is suspended."""
SHORTEST_PAUSE = 0.5
"""Seconds between looks while a refresh is due and a flight has it."""
LATEST_REFRESH = 14 * 86400.0
"""Seconds after the last refresh: a day before the refresh token would lapse."""


class KeepAlive:
    """One task for one session. It starts at the session's first use: before that there is nothing to keep."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator, self._state = coordinator, coordinator.state
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the task, unless it runs."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(
                self._run(), context=contextvars.Context(), name="nexudus_async keep-alive"
            )

    async def stop(self) -> None:
        """Stop the task, if it runs on this loop."""
        task = self._task
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            return
        task.cancel()
        await asyncio.wait([task])

    async def _run(self) -> None:
        while not self._state.closed:
            due = self._due_in()
            if due is not None and due <= 0:
                try:
                    await self._refresh()
                except Exception as exc:  # noqa: BLE001 - whatever a launch raises, the next look may succeed
                    # A failed refresh has been told of already; back-off and latch hold here as for every caller.
                    self._coordinator.emitter.log(logging.DEBUG, "keep-alive: %s", type(exc).__name__)
                due = self._due_in()
            due = LONGEST_PAUSE if due is None else max(due, self._state.retry_in)  # back-off holds here, too
            pause = min(max(due, SHORTEST_PAUSE), LONGEST_PAUSE)
            await sleep_idly(self._state.clock, pause)

    def _due_in(self) -> float | None:
        """Return the seconds until a refresh is due; None without a token, as after a logout."""
        due, age = self._state.due_in, self._state.age
        return None if due is None or age is None else min(due, LATEST_REFRESH - age)

    async def _refresh(self) -> None:
        if self._state.freshness is Freshness.FRESH:  # good for longer than its refresh token
            self._coordinator.refresh_early()
        else:
            await self._coordinator.token()
