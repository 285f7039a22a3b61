"""A clock that moves only when a test moves it.

Three ways for time to pass, because clients confuse them: it passes (`advance`), somebody sets the wall clock
(`step_wall`), the machine is suspended (`suspend`). Another machine knows only the first and the last, as passing.
"""

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass

from nexudus_async._clock import Clock

from ._waiting import Level

_FARTHEST = 100 * 366 * 86_400.0  # seconds


class ManualClock:
    """A `Clock` for tests, with a `sleep` of its own. For one event loop at a time; all values are in seconds.

    start_wall: the first reading of `wall`; the default is 2026-01-01T00:00Z.
    start_monotonic: the first reading of `monotonic`.
    autojump: a sleep moves the clock to its own end, after letting other tasks run once. It does not wait for the
        network: while a request is under way, whatever else sleeps makes time run on.
    """

    def __init__(
        self, start_wall: float = 1_767_225_600.0, *, start_monotonic: float = 1_000.0, autojump: bool = False
    ) -> None:
        self.autojump = autojump
        self._start_wall = start_wall
        self._start_monotonic = start_monotonic
        self._advanced = 0.0
        self._suspended = 0.0
        self._stepped = 0.0
        self._serial = 0
        self._queue: list[tuple[float, int, asyncio.Future[None]]] = []
        self._waiting: set[asyncio.Future[None]] = set()
        self._sleepers = Level()
        self._jumping: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<ManualClock monotonic={self.monotonic():.3f} wall={self.wall():.3f} sleepers={self.sleepers}>"

    def monotonic(self) -> float:
        """Return a reading that never goes back, and stands still while the machine is suspended."""
        return self._start_monotonic + self._advanced

    def wall(self) -> float:
        """Return the seconds since 1970-01-01T00:00Z as this machine's wall clock shows them, right or wrong."""
        return self._start_wall + self._advanced + self._suspended + self._stepped

    def remote(self) -> Clock:
        """Return another machine's clock: what passes here passes there, but it is neither suspended nor stepped."""
        return _Readings(
            monotonic=lambda: self._start_monotonic + self._advanced + self._suspended,
            wall=lambda: self._start_wall + self._advanced + self._suspended,
        )

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake the sleepers whose time has come, the earliest first.

        Their tasks run when the caller next awaits. Raises `ValueError` for a negative number.
        """
        self._advanced += _not_negative(seconds)
        self._wake(self.monotonic())

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward or, negative, back, as NTP and people do. No time passes."""
        self._stepped += seconds

    def suspend(self, seconds: float) -> None:
        """Suspend the machine: the wall clock goes on, `monotonic` and the sleepers stand still.

        Raises `ValueError` for a negative number.
        """
        self._suspended += _not_negative(seconds)

    @property
    def sleepers(self) -> int:
        """How many tasks are in `sleep` now."""
        return self._sleepers.value

    async def sleep(self, seconds: float) -> None:
        """Return once `monotonic` has moved on by `seconds`; at the next turn of the loop for zero or less.

        Cancelling leaves nothing behind.
        """
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._enqueue(self.monotonic() + seconds, waiter)
        if self.autojump:
            self._schedule_jump(loop)
        try:
            await waiter
        finally:
            self._dequeue(waiter)

    async def wait_for_sleepers(self, n: int = 1) -> None:
        """Let other tasks run until at least `n` of them sleep on this clock.

        Raises `TimeoutError` when they do not within 5 real seconds.
        """
        await self._sleepers.at_least(n)

    def _enqueue(self, due: float, waiter: asyncio.Future[None]) -> None:
        self._waiting.add(waiter)
        if len(self._queue) > 2 * len(self._waiting) + 16:  # the cancelled are dropped in bulk: one by one is quadratic
            self._queue = [entry for entry in self._queue if entry[2] in self._waiting]
            heapq.heapify(self._queue)
        self._serial += 1  # equal due times wake in the order of arrival, and futures are never compared
        heapq.heappush(self._queue, (due, self._serial, waiter))
        self._sleepers.set(len(self._waiting))

    def _dequeue(self, waiter: asyncio.Future[None]) -> None:
        self._waiting.discard(waiter)
        self._sleepers.set(len(self._waiting))

    def _wake(self, now: float) -> None:
        while self._queue and self._queue[0][0] <= now:
            waiter = heapq.heappop(self._queue)[2]
            if not waiter.done():  # done: cancelled, and its task has not run yet
                waiter.set_result(None)
            self._dequeue(waiter)

    def _schedule_jump(self, loop: asyncio.AbstractEventLoop) -> None:
        # One at a time: the next jump comes after the tasks that this one wakes have run, and may have slept again.
        if self._jumping is not loop:
            self._jumping = loop
            loop.call_soon(self._jump, loop)

    def _jump(self, loop: asyncio.AbstractEventLoop) -> None:
        self._jumping = None
        while self._queue and self._queue[0][2] not in self._waiting:
            heapq.heappop(self._queue)
        if not self._queue or not self.autojump:
            return
        due = self._queue[0][0]
        self._advanced = max(self._advanced, due - self._start_monotonic)
        self._wake(due)  # not by the sum of floats that `monotonic` is
        if self._waiting:
            self._schedule_jump(loop)


class ShiftedClock:
    """Another clock's readings, moved on by what `advance` adds to them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._shift = 0.0

    @property
    def shift(self) -> float:
        """Seconds that this clock is ahead of the other."""
        return self._shift

    def monotonic(self) -> float:
        """Return the other's reading, moved on."""
        return self._clock.monotonic() + self._shift

    def wall(self) -> float:
        """Return the other's reading, moved on."""
        return self._clock.wall() + self._shift

    def advance(self, seconds: float) -> None:
        """Let time pass. Raises `ValueError` for a negative number, and for more than a clock can show."""
        shift = self._shift + _not_negative(seconds)
        if shift > _FARTHEST:
            raise ValueError(f"a clock goes {_FARTHEST:.0f} s ahead at most, which is a century; not {shift!r} s")
        self._shift = shift

    def reset(self) -> None:
        """Go back to the other's readings."""
        self._shift = 0.0


@dataclass(frozen=True, slots=True)
class _Readings:
    monotonic: Callable[[], float]
    wall: Callable[[], float]


def _not_negative(seconds: float) -> float:
    if not seconds >= 0:  # also refuses NaN
        raise ValueError(f"time does not go back: {seconds!r} s; to set the wall clock back use step_wall()")
    return seconds
