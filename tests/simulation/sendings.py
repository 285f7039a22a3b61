"""What must never happen on the way to the API. Every API request passes here, when it is sent and when it is over."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from yarl import URL

from .book import EPSILON, Book, Issued
from .checks import Call
from .replays import Replays

__all__ = ["Limits", "Sending", "Sendings"]

MAY_SEE_THE_TOKEN = {("https", "spaces.nexudus.com", 443), ("https", "files.example", 8443)}
OWN = "Basic b3du"
"""The authorization of a caller who has one of its own."""
THROTTLED = (409, 429)
UNAUTHORIZED = 401
BROKEN = 500
A_WHILE = 300.0
"""Seconds after which all that a throttled answer had held back are through."""
LONG = 2.0
"""Seconds of a wait that everybody keeps; of a shorter one they do if nothing was throttled before."""
LONGEST_LAG, AFTER_REFUSAL = 5.0, 10.5
"""Seconds that a request waits at most when nothing keeps it; and after a refusal, when one goes in ten seconds."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a session was told. replays, wait: after throttled answers. amount, seconds, spacing: of its pacing."""

    replays: int
    wait: float
    first_wait: float
    amount: int = 0
    seconds: int = 0
    spacing: float = 0.0


@dataclass(eq=False, slots=True)
class Sending:
    """One API request. gated: whether a throttled answer to another request of the session holds it back."""

    call: Call
    authorization: str | None
    gated: bool

    def __str__(self) -> str:
        return self.call.kind


