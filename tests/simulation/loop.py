"""An event loop and a clock whose time is virtual: nothing waits, and nothing depends on the machine."""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

__all__ = ["SimulatedClock", "Stuck", "VirtualLoop"]

TURNS_WITHOUT_TIME = 5_000
"""Turns of the loop in which time stands still: more is a loop that spins."""
START_MONOTONIC = 1_000.0
START_WALL = 1_767_225_600.0


class Stuck(Exception):  # noqa: N818 - it says what is the matter
    """Nothing is ready and nothing is scheduled, or the loop spins: whoever waits would wait for ever."""


class _Future(asyncio.Future[Any]):
    """A future whose place in a set is decided by the seed, not by its address: sets of waiters are walked through."""

    def __init__(self, loop: asyncio.AbstractEventLoop, place: int) -> None:
        super().__init__(loop=loop)
        self._place = place

    def __hash__(self) -> int:
        return self._place


class VirtualLoop(asyncio.BaseEventLoop):
    """`time()` moves only when nothing is ready, and then to the next timer.

    order: decides the order in which those who wait for the same thing are woken.
    on_task: called with each task that is made. before_task: called with the name of one that is about to be made.
    """

    def __init__(self, order: Random) -> None:
        super().__init__()
        self._now = 0.0
        self._clock_resolution = 1e-9
        self._selector = self  # what the base class waits by
        self._order = order
        self._standing = 0
        self.turn = 0
        """How often the ready callbacks were run. A call that ends in the turn it began in did not suspend."""
        self.on_task: Callable[[asyncio.Task[Any]], None] = lambda task: None
        self.before_task: Callable[[object], None] = lambda name: None

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        self.turn += 1
        if timeout is None:
            raise Stuck("nothing is ready and nothing is scheduled")
        if timeout > 0:
            timers: list[asyncio.TimerHandle] = vars(self)["_scheduled"]
            self._now = max(self._now + timeout, timers[0].when() if timers else 0.0)
            self._standing = 0
        else:
            self._standing += 1
            if self._standing > TURNS_WITHOUT_TIME:
                raise Stuck(f"the loop spins: {self._standing} turns without a wait")
        return []

    def create_future(self) -> asyncio.Future[Any]:
        return _Future(self, self._order.getrandbits(24))

    def create_task(
        self, coro: Any, *, name: object = None, context: contextvars.Context | None = None, **kwargs: Any
    ) -> asyncio.Task[Any]:
        try:
            self.before_task(name)
        except BaseException:
            coro.close()
            raise
        task: asyncio.Task[Any] = super().create_task(
            coro, name=None if name is None else str(name), context=context, **kwargs
        )
        self.on_task(task)
        return task

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Run `main` to its end, and close the loop."""
        try:
            self.run_until_complete(main)
        finally:
            self.close()

    def timers(self) -> list[asyncio.TimerHandle]:
        """Return the timers that would still go off."""
        scheduled: list[asyncio.TimerHandle] = vars(self)["_scheduled"]
        return [timer for timer in scheduled if not timer.cancelled()]

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


class SimulatedClock:
    """The machine's clocks, as far as the client can see them.

    boottime: whether `monotonic` counts suspended time, as CLOCK_BOOTTIME does.
    """

    def __init__(self, loop: VirtualLoop, *, boottime: bool) -> None:
        self._loop = loop
        self._boottime = boottime
        self._suspended = self._stepped = 0.0
        self.changes = 0
        """How often the machine was suspended or its wall clock set."""

    def monotonic(self) -> float:
        return START_MONOTONIC + self._loop.time() + (self._suspended if self._boottime else 0.0)

    def wall(self) -> float:
        return START_WALL + self._loop.time() + self._suspended + self._stepped

    def ticking(self) -> float:
        """Return the seconds by which timers and deadlines go: they stand still while the machine is suspended."""
        return self._loop.time()

    def elsewhere(self) -> float:
        """Return the seconds that have passed for everybody else."""
        return self._loop.time() + self._suspended

    def suspend(self, seconds: float) -> None:
        self._suspended += seconds
        self.changes += 1

    def set_right(self) -> None:
        """Let somebody notice that the wall clock is wrong."""
        self.step_wall(-self._stepped)

    def step_wall(self, seconds: float) -> None:
        self._stepped += seconds
        self.changes += 1
