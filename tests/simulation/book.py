"""What somebody outside can know of the tokens: which were delivered, how old they are, which failure still holds.

The times are computed here anew from the documented rules, not by the code under test.
"""

from dataclasses import dataclass, field

from nexudus_async import RefreshPolicy

from .loop import SimulatedClock

__all__ = ["EPSILON", "Book", "Hold", "Issued"]

EPSILON = 0.005
"""Seconds. The client rounds the age of a token to the millisecond."""
LAPSES = 14 * 86_400.0
"""Seconds after which a session that is kept alive renews at the latest: a day before the refresh token ends."""
SERVED, EMPTY, LATCH = (30, 60, 120, 300), (1, 2, 4, 8, 16, 30), (60, 300)


@dataclass(eq=False, slots=True)
class Issued:
    """A token that reached the client.

    may_renew, hard, lifetime: seconds after the sending at which a renewal may begin at the earliest, at which callers
    begin to wait, and at which it is over. doubtful: a clock was changed on the way, so that the client may take the
    token for older than it is.
    """

    number: int
    access: str = field(repr=False)
    refresh: str | None = field(repr=False)
    sent_monotonic: float
    sent_wall: float
    delivered: float
    lifetime: float
    may_renew: float
    must_renew: float
    hard: float
    doubtful: bool


@dataclass(slots=True)
class Hold:
    """A failure that holds off the next attempt until `until` (monotonic)."""

    kind: str
    since: float
    until: float


class Book:
    """The client's tokens and failures as seen from outside."""

    def __init__(self, clock: SimulatedClock, policy: RefreshPolicy, *, kept_alive: bool = False) -> None:
        self.clock = clock
        self.kept_alive = kept_alive
        self.policy = policy
        self.issued: dict[str, Issued] = {}
        self.newest: Issued | None = None
        self.hold: Hold | None = None
        self.counts = {"served": 0, "empty": 0, "latch": 0}
        self._before: tuple[Hold | None, dict[str, int]] = (None, self.counts)
        self.closed = False
        self.logouts = 0
        self.logged_out_before = 0
        """Token requests up to this number belong to a session that was logged out."""
        self.rejected = False
        """Whether the newest token was reported as refused."""

    def deliver(
        self, number: int, access: str, refresh: str | None, lifetime: float, sent: tuple[float, float], *, doubt: bool
    ) -> None:
        """Note a token that was read to its end."""
        may_renew, must_renew, hard, sure = _times(self.policy, lifetime)
        issued = self.issued[access] = Issued(
            number, access, refresh, *sent, self.clock.monotonic(), lifetime, may_renew, must_renew, hard,
            doubt or not sure,
        )  # fmt: skip
        arrived_in_time = self.elapsed(issued) < lifetime
        issued.doubtful |= abs(self.elapsed(issued) - lifetime) <= EPSILON
        if arrived_in_time or not self.is_servable():
            self.newest = issued
        self._before = (self.hold, self.counts)
        if arrived_in_time:
            self.hold = None
            self.counts = dict.fromkeys(self.counts, 0)
            self.rejected = False

    def reject(self, access: str) -> None:
        """Note that this token was refused, or said to be."""
        if self.newest is not None and self.newest.access == access:
            self.rejected = True

    def distrust(self) -> None:
        """Note that the client took the newest token for expired: it may, when a clock was set on the way."""
        self.hold, self.counts = self._before

    def log_out(self, number: int) -> None:
        """Note that everything up to the token request `number` is to be forgotten."""
        self.logouts += 1
        self.logged_out_before = number
        self.newest = self.hold = None
        self.counts = dict.fromkeys(self.counts, 0)
        self.rejected = False

    def fail(self, kind: str, delay: float) -> None:
        """Note a failed flight, and the pause that the client announced."""
        now = self.clock.monotonic()
        self.counts[kind] += 1
        self.hold = Hold(kind, now, now + delay)

    def least_pause(self, kind: str, retry_after: float | None) -> float:
        """Return the shortest pause that the rules allow after one more failure of this kind."""
        steps = {"served": SERVED, "empty": EMPTY, "latch": LATCH}[kind]
        step = steps[min(self.counts[kind], len(steps) - 1)]
        return step if kind == "latch" else max(step, min(retry_after or 0.0, 3600.0))

    def holds(self) -> bool:
        """Tell whether a failure forbids an attempt now."""
        hold = self.hold
        if hold is None or self.clock.monotonic() >= hold.until:
            return False
        return hold.kind != "served" or self.is_servable()

    def elapsed(self, issued: Issued) -> float:
        """Return the age of a token: the larger of what the two clocks say."""
        return max(self.clock.monotonic() - issued.sent_monotonic, self.clock.wall() - issued.sent_wall)

    def is_servable(self) -> bool:
        return self.newest is not None and self.elapsed(self.newest) < self.newest.lifetime

    def is_due(self) -> bool:
        """Tell whether a renewal may begin for the token's age, or without one."""
        newest = self.newest
        if newest is None or newest.doubtful:
            return True
        may_renew = min(newest.may_renew, LAPSES) if self.kept_alive else newest.may_renew
        return self.elapsed(newest) > may_renew - EPSILON

    def is_overdue(self) -> bool:
        """Tell whether whoever asks for a token now must find, or start, a renewal."""
        newest = self.newest
        return newest is not None and self.elapsed(newest) > newest.must_renew + EPSILON

    def phase(self) -> str:
        """Return how callers are served: "open" at once, "hard" soon, "none" when there is one, "" when unsure."""
        newest = self.newest
        if newest is None:
            return "none"
        elapsed = self.elapsed(newest)
        for border in (newest.hard, newest.lifetime):
            if abs(elapsed - border) <= EPSILON:
                return ""
        if elapsed >= newest.lifetime:
            return "none"
        if newest.doubtful:
            return ""
        return "open" if elapsed < newest.hard else "hard"


def _times(policy: RefreshPolicy, lifetime: float) -> tuple[float, float, float, bool]:
    """Return when a renewal may begin, when it must, when callers wait, and whether the rules are clear about it."""
    tier = 300.0 if lifetime <= 1200 else 900.0 if lifetime < 5400 else 3600.0
    window = min(tier, lifetime / 2) if policy.advisory_window is None else policy.advisory_window
    margin = min(60.0, lifetime / 10) if policy.hard_margin is None else policy.hard_margin
    sure = margin < window < 0.9 * lifetime
    may_renew = lifetime - min(window, lifetime)
    must_renew = lifetime - window * (1 - policy.jitter)
    hard = lifetime - margin
    return may_renew, min(must_renew, hard), hard, sure
