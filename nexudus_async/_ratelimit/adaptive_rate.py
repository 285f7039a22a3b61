"""The adaptive rate: how fast the service lets requests through, learnt from what it serves and what it refuses.

Pure: no clock, no task, no I/O. Times are readings of one monotonic clock, in seconds; rates are requests per second.

**Why it needs no number.** Between two refusals a limiter was full twice, so what it served meanwhile, divided by the
time, is its rate, however the requests were spaced. That holds for a token bucket, a fixed and a sliding window alike.
It is too low only where the limiter was idle in between, so the geometric mean with the rate that was refused is taken
for the limit. Then the rate hovers a little below the limit, comes back to it in a *round*, and grows ever faster if
nobody refuses (the convex half of CUBIC, RFC 9438, section 4.4), so that a limit that was raised is found. One
refusal is one event: what had been sent before it was handled says nothing new.

**In the dark.** From a refusal until a request that was sent after it is served, the limiter may be closed: a window
that is used up, not a rate that is too high. Requests go one at a time then, with twice the pause after each refusal,
and the limit is not touched. If that lasts, it was a window: what was served since it had opened, divided by the time
until it opens again, is the limit, and the next round is a window long.
"""

import math
from typing import Final

__all__ = ["LONG", "UNPACED", "AdaptiveRate"]

UNPACED: Final = -math.inf
"""The ticket of a request that was sent while nothing was throttled."""

HOVER: Final = 0.95
"""Share of the limit at the start of a round: what a burst of others, a late timer and a noisy network take."""
RISE: Final = 1.0 - HOVER
"""Share of the limit by which the rate grows in a round: at its end it is the limit, and the next step is a probe."""
CONVEX: Final = 0.1
"""Share of the limit, times rounds³, by which it grows besides after the first: a doubled limit takes three more."""
ROUND_ANSWERS: Final = 8
"""Answers in a round, so that at most one in about ten is a refusal: RFC 9438 probes per time, a job counts requests.
With more of them the sessions that share a limit would take longer to come to shares alike."""
ROUND_SECONDS: Final = 1.0
"""Seconds a round takes at least: more than the second for which windows and `Retry-After` count at least."""
ROUND_TRIPS: Final = 10
"""Round trips a round takes at least: a probe costs the refusals of one round trip, since its answer is that late."""
CALM: Final = 6
"""Requests served since the last refusal, after which the next one is unlikely: below, the rate is still too high."""
PRIOR: Final = 3
"""Answers that the present rate weighs in a measurement, or one served request in a short time would be a rate."""

IDLE: Final = 1.0
"""Seconds without a request that count in a measurement at most: the limiter was not full then. In the dark none do:
those who were refused wait as they were asked to, while the limiter may be open again."""
SLOWEST: Final = 0.1
"""Requests per second that are sent at least, as in the dark: however many share a limit, nobody starves."""

START: Final = 2.0
"""Requests per second of the slow start: what Nexudus documents, 120 a minute."""
START_GAIN: Final = 2.5
"""Requests per second by which each served request raises it: from 2 to 200 in some two seconds."""
DARK_GAIN: Final = 10.0
"""This, divided by the seconds of a dark, is the gain after it at most: a window that has just opened is not to be used
up in one burst."""
DARK_SECONDS: Final = 2.0
DARK_REQUESTS: Final = 5
"""Seconds, and requests at the limit, that make a dark a window's. Shorter windows are measured well without."""
LONGEST_WINDOW: Final = 60.0
"""Seconds of the windows that are looked for."""
LONGEST_STEP: Final = 10.0
"""Seconds between two requests in the dark at most, so that a minute's window is found open within some seconds; and
for which the answer to one is awaited before the next goes: longer than a slow one, shorter than aiohttp's 300."""
OUTAGE: Final = 3
"""Failures in a row, after which requests no longer go one at a time."""
LONG: Final = 2.0
"""Seconds: `Retry-After` counts whole ones, so "1" may be a tenth. From 2 on it is a closed window: nobody sends."""
TELLING: Final = (2.0, 60.0)
"""Seconds of a window whose `RateLimit` fields are believed: shorter ones are rounded, longer ones are quotas."""
CATCH_UP: Final = 0.002
"""Seconds by which a request may follow its predecessor too soon if that was late: timers go by milliseconds."""
FORGET: Final = 600.0
"""Seconds without a refusal and without a request that had to wait, after which nothing is paced any more."""


