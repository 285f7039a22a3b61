"""Time as an argument: what the package needs of a clock, and the system's.

Two readings, because each is blind to something: a monotonic clock may stand still while a machine is suspended, and
a wall clock is stepped by people and NTP. Whoever measures an elapsed time takes the larger of the two.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol, runtime_checkable

__all__ = ["Clock", "SleepingClock", "SystemClock", "sleep", "sleep_idly"]


class Clock(Protocol):
    """What the package asks of a clock. Both readings are in seconds."""

    def monotonic(self) -> float:
        """Return a reading that never goes back, from any starting point."""
        ...

    def wall(self) -> float:
        """Return the seconds since 1970-01-01T00:00Z, as `time.time()`."""
        ...


@runtime_checkable
class SleepingClock(Clock, Protocol):
    """A clock that can also wait, as `nexudus_async.testing.ManualClock` does."""

    async def sleep(self, seconds: float) -> None:
        """Return once the clock has moved on by `seconds`."""
        ...


if hasattr(time, "CLOCK_BOOTTIME"):
    # Counts suspended time, which time.monotonic() does not on Linux. A partial: a function would cost a frame a call.
    _monotonic: Callable[[], float] = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
else:
    _monotonic = time.monotonic


class SystemClock:
    """The machine's own clocks."""

    monotonic = staticmethod(_monotonic)
    wall = staticmethod(time.time)


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait `seconds` of `clock`: by its own `sleep` when it has one, else on the event loop."""
    if isinstance(clock, SleepingClock):
        await clock.sleep(seconds)
    else:
        await asyncio.sleep(seconds)


async def sleep_idly(clock: Clock, seconds: float) -> None:
    """Wait as `sleep` does, for work that nobody waits for.

    A clock that jumps over sleeps, as `ManualClock(autojump=True)` does, would run away with it: then these are real
    seconds.
    """
    if isinstance(clock, SleepingClock) and not getattr(clock, "autojump", False):
        await clock.sleep(seconds)
    else:
        await asyncio.sleep(seconds)
