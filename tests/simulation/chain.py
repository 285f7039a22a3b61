"""What must never happen on the way to the token endpoint. Every token request passes here, and how it ended."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .book import EPSILON, Book
from .service import Fault, Outcome

__all__ = ["Chain", "TokenRequest"]

MAX_TRIES = 3
REPLAY_WITHIN = 10.0
LATCH = (60.0, 300.0, 3600.0)
"""Seconds after which a password may be sent again, after the first refusal, the second, and each further one."""


@dataclass(eq=False)
class Flight:
    """A task that asks for tokens.

    forced: by `refresh()`, or joined by it. held: why nothing may be sent, unless the credentials have changed.
    begun: when the last question of each grant was sent first. expired: how many tokens had expired when they arrived.
    changes: of the clocks, before it began. disturbed: whether it may have been cancelled, by a logout, a close, or
    from outside.
    """

    forced: bool
    held: str = ""
    expired: int = 0
    changes: int = 0
    disturbed: bool = False
    sent: Counter[str] = field(default_factory=Counter[str])
    launched: float = 0.0
    begun: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(eq=False)
class TokenRequest:
    """One token request and what became of it."""

    form: Mapping[str, str] = field(repr=False)
    client_id: str
    number: int = 0
    sent_monotonic: float = 0.0
    sent_wall: float = 0.0
    logouts: int = 0
    flight: Flight = field(default_factory=lambda: Flight(forced=False), repr=False)
    body: bytes = field(default=b"", repr=False)
    outcome: Outcome | None = None
    ended: float = 0.0
    retry_after: float | None = None

    @property
    def grant(self) -> str:
        return self.form["grant_type"]

    @property
    def refresh_token(self) -> str | None:
        return self.form.get("refresh_token")


class Chain:
    """Watches the tokens of one client_id.

    attended: whether nobody can sign in again without a person; a doubtful refresh token is then tried again.
    have_changed: tells whether the credentials are others than those that were refused. report: called with what must
    never happen. trace: called with what happens.
    """

    def __init__(
        self,
        book: Book,
        have_changed: Callable[[str], bool],
        report: Callable[[str], None],
        trace: Callable[..., None],
        *,
        attended: bool,
    ) -> None:
        self._book = book
        self._report = report
        self._trace = trace
        self._may_have_changed = have_changed
        self._refused_last = ""
        self._attended = attended
        self._flights: dict[asyncio.Task[Any] | None, Flight] = {}
        self._under_way: TokenRequest | None = None
        self._presented: dict[str, list[TokenRequest]] = {}
        self._must_use: str | None = None
        self._rejected: dict[str, list[float]] = {}
        self._codes: dict[str, Outcome | None] = {}
        self.last: TokenRequest | None = None
        self.last_ended = 0.0
        self.failures = 0
        self.count = 0

    def flying(self) -> list[asyncio.Task[Any]]:
        """Return the flights that have not ended."""
        return [task for task in self._flights if task is not None and not task.done()]

    def clock_may_change(self) -> bool:
        """Tell whether no flight has seen a clock change yet: after two, back and forth, nobody can tell ages."""
        return all(self._flights[task].changes == self._book.clock.changes for task in self.flying())

    def disturb(self) -> None:
        """Note that those in the air may be cancelled now."""
        for task in self.flying():
            self._flights[task].disturbed = True
            if self._book.pauses.hold is not None:
                self._book.pauses.hold.looks = 0  # it may not have come to it

    def asked_by_hand(self) -> None:
        """Somebody calls `refresh()`: a flight that is in the air tries for them, whatever holds it off."""
        for task in self.flying():
            self._flights[task].forced, self._flights[task].held = True, ""

    def launched(self, task: asyncio.Task[Any], *, forced: bool, kept_alive: bool) -> None:
        """A flight begins: is there a reason, and does no failure forbid it? kept_alive: nobody asked for it."""
        book = self._book
        self._flights[task] = Flight(forced, changes=book.clock.changes, launched=book.clock.ticking())
        self._trace("launched", forced)
        if forced:
            return
        hold = book.pauses.hold
        unsure = book.newest is not None and (book.newest.doubtful or book.is_on_border())
        if hold is not None and book.holds() and not unsure:
            by = "keep-alive: " if kept_alive else ""
            self._flights[task].held = f"{by}back-off: a renewal was launched while a failure holds it off"
            hold.looks += 1
            if hold.kind != "latch":
                self._report(self._flights[task].held)
            elif hold.looks > 1:
                self._report("latch: it was looked more than once whether the credentials have changed")
        if not (book.is_due() or book.rejected):
            self._report(f"{'contested: ' if book.contested else ''}loop: a renewal was launched without a reason")
        if book.closed:
            self._report("closed: a renewal was launched after close()")

    def sending(self, request: TokenRequest) -> None:
        """A token request leaves the client."""
        book, clock = self._book, self._book.clock
        self.count += 1
        request.number, request.logouts = self.count, book.logouts
        request.sent_monotonic, request.sent_wall = clock.monotonic(), clock.wall()
        request.flight = self._flights[asyncio.current_task()]
        self._trace("sent", request.number, request.grant, request.refresh_token)
        if self._under_way is not None:
            self._report(f"never 1: request {request.number} while {self._under_way.number} is under way")
        flight, last = request.flight, self.last
        self._under_way = self.last = request
        if last is not None and last.flight is flight:
            self._check_retry(request, last)
        if flight.held and not self._have_changed():
            self._report(flight.held)
        flight.sent[request.grant] += 1
        flight.begun.setdefault(request.grant, clock.ticking())
        at_most = (
            MAX_TRIES * (2 if request.grant == "password" and "totp" in request.form else 1) * (1 + flight.expired)
        )
        if flight.sent[request.grant] > at_most:
            self._report(f"never 6: {flight.sent[request.grant]} {request.grant} requests in one flight")
        if self._must_use not in (None, request.refresh_token):
            self._report("never 2: a delivered refresh token was not the next to be used")
        if request.refresh_token is None:
            self._check_sign_in(request)
        else:
            self._check_renewal(request, request.refresh_token)

    def _have_changed(self) -> bool:
        hold = self._book.pauses.hold
        return hold is not None and hold.kind == "latch" and self._may_have_changed(self._refused_last)

    def _check_retry(self, request: TokenRequest, last: TokenRequest) -> None:
        if last.grant != request.grant or last.outcome in (Outcome.REFUSED, Outcome.DELIVERED):
            request.flight.begun.pop(request.grant, None)  # another question, such as the next one-time code's
        waited = request.sent_monotonic - last.ended
        if last.grant == request.grant and waited < self._asked_to_wait(last) - EPSILON:
            self._report("throttled: tried again before Retry-After")

    def _asked_to_wait(self, request: TokenRequest | None) -> float:
        """Return the seconds of `Retry-After`; not a number for one that was a date."""
        heeded = request is not None and request.outcome in (Outcome.THROTTLED, Outcome.BROKEN)
        return (request.retry_after or 0.0) if request is not None and heeded else 0.0

    def _check_renewal(self, request: TokenRequest, refresh_token: str) -> None:
        before = self._presented.setdefault(refresh_token, [])
        maybe_used = [each for each in before if each.outcome not in (Outcome.NOT_SENT, Outcome.THROTTLED)]
        lost = [each for each in before if each.outcome is Outcome.LOST]
        for each in before:
            if each.outcome in (Outcome.REFUSED, Outcome.DELIVERED):
                self._report(f"never 1: a refresh token was sent again after it was {each.outcome.value}")
            if each.outcome is Outcome.BROKEN and each.flight is request.flight:
                self._report("never 1: a refresh token was sent again in the flight that met a broken service")
        if lost and not self._attended:
            if maybe_used[-1] is not lost[0]:
                self._report("never 1: a refresh token was sent again after its one replay")
            if request.sent_monotonic - lost[0].ended > REPLAY_WITHIN + EPSILON:
                self._report("never 1: a refresh token was replayed late")
        if self._issued_before_logout(refresh_token):
            self._report("logout: a refresh token from before was sent")
        before.append(request)

    def _issued_before_logout(self, refresh_token: str) -> bool:
        issued = [each for each in self._book.issued.values() if each.refresh == refresh_token]
        return bool(issued) and issued[-1].number <= self._book.logged_out_before

    def _check_sign_in(self, request: TokenRequest) -> None:
        rejected = self._rejected.get(request.form["password"], [])
        if rejected and not request.flight.forced:
            waited = request.sent_monotonic - rejected[-1]
            if waited < LATCH[min(len(rejected), len(LATCH)) - 1] - EPSILON:
                self._report(f"never 6: a refused password was sent again after {waited:.1f} s")
        code = request.form.get("totp", "")
        if code.startswith("typed") and self._codes.get(code) in (Outcome.LOST, Outcome.REFUSED, Outcome.DELIVERED):
            self._report("a typed one-time code was sent twice")

    def answered(self, request: TokenRequest, status: int, fault: Fault) -> None:
        """A complete answer was read to its end."""
        request.retry_after = fault.retry_after
        if status != 200 or fault.outcome is not None:
            own = status == 400 and not fault.status
            self.ended(request, Outcome.REFUSED if own or fault.outcome is None else fault.outcome)
        else:
            self._delivered(request)

    def _delivered(self, request: TokenRequest) -> None:
        document = json.loads(request.body)
        self.ended(request, Outcome.DELIVERED)
        refresh = document.get("refresh_token") or request.refresh_token
        book = self._book
        if request.logouts != book.logouts:
            return
        if refresh is not None and refresh == request.refresh_token:
            self._presented.pop(refresh)  # not rotated: it is as good as new
        self._must_use = refresh
        self._rejected.clear()
        lifetime = float(document.get("expires_in", book.policy.default_lifetime))
        sent = (request.sent_monotonic, request.sent_wall)
        clock = book.clock
        changed = request.flight.changes != clock.changes
        request.flight.expired += clock.monotonic() - request.sent_monotonic >= lifetime or changed
        book.deliver(request.number, document["access_token"], refresh, lifetime, sent, doubt=changed)

    def cancelled(self, request: TokenRequest) -> None:
        """The client gave up a request under way: only its deadline, a logout, a close or an outsider may do that."""
        flight, now = request.flight, self._book.clock.ticking()
        asked = flight.begun[request.grant] if "refresh_token" in flight.begun else flight.launched
        longest_fetch = 0.0 if asked == flight.launched else 7.0  # of a password, before the sending
        in_time = now < asked + self._book.policy.flight_deadline - longest_fetch
        if in_time and not flight.disturbed:
            self._report("never 2: a token request was cancelled because a caller was")
        if request.outcome is None:
            self.ended(request, Outcome.LOST)

    def ended(self, request: TokenRequest, outcome: Outcome) -> None:
        """The request is over, as far as the client can tell."""
        clock = self._book.clock
        self._trace("ended", request.number, outcome.value)
        request.outcome, request.ended = outcome, clock.monotonic()
        self.last_ended = clock.ticking()
        self._under_way = None
        if clock.ticking() - request.flight.begun[request.grant] > self._book.policy.flight_deadline + EPSILON:
            self._report("deadline: a token request outlived its flight's deadline")
        if outcome in (Outcome.LOST, Outcome.REFUSED, Outcome.DELIVERED):
            self._must_use = None
        if request.refresh_token is None:
            self._codes[request.form.get("totp", "")] = outcome
            if outcome is Outcome.REFUSED:
                self._refused_last = request.form["password"]
            refused = outcome is Outcome.REFUSED and b"two_factor" not in request.body
            if refused and b"must_reset" not in request.body and not request.flight.forced:
                self._rejected.setdefault(request.form["password"], []).append(request.ended)

    def failed(self, kind: str, delay: float, *, code: bool) -> None:
        """A flight failed, and the client announced a pause. code: for want of a one-time code."""
        self.failures += 1
        self._trace("failed", kind, round(delay, 3))
        last, newest = self.last, self._book.newest
        now = self._book.clock.monotonic()
        if last and newest and newest.doubtful and (newest.number, newest.delivered) == (last.number, now):
            self._book.distrust()
        own = last if last and last.flight is self._flights.get(asyncio.current_task()) else None
        asked = self._asked_to_wait(own) - (now - own.ended) if own else 0.0
        least, most = self._book.pauses.bounds(kind, asked, code=code)
        if not least - EPSILON <= delay <= most + EPSILON:
            which = "contested: " if self._book.contested else ""
            self._report(f"{which}back-off: a pause of {delay:.1f} s after a {kind} failure, instead of {least:.1f} s")
        self._book.fail(kind, delay)

    def log_out(self) -> None:
        """Everything so far is to be forgotten."""
        self._must_use = None
        self._rejected.clear()
        self._book.log_out(self.count)
