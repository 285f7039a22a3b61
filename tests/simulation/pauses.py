"""The pauses that the rules want after failures, computed anew: how long each is, and what it forbids."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from .loop import SimulatedClock

__all__ = ["EPSILON", "Hold", "Pauses"]

EPSILON = 0.005
"""Seconds. The client rounds the age of a token to the millisecond."""
STEPS = {
    "served": (30, 60, 120, 300),
    "empty": (0.5, 1, *(2,) * 20, 5),
    "unexplained": (0.5, 1, 2, 30, 60, 120, 300),
    "latch": (60, 300, 3600),
}
"""Seconds, after the first failure of a kind and each further one: a token is still served; there is none; the
credentials were refused; there is no token, and a refusal without a reason."""
JITTER = 0.25
CODES_TRIED = 3
"""How often in a row the next one-time code may be tried, before the pauses of refused credentials begin."""
TOTP_STEP, CODE_MARGIN = 30.0, 0.5
LONGEST_RETRY_AFTER = 3600.0


@dataclass(slots=True)
class Hold:
    """A failure that holds off the next attempt until `until` (monotonic). looks: at the credentials, meanwhile."""

    kind: str
    until: float
    looks: int = 0


class Pauses:
    """Those of one session. is_served: tells whether there is a token that has not expired."""

    def __init__(self, clock: SimulatedClock, is_served: Callable[[], bool]) -> None:
        self._clock, self._is_served = clock, is_served
        self.hold: Hold | None = None
        self._counts = dict.fromkeys(STEPS, 0)
        self._before: tuple[Hold | None, dict[str, int]] = (None, self._counts)

    def end(self) -> None:
        """A success, or a logout: nothing holds any more."""
        self.hold, self._counts = None, dict.fromkeys(STEPS, 0)

    def remember(self) -> None:
        """A token has arrived: perhaps a success, perhaps not."""
        self._before = (self.hold, self._counts)

    def resume(self) -> None:
        """It was none after all."""
        self.hold, self._counts = self._before

    def bounds(self, kind: str, retry_after: float, *, code: bool) -> tuple[float, float]:
        """Return how short and how long a pause may be after one more failure.

        retry_after: what the service asked for; not a number for a date, which nobody can foresee. code: a one-time
        code was refused, and there will be another.
        """
        count, steps = self._counts[kind], STEPS[kind]
        if kind == "latch":
            if code and count < CODES_TRIED:
                return 0.0, TOTP_STEP + CODE_MARGIN
            step = steps[min(count - CODES_TRIED * code, len(steps) - 1)]
            return step, max(step, self.left())
        step = steps[min(count, len(steps) - 1)]
        # While served: in the last minute of the token, half of what is left of it.
        shortest, longest = (0.0, step * (1 + JITTER)) if kind == "served" else (step * (1 - JITTER), step)
        if math.isnan(retry_after):
            return shortest, LONGEST_RETRY_AFTER
        asked = min(retry_after, LONGEST_RETRY_AFTER)
        return max(shortest, asked), max(longest, asked + 1.0, self.left() if self._is_latched() else 0.0)

    def fail(self, kind: str, pause: float) -> None:
        """Note a failure and the pause that the client announced; a latch in force stays one."""
        self._counts[kind] += 1
        if kind != "latch" and self._is_latched() and self.hold is not None:
            self.hold.until = max(self.hold.until, self._clock.monotonic() + pause)
        else:
            self.hold = Hold(kind, self._clock.monotonic() + pause)

    def rest(self, pause: float) -> None:
        """Note that nothing was sent, and that the client leaves it at that for so long."""
        if self.hold is not None:
            self.hold.until = self._clock.monotonic() + pause

    def holds(self) -> bool:
        """Tell whether a failure forbids an attempt now."""
        return self.left() > 0 and self.hold is not None and (self.hold.kind != "served" or self._is_served())

    def left(self) -> float:
        """Return the seconds of the last pause that are left."""
        return 0.0 if self.hold is None else max(0.0, self.hold.until - self._clock.monotonic())

    def _is_latched(self) -> bool:
        return self.hold is not None and self.hold.kind == "latch" and self.left() > 0
