"""What somebody outside can know of the tokens: which were delivered, how old they are, which failure still holds.

The times are computed here anew from the documented rules, not by the code under test.
"""

from dataclasses import dataclass, field

from nexudus_async import RefreshPolicy

from .loop import SimulatedClock
from .pauses import EPSILON, Pauses

__all__ = ["EPSILON", "Book", "Issued"]

LAPSES = 14 * 86_400.0
"""Seconds after which a session that is kept alive renews at the latest: a day before the refresh token ends."""


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


class Book:
    """The client's tokens and failures as seen from outside."""

    def __init__(self, clock: SimulatedClock, policy: RefreshPolicy, *, kept_alive: bool = False) -> None:
        self.clock = clock
        self.kept_alive = kept_alive
        self.policy = policy
        self.issued: dict[str, Issued] = {}
        self.newest: Issued | None = None
        self.pauses = Pauses(clock, lambda: self.is_servable() and not self.rejected)
        self.closed = False
        self.logouts = 0
        self.logged_out_before = 0
        """Token requests up to this number belong to a session that was logged out."""
        self.rejected = False
        """Whether the newest token was refused by the service, or is said to be."""
        self.told_rejected = False
        """Whether the client knows that."""
        self.refused = False
        """Whether it may know besides that there is no other: then it serves none."""
        self.contested = False
        """Whether the service has accepted the newest token after it refused it elsewhere."""

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
        self.pauses.remember()
        if arrived_in_time:
            self.pauses.end()
        if self.newest is issued:
            self.rejected = self.told_rejected = self.refused = self.contested = False

    def reject(self, access: str) -> None:
        """Note that this token was refused, or said to be."""
        if self.newest is not None and self.newest.access == access:
            self.rejected = True

    def accept(self, access: str) -> None:
        """Note that the client was told that the service accepts this token."""
        if self.newest is not None and self.newest.access == access:
            self.contested |= self.told_rejected
            self.rejected = self.told_rejected = self.refused = False

    def distrust(self) -> None:
        """Note that the client took the newest token for expired: it may, when a clock was set on the way."""
        self.pauses.resume()

    def log_out(self, number: int) -> None:
        """Note that everything up to the token request `number` is to be forgotten."""
        self.logouts += 1
        self.logged_out_before = number
        self.newest = None
        self.pauses.end()
        self.rejected = self.told_rejected = self.refused = False

    def fail(self, kind: str, delay: float) -> None:
        """Note a failed flight, and the pause that the client announced."""
        self.pauses.fail(kind, delay)
        self.refused = self.told_rejected

    def rest(self, delay: float) -> None:
        """Note that nothing was sent, for that failure's sake."""
        self.pauses.rest(delay)
        self.refused = self.told_rejected

    def holds(self) -> bool:
        """Tell whether a failure forbids an attempt now."""
        return self.pauses.holds()

    def may_hold(self) -> bool:
        """Tell whether the client may think so: of a token that was refused it may not know yet, or think otherwise."""
        return self.holds() or (self.is_servable() and not self.told_rejected and self.pauses.left() > 0)

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

    def is_on_border(self) -> bool:
        """Tell whether the newest token ends about now."""
        newest = self.newest
        return newest is not None and abs(self.elapsed(newest) - newest.lifetime) <= EPSILON

    def phase(self) -> str:
        """Return how callers are served: "open" at once, "hard" soon, "none" when there is one, "" when unsure."""
        newest = self.newest
        if newest is None:
            return "none"
        elapsed = self.elapsed(newest)
        if self.is_on_border() or abs(elapsed - newest.hard) <= EPSILON:
            return ""
        if elapsed >= newest.lifetime:
            return "none"
        if newest.doubtful or self.refused:
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