class Sendings:
    """Judges API requests.

    present: returns the call that runs now. now: the loop's time. idle_since: when a flight was last under way; the
    present where one is. report: called with what must never happen. trace: with what happens.
    """

    def __init__(
        self,
        book: Book,
        replays: Replays,
        limits: Limits,
        present: Callable[[], Call],
        now: Callable[[], float],
        idle_since: Callable[[], float],
        report: Callable[[str], None],
        trace: Callable[..., None],
    ) -> None:
        self._book, self._replays, self._limits, self._present, self._now = book, replays, limits, present, now
        self._idle_since, self._report, self._trace = idle_since, report, trace
        self._pause_until = self._pause_over = self._over_at = 0.0
        self._throttled_at = -math.inf
        self._under_way = 0
        self._engaged = False
        self._times: list[float] = []
        self._changes = 0

    def sends(self, url: URL, authorization: str | None, *, foreign: bool) -> Sending:
        """A request leaves the client. foreign: by a session of somebody else's."""
        call = self._present()
        call.requests += 1
        call.sent = authorization or ""
        self._trace("api", call.number, str(url))
        ours = (url.scheme, url.host, url.port) in MAY_SEE_THE_TOKEN
        sending = Sending(call, authorization, gated=ours and not foreign and authorization != OWN)
        self._check_authorization(call, authorization, ours=ours)
        self._check_reason(call, foreign=foreign)
        if sending.gated:
            self._check_time()
            self._check_pace()
            self._under_way += 1
        return sending

    def processed(self, sending: Sending, status: int) -> None:
        """The service has decided."""
        self._trace("api", sending.call.number, status)
        if status == UNAUTHORIZED and sending.authorization is not None:
            self._book.reject(sending.authorization.removeprefix("Bearer "))

    def over(self, sending: Sending) -> None:
        """The request is over, answered or not."""
        if sending.gated:
            self._under_way -= 1
            self._over_at = self._now()

    def asked_by(self, sending: Sending, headers: Mapping[str, str], body: bytes) -> float | None:
        """Return the seconds that an answer asks to wait, None for none."""
        if "Retry-After" in headers:
            return float(headers["Retry-After"])
        words = re.search(rb"Wait (\d+)", body)
        return float(words[1]) if words else None

    def answered(self, sending: Sending, status: int, asked: float | None) -> None:
        """The library is given the answer."""
        call, limits, access = sending.call, self._limits, (sending.authorization or "").removeprefix("Bearer ")
        if status == UNAUTHORIZED:
            self._book.reject(access)
            self._replays.refused(call)
            call.refused, call.barred = self._book.refused and self._is_newest(access), self._book.holds()
        elif 0 < status < BROKEN and status not in THROTTLED:
            self._book.accept(access)
            self._replays.accepted(call.sent)
        named = asked
        if status == 429 and asked is None:
            asked = limits.first_wait * 2**call.replays
        asked = asked if status in THROTTLED else None
        call.answers.append((status, asked))
        if asked is not None and sending.gated:
            self._throttled_at = self._now()
            if self._is_worth(call, asked):
                self._hold(call, asked, everybody=not self._engaged or (named is not None and named >= LONG))

    def _hold(self, call: Call, asked: float, *, everybody: bool) -> None:
        """A throttled request waits, and with it, perhaps, everybody else."""
        call.due, call.due_at, self._engaged = self._book.clock.monotonic() + asked, self._now() + asked, True
        if everybody:
            self._pause_until = max(self._pause_until, call.due)
            self._pause_over = max(self._pause_over, call.due_at)

    def _is_newest(self, access: str) -> bool:
        newest = self._book.newest
        return newest is not None and newest.access == access and not newest.doubtful

    def _is_worth(self, call: Call, asked: float) -> bool:
        return call.replays < self._limits.replays and call.waited + asked <= self._limits.wait

    def _check_authorization(self, call: Call, authorization: str | None, *, ours: bool) -> None:
        book = self._book
        if call.kind.startswith("own"):
            if authorization != OWN:
                self._report("a caller's own authorization was replaced")
        elif not ours:
            if authorization is not None:
                self._report("never 4: the token was sent to another origin")
        elif authorization is None:
            self._report("a request was sent without the token")
        else:
            issued = book.issued.get(authorization.removeprefix("Bearer "))
            newest = book.newest
            if issued is None:
                self._report("a request was sent with a token that nobody issued")
            elif book.elapsed(issued) >= issued.lifetime + EPSILON:
                self._report(f"{self._kind_of(call)}: a request was sent with an expired token")
            elif newest is not None and newest.number > issued.number and self._is_known(newest):
                self._report(f"{self._kind_of(call)}: a request was sent with an old token, not the newest")

    def _is_known(self, newest: Issued) -> bool:
        return not newest.doubtful and newest.delivered < self._book.clock.monotonic()

    def _kind_of(self, call: Call) -> str:
        return "paced" if self._limits.amount and not call.kind.endswith("hop") else call.kind

    def _check_reason(self, call: Call, *, foreign: bool) -> None:
        """Sent again only after a 401, once, and after throttled answers, as often as was agreed."""
        if not call.answers:
            return
        status, asked = call.answers[-1]
        if status == UNAUTHORIZED and not call.renewed:
            call.renewed = True
        elif asked is not None and not foreign and self._is_worth(call, asked):
            call.replays += 1
            call.waited += asked
            if self._book.clock.monotonic() < call.due - EPSILON:
                self._report("throttled: a request was sent again before its time")
        else:
            self._report(f"never 6: {call.kind} was sent again after {status} without a reason")
        if call.kind.startswith(("own", "send")):
            self._report(f"{call.kind} was sent again, which it must never be")

    def _check_time(self) -> None:
        """Nobody sends during a pause, and when it is over nobody waits without need."""
        book, now = self._book, self._now()
        if book.clock.monotonic() < self._pause_until - EPSILON:
            self._report("throttled: a request was sent during the pause")
        waited = now - max(
            self._present().began, self._present().due_at, self._over_at, self._pause_over, self._idle_since()
        )
        idle = self._throttled_at >= 0 and not (self._under_way or self._limits.amount)
        if idle and waited > LONGEST_LAG and now - self._throttled_at > AFTER_REFUSAL:
            self._report(f"throttled: a request waited {waited:.1f} s although nothing was under way")

    def _check_pace(self) -> None:
        """The limits are kept by what is sent with a token at hand, while nothing is throttled."""
        limits, book, now = self._limits, self._book, self._now()
        if not limits.amount:
            return
        disturbed = self._throttled_at > now - A_WHILE or self._idle_since() > now - limits.seconds
        if book.clock.changes != self._changes or disturbed:
            self._changes = book.clock.changes
            self._times.clear()
        self._times.append(now)
        lately = [time for time in self._times if time > now - limits.seconds + EPSILON]
        if len(lately) > limits.amount:
            self._report(f"pacing: {len(lately)} requests in {limits.seconds:g} s")
        if len(lately) > 1 and now - lately[-2] < limits.spacing - EPSILON:
            self._report(f"pacing: {now - lately[-2]:.3f} s between two requests")
