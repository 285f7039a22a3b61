"""The rates of one account's requests: one for all of them, and one that writes pass besides.

How a session uses them:

1. *Before sending.* Not `engaged`: send, at once; that is one attribute check, and so until the first throttled answer.
   Engaged: wait in a queue, reads in one and writes in another, each first come first served, replays first; but while
   `probing` those with few replays left let the others go ahead. The head goes when `delay()` is 0, with the ticket of
   `take()`. Nobody sleeps for a time computed earlier: the rate may have changed. The wait for the token comes before.
2. *After an answer.* 409/429 that is throttling: `throttled()`, unless it asks for more than the request may wait:
   that is its caller's affair and blocks nobody. Any other: `served()`. Then look at the queue again. A request that
   was refused waits what it was asked to, and returns to the queue.
3. *Failed or cancelled after `take()`*: `released()`. Cancelled in the queue: it leaves it, nothing was taken.
4. *Pauses.* `delay()` includes them: after the first throttled answer, for what it asks, or `Throttle.first_wait`; and
   for every wait of `LONG` or more. Shorter ones are kept by the request alone, the others are paced.
"""

from .adaptive_rate import LONG, AdaptiveRate

__all__ = ["RequestRates"]


class RequestRates:
    """The rates of one account: of all requests, and of the writes among them, which have a limit of their own."""

    def __init__(self, first_wait: float = 1.0) -> None:
        self.all = AdaptiveRate(first_wait)
        self.writes = AdaptiveRate(first_wait)
        self.engaged = False
        """Whether a request has to ask. Reads need not wait while only writes are throttled: their `delay` is 0."""

    @property
    def held_until(self) -> float:
        """The end of the pause that everybody keeps."""
        return self.all.held_until

    def probing(self, *, write: bool) -> bool:
        """Return whether a refusal is likely."""
        return any(rate.probing for rate in self._rates(write))

    def delay(self, now: float, *, write: bool) -> float:
        """Return the seconds until the next read or write may be sent, 0 for none."""
        return max(rate.delay(now) for rate in self._rates(write))

    def take(self, now: float, came: float, *, write: bool) -> float:
        """Send a request now that came then, and return its ticket."""
        for rate in self._rates(write):
            if rate.engaged:
                rate.take(now, came)
        self.engaged = self.all.engaged or self.writes.engaged
        return now

    def released(self, ticket: float, now: float, *, write: bool, failed: bool = False) -> None:
        """Learn that a request has ended without an answer that says anything. failed: it got none."""
        for rate in self._rates(write):
            rate.released(ticket, now, failed=failed)

    def served(self, ticket: float, now: float, *, write: bool) -> None:
        """Learn of an answer that was not throttled."""
        for rate in self._rates(write):
            if rate.engaged:
                rate.served(ticket, now)

    def told(self, remaining: float, reset: float, now: float, *, write: bool) -> None:
        """Learn of `RateLimit` fields: of the writes' own limit, if a write was answered, or that of all."""
        (self.writes if write else self.all).told(remaining, reset, now)

    def throttled(self, ticket: float, now: float, asked: float | None = None, *, write: bool) -> None:
        """Learn of a throttled answer. Which of two limits it met is not said: for the other it says nothing.

        The first stops everybody, and so does one that asks for long. After that: a read has met the limit of all. A
        write has met its own, unless just then too many are sent in all and not too many writes.
        """
        if not self.engaged:
            self.engaged = True
            for rate in self._rates(write):
                rate.throttled(ticket, now, asked)
            return
        own = write and not (self.all.above and self.writes.limit is not None and not self.writes.above)
        met, other = (self.writes, self.all) if own else (self.all, self.writes)
        met.throttled(ticket, now, asked)
        if own and asked is not None and asked >= LONG:
            self.all.hold(now + asked)
        if write:
            other.released(ticket, now)

    def _rates(self, write: bool) -> "tuple[AdaptiveRate, ...]":
        return (self.all, self.writes) if write else (self.all,)