class AdaptiveRate:
    """A token bucket of one token, filled at a rate that follows what one limiter lets through.

    first_wait: seconds of the pause after a first throttled answer that asks for none.
    """

    def __init__(self, first_wait: float = 1.0) -> None:
        self._first_wait = first_wait
        self.engaged = False
        """Whether requests are paced: from a throttled answer until it is forgotten."""
        self.limit: float | None = None
        """The limiter's rate as learnt; None: not yet, a slow start is under way."""
        self.held_until = -math.inf
        """No request before that: a pause."""
        self._next = -math.inf  # nor before that: the rate
        self._failures = 0  # requests in a row that got no answer
        self._event = -math.inf  # when the last refusal was handled
        self._since, self._served = -math.inf, 0  # the measurement under way: its start, and what was served since
        self._grown = 0.0  # seconds into the rounds; in the slow start: requests per second
        self._gain = START_GAIN
        self._window = self._round_trip = 0.0  # seconds: of the limiter's window, where it has one; on the way and back
        self.dark = False
        """Whether nothing that was sent since the last refusal has been served."""
        self._alone = False  # one request at a time
        self._dark_since = self._dark_until = -math.inf  # when it began; when one was sent that was still refused
        self._streak = 0  # refusals in it, after the one that it began with
        self._window_since, self._window_served = -math.inf, 0  # a measurement as above, over several refusals
        self._ready = -math.inf  # from when on the newest request might have gone
        self._waited = False  # whether it had to wait for that
        self._busy = -math.inf  # when a request last had to wait, or was refused
        self._told = 0.0, math.inf  # what `RateLimit` fields said last

    @property
    def rate(self) -> float:
        """The requests per second that are sent now."""
        if self.limit is None:
            return START + self._grown
        rounds = self._grown / max(
            ROUND_SECONDS, ROUND_ANSWERS / self.limit, ROUND_TRIPS * self._round_trip, self._window
        )
        return self.limit * (HOVER + RISE * rounds + CONVEX * max(0.0, rounds - 1.0) ** 3)

    @property
    def above(self) -> bool:
        """Whether more is sent than the limit that was learnt."""
        return self.limit is not None and self.rate > self.limit

    @property
    def probing(self) -> bool:
        """Whether a refusal is likely, so that it should not meet a request that has few replays left."""
        unsure = self._waited if self.limit is None else self.above or self._served < CALM
        return self.engaged and (self.dark or unsure)

    def delay(self, now: float) -> float:
        """Return the seconds until the next request may be sent, 0 for none."""
        return max(0.0, self.held_until - now, self._next - now if self.engaged else 0.0)

    def take(self, now: float, came: float) -> float:
        """Send a request now that came then, and return its ticket."""
        self._ready = max(self._next, self.held_until)
        self._waited = self._ready > came
        if not self._waited:
            self._since += max(0.0, now - max(self._ready, self._since) - (0.0 if self.dark else IDLE))
        if self._waited:
            self._busy = now
        elif now - self._busy > FORGET:
            self.engaged = False
        step = LONGEST_STEP if self._alone else 1.0 / self.rate
        self._next = max(self._next, now - CATCH_UP) + step
        return now

    def released(self, ticket: float, now: float, *, failed: bool = False) -> None:
        """Learn that a request has ended without an answer that says anything: if it went alone, let another go.

        failed: it got none. Several in a row are an outage, and no throttling: nobody sits through others' time-outs.
        """
        if ticket < self._event:
            return
        if self._alone:
            self._next = min(self._next, now + 1.0 / self.rate)
        self._failures += failed
        if self._failures >= OUTAGE:
            self._alone = False

    def served(self, ticket: float, now: float) -> None:
        """Learn of an answer that was not throttled."""
        self._served += 1
        self._window_served += 1
        if ticket != UNPACED:
            self._round_trip += (now - ticket - self._round_trip) / 8.0 if self._round_trip else now - ticket
        if ticket < self._event:
            return
        self._failures = 0
        if self.dark:
            self._lighten(ticket, now)
        if self.limit is None:
            self._grown += self._gain
        elif self._waited:  # a rate that nobody needs does not grow
            self._grown += 1.0 / self.rate

    def throttled(self, ticket: float, now: float, asked: float | None = None) -> None:
        """Learn of a throttled answer. asked: the seconds that it asks to wait, if it does."""
        self._busy = now
        if not self.engaged:
            self._engage(now, self._first_wait if asked is None else asked)
            return
        fresh = ticket >= self._event
        if asked is not None and asked >= LONG:
            self.hold(now + asked)
            self._alone = self._alone or fresh
        if not fresh:
            return
        self._event = now
        if self.dark:
            self._alone = True
            self._dark_until = ticket
            self._streak += 1
            self._next = now + min(LONGEST_STEP, 2.0**self._streak / self.rate)
        else:
            self._learn(now)

    def hold(self, until: float) -> None:
        """Let nothing go before that."""
        self.held_until = max(self.held_until, until)

    def told(self, remaining: float, reset: float, now: float) -> None:
        """Learn of `RateLimit` fields: how many requests remain for how many seconds. They are believed within bounds.

        None left: a pause, if they count at all. The first answer in a new window: its limit, within a factor of two
        of what is known.
        """
        shortest, longest = TELLING
        if not (self.engaged and shortest <= reset <= longest):
            return
        before, self._told = self._told, (remaining, reset)
        if remaining <= 0:
            if before[0] > 0:
                self.hold(now + reset)
        elif remaining > before[0] and reset >= before[1] + shortest:  # answers may overtake each other
            known = self.limit or START
            self.limit = min(max(remaining / reset, known / 2.0), known * 2.0)
            self._grown, self._window = 0.0, reset

    def _engage(self, now: float, pause: float) -> None:
        self.engaged = self.dark = self._alone = True
        self.hold(now + pause)
        self._failures = 0
        self._event = self._dark_until = self._since = now + pause
        self._dark_since, self._served, self._streak, self._grown = now, 0, 0, 0.0
        self._window_since, self._window_served = self._since, 0
        self._next = -math.inf

    def _learn(self, now: float) -> None:
        """A refusal: measure, and begin a round and a dark."""
        rate, elapsed = self.rate, now - self._since
        if now - self._window_since > LONGEST_WINDOW:
            self._window_since, self._window_served = self._since, self._served
        prior = PRIOR if self.limit is not None else 0
        span = elapsed + prior / rate  # none at all, by a coarse clock, measures nothing
        measured = min(rate, (self._served + prior) / span) if span > 0 else rate
        self.limit = max(math.sqrt(measured * rate), SLOWEST)
        self._begin(now)
        self.dark, self._dark_since, self._dark_until, self._streak = True, now, now, 0
        self._next = now + 1.0 / self.rate

    def _lighten(self, ticket: float, now: float) -> None:
        """The first that was served since the refusal: the dark is over. How long was it?"""
        if self._alone:
            self._next = ticket + 1.0 / self.rate
        self.dark = self._alone = False
        dark = (max(self._dark_until, self.held_until) + self._ready) / 2.0 - self._dark_since  # it ended in between
        if self.limit is None:
            self._gain = min(START_GAIN, DARK_GAIN / dark) if dark > DARK_SECONDS else START_GAIN
            self._since, self._served = now, 1
            self._window_since, self._window_served = now, 1
        elif dark > max(DARK_SECONDS, DARK_REQUESTS / self.limit):
            self._window = self._dark_since + dark - self._window_since
            self.limit = max(min(self.limit, self._window_served / (self._window + 1.0 / self.limit)), SLOWEST)
            self._begin(now)
            self._window_since, self._window_served, self._served = now, 1, 1
        else:
            self._window /= 2.0

    def _begin(self, now: float) -> None:
        self._since, self._served, self._grown = now, 0, 0.0
